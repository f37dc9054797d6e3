"""Laws of `holter evaluate`, on small records that are made here and on real ones."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holter.records import import_wfdb
from holter_host.bundle import read_bundle
from holter_host.evaluation.records import Reading, prepare
from holter_host.evaluation.report import full_report
from holter_host.evaluation.run import evaluate
from holter_host.evaluation.truth import NO_TRUTH, ClassMap, N, S, V
from support.annotated import WINDOW, spike_model, write_record
from support.command import Holter
from support.tflite_models import (
    averaging_weights,
    crashing,
    holter_model,
    linear,
    make_spec,
    make_windows,
)

pytestmark = pytest.mark.litert


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that tells the rhythms of `support.annotated` apart."""
    path = tmp_path_factory.mktemp("model") / "spikes.tflite"
    path.write_bytes(spike_model())
    return path


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients' records, of one of them two, in two directories."""
    folder = tmp_path_factory.mktemp("records")
    write_record(folder, "a", "NNVSN")
    write_record(folder / "inner", "201", "NVVS")
    write_record(folder / "inner", "202", "NNN")
    return folder


@pytest.fixture
def evaluated(holter: Holter) -> Holter:
    """Run `holter evaluate` with one process."""
    return lambda *arguments: holter("evaluate", *arguments, "--jobs", 1)


class TestFigures:
    def test_the_report_is_what_the_calls_give(
        self, model: Path, records: Path, evaluated: Holter
    ) -> None:
        """Windows that the model can tell are all right: counts, confusion, rows and map."""
        made = evaluated(model, "--records", records, "--json").json
        assert made["confusion"]["table"] == [[7, 0, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0]]
        assert made["windows"] == {"judged": 12, "without_truth": 0, "unclassifiable": 0}
        assert made["records"]["patients"] == 2
        assert [row["record"] for row in made["per_record"]] == ["a", "inner/201", "inner/202"]
        assert made["overall"]["macro_f1"] == {"value": 1, "low": 1, "high": 1}
        assert made["map"]["beats"]["e"] == "N"
        assert made["map"]["labels"] == {"N": "N", "S": "S", "V": "V"}
        assert made["model"]["sha256"] == read_bundle(model).sha256

    def test_wrong_calls_are_counted_as_such(
        self, model: Path, tmp_path: Path, evaluated: Holter
    ) -> None:
        """With the beats' meaning turned round each N window is a V called N."""
        write_record(tmp_path, "a", "NNNV")
        write_record(tmp_path, "b", "NS")
        turned = ("--map", "beat:N=V", "--map", "beat:V=N")
        made = evaluated(model, "--records", tmp_path, *turned, "--json").json
        assert made["confusion"]["table"] == [[0, 0, 1, 0], [0, 1, 0, 0], [4, 0, 0, 0]]
        assert made["classes"]["V"]["sensitivity"]["value"] == 0
        assert made["overall"]["n_specificity"]["value"] == 1 / 5
        assert made["n_at_specificity"]["sensitivity"]["value"] == 0
        assert made["map"]["beats"]["V"] == "N"

    def test_the_text_says_what_the_report_says(
        self, model: Path, records: Path, tmp_path: Path, evaluated: Holter
    ) -> None:
        """The lines have the figures, the map and the records; -o writes the report that --json
        prints.
        """
        out = tmp_path / "report.json"
        done = evaluated(model, "--records", records, "-o", out)
        assert done.code == 0
        for words in (
            "3 of 2 patients",
            "N = NLRej, S = AaJS, V = VE, F = F, Q = /fQ",
            "N is N, S is S, V is V",
            "macro F1       100.0 (100.0–100.0) %",
            "at N specificity 95 %",
            "ECE ",
            "inner/202",
        ):
            assert words in done.out
        assert json.loads(out.read_text()) == evaluated(model, "--records", records, "--json").json

    def test_the_number_of_processes_changes_nothing(self, model: Path, records: Path) -> None:
        """One process and three give the same report, to the last bit."""
        reports = [json.dumps(full_report(evaluate(model, records, jobs=jobs))) for jobs in (1, 3)]
        assert reports[0] == reports[1]

    def test_records_of_one_patient_are_drawn_together(
        self, model: Path, records: Path, evaluated: Holter
    ) -> None:
        """201 and 202 of MIT-BIH are one; --same-patient makes others so."""
        flags = ("--same-patient", "a,201,202", "--json")
        made = evaluated(model, "--records", records, *flags).json
        assert made["records"]["patients"] == 1
        assert made["overall"]["accuracy"] == {"value": 1, "low": None, "high": None}

    def test_a_model_of_other_labels_is_mapped(
        self, tmp_path: Path, records: Path, evaluated: Holter
    ) -> None:
        """Labels mean what --map says; one that is "-" is right for no window."""
        path = tmp_path / "mine.tflite"
        path.write_bytes(spike_model(("sinus", "odd", "pvc")))
        refused = evaluated(path, "--records", records)
        assert refused.code == 2
        assert "label 'sinus' is no AAMI class" in refused.err
        assert "--map" in refused.err
        flags = ("--map", "label:sinus=N", "--map", "label:pvc=V", "--map", "label:odd=-")
        made = evaluated(path, "--records", records, *flags, "--json").json
        assert made["confusion"]["table"] == [[7, 0, 0, 0], [0, 0, 0, 2], [0, 0, 3, 0]]
        shown = evaluated(path, "--records", records, *flags).out
        assert "called none" in shown


class TestWindows:
    def _prepared(self, model: Path, path: Path, **changes: Any) -> Any:
        return prepare(path, read_bundle(model).spec, Reading(**changes))

    def test_windows_follow_the_hop_and_truth_the_beats(self, tmp_path: Path) -> None:
        """A window of 2 s every second: one across two rhythms has the beats of both."""
        path = tmp_path / "hop.tflite"
        path.write_bytes(spike_model())
        spec = make_spec(
            window=WINDOW, hop=WINDOW // 2, input_shape=(1, WINDOW, 1), unit="millivolts"
        )
        found = prepare(write_record(tmp_path, "r", "NVN "), spec, Reading())
        assert found.starts.tolist() == [360 * k for k in range(7)]
        assert found.truth.tolist() == [N, V, V, V, N, N, NO_TRUTH]

    def test_an_electrode_that_is_off_spoils_its_windows(self, model: Path, tmp_path: Path) -> None:
        """Samples that are missing for half a second take their window and, where the second of
        settling reaches it, the next one; a tenth of a second takes none.
        """
        record = write_record(tmp_path, "r", "NNNNNNNN", missing=[(3.2, 3.9), (8.1, 8.2)])
        assert np.flatnonzero(self._prepared(model, record).spoilt).tolist() == [1, 2]
        record = write_record(tmp_path, "q", "NNNNNNNN", missing=[(5.0, 5.5)])
        assert np.flatnonzero(self._prepared(model, record).spoilt).tolist() == [2, 3]

    def test_without_a_front_end_the_values_are_the_records(
        self, model: Path, tmp_path: Path
    ) -> None:
        """`none` gives the record's millivolts; a window with a missing sample is spoilt."""
        record = write_record(tmp_path, "r", "NVNN", missing=[(4.1, 4.11)])
        found = self._prepared(model, record, front_end="none")
        signal = import_wfdb().rdrecord(str(record)).p_signal
        valid = ~np.isnan(signal)
        assert np.array_equal(found.values[valid], signal[valid].astype("f4"))
        assert found.spoilt.tolist() == [False, False, True, False]

    def test_another_rate_is_resampled_and_said(
        self, model: Path, tmp_path: Path, evaluated: Holter
    ) -> None:
        """A record of 250 Hz has the windows and the classes that one of 360 Hz has."""
        write_record(tmp_path, "r", "NVSN", rate_hz=250)
        done = evaluated(model, "--records", tmp_path, "--json")
        assert "record r is resampled from 250 Hz to 360 Hz" in done.err
        table = done.json["confusion"]["table"]
        assert table == [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]

    @pytest.mark.parametrize(("unit", "factor"), [("uV", 1e-3), ("V", 1e3)])
    def test_other_units_of_volts_are_converted(
        self, model: Path, tmp_path: Path, unit: str, factor: float
    ) -> None:
        """Without the front end a record in microvolts or volts is its numbers in millivolts."""
        plain = self._prepared(model, write_record(tmp_path, "a"), front_end="none")
        other = self._prepared(model, write_record(tmp_path, "b", unit=unit), front_end="none")
        assert np.allclose(other.values, factor * plain.values, rtol=1e-6)

    def test_annotations_past_the_end_are_left_out_and_said(
        self, model: Path, tmp_path: Path
    ) -> None:
        """They are in no window."""
        record = write_record(tmp_path, "r", "NN", extra=[(4.5, "V"), (9.0, "V")])
        found = self._prepared(model, record)
        assert found.truth.tolist() == [N, N]
        assert found.notes == ("has 2 annotations past its end, which are left out",)

    def test_the_map_decides_the_truth(self, model: Path, tmp_path: Path) -> None:
        """A symbol that is mapped away is no beat."""
        record = write_record(tmp_path, "r", "NSV")
        classes = ClassMap.parse(["beat:S=-", "beat:V=S"])
        assert self._prepared(model, record, classes=classes).truth.tolist() == [N, NO_TRUTH, S]

    def test_a_lead_is_chosen_by_name(self, model: Path, tmp_path: Path, evaluated: Holter) -> None:
        """--lead takes another than MLII."""
        write_record(tmp_path, "r", "NVS", leads=("V5", "II"))
        done = evaluated(model, "--records", tmp_path, "--lead", "II", "--json")
        assert done.json["records"]["leads"] == ["II"]
        assert done.json["overall"]["accuracy"]["value"] == 1


class TestBadRecords:
    def test_paced_records_are_left_out_unless_they_are_asked_for(
        self, model: Path, tmp_path: Path, evaluated: Holter
    ) -> None:
        """102, 104, 107 and 217 of MIT-BIH are not judged, which is said."""
        for name in ("102", "217", "101"):
            write_record(tmp_path, name, "NV")
        done = evaluated(model, "--records", tmp_path, "--json")
        assert done.json["left_out"] == {"102": "paced", "217": "paced"}
        assert "record 102 is left out: paced" in done.err
        every = evaluated(model, "--records", tmp_path, "--include-paced", "--json")
        assert every.json["records"]["count"] == 3

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"annotations": None}, "has no annotations bad.atr; name others with --annotations"),
            (
                {"annotations": "qrs"},
                "has no annotations bad.atr; its other files are .qrs; name others",
            ),
            (
                {"leads": ("V1", "V5")},
                "has no lead 'MLII'; its leads are V1, V5; choose one with --lead",
            ),
            ({"unit": "mmHg"}, "lead MLII of"),
        ],
        ids=["no annotations", "other annotations", "no lead", "no voltage"],
    )
    def test_one_that_cannot_be_evaluated_stops_all_unless_it_is_skipped(
        self,
        model: Path,
        tmp_path: Path,
        evaluated: Holter,
        changes: dict[str, Any],
        sentence: str,
    ) -> None:
        """Nothing is run, and the sentence says which and why; --skip-bad goes on and says so."""
        write_record(tmp_path, "good", "NVS")
        write_record(tmp_path, "bad", "NVS", **changes)
        done = evaluated(model, "--records", tmp_path)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("holter: 1 of 2 records cannot be evaluated, so nothing was: ")
        assert sentence in done.err
        assert done.err.count("\n") == 1
        skipped = evaluated(model, "--records", tmp_path, "--skip-bad", "--json")
        assert skipped.json["records"]["count"] == 1
        assert sentence in skipped.json["left_out"]["bad"]
        assert "record bad is left out: " in skipped.err

    @pytest.mark.parametrize("damage", ["signal", "annotations", "header"])
    def test_a_damaged_file_is_one_sentence(
        self, model: Path, tmp_path: Path, evaluated: Holter, damage: str
    ) -> None:
        """A signal that is cut short, annotations that are none, or a header of nonsense."""
        write_record(tmp_path, "good", "NVS")
        path = write_record(tmp_path, "bad", "NVS")
        if damage == "signal":
            data = path.with_suffix(".dat")
            os.truncate(data, data.stat().st_size // 2)
        elif damage == "annotations":
            path.with_suffix(".atr").write_bytes(b"\xff\x03\x01")
        else:
            path.with_suffix(".hea").write_text("nonsense\n")
        done = evaluated(model, "--records", tmp_path)
        assert (done.code, done.out) == (2, "")
        assert f"{path}" in done.err
        assert "cannot be read" in done.err
        skipped = evaluated(model, "--records", tmp_path, "--skip-bad", "--json")
        assert (skipped.code, skipped.json["records"]["count"]) == (0, 1)
        assert list(skipped.json["left_out"]) == ["bad"]

    @pytest.mark.parametrize(
        ("directory", "sentence"),
        [("missing", "is not a directory"), ("empty", "hold no WFDB record"), ("paced", "paced")],
    )
    def test_nothing_to_evaluate_is_bad_input(
        self, model: Path, tmp_path: Path, evaluated: Holter, directory: str, sentence: str
    ) -> None:
        """No directory, no record, or none that is left: exit code 2 and one sentence."""
        tmp_path.joinpath("empty").mkdir()
        write_record(tmp_path / "paced", "104", "NV")
        done = evaluated(model, "--records", tmp_path / directory)
        assert (done.code, done.out) == (2, "")
        assert sentence in done.err
        assert done.err.count("\n") == 1

    def test_a_record_shorter_than_a_window_has_none(
        self, model: Path, tmp_path: Path, evaluated: Holter
    ) -> None:
        """Where no window is left the figures are null, and the command still ends well."""
        write_record(tmp_path, "r", " ", extra=[(1.0, "+")])
        made = evaluated(model, "--records", tmp_path, "--json").json
        assert made["windows"]["judged"] == 0
        assert made["overall"]["accuracy"]["value"] is None
        assert made["calibration"] == {"ece": None, "bins": []}
        assert evaluated(model, "--records", tmp_path).code == 0


def test_a_report_that_cannot_be_written_stops_before_the_work(
    model: Path, records: Path, tmp_path: Path, evaluated: Holter
) -> None:
    """A directory that is not there is bad input."""
    done = evaluated(model, "--records", records, "-o", tmp_path / "none" / "x.json")
    assert (done.code, done.out) == (2, "")
    assert "there is no directory" in done.err


class TestBadModels:
    def _refused(
        self, evaluated: Holter, path: Path, records: Path, *flags: str
    ) -> tuple[int, str]:
        done = evaluated(path, "--records", records, *flags)
        assert done.out == ""
        assert done.err.count("\n") == 1
        return done.code, done.err

    def test_a_file_that_is_no_model_is_refused(
        self, tmp_path: Path, records: Path, evaluated: Holter
    ) -> None:
        """Exit code 2."""
        path = tmp_path / "x.tflite"
        path.write_bytes(b"nonsense")
        code, said = self._refused(evaluated, path, records)
        assert code == 2
        assert "not a TensorFlow Lite model" in said

    def test_damaged_weights_are_seen_by_the_golden_windows(
        self, tmp_path: Path, records: Path, evaluated: Holter
    ) -> None:
        """What a device's gate would refuse is not evaluated."""
        path = tmp_path / "x.tflite"
        spec = make_spec()
        tflite = linear(averaging_weights(), np.zeros(3, "f4"))
        wrong = np.full((8, 3), 7.0, "f4")
        path.write_bytes(holter_model(tflite, spec, make_windows(spec), wrong))
        code, said = self._refused(evaluated, path, records)
        assert code == 1
        assert "scores of its golden windows differ" in said

    def test_a_model_that_crashes_its_runtime_is_one_sentence(
        self, tmp_path: Path, records: Path, evaluated: Holter
    ) -> None:
        """The process that dies is a child; the sentence says by what."""
        spec = make_spec()
        path = tmp_path / "x.tflite"
        path.write_bytes(holter_model(crashing(), spec, make_windows(spec), np.zeros((8, 3), "f4")))
        code, said = self._refused(evaluated, path, records)
        assert code == 1
        assert "was killed by SIGSEGV while it loaded the model" in said

    def test_a_missing_extra_is_named(
        self, model: Path, records: Path, evaluated: Holter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where wfdb is not installed the sentence says what to install."""
        monkeypatch.setitem(sys.modules, "wfdb", None)
        code, said = self._refused(evaluated, model, records)
        assert code == 1
        assert "pip install 'holter-host[evaluate]'" in said

    def test_leads_are_as_many_as_the_model_takes(
        self, model: Path, records: Path, evaluated: Holter
    ) -> None:
        """Two leads for a model of one are refused."""
        code, said = self._refused(evaluated, model, records, "--lead", "MLII", "--lead", "V1")
        assert code == 2
        assert "takes 1 lead(s), not 2" in said


def test_children_end_with_a_killed_parent(model: Path, records: Path) -> None:
    """After kill -9 of the command its children see the end of their input, and end."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from holter_host.bundle import read_bundle\n"
        "from holter_host.evaluation import Reading\n"
        "from holter_host.evaluation.workers import Worker\n"
        "with Worker(read_bundle(Path(sys.argv[1])), Reading()) as worker:\n"
        "    print(worker._process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(model)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        ended, _, _ = select.select([child], [], [], 60)
        os.close(child)
    assert ended == [child]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_real_records_have_the_windows_that_are_known(mitdb: Path, tmp_path: Path) -> None:
    """The 22 records of the data folder: 3,944 windows judged, 3 more with an electrode off, and 13
    without a truth (no beat, or Q alone).
    """
    spec = make_spec(
        window=3600, hop=3600, input_shape=(1, 3600, 1), unit="millivolts", score_kind="logits"
    )
    weights = np.random.default_rng(2).normal(0, 0.1, (3, 3600)).astype("f4")
    windows = np.zeros((1, 3600, 1), "f4")
    tflite = linear(weights, np.zeros(3, "f4"), input_shape=spec.input_shape)
    path = tmp_path / "random.tflite"
    path.write_bytes(holter_model(tflite, spec, windows, np.zeros((1, 3), "f4")))
    made = full_report(evaluate(path, mitdb), resamples=10)
    assert made["windows"] == {"judged": 3944, "without_truth": 13, "unclassifiable": 3}
    counts = {name: row["windows"] for name, row in made["classes"].items()}
    assert counts == {"N": 2503, "S": 303, "V": 1138}
