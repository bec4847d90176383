"""Methods side by side, from evaluations made up without networks; what does not belong together is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluations import evaluation_of

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.evaluation import compare
from dvs_transfer.stages.evaluation.compare import EvaluatedRun
from dvs_transfer.stages.evaluation.results import Predictions
from dvs_transfer.stages.evaluation.statistics import mcnemar, paired_difference

CLASS_NAMES = ("ant", "bee", "cat")
CLASSES = ("ant",) * 12 + ("bee",) * 6 + ("cat",) * 2


def make_run(
    name: str,
    wrong: int,
    seed: int | None = 42,
    classes: tuple[str, ...] = CLASSES,
    class_names: tuple[str, ...] = CLASS_NAMES,
    prefix: str = "image",
    **report: Any,
) -> EvaluatedRun:
    """A run that names `wrong` recordings wrongly, those whose numbers follow seed."""
    said = list(classes)
    for index in range(wrong):
        place = ((seed or 0) + index) % len(classes)
        said[place] = class_names[(class_names.index(said[place]) + 1) % len(class_names)]
    ids = tuple(f"{label}/{prefix}_{index}" for index, label in enumerate(classes))
    predictions = Predictions(ids, classes, tuple(said))
    return EvaluatedRun(Path(name), seed, evaluation_of(predictions, class_names, **report), predictions)


def correct(*runs: EvaluatedRun) -> np.ndarray:
    return np.stack([run.predictions.correct for run in runs])


def test_methods_over_seeds_and_their_difference() -> None:
    ours = [make_run("a1", 2, 1), make_run("a2", 4, 2), make_run("a3", 6, 3)]
    theirs = [make_run("b1", 8, 1), make_run("b2", 8, 2), make_run("b3", 11, 3)]
    report = compare.run({"ours": ours, "theirs": theirs}, "theirs")
    assert (report.split, report.num_samples, report.num_classes, report.notes) == ("test", 20, 3, ())
    first, second = report.methods
    assert (first.method, first.seeds, first.runs) == ("ours", (1, 2, 3), (Path("a1"), Path("a2"), Path("a3")))
    assert (first.top1.mean, first.top1.std, first.top1.n) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    per_class = [run.report.mean_class_accuracy for run in theirs]
    assert second.mean_class_accuracy.mean == pytest.approx(np.mean(per_class))
    (difference,) = report.differences
    assert (difference.method, difference.baseline) == ("ours", "theirs")
    assert difference.top1 == paired_difference(correct(*ours), correct(*theirs))
    assert difference.top1.difference == pytest.approx(first.top1.mean - second.top1.mean)
    per_class_difference = first.mean_class_accuracy.mean - second.mean_class_accuracy.mean
    assert difference.mean_class_accuracy.difference == pytest.approx(per_class_difference)
    expected = [mcnemar(*pair) for pair in zip(correct(*ours), correct(*theirs), strict=True)]
    assert list(difference.mcnemar) == expected


def test_one_method_has_no_difference_and_several_have_one_each() -> None:
    assert compare.run({"a": [make_run("a", 1)]}, "a").differences == ()
    report = compare.run({name: [make_run(name, index)] for index, name in enumerate("abc")}, "b")
    assert [(difference.method, difference.baseline) for difference in report.differences] == [("a", "b"), ("c", "b")]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            {"classes": ("ant",) * 12 + ("bee",) * 6 + ("dog",) * 2, "class_names": ("ant", "bee", "dog")},
            r"other classes\. The first has 3 \(not in the other: cat\), the second 3 \(not in the other: dog\)",
        ),
        (
            {"classes": CLASSES[:-1], "split_digest": "ffffffffffffff"},
            r"other test recordings, 20 and 19, of which 19 are the same \(splits 0123456789ab and ffffffffffff\)",
        ),
        ({"prefix": "photo"}, r"other test recordings, 20 and 20, of which 0 are the same"),
        ({"recordings_digest": "0" * 64}, r"other data\. .* same names and other contents \(456789abcdef and 0{12}\)"),
    ],
)
def test_runs_that_were_evaluated_on_other_things_are_refused_by_name(other: dict[str, Any], says: str) -> None:
    methods = {"a": [make_run("runs/a", 2)], "b": [make_run("runs/b", 3, **other)]}
    for across in (False, True):
        with pytest.raises(TrainingError, match=rf"runs/a and runs/b cannot be compared: {says}"):
            compare.run(methods, "a", across_protocols=across)


def test_a_comparison_of_other_seeds_says_so() -> None:
    same = compare.run({"a": [make_run("a", 2, 1)], "b": [make_run("b", 3, 1)]}, "a")
    other = compare.run({"a": [make_run("a", 2, 1)], "b": [make_run("b", 3, 2)]}, "a")
    assert same.notes == ()
    assert other.notes == ("one run of each method, with other seeds (1, 2): a difference may be that of the seeds",)


def test_precisions_are_not_mixed() -> None:
    methods = {"a": [make_run("runs/a", 2)], "b": [make_run("runs/b", 3, precision="int8")]}
    says = r"runs/a was evaluated in float32, runs/b in int8; .* --set evaluate.precision=float32"
    with pytest.raises(TrainingError, match=says):
        compare.run(methods, "a")


def test_protocols_are_mixed_on_request_alone_and_it_is_said() -> None:
    methods = {"a": [make_run("runs/a", 2)], "b": [make_run("runs/b", 3, protocol="unrestricted", split_digest="1")]}
    says = r"runs/a was trained under the protocol disjoint, runs/b under unrestricted; .* --across-protocols"
    with pytest.raises(TrainingError, match=says):
        compare.run(methods, "a")
    report = compare.run(methods, "a", across_protocols=True)
    assert [result.protocol for result in report.methods] == ["disjoint", "unrestricted"]
    assert report.notes[0] == "runs of different protocols: disjoint, unrestricted; a difference may be leakage"
    assert [result.photos_in_reach for result in report.methods] == ["none", "some"]
    assert report.notes[1].startswith("leaky: photos of held-out recordings taught")
    assert "what was trained on differs" in report.notes[2]


def test_what_is_not_known_of_one_run_is_not_known_of_its_method() -> None:
    runs = [make_run("runs/b", 3), make_run("runs/c", 3, photos_in_reach="unknown")]
    report = compare.run({"a": [make_run("runs/a", 2)] * 2, "b": runs}, "a")
    assert [result.photos_in_reach for result in report.methods] == ["none", "unknown"]
    assert "it is not known of all whether held-out recordings, or their photos, taught the network" in report.notes


def test_flattering_choices_of_the_epoch_are_said() -> None:
    (note,) = compare.run({"a": [make_run("a", 2, selection="test_as_released")]}, "a").notes
    assert "chosen on the test recordings" in note
    (note,) = compare.run({"a": [make_run("a", 2, split="validation")]}, "a").notes
    assert "validation recordings choose the epoch" in note
