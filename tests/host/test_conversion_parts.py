"""Laws of what conversion is made of, without TensorFlow."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from holter_host.conversion import ConversionOptions, Converter, find_options
from holter_host.conversion.fidelity import (
    Fidelity,
    default_tolerance,
    difference_limit,
    loss_of,
)
from holter_host.conversion.golden import golden_windows
from holter_host.conversion.normalize import normalized
from holter_host.conversion.resolve import Ends, plan_input, resolve_spec
from holter_host.conversion.run import default_name
from holter_host.errors import BadInputError, ConversionError

ENDS = Ends(input="x", output="y", signature="serving_default")


class TestOptions:
    def test_flags_win_over_a_file(self) -> None:
        """What was said first stands; the rest is taken from the other."""
        flags = ConversionOptions(labels=("a", "b"), window=100)
        file = ConversionOptions(labels=("c",), rate_hz=250.0)
        assert flags.over(file) == ConversionOptions(labels=("a", "b"), window=100, rate_hz=250.0)

    def test_every_key_is_read_from_toml(self, tmp_path: Path) -> None:
        """model.toml may hold each key of the spec, normalize and signature."""
        path = tmp_path / "model.toml"
        path.write_text(
            'name = "n"\nversion = 2\nrate_hz = 250\nwindow = 500\nhop = 250\n'
            'channels = ["A", "B"]\nunit = "counts"\nnormalize = "minmax"\n'
            'labels = ["N", "V"]\nsignature = "s"\ninput = "i"\noutput = "o"\n'
            'input_shape = [1, 500, 2]\nlayout = "channels_last"\nscore_kind = "logits"\n'
            "tolerance = 0.01\n"
        )
        read = ConversionOptions.from_toml(path)
        assert len(read.given()) == 16
        assert (read.labels, read.hop, read.normalize) == (("N", "V"), 250, "minmax")

    def test_recordings_of_a_file_are_beside_it(self, tmp_path: Path) -> None:
        """A relative path in model.toml is seen from where that file is."""
        (tmp_path / "model.toml").write_text('evaluate = ["records", "/data/a.npz"]\n')
        options = ConversionOptions.from_toml(tmp_path / "model.toml")
        assert options.evaluate == (str(tmp_path / "records"), "/data/a.npz")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("widow = 3", "unknown key 'widow'; the keys are name, version"),
            ('rate_hz = "360"', "rate_hz is '360', not a number above 0"),
            ("rate_hz = inf", "rate_hz is inf"),
            ("window = 0", "window is 0, not a whole number from 1"),
            ("hop = 'x'", "hop is 'x'"),
            ("window = 10\nhop = 11", "hop is 11, more than the window of 10"),
            ("channels = 5", "channels is 5"),
            ('labels = ["N", "N"]', "names one twice"),
            ('labels = [["N"]]', "labels is"),
            ('unit = "mV"', "unit is 'mV', not one of counts, volts, millivolts"),
            ('normalize = "robust"', "normalize is 'robust', not one of none, zscore, minmax"),
            ("window = 10\ninput_shape = [1, 9]", "does not hold one window of 10 frames"),
            ("input_shape = [1, 'x']", "input_shape"),
            ('quantize = "int4"', "quantize is 'int4', not one of none, float16, dynamic, int8"),
            ("max_label_flips = 2", "max_label_flips is 2, not a share from 0 to 1"),
            ('evaluate = "a.npz"', "evaluate is 'a.npz', not a list of paths"),
            ("representative = []", "representative is (), not a list of paths"),
            ("name = [", "is not TOML"),
        ],
    )
    def test_a_bad_value_is_one_sentence(self, tmp_path: Path, text: str, words: str) -> None:
        """A model.toml that cannot be used is refused with its path, the key and the remedy."""
        path = tmp_path / "model.toml"
        path.write_text(text)
        with pytest.raises(BadInputError) as caught:
            ConversionOptions.from_toml(path)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)

    def test_the_inner_file_is_found_first(self, tmp_path: Path) -> None:
        """model.toml is looked for inside the SavedModel, then beside it."""
        model = tmp_path / "saved_model"
        model.mkdir()
        assert find_options(model) is None
        (tmp_path / "model.toml").touch()
        assert find_options(model) == tmp_path / "model.toml"
        (model / "model.toml").touch()
        assert find_options(model) == model / "model.toml"

    def test_a_dull_directory_does_not_name_a_model(self, tmp_path: Path) -> None:
        """A model is called after its directory, or the one above "saved_model" or a number."""
        assert default_name(tmp_path / "rhythm") == "rhythm"
        assert default_name(tmp_path / "rhythm" / "saved_model") == "rhythm"
        assert default_name(tmp_path / "rhythm" / "3") == "rhythm"


class TestPlan:
    @pytest.mark.parametrize(
        ("shape", "said", "fixed", "layout"),
        [
            ((None, 3600), {}, (1, 3600), "channels_last"),
            ((None, 3600, 1), {}, (1, 3600, 1), "channels_last"),
            ((1, 1, 3600, 1), {}, (1, 1, 3600, 1), "channels_last"),
            ((None, None, 1), {"window": 720}, (1, 720, 1), "channels_last"),
            ((None, None), {"window": 720}, (1, 720), "channels_last"),
            ((None, 720, None), {"window": 720}, (1, 720, 1), "channels_last"),
            ((None, 60, 60), {"window": 3600}, (1, 60, 60), "channels_last"),
            ((None, 720, 2), {"channels": ("A", "B")}, (1, 720, 2), "channels_last"),
            ((None, 2, 720), {"channels": ("A", "B")}, (1, 2, 720), "channels_first"),
            ((None, 2, 2), {"channels": ("A", "B")}, (1, 2, 2), "channels_last"),
            (None, {"input_shape": (1, 5, 1)}, (1, 5, 1), "channels_last"),
            ((None, None, None), {"input_shape": (1, 5, 1)}, (1, 5, 1), "channels_last"),
        ],
    )
    def test_free_axes_are_fixed(
        self, shape: Any, said: dict[str, Any], fixed: tuple[int, ...], layout: str
    ) -> None:
        """The batch becomes 1, a free time axis the window, and the layout is read off."""
        plan = plan_input(shape, ConversionOptions(**said))
        assert (plan.shape, plan.layout) == (fixed, layout)

    @pytest.mark.parametrize(
        ("shape", "said", "words"),
        [
            ((None, None, 1), {}, "its time axis is free; say how many frames"),
            ((None, None, None), {"window": 9}, "more than one axis is free"),
            ((32, 3600, 1), {}, "[32, 3600, 1], not a batch of one window"),
            ((3600,), {}, "not a batch of one window"),
            ((None, 3600, 1), {"window": 3000}, "not windows of 3000 frames"),
            ((None, 3600, 2), {}, "name the channels with --channels"),
            ((None, 3601), {"channels": ("A", "B")}, "not one window of 2 channels"),
            ((None, None, 7), {"window": 10}, "not windows of 10 frames"),
            (None, {}, "has no rank"),
            ((None, 9), {"input_shape": (1, 8)}, "input_shape is [1, 8], but the model takes"),
        ],
    )
    def test_what_cannot_be_fixed_is_said(
        self, shape: Any, said: dict[str, Any], words: str
    ) -> None:
        """An input that is not one window is refused with its shape and what to say."""
        with pytest.raises(BadInputError) as caught:
            plan_input(shape, ConversionOptions(**said))
        assert words in str(caught.value)

    @given(
        window=st.integers(1, 9),
        channels=st.integers(1, 4),
        layout=st.sampled_from(["channels_last", "channels_first"]),
    )
    def test_feed_keeps_every_value_at_its_place(
        self, window: int, channels: int, layout: Any
    ) -> None:
        """Value (frame, channel) of a window lands where the layout says, none is lost."""
        axes = (window, channels) if layout == "channels_last" else (channels, window)
        options = ConversionOptions(window=window, channels=tuple("ABCD"[:channels]), layout=layout)
        plan = plan_input((None, *axes), options)
        values = np.arange(window * channels, dtype=np.float32).reshape(window, channels)
        fed = plan.feed(values)
        assert fed.shape == (1, *axes)
        np.testing.assert_array_equal(fed[0] if layout == "channels_last" else fed[0].T, values)

    def test_defaults_of_a_spec(self) -> None:
        """What nobody said has the documented default."""
        plan = plan_input((None, 50, 1), ConversionOptions())
        scores = np.array([[0.2, 0.8]], np.float32)
        spec = resolve_spec(ConversionOptions(), plan, ENDS, scores, "dir")
        assert (spec.name, spec.version, spec.rate_hz, spec.hop) == ("dir", 1, 360.0, 50)
        assert (spec.unit, spec.labels) == ("millivolts", ("class_0", "class_1"))
        assert (spec.score_kind, spec.tolerance) == ("probabilities", 1e-3)
        logits = resolve_spec(ConversionOptions(), plan, ENDS, scores * 9, "dir")
        assert logits.score_kind == "logits"

    def test_labels_must_match_the_outputs(self) -> None:
        """As many labels as scores, or a sentence with both numbers."""
        options = ConversionOptions(labels=("N", "V"))
        plan = plan_input((None, 50, 1), options)
        with pytest.raises(BadInputError, match="N, V are 2, but the model gives 3 scores"):
            resolve_spec(options, plan, ENDS, np.zeros((8, 3), np.float32), "x")


class TestGolden:
    @given(rate=st.floats(50, 2000), window=st.integers(1, 2000), channel_count=st.integers(1, 3))
    @settings(max_examples=30, deadline=None)
    def test_counts_are_what_a_converter_gives(
        self, rate: float, window: int, channel_count: int
    ) -> None:
        """Golden counts are whole, in 0 to 255, of the stated shape, and always the same."""
        counts = golden_windows("counts", rate, window, channel_count)
        assert counts.shape == (8, window, channel_count)
        assert counts.dtype == np.float32
        assert ((counts >= 0) & (counts <= 255) & (counts == np.round(counts))).all()
        np.testing.assert_array_equal(counts, golden_windows("counts", rate, window, channel_count))

    def test_units_are_views_of_the_same_counts(self) -> None:
        """Volts and millivolts are the linear maps of the nominal front end."""
        counts = golden_windows("counts", 360, 3600)
        volts = counts.astype(np.float64) * 3.3 / 256
        np.testing.assert_allclose(golden_windows("volts", 360, 3600), volts, rtol=1e-6)
        np.testing.assert_allclose(
            golden_windows("millivolts", 360, 3600), (volts - 1.65) / 1.1, atol=1e-6
        )

    def test_a_flat_one_and_a_noise_one_are_among_them(self) -> None:
        """Each of ten seconds differs from all others; one is flat, the next-to-last is noise."""
        windows = golden_windows("counts", 360, 3600)[..., 0]
        spread = windows.std(axis=1)
        assert spread[-1] == 0
        assert (spread[:-1] > 3).all()
        assert len(np.unique(windows, axis=0)) == 8


class TestNormalize:
    windows = hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 3)),
        elements=st.integers(-2400, 2400).map(lambda eighths: eighths / 8),
    )

    @given(windows)
    def test_zscore(self, windows: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """zscore has mean 0, and deviation 1 where the window's own is over 1e-6."""
        z = normalized(windows, "zscore").astype(np.float64)
        spread = windows.astype(np.float64).std(axis=1)
        np.testing.assert_allclose(z.mean(axis=1), 0, atol=1e-4)
        np.testing.assert_allclose(z.std(axis=1)[spread > 1e-5], 1, atol=1e-4)

    @given(windows)
    def test_minmax(self, windows: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """minmax begins at 0, ends at 1 unless the window is flat, and keeps the order."""
        m = normalized(windows, "minmax")
        is_flat = windows.max(axis=1) == windows.min(axis=1)
        np.testing.assert_array_equal(m.min(axis=1), 0)
        np.testing.assert_array_equal(m.max(axis=1), np.where(is_flat, 0, 1))

    @given(st.floats(-1e6, 1e6, width=32), st.sampled_from(["zscore", "minmax"]))
    def test_a_flat_window_is_exactly_zero(self, value: float, kind: Any) -> None:
        """No rounding error of a mean is blown up: a flat window of any value gives 0."""
        flat = np.full((1, 3600, 1), value, np.float32)
        np.testing.assert_array_equal(normalized(flat, kind), 0)

    @given(windows)
    def test_none_changes_nothing(self, windows: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """none gives what it got."""
        np.testing.assert_array_equal(normalized(windows, "none"), windows)


class TestFidelity:
    def test_differences_and_flips_are_counted(self) -> None:
        """The figures are those of the definition, and a difference over the limit is refused."""
        expected = np.array([[0.6, 0.4], [0.5, 0.5]], np.float32)
        actual = np.array([[0.3, 0.7], [0.5, 0.5]], np.float32)
        fidelity = Fidelity.measure(expected, actual)
        assert fidelity.max_abs_difference == pytest.approx(0.3)
        assert fidelity.mean_abs_difference == pytest.approx(0.15)
        assert fidelity.label_flips == 1
        with pytest.raises(ConversionError, match=r"differ by up to 0\.3 .*1 labels change"):
            fidelity.check_difference(1e-4, "none")

    @pytest.mark.parametrize(
        ("expected", "actual", "flips"),
        [([0.2, 0.6, 0.49], [0.4, 0.4, 0.51], 2), ([-3, 0.4, 2], [-1, -0.1, 2], 1)],
    )
    def test_a_single_score_has_two_labels(
        self, expected: list[float], actual: list[float], flips: int
    ) -> None:
        """The label of one probability changes at 0.5, that of one logit at 0."""
        columns = (np.array(scores, np.float32)[:, None] for scores in (expected, actual))
        assert Fidelity.measure(*columns).label_flips == flips

    def test_a_quantisation_may_change_so_many_labels(self) -> None:
        """At the share that is allowed it passes; one label more is refused, with what to do."""
        expected = np.eye(2, dtype=np.float32)[np.zeros(200, int)]
        actual = expected.copy()
        actual[:2] = actual[:2, ::-1]
        Fidelity.measure(expected, actual).check_labels(0.01, "int8", "a set")
        actual[2] = actual[2, ::-1]
        with pytest.raises(
            ConversionError,
            match=r"of 3 of 200 windows of a set, 1\.5 % \(allowed 1 %\); .*dynamic",
        ):
            Fidelity.measure(expected, actual).check_labels(0.01, "int8", "a set")

    def test_a_quantised_model_stays_below_what_a_device_may_differ_by(self) -> None:
        """The limit here leaves a margin of a device's tolerance, which scales with logits."""
        probabilities, logits = np.float32([[0.2, 0.8]]), np.float32([[-9, 20]])
        assert default_tolerance("none", probabilities) == 1e-3
        assert default_tolerance("none", logits) == pytest.approx(2e-2)
        assert default_tolerance("int8", probabilities) == 0.05
        assert default_tolerance("dynamic", logits) == pytest.approx(1)
        for kind in ("float16", "dynamic", "int8"):
            assert difference_limit(kind, probabilities, 0.3) < 0.3
        assert difference_limit("none", logits, 0.3) == pytest.approx(2e-3)
        assert difference_limit("none", logits, 1e-3) < 1e-3

    def test_half_precision_is_judged_by_labels(self) -> None:
        """Where the SavedModel itself rounds to float16, its labels count; float64 is exact."""
        assert loss_of("none", {"float16"}) == loss_of("none", {"bfloat16", "float64"}) == "half"
        assert loss_of("none", ()) == loss_of("none", {"float64"}) == "none"
        assert loss_of("int8", {"float16"}) == "int8"
        assert default_tolerance("half", np.float32([[0.2, 0.8]])) == 0.05
        with pytest.raises(ConversionError, match=r"In float32 instead of half .*policy float32"):
            Fidelity(200, 0.2, 0.1, 3).check_labels(0.01, "half", "a set")

    def test_nan_is_never_faithful(self) -> None:
        """A .tflite that gives NaN is refused, though no comparison with NaN is over a limit."""
        good = np.ones((1, 2), np.float32)
        with pytest.raises(ConversionError, match="not numbers"):
            Fidelity.measure(good, good * np.float32("nan"))


class TestProcess:
    @pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT"])
    def test_death_by_a_signal_is_one_sentence(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A child that dies costs one ConversionError with the signal, the stage and the log.

        What it had in its temporary directory goes with it.
        """
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        code = (
            "import os, signal, sys, tempfile; sys.stdin.readline(); tempfile.mkdtemp(); "
            "print('noise', file=sys.stderr); "
            'print(\'{"progress": "Converting"}\', flush=True); '
            f"os.kill(os.getpid(), signal.{name})"
        )
        stages: list[str] = []
        with (
            Converter(command=(sys.executable, "-c", code)) as converter,
            pytest.raises(ConversionError, match=f"killed by {name} .*'Converting'") as caught,
        ):
            converter.run({}, stages.append)
        assert stages == ["Converting"]
        assert caught.value.log == "noise\n"
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_converter_starts_again_after_a_death(self) -> None:
        """The request after a death has a child of its own."""
        with Converter(command=(sys.executable, "-c", "raise SystemExit(3)")) as converter:
            for _ in range(2):
                with pytest.raises(ConversionError, match="ended with status 3"):
                    converter.run({})

    def test_a_log_that_cannot_be_written_is_said(self, tmp_path: Path) -> None:
        """A log file in no directory is refused before a child is started."""
        with (
            Converter(log_file=tmp_path / "no" / "log") as converter,
            pytest.raises(BadInputError, match=r"Cannot write .*No such file"),
        ):
            converter.run({})


def test_importing_conversion_imports_no_runtime() -> None:
    """Neither the package nor its commands load TensorFlow, Keras or LiteRT."""
    code = (
        "import sys, holter_host.conversion, holter_host.bundle, holter_host.cli._convert\n"
        "heavy = {'tensorflow', 'keras', 'ai_edge_litert', 'flatbuffers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
