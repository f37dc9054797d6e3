"""The command holterd-sim: a fleet of simulated devices."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import signal
import sys
from pathlib import Path

from ..cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Parser, add_flag, fail, say
from ..config import Config, load_config
from ..errors import ConfigError, DeviceError
from .faults import Fault, read_faults, spread
from .fleet import SimulatedFleet, device_names, device_specs

# The settings of holterd that the devices of a fleet share.
_SETTINGS = (
    "simulate",
    "rate",
    "inputs",
    "speed",
    "probation_seconds",
    "probation_windows",
    "runtime",
    "max_model_mib",
    "trusted_keys",
    "insecure",
    "log_level",
)
_DEFAULTS = {"simulate": "sinus", "log_level": "error"}
_FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
_HELP = {
    Fault.OFFLINE: "nothing answers at their address",
    Fault.SLOW: "each call is answered --delay seconds later",
    Fault.SILENT: "every call is taken and never answered",
    Fault.FAILING_GATE: "their gate refuses every model",
    Fault.LOW_MEMORY: "their gate allows a model too little memory",
    Fault.FAILING_PROBATION: "each model but the first fails on its windows",
}

EXAMPLES = """examples:
  holterd-sim --devices 50 --inventory fleet.toml
  holterd-sim --devices 1000 --offline 5% --failing-gate 2% --inventory fleet.toml
  holterd-sim --devices 20 --offline 25% --offline-for 30    they come back by themselves

SIGUSR1 brings back all that are offline, SIGHUP reads the file of --faults again.
Holter is not a medical device: do not diagnose, monitor or treat anyone by what it shows."""


def main() -> None:
    """Run the command and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command.

    Returns:
        0 after a signal, 1 where something could not be used, 2 for wrong usage or settings.
    """
    options = _parser().parse_args(arguments)
    try:
        given = {key: value for key, value in vars(options).items() if key in _SETTINGS}
        config = load_config(None, _DEFAULTS | given)
        fleet = _fleet(options, config)
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        logging.basicConfig(stream=sys.stderr, level=config.log_level.upper())
        asyncio.run(_serve(fleet, options))
        return EXIT_OK
    except ConfigError as error:
        return fail("holterd-sim", error, EXIT_USAGE)
    except DeviceError as error:
        return fail("holterd-sim", error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="holterd-sim",
        description="Serve many simulated devices, some of them with faults.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--devices", type=int, default=50, metavar="N", help="how many (default 50)")
    add(
        "--listen",
        default="127.0.0.1:20000",
        metavar="ADDRESS",
        help="HOST:PORT of the first, with the ports after it for the others; port 0 for free "
        "ones, or unix:DIR (default 127.0.0.1:20000)",
    )
    add("--inventory", type=Path, default=None, metavar="FILE", help="write the fleet.toml there")
    add("--sites", type=int, default=4, metavar="N", help="sites they are spread over (default 4)")
    add("--seed", type=int, default=0, metavar="N", help="of the ECGs, and of who has which fault")
    cores = os.cpu_count() or 1
    add("--processes", type=int, default=cores, metavar="N", help="(default: one a core)")
    for fault in _FAULTS:
        add(f"--{fault.value}", default="0", metavar="SHARE", help=f"such as 5%%: {_HELP[fault]}")
    add(
        "--faults",
        type=Path,
        default=None,
        metavar="FILE",
        help='TOML, lines such as sim-0003 = "slow"',
    )
    add("--delay", type=float, default=0.5, metavar="SECONDS", help="of slow devices (default 0.5)")
    add(
        "--offline-for",
        type=float,
        default=None,
        metavar="SECONDS",
        help="after which those that are offline come back",
    )
    fields = {field.name: field for field in dataclasses.fields(Config)}
    for key in _SETTINGS:
        add_flag(parser, fields[key], _DEFAULTS.get(key))
    return parser


def _fleet(options: argparse.Namespace, config: Config) -> SimulatedFleet:
    for key, most in (("devices", 60000), ("sites", 1000), ("processes", 64)):
        value = getattr(options, key)
        if not 1 <= value <= most:
            raise ConfigError(f"--{key} is {value}; it must be 1 to {most}", key=key)
    names = device_names(options.devices)
    shares: dict[Fault, str] = {
        fault: getattr(options, fault.value.replace("-", "_")) for fault in _FAULTS
    }
    faults = spread(names, shares, options.seed)
    if options.faults is not None:
        faults |= read_faults(options.faults, names)
    specs = device_specs(options.devices, options.listen, options.sites, options.seed, faults)
    return SimulatedFleet(config, specs, options.processes, options.delay)


async def _serve(fleet: SimulatedFleet, options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        loop.add_signal_handler(number, asked.put_nowait, number)
    try:
        await fleet.start()
        if options.inventory is not None:
            fleet.write_inventory(options.inventory)
        _tell(fleet)
        if options.offline_for is not None:
            loop.call_later(options.offline_for, asked.put_nowait, signal.SIGUSR1)
        ended = asyncio.create_task(fleet.ended())
        await _follow(fleet, options, asked, ended)
    finally:
        await fleet.stop()


async def _follow(
    fleet: SimulatedFleet,
    options: argparse.Namespace,
    asked: asyncio.Queue[signal.Signals],
    ended: asyncio.Task[None],
) -> None:
    """Do what signals ask, until one asks for the end or a process is gone."""
    while True:
        asking = asyncio.create_task(asked.get())
        await asyncio.wait({asking, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            asking.cancel()
            await ended
        number = asking.result()
        if number in (signal.SIGTERM, signal.SIGINT):
            ended.cancel()
            return
        if number == signal.SIGUSR1:
            await fleet.bring_back()
        elif options.faults is not None:
            try:
                await fleet.change(read_faults(options.faults, (s.name for s in fleet.specs)))
            except ConfigError as error:
                fail("holterd-sim", error, EXIT_USAGE)
                continue
        _tell(fleet)


def _tell(fleet: SimulatedFleet) -> None:
    counts = fleet.counts
    faults = [f"{fault.value} {counts[fault]}" for fault in _FAULTS if counts[fault]]
    first, last = fleet.specs[0], fleet.specs[-1]
    where = f"{first.name} at {first.address} to {last.name} at {last.address}"
    say(f"serving {len(fleet.specs)} devices, {where}; {', '.join(faults) or 'no faults'}\n")


if __name__ == "__main__":
    main()
