"""Every setting of holterd: one flat table, whose keys are the flags too.

A key of holterd.toml and its flag are the same word (`reference_volts`, `--reference-volts`); a
flag wins over the file, the file over the default.

Errors:
    ConfigError: a key is unknown, a value of the wrong type or out of range, or two settings
    exclude each other. The sentence names the file and the key.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holter.signature import SignatureError, parse_key

from .errors import ConfigError
from .leadoff import parse_lines

if TYPE_CHECKING:
    from .samples import Channel

SIMULATIONS = ("sinus", "bigeminy", "atrial", "noise", "leads-off")
INPUTS = ("A0", "A1", "A2", "A3")
# The I2C addresses of each converter.
ADCS = {"pcf8591": range(0x48, 0x50), "ads1115": range(0x48, 0x4C)}
# Ranges of the ADS1115 in volts; the place of each is its PGA code.
FULL_SCALES = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256)
MAX_OVERSAMPLING = 16
MAX_RETRIES = 5
RUNTIMES = ("auto", "litert", "tflite")
SPEED_MAX = 0.0
MIB = 2**20
MAX_RATE_HZ = 4000.0
# Texts that a file may give as a number.
_NUMBERS_OR_WORDS = ("speed", "oversampling")
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
}


def _setting(default: Any, text: str, metavar: str = "") -> Any:
    return dataclasses.field(default=default, metadata={"help": text, "metavar": metavar})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings, checked."""

    listen: tuple[str, ...] = _setting(
        ("127.0.0.1:50051",), "addresses to serve, HOST:PORT or unix:PATH, with commas", "ADDRESS"
    )
    insecure: bool = _setting(False, "serve addresses other than loopback, without encryption")
    data_dir: str = _setting(
        "",
        "directory of the log and the models; else the state directory that systemd gives, else "
        "~/.local/state/holter",
        "DIR",
    )
    retention_hours: float = _setting(168.0, "how long the log keeps what it has", "HOURS")
    retention_mib: float = _setting(
        1024.0, "size above which the log drops its oldest, in MiB; 0 for no limit", "MIB"
    )
    commit_interval: float = _setting(
        1.0, "seconds between two writes of the log: what a power cut may lose", "SECONDS"
    )
    simulate: str = _setting("", f"sample a simulated ECG: {', '.join(SIMULATIONS)}", "KIND")
    seed: int = _setting(0, "seed of the simulated ECG", "N")
    replay: str = _setting("", "sample a WFDB record, by its path without an extension", "RECORD")
    replay_leads: tuple[str, ...] = _setting(
        (), "names of the record's leads to replay; default MLII, else the first", "NAMES"
    )
    loop: bool = _setting(False, "start a replayed record again when it is over")
    speed: str = _setting("1", "how much faster than real time to simulate or replay, or max", "X")
    adc: str = _setting("pcf8591", f"the converter: {' or '.join(ADCS)}", "CHIP")
    bus: int = _setting(1, "number N of the I2C bus /dev/i2c-N", "N")
    address: int = _setting(
        0x48, "I2C address of the converter: pcf8591 0x48 to 0x4f, ads1115 0x48 to 0x4b", "ADDRESS"
    )
    inputs: tuple[str, ...] = _setting(
        ("A0",), "inputs of the converter that are channels, of A0,A1,A2,A3", "NAMES"
    )
    rate: float = _setting(360.0, "frames a second", "HZ")
    oversampling: str = _setting(
        "1",
        "conversions that are averaged for one count, 1 to 16; auto takes as many as fit into half "
        "of a period at the bus speed that is measured",
        "M",
    )
    retries: int = _setting(
        1,
        f"times that a read which fails is tried again within its tick, 0 to {MAX_RETRIES}",
        "N",
    )
    reference_volts: float = _setting(
        3.3, "Vref of the PCF8591 or supply of the ADS1115, in volts", "VOLTS"
    )
    full_scale_volts: float = _setting(
        4.096, f"range of the ADS1115: {', '.join(map(str, FULL_SCALES))}", "VOLTS"
    )
    gain: float = _setting(1100.0, "gain of the front end, volts for a volt", "GAIN")
    baseline_volts: float = _setting(1.65, "volts at the converter for 0 mV of ECG", "VOLTS")
    lead_off_lines: tuple[str, ...] = _setting(
        (),
        "lines of the front ends' lead-off comparators, CHANNEL:LO+:LINE or CHANNEL:LO-:LINE, e.g. "
        "A0:LO+:17,A0:LO-:27",
        "LINES",
    )
    lead_off_chip: str = _setting("gpiochip0", "GPIO chip that has these lines", "CHIP")
    runtime: str = _setting("auto", f"TFLite runtime: {', '.join(RUNTIMES)}", "NAME")
    max_model_mib: float = _setting(64.0, "size of the largest model that is taken, in MiB", "MIB")
    models_mib: float = _setting(
        512.0, "size of all stored models together, in MiB; 0 for no limit", "MIB"
    )
    model_memory_mib: float = _setting(256.0, "memory that a model may use, in MiB", "MIB")
    model_timeout: float = _setting(30.0, "seconds that loading a model may take", "SECONDS")
    probation_seconds: float = _setting(
        60.0,
        "seconds for which a model that was swapped in is on probation, at least; windows alone "
        "count in simulated time",
        "SECONDS",
    )
    probation_windows: int = _setting(
        10, "windows for which it is, at least; 0 and 0 seconds mean no probation", "N"
    )
    trusted_keys: tuple[str, ...] = _setting(
        (),
        "public keys of which one must have signed a model, as `holter keys new` prints them; none "
        "takes any model",
        "KEYS",
    )
    child_launcher: tuple[str, ...] = _setting(
        (), "words put before the command of each child process (for emulators)", "WORDS"
    )
    clock: str = _setting("monotonic", "for tests: lockstep:PATH lets a test release each tick")
    log_level: str = _setting("info", "debug, info, warning or error", "LEVEL")

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: one is out of range, or two exclude each other.
        """
        _require(bool(self.listen), "listen", self.listen, "at least one address")
        _require(self.simulate in ("", *SIMULATIONS), "simulate", self.simulate, SIMULATIONS)
        if self.simulate and self.replay:
            raise ConfigError("simulate and replay exclude each other: choose one source")
        if self.speed_factor != 1 and not self.simulated:
            raise ConfigError("speed is for --simulate and --replay: a chip has its own time")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(0 <= self.bus < 1000, "bus", self.bus, "0 to 999")
        _require(self.adc in ADCS, "adc", self.adc, tuple(ADCS))
        allowed = ADCS[self.adc]
        text = f"{allowed[0]:#x} to {allowed[-1]:#x} for {self.adc}"
        _require(self.address in allowed, "address", f"{self.address:#x}", text)
        inputs = bool(self.inputs) and set(self.inputs) <= set(INPUTS)
        inputs = inputs and len(set(self.inputs)) == len(self.inputs)
        _require(inputs, "inputs", ",".join(self.inputs), "some of A0,A1,A2,A3, each once")
        leads = self.replay_leads
        alone = len(set(leads)) == len(leads)
        _require(alone, "replay_leads", ",".join(leads), "names of leads, each once")
        _require(0 < self.rate <= MAX_RATE_HZ, "rate", self.rate, f"above 0, to {MAX_RATE_HZ:g}")
        counts = {"auto", *map(str, range(1, MAX_OVERSAMPLING + 1))}
        text = f"1 to {MAX_OVERSAMPLING}, or auto"
        _require(str(self.oversampling) in counts, "oversampling", self.oversampling, text)
        allowed = range(MAX_RETRIES + 1)
        _require(self.retries in allowed, "retries", self.retries, f"0 to {MAX_RETRIES}")
        full_scale = self.full_scale_volts
        _require(full_scale in FULL_SCALES, "full_scale_volts", full_scale, FULL_SCALES)
        for key in ("reference_volts", "gain", "retention_hours", "commit_interval"):
            value = getattr(self, key)
            _require(0 < value < math.inf, key, value, "a number above 0")
        for key in ("max_model_mib", "model_memory_mib", "model_timeout"):
            value = getattr(self, key)
            _require(0 < value < math.inf, key, value, "a number above 0")
        for key in ("models_mib", "probation_seconds", "probation_windows"):
            value = getattr(self, key)
            _require(0 <= value < math.inf, key, value, "0 or more")
        size = self.retention_mib
        _require(size == 0 or 16 <= size < math.inf, "retention_mib", size, "0, or 16 or more")
        _require(
            math.isfinite(self.baseline_volts), "baseline_volts", self.baseline_volts, "finite"
        )
        if parse_lines(self.lead_off_lines) and (
            self.speed_factor != 1 or self.clock != "monotonic"
        ):
            raise ConfigError(
                "lead_off_lines are in real time: leave out speed and clock", key="lead_off_lines"
            )
        for key in self.trusted_keys:
            try:
                parse_key(key)
            except SignatureError as error:
                raise ConfigError(f"trusted_keys: {error}", key="trusted_keys") from error
        _require(self.runtime in RUNTIMES, "runtime", self.runtime, RUNTIMES)
        levels = ("debug", "info", "warning", "error")
        _require(self.log_level in levels, "log_level", self.log_level, levels)
        clock = self.clock == "monotonic" or self.clock.startswith("lockstep:")
        _require(clock, "clock", self.clock, "monotonic or lockstep:PATH")

    @property
    def simulated(self) -> bool:
        """Whether the source is no chip."""
        return bool(self.simulate or self.replay)

    @property
    def speed_factor(self) -> float:
        """The speed as a number; SPEED_MAX (0) for max.

        Raises:
            ConfigError: it is neither a number above 0 nor max.
        """
        if self.speed == "max":
            return SPEED_MAX
        try:
            speed = float(self.speed)
        except ValueError:
            speed = math.nan
        _require(0 < speed < 1e6, "speed", self.speed, "a number above 0, or max")
        return speed

    def channel(self, name: str) -> Channel:
        """The channel of one input, with this config's maps."""
        from holter.frontend import FULL_SCALE_COUNTS  # numpy is for who serves, not for --help

        from .samples import Channel

        return Channel(
            name=name,
            volts_per_count=self.reference_volts / FULL_SCALE_COUNTS,
            gain=self.gain,
            baseline_volts=self.baseline_volts,
        )


def load_config(path: Path | None, flags: dict[str, Any]) -> Config:
    """Put together the file, if there is one, and the flags, which win.

    Args:
        path: holterd.toml, or None.
        flags: values by key, only those that were given; text where it comes from a command line.

    Raises:
        ConfigError: as the module says.
    """
    values = _read(path) if path else {}
    fields = {field.name: field for field in dataclasses.fields(Config)}
    for key in values:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(fields)}"
            raise ConfigError(f"{path}: unknown key {key!r}; {hint}")
    given = values | flags
    try:
        return Config(**{key: _typed(fields[key], value) for key, value in given.items()})
    except ConfigError as error:
        if not values or error.facts.get("key") in flags:
            raise  # the file is not to blame
        raise ConfigError(f"{path}: {error}", **error.facts) from error


def example() -> str:
    """A holterd.toml with every key, commented out and at its default."""
    lines = [
        "# Settings of holterd: holterd --config holterd.toml. Each key is a flag too, and a flag",
        "# wins: reference_volts is --reference-volts. What is commented out is the default.",
    ]
    for field in dataclasses.fields(Config):
        text = field.metadata["help"]
        lines += ["", f"# {text[0].upper()}{text[1:]}.", f"#{field.name} = {_toml(field)}"]
    return "\n".join(lines) + "\n"


def _toml(field: dataclasses.Field[Any]) -> str:
    if field.name == "address":
        return f"{field.default:#x}"
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return json.dumps(default)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _typed(field: dataclasses.Field[Any], value: Any) -> Any:
    """Bring a value of a file or a command line to the type of the default."""
    default = field.default
    try:
        if isinstance(default, tuple):
            return tuple(value.split(",")) if isinstance(value, str) else _texts(value)
        if isinstance(default, bool):
            return _same(bool, value)
        if isinstance(default, int):
            return int(value, 0) if isinstance(value, str) else _same(int, value)
        if isinstance(default, float):
            return float(value) if isinstance(value, str) else _same(float, value)
        number = field.name in _NUMBERS_OR_WORDS and not isinstance(value, bool)
        return str(value) if number else _same(str, value)
    except (ValueError, TypeError, KeyError) as error:
        kind = _KINDS[type(default)]
        raise ConfigError(f"{field.name} is {value!r}, not {kind}", key=field.name) from error


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_same(str, value) for value in values)


def _same(kind: type, value: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def _require(good: bool, key: str, value: object, allowed: object) -> None:
    if not good:
        text = ", ".join(map(str, allowed)) if isinstance(allowed, tuple) else allowed
        raise ConfigError(f"{key} is {value!r}; it must be {text}", key=key)
