"""What TensorFlow's exceptions mean to the one who asked for a conversion.

The table was read off real failures of TensorFlow 2.15 to 2.21, whose own texts name neither the
file nor the remedy.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from holter_host.errors import BadInputError, ConversionError, HolterError

_RESAVE: Final = "export the model again and copy the whole directory."

# (type's name or "", words in the text, the sentence after the path); the first that fits counts.
_LOADING: Final = (
    ("", "SavedModel file does not exist", "is not a SavedModel: it holds no saved_model.pb."),
    ("", "Cannot parse", f"has a saved_model.pb that is damaged; {_RESAVE}"),
    ("", "there are 0 MetaGraphs", f"has a saved_model.pb that is empty or damaged; {_RESAVE}"),
    ("", "TensorSliceReader", f"lacks its weights in variables/; {_RESAVE}"),
    ("", "Read less bytes", f"has weights in variables/ that are cut short; {_RESAVE}"),
    ("", "Checksum does not match", f"has weights in variables/ that are damaged; {_RESAVE}"),
    ("DataLossError", "", f"has weights in variables/ that are damaged; {_RESAVE}"),
    ("", "variables.data", f"lacks its weights in variables/; {_RESAVE}"),
    ("", "sstable", f"has a variables.index that is damaged; {_RESAVE}"),
)
# What LiteRT says of a model that it cannot load or run, and what is meant.
_RUNNING: Final = (
    (
        "IsPowerOfTwo",
        "The model computes an FFT whose length is no power of two, which no light runtime does; "
        "give it one that is (fft_length of tf.signal.stft).",
    ),
    (
        "hashtable need to be initialized",
        "The model looks values up in a table, which is lost where something is put around the "
        "graph of this SavedModel; convert it without --normalize and --softmax, or use tf.gather.",
    ),
)
_OPS: Final = re.compile(r"^\s*(?:Flex|Custom) ops: (.+)$", re.MULTILINE)
_REFUSED_OP: Final = re.compile(r"'(tf\.\w+)' op is neither a custom op nor a flex op")
_OP_ERROR: Final = re.compile(r"'tf\.(\w+)' op ([^\n]+)")
# Where the converter says of a place, loc(callsite(fused["Cast:", "dense/Cast@…"] at …)), what is
# wrong there.
_PLACED: Final = re.compile(
    r'loc\([^"\n]*"(\w+):", [^"\n]*"(?:\w*PartitionedCall/)*([^"@\n]+)'
    r"[^\n]*\): (?:error: )?([^\n]+)"
)
_NODE: Final = re.compile(r"\{\{.*?\}\}\s*")


class FinalError(ConversionError):
    """Error raised for what no other route would mend: state, or what a quantisation costs."""


class FreezeError(ConversionError):
    """Error raised when TensorFlow cannot freeze a model: other routes, and their words, count."""


def loading_failure(error: Exception, path: Path) -> HolterError:
    """The error for a SavedModel at `path` that TensorFlow could not load."""
    text = str(error)
    for kind, words, sentence in _LOADING:
        if kind in ("", type(error).__name__) and words in text:
            return BadInputError(f"{path} {sentence}")
    return BadInputError(f"TensorFlow cannot load {path}: {_first_line(error)}")


def running_failure(error: Exception, path: Path, shape: tuple[int, ...]) -> HolterError:
    """The error for a SavedModel at `path` that loaded, but cannot compute one window."""
    if "Could not find callback" in str(error):
        return BadInputError(
            f"{path} calls Python code (tf.py_function or tf.numpy_function), which no SavedModel "
            "holds; write that part in TensorFlow."
        )
    return BadInputError(
        f"{path} cannot compute a window of shape {list(shape)}: {_first_line(error)}"
    )


def conversion_failure(error: Exception, path: Path) -> HolterError:
    """The error for a SavedModel at `path` that loaded, but that one route could not convert."""
    text = str(error)
    ops = sorted(
        {op.strip() for found in _OPS.findall(text) for op in found.split(",")}
        | {op.removeprefix("tf.") for op in _REFUSED_OP.findall(text)}
    )
    if ops:
        return ConversionError(
            f"{path} uses {', '.join(ops)}, which no light runtime has; build the model without."
        )
    found = _OP_ERROR.search(text)
    if found:
        return ConversionError(
            f"TensorFlow cannot convert {path}: its op {found[1]} {found[2].strip()}; build the "
            "model without."
        )
    placed = _PLACED.search(text)
    if placed:
        return ConversionError(
            f"TensorFlow cannot convert {path}: at its op {placed[1]} ({placed[2]}): "
            f"{placed[3].strip()}; build the model without."
        )
    return ConversionError(f"TensorFlow cannot convert {path}: {_first_line(error)}")


def freeze_failure(error: Exception, path: Path) -> FreezeError:
    """The error for a SavedModel at `path` whose variables could not be made constants."""
    return FreezeError(f"TensorFlow cannot freeze {path}: {_first_line(error)}")


def runtime_failure(error: Exception, what: str) -> HolterError:
    """The error for a model that LiteRT cannot `what`: "load" or "run"."""
    text = str(error).strip()
    for words, sentence in _RUNNING:
        if words in text:
            return ConversionError(sentence)
    reason = text.splitlines()[0] if text else type(error).__name__
    return ConversionError(f"LiteRT cannot {what} the model: {reason[:300]}")


def _first_line(error: Exception) -> str:
    text = _NODE.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else "no reason given"
    return f"{type(error).__name__}: {first[:300]}"
