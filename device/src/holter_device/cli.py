"""The command holterd: its flags are the keys of its config file."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import logging
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from .config import Config, example, load_config
from .errors import ConfigError, DeviceError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

EXAMPLES = """examples:
  holterd --simulate bigeminy                      no hardware: a synthetic ECG
  holterd --replay mitdb/208 --speed 10            a WFDB record, ten times as fast
  holterd --config /etc/holter/holterd.toml        a Raspberry Pi with its settings
  holterd probe --bus 1 --address 0x48             what does the I2C bus say?
  holterd config > holterd.toml                    every setting, to be edited

Holter is not a medical device: do not diagnose, monitor or treat anyone by what it shows."""


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command.

    Returns:
        0 after a signal or a probe that found a chip, 1 where something could not be used, 2 for
        wrong usage or settings.
    """
    options = vars(_parser().parse_args(arguments))
    command, path = options.pop("command"), options.pop("config")
    try:
        config = load_config(path, options)
        _start_logging(config.log_level)
        if command == "probe":
            return _probe(config)
        if command == "config":
            say(example())
            return EXIT_OK
        return _serve(config)
    except ConfigError as error:
        return fail("holterd", error, EXIT_USAGE)
    except DeviceError as error:
        return fail("holterd", error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return EXIT_OK
    except _OutputError as error:
        _forget_stdout()
        return fail("holterd", error, EXIT_FAILED)


class _OutputError(DeviceError):
    """Error raised when stdout cannot be written, as on a full disk."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, not the list of every flag."""

    def error(self, message: str) -> NoReturn:
        """Exit with the sentence."""
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; see: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="holterd",
        usage="holterd [serve | probe | config] [options]",
        description="Sample an ECG front end, classify it, and serve both over gRPC.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    version = importlib.metadata.version("holter-device")
    parser.add_argument("--version", action="version", version=f"holterd {version}")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "probe", "config"),
        default="serve",
        help="serve (the default); probe: read the I2C bus once and say what is there; "
        "config: print a commented holterd.toml",
    )
    parser.add_argument(
        "--config", type=Path, default=None, metavar="FILE", help="TOML file; each key is a flag"
    )
    for field in dataclasses.fields(Config):
        add_flag(parser, field)
    return parser


def add_flag(
    parser: argparse.ArgumentParser, field: dataclasses.Field[Any], default: Any = None
) -> None:
    """Add the flag of a setting to a parser that leaves out what is not given.

    Args:
        parser: it.
        field: the setting.
        default: what its help says where it is not the setting's own.
    """
    flag = f"--{field.name.replace('_', '-')}"
    text = field.metadata["help"].replace("%", "%%")
    if isinstance(field.default, bool):
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        return
    shown = field.default if default is None else default
    if field.name == "address":
        shown = f"{field.default:#x}"
    elif isinstance(shown, tuple):
        shown = ",".join(shown)
    if shown not in ("", "0"):
        text += f" (default {shown})"
    parser.add_argument(flag, metavar=field.metadata["metavar"] or "TEXT", help=text)


def _serve(config: Config) -> int:
    if config.log_level != "debug":  # gRPC's own lines say what our errors say, less clearly
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import asyncio  # this, gRPC and numpy are for who serves

    from .app import serve

    asyncio.run(serve(config, data_directory(config), _say_listening))
    return EXIT_OK


def _probe(config: Config) -> int:
    from .probe import probe

    say(f"{probe(config)}\n")
    return EXIT_OK


def say(text: str) -> None:
    """Print, or raise what becomes a sentence."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _OutputError(f"cannot write the output: {error.strerror}") from error


def _say_listening(addresses: list[str]) -> None:
    try:
        for address in addresses:
            print(f"listening {address}", flush=True)
    except BrokenPipeError:  # who started us does not want to know
        _forget_stdout()


def _forget_stdout() -> None:
    """Nobody reads it: what is left in its buffer goes nowhere when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def data_directory(config: Config) -> Path:
    """The config's directory, else systemd's, else one below the user's home."""
    if config.data_dir:
        return Path(config.data_dir)
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "holter"


def _start_logging(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )


def fail(command: str, error: DeviceError, status: int) -> int:
    """Say why a command fails. Returns the exit status."""
    print(f"{command}: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
