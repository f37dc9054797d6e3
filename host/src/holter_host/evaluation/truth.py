"""What a window is in truth, by the beats in it: AAMI EC57's classes of MIT-BIH's annotations.

    N  normal             N L R e j   (bundle branch blocks, and escapes of the atria and the node)
    S  supraventricular   A a J S
    V  ventricular        V E
    F  fusion             F           counted as V
    Q  unknown, paced     / f Q

A window is N if all its beats are N, else the more frequent of S and V, V where they are alike. A
window without a beat, or whose only beats besides N are Q, has no truth and is left out. Other
annotations (rhythm, noise, waves) are no beats. numpy is all that is imported here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from holter_host.errors import BadInputError

CLASSES: Final = ("N", "S", "V")
N, S, V = range(3)
Q: Final = 3
NO_TRUTH: Final = -1
_BEAT_CLASSES: Final = {"N": N, "S": S, "V": V, "F": V, "Q": Q}
IGNORED: Final = "-"

AAMI: Final[Mapping[str, str]] = MappingProxyType({
    **dict.fromkeys("NLRej", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VE", "V"),
    "F": "F",
    **dict.fromkeys("/fQ", "Q"),
})  # fmt: skip
# Labels that mean themselves; of F the class is V, and a call of Q is right for no window.
OWN_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {"N": "N", "S": "S", "V": "V", "F": "V", "Q": IGNORED}
)
# Records of MIT-BIH with paced beats, which EC57 leaves out.
PACED: Final = frozenset({"102", "104", "107", "217"})
# Records of MIT-BIH that are the same person's.
SAME_PATIENT: Final = (("201", "202"),)


@dataclasses.dataclass(frozen=True, slots=True)
class ClassMap:
    """Which class a beat is of, and which class a model means by a label.

    Attributes:
        beats: AAMI class ("N", "S", "V", "F", "Q") of each annotation symbol that is a beat.
        labels: class ("N", "S", "V") of a model's label, or "-" where it is right for no window.
    """

    beats: Mapping[str, str] = dataclasses.field(default_factory=lambda: AAMI)
    labels: Mapping[str, str] = dataclasses.field(default_factory=lambda: OWN_LABELS)

    @classmethod
    def parse(cls, changes: Iterable[str]) -> ClassMap:
        """The usual map with changes, each "beat:SYMBOLS=CLASS" or "label:NAME=CLASS".

        SYMBOLS are one or more annotation symbols; CLASS is one of N, S, V, F, Q, or "-": no beat,
        or a label that is right for no window.

        Raises:
            BadInputError: a change is not of this form.
        """
        beats, labels = dict(AAMI), dict(OWN_LABELS)
        for change in changes:
            kind, _, rest = change.partition(":")
            name, equals, target = rest.rpartition("=")
            known = (*_BEAT_CLASSES, IGNORED)
            if kind not in ("beat", "label") or not equals or not name or target not in known:
                raise BadInputError(
                    f"--map {change!r} is not of the form beat:SYMBOLS=CLASS or label:NAME=CLASS, "
                    f"where CLASS is one of {', '.join(known)}."
                )
            if kind == "label":
                labels[name] = OWN_LABELS.get(target, IGNORED)
                continue
            for symbol in name:
                beats.pop(symbol, None)
                if target != IGNORED:
                    beats[symbol] = target
        return cls(beats, labels)

    def beat_classes(self, symbols: Sequence[str]) -> npt.NDArray[np.int8]:
        """N, S, V or Q of each annotation, NO_TRUTH of one that is no beat; shape (symbols,)."""
        codes = {symbol: _BEAT_CLASSES[name] for symbol, name in self.beats.items()}
        return np.array([codes.get(symbol, NO_TRUTH) for symbol in symbols], np.int8)

    def label_classes(self, labels: Sequence[str]) -> npt.NDArray[np.int8]:
        """N, S or V of each label of a model, NO_TRUTH of one that is right for no window.

        Raises:
            BadInputError: a label is not in the map, or no label is of N, S or V, or the map was
                told of a label that the model does not have.
        """
        unknown = [label for label in labels if label not in self.labels]
        if unknown:
            raise BadInputError(
                f"The model's label {unknown[0]!r} is no AAMI class; its labels are "
                f"{', '.join(labels)}: say what each means, as --map 'label:{unknown[0]}=V'."
            )
        strange = [label for label in self.labels if label not in (*OWN_LABELS, *labels)]
        if strange:
            raise BadInputError(
                f"The model has no label {strange[0]!r}; its labels are {', '.join(labels)}: "
                f"change or leave out --map 'label:{strange[0]}=…'."
            )
        classes = [self.labels[label] for label in labels]
        if not set(classes) & set(CLASSES):
            raise BadInputError(
                f"None of the model's labels {', '.join(labels)} means N, S or V; say what they "
                "mean with --map label:NAME=CLASS."
            )
        codes = {name: code for code, name in enumerate(CLASSES)}
        return np.array([codes.get(name, NO_TRUTH) for name in classes], np.int8)


def window_truth(classes: npt.NDArray[np.integer]) -> int:
    """N, S, V or NO_TRUTH of a window for the N, S, V or Q of its beats, shape (beats,).

    What is NO_TRUTH among them is no beat.
    """
    return int(window_truths(np.zeros(len(classes), np.int64), classes, [0], 1)[0])


def window_truths(
    frames: npt.NDArray[np.integer],
    classes: npt.NDArray[np.integer],
    starts: Sequence[int] | npt.NDArray[np.integer],
    window: int,
) -> npt.NDArray[np.int8]:
    """N, S, V or NO_TRUTH of many windows.

    Args:
        frames: frame of each beat, ascending, shape (beats,).
        classes: N, S, V, Q or NO_TRUTH of each beat, shape (beats,).
        starts: first frame of each window, shape (windows,).
        window: frames in a window.

    Returns:
        Shape (windows,).
    """
    first = np.searchsorted(frames, starts)
    end = np.searchsorted(frames, np.asarray(starts) + window)
    n, s, v, q = (
        np.concatenate([[0], np.cumsum(classes == code)])[end]
        - np.concatenate([[0], np.cumsum(classes == code)])[first]
        for code in (N, S, V, Q)
    )
    other = np.where(s > v, S, V)
    normal = np.where((n > 0) & (q == 0), N, NO_TRUTH)
    return np.where(s + v > 0, other, normal).astype(np.int8)
