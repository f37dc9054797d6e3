"""The truth of windows and the figures of an evaluation, against tables computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter_host.errors import BadInputError
from holter_host.evaluation import metrics
from holter_host.evaluation.truth import (
    NO_TRUTH,
    ClassMap,
    N,
    Q,
    S,
    V,
    window_truth,
    window_truths,
)

# 3 records' worth of calls: rows N, S, V; columns N, S, V and none of them.
TABLE = np.array([[80, 10, 10, 0], [5, 12, 3, 0], [2, 0, 36, 2]])


class TestTruth:
    @pytest.mark.parametrize(
        ("symbols", "truth"),
        [
            ("NNNN", N),
            ("NLRej", N),
            ("NNV", V),
            ("NNA", S),
            ("NaJSV", S),
            ("AAVV", V),
            ("AVF", V),
            ("AAF", S),
            ("NF", V),
            ("VE", V),
            ("NQ", NO_TRUTH),
            ("/f", NO_TRUTH),
            ("QQQA", S),
            ("QV", V),
            ("", NO_TRUTH),
            ("+~|", NO_TRUTH),
            ("N+~", N),
        ],
    )
    def test_a_window_is_the_class_that_the_rule_gives(self, symbols: str, truth: int) -> None:
        """All N is N; else the more frequent of S and V, F being V; ties are V; Q alone is none."""
        assert window_truth(ClassMap().beat_classes(list(symbols))) == truth

    @given(st.data())
    def test_many_windows_are_what_each_is_alone(self, data: st.DataObject) -> None:
        """The truth of windows of a record is that of the beats from each one's first frame on."""
        codes = st.sampled_from([N, S, V, Q, NO_TRUTH])
        beats = data.draw(st.lists(st.tuples(st.integers(0, 99), codes), max_size=40))
        beats.sort(key=lambda beat: beat[0])
        frames = np.array([frame for frame, _ in beats], np.int64)
        classes = np.array([code for _, code in beats], np.int8)
        window, hop = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
        starts = range(0, 100 - window + 1, hop)
        alone = [
            window_truth(classes[(frames >= start) & (frames < start + window)]) for start in starts
        ]
        assert window_truths(frames, classes, list(starts), window).tolist() == alone

    def test_the_map_is_changed_by_symbol_and_by_label(self) -> None:
        """beat: moves symbols or drops them, label: names what a model means."""
        given_map = ClassMap.parse(["beat:ej=S", "beat:Q=-", "label:pvc=V", "label:a=b=N"])
        assert given_map.beat_classes(["e", "j", "N", "Q"]).tolist() == [S, S, N, NO_TRUTH]
        assert given_map.label_classes(["pvc", "a=b", "F", "Q"]).tolist() == [V, N, V, NO_TRUTH]

    @pytest.mark.parametrize("wrong", ["e=S", "beat:e", "beat:=S", "label:x=X", "kind:e=S", ""])
    def test_a_change_of_another_form_is_refused(self, wrong: str) -> None:
        """The sentence repeats it, and gives the form."""
        with pytest.raises(BadInputError, match="is not of the form beat:SYMBOLS=CLASS"):
            ClassMap.parse([wrong])

    def test_labels_that_are_no_classes_are_refused(self) -> None:
        """The sentence names the label, all labels, and --map."""
        with pytest.raises(BadInputError, match=r"label 'class_0' .* class_0, class_1: .*--map"):
            ClassMap().label_classes(["class_0", "class_1"])
        with pytest.raises(BadInputError, match="None of the model's labels Q means"):
            ClassMap().label_classes(["Q"])

    def test_a_label_that_the_model_does_not_have_is_refused(self) -> None:
        """A typo in --map is told with the labels that there are, as it would change nothing."""
        with pytest.raises(BadInputError, match=r"no label 'pvx'; its labels are N, pvc: .*--map"):
            ClassMap.parse(["label:pvc=V", "label:pvx=V"]).label_classes(["N", "pvc"])


class TestTable:
    def test_figures_of_a_table_are_those_computed_by_hand(self) -> None:
        """Se, +P, F1, macro F1, accuracy and N specificity of TABLE, from their definitions."""
        rows = metrics.by_class(TABLE)
        assert rows["N"] == {
            "windows": 100,
            "called": 87,
            "sensitivity": 0.8,
            "positive_predictivity": 80 / 87,
            "f1": 160 / 187,
        }
        assert rows["S"]["f1"] == pytest.approx(2 * (0.6 * 12 / 22) / (0.6 + 12 / 22))
        assert (rows["V"]["sensitivity"], rows["V"]["positive_predictivity"]) == (0.9, 36 / 49)
        overall = metrics.overall(TABLE)
        assert overall["accuracy"] == 128 / 160
        assert overall["macro_f1"] == pytest.approx((160 / 187 + 24 / 42 + 72 / 89) / 3)
        assert overall["n_specificity"] == 1 - 7 / 60

    def test_a_share_of_nothing_is_none(self) -> None:
        """A class that neither occurs nor is called has no figures, and no part in macro F1."""
        table = metrics.confusion(np.array([N, N]), np.array([N, N]))
        rows = metrics.by_class(table)
        assert [rows["S"][key] for key in ("sensitivity", "positive_predictivity", "f1")] == 3 * [
            None
        ]
        assert metrics.overall(table) == {"accuracy": 1, "macro_f1": 1, "n_specificity": None}

    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), max_size=60))
    def test_windows_are_counted_once(self, pairs: list[tuple[int, int]]) -> None:
        """The matrix holds as many windows as were given; accuracy is the share of equal pairs."""
        truth = np.array([a for a, _ in pairs], np.int8)
        called = np.array([b for _, b in pairs], np.int8)
        table = metrics.confusion(truth, called)
        assert table.sum() == len(pairs)
        if pairs:
            assert metrics.overall(table)["accuracy"] == np.mean(truth == called)
        for index, row in enumerate(metrics.by_class(table).values()):
            assert row["windows"] == np.sum(truth == index)
            assert row["called"] == np.sum(called == index)


class TestThreshold:
    def test_the_threshold_is_the_best_one_allowed(self) -> None:
        """Of 4 others one may be called N at specificity 0.75: N windows above the second."""
        truth = np.array([N, N, N, N, V, V, S, S])
        scores = np.array([0.9, 0.8, 0.6, 0.2, 0.85, 0.7, 0.3, 0.1])
        point = metrics.n_sensitivity_at(truth, scores, 0.75)
        assert (point.sensitivity, point.specificity, point.threshold) == (0.5, 0.75, 0.7)

    @given(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(0, 3)), max_size=30),
        st.sampled_from([0.0, 0.5, 0.75, 0.9, 0.95, 1.0]),
    )
    def test_no_other_threshold_is_better(
        self, rows: list[tuple[int, int, int]], specificity: float
    ) -> None:
        """It is what trying every threshold finds, ties and weights included."""
        truth, scores, weights = np.array(rows or np.zeros((0, 3), int)).T
        point = metrics.n_sensitivity_at(truth, scores / 8, specificity, weights.astype(float))
        is_n, found = truth == N, []
        for threshold in [-math.inf, *(scores / 8)]:
            called = scores / 8 > threshold
            others, normals = weights[~is_n].sum(), weights[is_n].sum()
            if others and normals:
                kept = 1 - weights[~is_n & called].sum() / others
                if kept >= specificity - 1e-9:
                    found.append(weights[is_n & called].sum() / normals)
        assert point.sensitivity == (pytest.approx(max(found)) if found else None)


class TestReliability:
    def test_the_error_is_the_weighted_gap_of_the_bins(self) -> None:
        """Two bins: 3 windows at 0.9, 2 right; 1 window at 0.3, wrong."""
        confidence = np.array([0.9, 0.9, 0.9, 0.3])
        right = np.array([True, True, False, False])
        error, rows = metrics.reliability(confidence, right, bins=10)
        assert error == pytest.approx((3 * abs(2 / 3 - 0.9) + 0.3) / 4)
        assert [(row["windows"], row["accuracy"]) for row in rows] == [(1, 0), (3, 2 / 3)]
        assert rows[1]["to"] == 0.9  # the upper edge belongs to the bin

    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
    def test_it_lies_within_its_bounds(self, rows: list[tuple[float, bool]]) -> None:
        """0 to 1, at least the gap of all windows together, and every window is in one bin."""
        confidence = np.array([c for c, _ in rows])
        right = np.array([r for _, r in rows])
        error, table = metrics.reliability(confidence, right)
        assert error is not None
        assert abs(confidence.mean() - right.mean()) - 1e-9 <= error <= 1
        assert sum(row["windows"] for row in table) == len(rows)

    def test_logits_become_probabilities(self) -> None:
        """The softmax of each row, without overflow."""
        made = metrics.as_probabilities(
            np.array([[1000.0, 1000.0], [0.0, math.log(3)]]), logits=True
        )
        assert made == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]))


class TestBootstrap:
    def test_alike_patients_leave_no_doubt(self) -> None:
        """Where all patients have the same windows every resample gives the same figures."""
        truth = np.tile([N, N, S, V, V], 4)
        scores = np.tile([0.9, 0.4, 0.5, 0.1, 0.2], 4)
        called = np.tile([N, V, N, V, V], 4)
        tables = [metrics.confusion(truth[:5], called[:5])] * 4
        found = metrics.bootstrap(tables, truth, scores, np.repeat(range(4), 5), resamples=50)
        for name, value in metrics.figures(sum(tables)).items():
            expected = None if value is None else pytest.approx((value, value))
            assert found[name] == expected, name
        point = metrics.n_sensitivity_at(truth, scores)
        assert found[metrics.AT] == (point.sensitivity, point.sensitivity) == (0.5, 0.5)

    def test_the_interval_is_that_of_drawing_patients(self) -> None:
        """Of two patients, all right and all wrong: resamples are 0, 1/2 and 1, so 0 to 1."""
        truth, called = np.array([V, N]), np.array([V, V])
        tables = [metrics.confusion(truth[i : i + 1], called[i : i + 1]) for i in range(2)]
        drawn = metrics.bootstrap(tables, truth, np.array([0.1, 0.2]), np.array([0, 1]))
        assert drawn["accuracy"] == (0, 1)
        again = metrics.bootstrap(tables, truth, np.array([0.1, 0.2]), np.array([0, 1]))
        assert drawn == again

    def test_one_patient_has_no_interval(self) -> None:
        """Nothing is known of other patients from one."""
        table = metrics.confusion(np.array([V]), np.array([V]))
        found = metrics.bootstrap([table], np.array([V]), np.array([0.1]), np.array([0]))
        assert set(found.values()) == {None}
