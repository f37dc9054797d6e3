"""What the verbs share: options, output, and a spinner where someone watches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

import click

from holter_host import HolterError
from holter_host.cli._interrupt import run_interruptible

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

DEFAULT_DEVICE: Final = "127.0.0.1:50051"
NOTHING: Final = 5


class StdoutClosedError(Exception):
    """Error raised when the reader of stdout is gone; it has what it wanted."""


class StdoutFailedError(HolterError):
    """Error raised when stdout takes no more, as a file on a full disk."""


def device_option(command: F) -> F:
    """--device ADDRESS."""
    return click.option(
        "--device",
        "address",
        metavar="ADDRESS",
        default=DEFAULT_DEVICE,
        envvar="HOLTER_DEVICE",
        show_default=True,
        show_envvar=True,
        help="HOST:PORT or unix:PATH.",
    )(command)


def json_option(text: str) -> Callable[[F], F]:
    """--json, with what it prints."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a verb's coroutine to its end; Ctrl-C cancels it, and is KeyboardInterrupt then."""
    return run_interruptible(work)


async def within(seconds: float | None, work: Callable[[], Awaitable[object]]) -> None:
    """Do the work for at most so many seconds of this computer's clock."""
    try:
        async with asyncio.timeout(seconds) as limit:
            await work()
    except TimeoutError:  # a device's DeadlineError is one too
        if not limit.expired():
            raise


def emit(line: str) -> None:
    """Print one line of the result at once.

    Raises:
        StdoutClosedError: nobody reads any more.
        StdoutFailedError: it cannot be written.
    """
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise StdoutClosedError from error
        raise StdoutFailedError(f"Cannot write the output: {error.strerror}.") from error


def emit_json(value: Any) -> None:
    """Print one JSON object on one line."""
    emit(json.dumps(value, allow_nan=False, ensure_ascii=False))


def note_json(value: Any) -> None:
    """Say something that is not the result, as one JSON object on one line."""
    click.echo(json.dumps(value), err=True)


def note(text: str) -> None:
    """Say something that is not the result."""
    click.echo(f"holter: {text}", err=True)


@contextlib.contextmanager
def working(text: str, quiet: bool = False) -> Iterator[None]:
    """A spinner on stderr while the block runs, where stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
