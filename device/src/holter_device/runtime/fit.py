"""What a device gives a model, and whether a model fits it."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import numpy.typing as npt

from holter.frontend import in_unit
from holter.spec import ModelSpec

from ..errors import ModelUnfitError
from ..samples import Channel, SampleFormat


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceFit:
    """What a model must fit.

    Attributes:
        rate_hz: the device's frames a second.
        channels: its channels.
        sample_format: how a count is written.
        max_window_frames: frames of the longest window that it keeps.
        speed: how much faster than real time frames come; 0 where they wait for the model.
        memory_bytes: memory that the classifier process may have at its peak; 0 for no limit.
    """

    rate_hz: float
    channels: tuple[Channel, ...]
    sample_format: SampleFormat
    max_window_frames: int
    speed: float = 1.0
    memory_bytes: int = 0

    def to_json(self) -> str:
        """As text, for the classifier process."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> DeviceFit:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        return cls(
            rate_hz=raw["rate_hz"],
            channels=tuple(Channel(**channel) for channel in raw["channels"]),
            sample_format=SampleFormat(raw["sample_format"]),
            max_window_frames=raw["max_window_frames"],
            speed=raw["speed"],
            memory_bytes=raw["memory_bytes"],
        )

    def hop_seconds(self, spec: ModelSpec) -> float:
        """Real seconds from one window to the next; infinite where they wait for the model."""
        return spec.hop / self.rate_hz / self.speed if self.speed else math.inf

    def select(self, spec: ModelSpec) -> tuple[Channel, ...]:
        """The channels that a model is fed, in its order, once all of it is seen to fit.

        Raises:
            ModelUnfitError: rate, channels or window are not this device's.
        """
        if not math.isclose(spec.rate_hz, self.rate_hz, rel_tol=1e-6):
            raise _unfit(
                f"the model is made for {spec.rate_hz:g} Hz and this device samples at "
                f"{self.rate_hz:g} Hz; convert a model for {self.rate_hz:g} Hz, or start holterd "
                f"with --rate {spec.rate_hz:g}",
                "rate_hz",
                f"{spec.rate_hz:g}",
                f"{self.rate_hz:g}",
            )
        if spec.window > self.max_window_frames:
            raise _unfit(
                f"the model's window of {spec.window} frames is longer than the "
                f"{self.max_window_frames} that this device keeps; convert it with a shorter one",
                "window",
                str(spec.window),
                str(self.max_window_frames),
            )
        by_name = {channel.name: channel for channel in self.channels}
        names = spec.channels or (self.channels[0].name,)
        missing = [name for name in names if name not in by_name]
        if missing:
            raise _unfit(
                f"the model takes the channel {missing[0]} and this device has "
                f"{', '.join(by_name)}; convert it with --channels of these, or start holterd with "
                "other --inputs",
                "channels",
                ",".join(names),
                ",".join(by_name),
            )
        return tuple(by_name[name] for name in names)


class UnitMap:
    """From raw counts to a model's unit: scale * count + offset, for each channel."""

    def __init__(
        self, unit: str, channels: tuple[Channel, ...], sample_format: SampleFormat
    ) -> None:
        maps = np.array([channel.affine(unit) for channel in channels])
        self._scale, self._offset = maps[:, 0], maps[:, 1]
        self._dtype = sample_format.dtype
        self._identity = unit == "counts"

    def __call__(self, counts: bytes | memoryview) -> npt.NDArray[np.float32]:
        """Values in the model's unit, shape (frames, channels), of counts frame by frame."""
        raw = np.frombuffer(counts, self._dtype).reshape(-1, len(self._scale))
        if self._identity:
            return raw.astype(np.float32)
        return in_unit(raw, self._scale, self._offset)


def _unfit(message: str, key: str, model: str, device: str) -> ModelUnfitError:
    return ModelUnfitError(message, key=key, model=model, device=device)
