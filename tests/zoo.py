"""`make zoo`: converts the whole zoo, runs it in both runtimes, and prints what came out.

For each architecture and way of saving: what TensorFlow's own converter does with builtin ops, what
`holter convert` does, and by how much the result differs from Keras in LiteRT and in tflite-runtime
2.14 on windows of MIT-BIH records (on synthetic ones where there are no records). Then each
architecture quantised: its size, and how many labels change. Ends with status 1 where something is
not converted, or differs by 1e-4 or more (by 0.05 where Keras computed in float16).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from holter_host.conversion import ConversionOptions, Converter, convert
from holter_host.conversion.golden import golden_windows
from holter_host.conversion.options import QUANTIZATIONS
from holter_host.errors import HolterError
from support import zoo

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".build" / "zoo"
SUPPORT = ROOT / "tests" / "support"
RUNTIMES = {"LiteRT": sys.executable, "tflite-runtime": str(ROOT / ".venv-tflite/bin/python")}
RECORDS = ("101", "106", "119", "201", "207", "208", "215", "223")
WINDOWS_A_RECORD = 6
FRAMES = 3600
LIMIT = 1e-4
# Keras itself rounds to float16 between its layers, and so is the one that is off.
LIMITS = {"mixed": 0.05}

Array = npt.NDArray[np.float32]
# A model of the tables: architecture, way of saving, quantisation.
Key = tuple[str, str, str]


def main() -> int:
    """Run all of it; 1 where anything is not as it should be."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    np.save(WORK / "windows.npy", ecg_windows())
    pairs = zoo.pairs()
    note(f"Building {len(pairs)} models")
    words = [f"{architecture}:{way}" for architecture, way in pairs]
    python(SUPPORT / "zoo.py", WORK, WORK / "windows.npy", *words)
    pairs = [pair for pair in pairs if zoo.path_of(WORK, *pair).exists()]
    note("Converting them as TensorFlow does it")
    plain = json.loads(
        python(SUPPORT / "plain_conversion.py", *(zoo.path_of(WORK, *p) for p in pairs))
    )
    keys = [(*pair, "none") for pair in pairs]
    made = converted(keys)
    is_good = print_ways(dict(zip(pairs, plain, strict=True)), made, run_all(made))
    kinds = [kind for kind in QUANTIZATIONS if kind != "none"]
    quantized = converted([(a, "export", kind) for a in zoo.ARCHITECTURES for kind in kinds])
    print_quantized(quantized, run_all(quantized))
    return 0 if is_good else 1


def ecg_windows() -> Array:
    """Windows of records, or synthetic ones, in millivolts; float32, (count, FRAMES, 1)."""
    folder = Path(os.environ.get("HOLTER_MITDB") or ROOT.parent / "shared" / "data" / "mitdb")
    if not (folder / "208.dat").exists():
        return golden_windows("millivolts", 360.0, FRAMES)
    import wfdb

    frames = FRAMES * WINDOWS_A_RECORD
    signals = [
        wfdb.rdrecord(str(folder / name), sampto=frames, channels=[0]).p_signal
        for name in RECORDS
        if (folder / f"{name}.dat").exists()
    ]
    return np.concatenate(signals).astype(np.float32).reshape(-1, FRAMES, 1)


def converted(keys: list[Key]) -> dict[Key, str | None]:
    """What `holter convert` says against each; None where it is made."""
    result: dict[Key, str | None] = {}
    with Converter(log_file=WORK / "holter.log") as converter:
        for key in keys:
            architecture, way, kind = key
            # Untrained, a model is as sensitive as can be: all flips are let pass, to be counted.
            said = {"labels": zoo.LABELS, "quantize": kind, "max_label_flips": 1.0}
            said |= {"tolerance": 1.0} if kind != "none" else {}
            options = ConversionOptions.from_dict(said)
            begin = time.perf_counter()
            try:
                source = zoo.path_of(WORK, architecture, way)
                convert(source, model_path(key), options=options, converter=converter)
                result[key] = None
            except HolterError as error:
                result[key] = str(error)
            note(f"{' '.join(key)}: {result[key] or 'ok'}, {time.perf_counter() - begin:.1f} s")
    return result


def run_all(made: dict[Key, str | None]) -> dict[str, dict[Key, Array | str]]:
    """The scores of what was made, by the runtimes that are here."""
    keys = [key for key, error in made.items() if error is None]
    return {name: run(name, keys) for name in RUNTIMES if Path(RUNTIMES[name]).exists()}


def run(name: str, keys: list[Key]) -> dict[Key, Array | str]:
    """The scores of models in a runtime, or what it said against them."""
    note(f"Running {len(keys)} models in {name}")
    results = [WORK / f"{'-'.join(key)}.{name}.npy" for key in keys]
    jobs = [
        {"model": str(model_path(key)), "windows": str(WORK / "windows.npy"), "scores": str(path)}
        for key, path in zip(keys, results, strict=True)
    ]
    said = json.loads(
        python(SUPPORT / "tflite_scores.py", stdin=json.dumps(jobs), by=RUNTIMES[name])
    )
    return {
        key: error or np.load(path) for key, path, error in zip(keys, results, said, strict=True)
    }


def print_ways(plain: dict[Any, str], made: Any, scores: Any) -> bool:
    """The table of architectures and ways; whether all is converted and close to Keras."""
    print(
        "| architecture | saved by | TFLiteConverter | holter convert | " + " | ".join(scores), "|"
    )
    print("|" + "---|" * (4 + len(scores)))
    is_good = True
    for pair, text in plain.items():
        key = (*pair, "none")
        cells = [difference(key, scores[name].get(key)) for name in scores]
        is_good &= made[key] is None and all(cell < LIMITS.get(pair[0], LIMIT) for cell in cells)
        shown = [f"{cell:.1e}" if np.isfinite(cell) else "fails" for cell in cells]
        print("|", " | ".join([*pair, text, made[key] or "ok", *shown]), "|", flush=True)
    return is_good


def print_quantized(made: dict[Key, str | None], scores: Any) -> None:
    """The table of quantisations: bytes, and in each runtime the labels that change."""
    heads = ["architecture", "quantised", "kB", *(f"flips in {name}" for name in scores)]
    print("\n|", " | ".join(heads), "|")
    print("|" + "---|" * (3 + len(scores)))
    for key, error in made.items():
        size = f"{model_path(key).stat().st_size / 1000:.0f}" if error is None else error
        cells = [flips(key, scores[name].get(key)) for name in scores]
        print("|", " | ".join([key[0], key[2], size, *cells]), "|")


def difference(key: Key, scores: Array | str | None) -> float:
    """Greatest difference from what Keras said; infinite where the runtime gave no scores."""
    if scores is None or isinstance(scores, str):
        return float("inf")
    return float(np.abs(scores - keras_scores(key)).max())


def flips(key: Key, scores: Array | str | None) -> str:
    """How many labels are not Keras's, of how many."""
    if scores is None or isinstance(scores, str):
        return scores or "-"
    expected = keras_scores(key)
    return f"{(scores.argmax(1) != expected.argmax(1)).sum()} of {len(expected)}"


def keras_scores(key: Key) -> Array:
    """What Keras said of the windows before the model was saved."""
    with np.load(zoo.path_of(WORK, *key[:2]).with_suffix(".npz")) as arrays:
        scores: Array = arrays["scores"]
    return scores


def model_path(key: Key) -> Path:
    """Where a converted model is."""
    return WORK / f"{'-'.join(key)}.tflite"


def python(*words: str | Path, stdin: str = "", by: str = sys.executable) -> str:
    """What a script prints; its other words go to a log."""
    log = WORK / f"{Path(words[0]).stem}.log"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with log.open("w") as errors:
        done = subprocess.run(
            [by, *words],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{words[0]} ended with status {done.returncode}; its words: {log}")
    return done.stdout


def note(text: str) -> None:
    """Tell how far it is."""
    print(text, "…", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
