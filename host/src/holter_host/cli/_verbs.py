"""A command of verbs, each in a module that is loaded when it is called."""

from __future__ import annotations

import difflib
import importlib
import signal
from collections.abc import Mapping
from typing import Any

import click


class Verbs(click.Group):
    """A group that loads the module of a verb when the verb is called, not before.

    `verbs` has for each verb, in the order of the help, its module in `package`, which has it under
    its own name, and what it does.
    """

    def __init__(
        self, *args: Any, package: str, verbs: Mapping[str, tuple[str, str]], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._package = package
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        module = importlib.import_module(f"{self._package}.{self._verbs[cmd_name][0]}")
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # `main` has set it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self._verbs, 1)
            if not close or "Did you mean" in error.message:
                raise
            text = f"{error.message} Did you mean {close[0]!r}?"
            raise click.UsageError(text, error.ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in self._verbs.items()])
