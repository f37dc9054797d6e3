"""The model in a runtime: the file read, fitted, loaded, proved and run; here in this process."""

import contextlib
import dataclasses
import io
import json
import subprocess
import sys
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from holter.spec import GOLDEN_PATH, SPEC_PATH
from holter_device.errors import (
    CustomOpUnsupportedError,
    FlexOpUnsupportedError,
    GoldenMismatchError,
    ModelMalformedError,
    ModelUnfitError,
    OpUnsupportedError,
    OpVersionUnsupportedError,
)
from holter_device.runtime import installed_runtime, load_runtime
from holter_device.runtime.fit import DeviceFit, UnitMap
from holter_device.runtime.model import Model, ModelRunError
from holter_device.runtime.model_file import MAX_SPEC_BYTES, read_model_file
from holter_device.runtime.ops import MAX_OPS, Op, probe, read_ops
from holter_device.samples import Channel, SampleFormat
from support import tflite_models as models

pytestmark = pytest.mark.litert

FIT = DeviceFit(360.0, (Channel("A0"), Channel("A1", gain=50.0)), SampleFormat.U8, 43200)


def load(model: bytes, fit: DeviceFit = FIT) -> Model:
    """The model in whatever runtime is installed."""
    return Model(load_runtime("auto"), model, fit)


def members(**changes: bytes | str) -> dict[str, bytes | str]:
    """The archive of a good averaging model, with changes."""
    spec = models.make_spec()
    windows = models.make_windows(spec)
    good: dict[str, bytes | str] = {
        SPEC_PATH: spec.to_json(),
        GOLDEN_PATH: models.golden_bytes(windows, np.zeros((8, 3), "f4")),
    }
    return good | changes


def averaging_graph() -> bytes:
    """The graph of the averaging model."""
    return models.linear(models.averaging_weights(), np.zeros(3, "f4"))


def zeros_model(tflite: bytes, **changes: Any) -> bytes:
    """A graph with golden scores of 0, where it is not to come so far that they matter."""
    spec = models.make_spec(**changes)
    scores = np.zeros((8, len(spec.labels)), "f4")
    return models.holter_model(tflite, spec, models.make_windows(spec), scores)


class TestModel:
    def test_counts_in_scores_out(self) -> None:
        """Scores of counts are those of the graph on counts in the model's unit."""
        model = load(models.averaging_model())
        counts = np.arange(models.WINDOW, dtype="u1")
        elapsed_ns, scores = model.classify_counts(counts.tobytes())
        assert scores == pytest.approx(counts.mean() * np.array([1, 2, 3]))
        assert elapsed_ns > 0

    @pytest.mark.parametrize(("scale", "zero_point"), [(1.0, -128), (0.5, 0), (4.0, 3)])
    def test_int8_edges_are_mapped(self, scale: float, zero_point: int) -> None:
        """A model that takes and gives int8 is fed and read by its scale and zero point."""
        graph = models.int8_edges(scale, zero_point)
        model = load(zeros_model(graph, input_shape=(1, models.WINDOW), tolerance=1e6))
        counts = np.array([0, 101, 255, *[7] * (models.WINDOW - 3)], "u1")
        _, scores = model.classify_counts(counts.tobytes())
        whole = np.clip(np.rint(counts[:3] / scale) + zero_point, -128, 127)
        np.testing.assert_array_equal(scores, (whole - zero_point) * scale)

    def test_unit_is_mapped(self) -> None:
        """A model in millivolts is fed (volts - baseline) / gain * 1000 of each count."""
        model = load(models.averaging_model(unit="millivolts"))
        counts = np.full(models.WINDOW, 213, "u1")
        millivolts = (213 * 3.3 / 256 - 1.65) / 1100 * 1000
        assert model.classify_counts(counts.tobytes())[1][0] == pytest.approx(millivolts, rel=1e-6)

    def test_values_are_taken_as_they_are(self) -> None:
        """Values in the model's unit reach the graph unchanged."""
        model = load(models.averaging_model(unit="millivolts"))
        values = np.linspace(-1, 2, models.WINDOW).astype("<f4")
        assert model.classify_values(values.tobytes())[1][0] == pytest.approx(values.mean())

    @pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
    def test_layout(self, layout: str) -> None:
        """The values of a frame lie side by side, or those of a channel, as the spec says."""
        last = layout == "channels_last"
        spec = models.make_spec(
            channels=("A1", "A0"),
            layout=layout,
            labels=("first", "second"),
            input_shape=(1, models.WINDOW, 2) if last else (1, 2, models.WINDOW),
        )
        weights = np.zeros((2, models.WINDOW, 2) if last else (2, 2, models.WINDOW), "f4")
        for channel in (0, 1):
            weights[(channel, slice(None), channel) if last else (channel, channel)] = 1
        windows = models.make_windows(spec)
        tflite = models.linear(
            weights.reshape(2, -1), np.zeros(2, "f4"), input_shape=spec.input_shape
        )
        model = load(models.holter_model(tflite, spec, windows, windows.sum(axis=1)))
        assert model.prove()[0] == 8
        frames = np.array([[7, 1]] * models.WINDOW, "u1")
        scores = model.classify_counts(frames.tobytes())[1]
        assert scores.tolist() == [7 * models.WINDOW, models.WINDOW]

    def test_variables_are_reset(self) -> None:
        """A model with a state gives the same window the same scores, however often."""
        spec = models.make_spec(input_shape=(1, 1, models.WINDOW))
        weights, windows = models.averaging_weights(), models.make_windows(spec)
        tflite = models.recurrent(weights, np.eye(3, dtype="f4"))
        scores = windows.reshape(8, -1) @ weights.T
        model = load(models.holter_model(tflite, spec, windows, scores))
        assert model.prove()[0] == 8
        counts = windows[0].astype("u1").tobytes()
        first, second = model.classify_counts(counts)[1], model.classify_counts(counts)[1]
        assert first.tolist() == second.tolist() == pytest.approx(scores[0].tolist())

    def test_golden_windows_pass(self) -> None:
        """A good model passes, and its greatest difference is told."""
        count, difference = load(models.averaging_model()).prove()
        assert count == 8
        assert 0 <= difference <= 1e-3

    def test_drifted_numerics(self) -> None:
        """Golden scores beyond the tolerance are refused, with the window and the difference."""
        spec = models.make_spec(tolerance=0.01)
        windows = models.make_windows(spec)
        scores = windows.reshape(8, -1) @ models.averaging_weights().T
        scores[3, 1] += 0.5
        with pytest.raises(GoldenMismatchError, match="golden window 3") as caught:
            load(models.holter_model(averaging_graph(), spec, windows, scores)).prove()
        facts = caught.value.facts
        assert (facts["window"], facts["tolerance"]) == ("3", "0.01")
        assert float(facts["max_abs_difference"]) == pytest.approx(0.5, abs=0.01)

    def test_nan_on_a_golden_window(self) -> None:
        """Scores that are not finite are refused, whatever the tolerance."""
        spec = models.make_spec(tolerance=1e30)
        windows = models.make_windows(spec)
        tflite = models.linear(models.averaging_weights(), np.array([0, np.nan, 0], "f4"))
        with pytest.raises(GoldenMismatchError, match="are not all numbers"):
            load(models.holter_model(tflite, spec, windows, np.zeros((8, 3), "f4"))).prove()

    def test_nan_on_a_window(self) -> None:
        """Scores that are not finite are no scores."""
        model = load(models.averaging_model())
        values = np.full(models.WINDOW, np.inf, "<f4")
        with pytest.raises(ModelRunError, match="not finite"):
            model.classify_values(values.tobytes())

    def test_interpreter_is_rebuilt_after_a_failure(self) -> None:
        """After a failure inside the runtime the next window goes to a new interpreter."""
        model = load(models.averaging_model())
        model._graph = broken = _Broken()  # type: ignore[assignment]
        with pytest.raises(ModelRunError, match="it broke"):
            model.classify_counts(bytes(models.WINDOW))
        assert model.classify_counts(bytes(models.WINDOW))[1].tolist() == [0, 0, 0]
        assert broken.runs == 1


class _Broken:
    runs = 0

    def run(self, values: object) -> object:
        self.runs += 1
        raise RuntimeError("it broke. And advice")


class TestRefused:
    """Each kind of bad model has its own error, with facts."""

    @pytest.mark.parametrize(
        ("tflite", "error", "facts"),
        [
            (
                models.linear(models.averaging_weights(), np.zeros(3, "f4"), version=99),
                OpVersionUnsupportedError,
                {"op": "FULLY_CONNECTED", "version": "99"},
            ),
            (models.unknown_op(250), OpUnsupportedError, {"op": "code 250", "version": "1"}),
            (models.custom_op("FlexErf"), FlexOpUnsupportedError, {"op": "FlexErf"}),
            (models.custom_op("MyOp"), CustomOpUnsupportedError, {"op": "MyOp"}),
        ],
        ids=["newer version", "unknown", "Flex", "custom"],
    )
    def test_operators(self, tflite: bytes, error: type[Exception], facts: dict[str, str]) -> None:
        """An operator that the runtime lacks is named, with its version and the runtime."""
        with pytest.raises(OpUnsupportedError) as caught:
            load(zeros_model(tflite))
        assert type(caught.value) is error
        info = load_runtime("auto").info
        assert caught.value.facts == facts | {"runtime": f"{info.name} {info.version}"}

    def test_operators_are_audited_before_the_model_is_loaded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A model with an operator that is not there never reaches the runtime."""
        runtime = load_runtime("auto")
        monkeypatch.setattr(runtime, "load", lambda *_: pytest.fail("it was loaded"))
        with pytest.raises(OpUnsupportedError):
            Model(runtime, zeros_model(models.custom_op("MyOp")), FIT)

    def test_what_a_model_lists_is_read(self) -> None:
        """The operators that are read by hand are those of the schema: code, version, name."""
        tflite = models.linear(models.averaging_weights(), np.zeros(3, "f4"), version=7)
        assert read_ops(tflite) == [Op(9, 7, "")]
        assert read_ops(models.custom_op("MyOp")) == [Op(32, 1, "MyOp")]
        assert read_ops(models.unknown_op(250)) == [Op(250, 1, "")]

    def test_a_probe_is_a_model_of_one_operator(self) -> None:
        """The smallest model lists what was asked for, and the runtime builds or refuses it."""
        runtime = load_runtime("auto")
        assert read_ops(probe(200, 3)) == [Op(200, 3, "")]
        assert runtime.lacks(9, 1) == ""
        assert "FULLY_CONNECTED" in runtime.lacks(9, 99)

    @settings(deadline=None)
    @given(data=st.data())
    def test_damaged_operators(self, data: st.DataObject) -> None:
        """Whatever is damaged in the graph, its operators are read or it is malformed."""
        damaged = bytearray(averaging_graph())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(8, len(damaged)))
        with contextlib.suppress(ModelMalformedError):
            assert len(read_ops(bytes(damaged[:cut]))) <= MAX_OPS

    def test_a_spec_that_says_so_is_believed(self) -> None:
        """A model that was converted with --select-tf-ops is refused by its spec, unrun."""
        with pytest.raises(FlexOpUnsupportedError, match="TensorFlow's own"):
            load(models.averaging_model(ops="select_tf"))

    @pytest.mark.parametrize(
        ("changes", "key", "of_model", "of_device"),
        [
            ({"rate_hz": 250.0}, "rate_hz", "250", "360"),
            ({"channels": ("A3",)}, "channels", "A3", "A0,A1"),
            ({"window": 43201, "input_shape": (1, 43201, 1)}, "window", "43201", "43200"),
        ],
    )
    def test_unfit(self, changes: dict[str, Any], key: str, of_model: str, of_device: str) -> None:
        """A model for another rate, channel or size of window says what it is and we are."""
        with pytest.raises(ModelUnfitError) as caught:
            load(models.averaging_model(**changes))
        assert caught.value.facts == {"key": key, "model": of_model, "device": of_device}

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            (b"", "does not begin like"),
            (b"PK\3\4" * 20, "does not begin like"),
            (averaging_graph(), "plain .tflite"),
            (models.averaging_model()[:-30], "was cut off"),
            (models.averaging_model()[:1000], "was cut off"),
            (models.append_members(averaging_graph(), {"a": b""}), SPEC_PATH),
            (models.append_members(averaging_graph(), members(**{SPEC_PATH: "{"})), "not JSON"),
            (zeros_model(b"\0\0\0\0TFL3" + bytes(100)), "runtime does not load"),
            (zeros_model(averaging_graph(), labels=("N", "V")), "2 labels"),
            (zeros_model(averaging_graph(), input_shape=(1, 1, 40)), "input is"),
            (zeros_model(averaging_graph(), input="z"), "'z'"),
            (zeros_model(averaging_graph(), output="z"), "'z'"),
            (zeros_model(averaging_graph(), signature="none"), "'none'"),
            (zeros_model(models.integer_input()), "int32"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_malformed(self, model: bytes, words: str) -> None:
        """A file that is no Holter model, or whose spec is not its graph's, says what is wrong."""
        with pytest.raises(ModelMalformedError) as caught:
            load(model)
        assert words in caught.value.facts["detail"]
        assert words in str(caught.value)

    @pytest.mark.parametrize(
        ("windows", "scores", "words"),
        [
            (np.zeros((8, 40, 1)), np.zeros((8, 3), "f4"), "float64"),
            (np.zeros((8, 41, 1), "f4"), np.zeros((8, 3), "f4"), "41"),
            (np.zeros((8, 40, 1), "f4"), np.zeros((7, 3), "f4"), "7 golden scores"),
            (np.zeros((0, 40, 1), "f4"), np.zeros((0, 3), "f4"), "(0, 40, 1)"),
            (np.zeros((65, 40, 1), "f4"), np.zeros((65, 3), "f4"), "(65, 40, 1)"),
            (np.full((8, 40, 1), np.nan, "f4"), np.zeros((8, 3), "f4"), "not finite"),
        ],
    )
    def test_golden_windows_of_another_shape(
        self, windows: np.ndarray, scores: np.ndarray, words: str
    ) -> None:
        """Golden windows must be float32 of the spec's shape, at least one, all finite."""
        golden = models.golden_bytes(windows, scores)
        with pytest.raises(ModelMalformedError) as caught:
            read_model_file(
                models.append_members(averaging_graph(), members(**{GOLDEN_PATH: golden}))
            )
        assert words in caught.value.facts["detail"]

    def test_golden_windows_that_would_need_code(self) -> None:
        """A pickle among the golden windows is refused and not opened."""
        golden = models.golden_bytes(np.array([print] * 8), np.zeros((8, 3), "f4"))
        with pytest.raises(ModelMalformedError, match="golden windows"):
            read_model_file(
                models.append_members(averaging_graph(), members(**{GOLDEN_PATH: golden}))
            )

    def test_zip_bombs(self) -> None:
        """A member that unpacks to more than a spec can have is read to its limit and refused."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(SPEC_PATH, b" " * (200 * 2**20))
        with pytest.raises(ModelMalformedError, match=str(MAX_SPEC_BYTES)):
            read_model_file(averaging_graph() + file.getvalue())

    def test_huge_array_header(self) -> None:
        """An array that says it is huge is refused before any memory is taken for it."""
        file = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": (8, 2**40, 1)}
        np.lib.format.write_array_header_1_0(file, header)
        golden = io.BytesIO()
        with zipfile.ZipFile(golden, "w") as archive:
            archive.writestr("windows.npy", file.getvalue())
        with pytest.raises(ModelMalformedError, match=str(2**40)):
            read_model_file(
                models.append_members(
                    averaging_graph(), members(**{GOLDEN_PATH: golden.getvalue()})
                )
            )

    @settings(deadline=None)
    @given(data=st.data())
    def test_damaged_archives(self, data: st.DataObject) -> None:
        """Whatever is damaged in the archive, reading it succeeds or says that it is malformed."""
        good = models.append_members(averaging_graph(), members())
        start = len(averaging_graph())
        damaged = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(start, len(good) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(start, len(good)))
        with contextlib.suppress(ModelMalformedError):
            assert read_model_file(bytes(damaged[:cut])).spec.channel_count == 1


class TestDeviceFit:
    def test_travels_as_text(self) -> None:
        """What the parent says of the device is what the child reads."""
        assert DeviceFit.from_json(FIT.to_json()) == FIT

    def test_no_channels_means_the_first(self) -> None:
        """A spec without channels takes the device's first."""
        assert FIT.select(models.make_spec()) == (FIT.channels[0],)

    def test_channels_are_in_the_order_of_the_spec(self) -> None:
        """A spec's channels are taken by name, in its own order."""
        spec = models.make_spec(channels=("A1", "A0"), input_shape=(1, models.WINDOW, 2))
        assert [channel.name for channel in FIT.select(spec)] == ["A1", "A0"]

    @settings(deadline=None)
    @given(
        counts=st_np.arrays(np.uint8, st.tuples(st.integers(1, 50), st.just(2))),
        unit=st.sampled_from(["counts", "volts", "millivolts"]),
    )
    def test_unit_map_is_the_channels_formula(self, counts: np.ndarray, unit: str) -> None:
        """The map is scale * count + offset of each channel, in double precision, rounded once."""
        expected = np.empty(counts.shape)
        for index, channel in enumerate(FIT.channels):
            scale, offset = channel.affine(unit)
            expected[:, index] = counts[:, index] * scale + offset
        actual = UnitMap(unit, FIT.channels, SampleFormat.U8)(counts.tobytes())
        assert actual.dtype == np.float32
        assert np.array_equal(actual, expected.astype(np.float32))

    def test_unit_map_of_16_bits(self) -> None:
        """Counts of 16 bits are little-endian and may be negative."""
        channel = dataclasses.replace(FIT.channels[0], volts_per_count=0.5, offset_volts=1.0)
        to_unit = UnitMap("volts", (channel,), SampleFormat.S16LE)
        assert to_unit(b"\xfe\xff\x00\x01").ravel().tolist() == [0.0, 129.0]


class TestRuntimes:
    def test_auto_finds_what_is_installed(self) -> None:
        """The runtime that is found is the one that is loaded."""
        assert installed_runtime("auto") == load_runtime("auto").info

    @pytest.mark.parametrize("choice", ["litert", "tflite"])
    def test_a_missing_runtime_says_how_to_get_it(self, choice: str) -> None:
        """A runtime that is not installed is one sentence with the command that installs it."""
        code = (
            "import importlib.metadata as m\n"
            "def version(name): raise m.PackageNotFoundError(name)\n"
            "m.version = version\n"
            "from holter_device.runtime import RuntimeMissingError, installed_runtime\n"
            "try: installed_runtime('%s')\n"
            "except RuntimeMissingError as error: print(error)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code % choice], capture_output=True, text=True, check=True
        )
        assert f"pip install 'holter-device[{choice}]'" in run.stdout

    def test_only_one_module_imports_a_runtime(self) -> None:
        """The parent's modules import no runtime, and neither does finding one."""
        code = (
            "import json, sys\n"
            "import holter_device.deploy, holter_device.classifier\n"
            "from holter_device.runtime import installed_runtime\n"
            "installed_runtime('auto')\n"
            "print(json.dumps([n for n in sys.modules if n.split('.')[0] in "
            "('ai_edge_litert', 'tflite_runtime', 'tensorflow', 'smbus2')]))"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert json.loads(run.stdout) == []
