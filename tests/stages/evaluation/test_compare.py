"""Methods side by side, from evaluations made up without networks; what does not belong together is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluations import evaluation_of

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.evaluation import compare
from dvs_transfer.stages.evaluation.compare import NO_LAST, EvaluatedRun
from dvs_transfer.stages.evaluation.predictions import Predictions
from dvs_transfer.stages.evaluation.statistics import mcnemar, paired_difference, recordings_interval

CLASS_NAMES = ("ant", "bee", "cat")
CLASSES = ("ant",) * 12 + ("bee",) * 6 + ("cat",) * 2


def make_run(
    name: str,
    wrong: int,
    seed: int | None = 42,
    classes: tuple[str, ...] = CLASSES,
    class_names: tuple[str, ...] = CLASS_NAMES,
    prefix: str = "image",
    wrong_last: int | None = None,
    subset_seed: int | None = None,
    **report: Any,
) -> EvaluatedRun:
    """A run that names `wrong` recordings wrongly, those whose numbers follow seed; its last epoch `wrong_last`."""

    def name_wrongly(count: int) -> tuple[str, ...]:
        said = list(classes)
        for index in range(count):
            place = ((seed or 0) + index) % len(classes)
            said[place] = class_names[(class_names.index(said[place]) + 1) % len(class_names)]
        return tuple(said)

    ids = tuple(f"{label}/{prefix}_{index}" for index, label in enumerate(classes))
    last = None if wrong_last is None else name_wrongly(wrong_last)
    predictions = Predictions(ids, classes, name_wrongly(wrong), last)
    evaluation = evaluation_of(predictions, class_names, **report)
    return EvaluatedRun(evaluation, predictions, Path(name), seed, subset_seed)


def correct(*runs: EvaluatedRun) -> np.ndarray:
    return np.stack([run.predictions.correct for run in runs])


def test_pieces_of_one_recording_are_resampled_together_and_no_test_takes_them_for_independent() -> None:
    ours, theirs = ([make_run(f"{wrong}{seed}", wrong + seed, seed) for seed in (1, 2, 3)] for wrong in (2, 6))
    groups = tuple(str(number // 5) for number in range(len(CLASSES)))
    pieces = [
        [replace(run, predictions=replace(run.predictions, groups=groups)) for run in runs] for runs in (ours, theirs)
    ]
    own, whole = (
        compare.run({"ours": a, "theirs": b}, "theirs").differences[0].checkpoints["best"]
        for a, b in ((ours, theirs), pieces)
    )
    assert whole.top1.recordings == recordings_interval(correct(*ours), correct(*theirs), ids=[groups] * 3)
    assert whole.top1.recordings != own.top1.recordings
    assert whole.top1.draws == own.top1.draws
    assert (len(own.mcnemar), whole.mcnemar) == (3, ())


def test_methods_over_draws_and_their_difference() -> None:
    ours = [make_run("a1", 2, 1), make_run("a2", 4, 2), make_run("a3", 6, 3)]
    theirs = [make_run("b1", 8, 1), make_run("b2", 8, 2), make_run("b3", 11, 3)]
    report = compare.run({"ours": ours, "theirs": theirs}, "theirs")
    assert (report.split, report.num_samples, report.num_classes, report.notes) == ("test", 20, 3, (NO_LAST,))
    assert report.checkpoints == ("best",)  # there are no others in these
    first, second = report.methods
    assert (first.method, first.seeds, first.runs) == ("ours", (1, 2, 3), (Path("a1"), Path("a2"), Path("a3")))
    top1 = first.accuracies["best"]["top1"]
    assert (top1.mean, top1.std, top1.n) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    assert top1.interval is not None
    assert top1.interval.high - 0.8 == pytest.approx(4.3027 * 0.1 / 3**0.5, abs=1e-4)
    per_class = [run.report.mean_class_accuracy for run in theirs]
    assert second.accuracies["best"]["mean_class_accuracy"].mean == pytest.approx(np.mean(per_class))
    (difference,) = report.differences
    found = difference.checkpoints["best"]
    assert (difference.method, difference.baseline, list(difference.checkpoints)) == ("ours", "theirs", ["best"])
    over_recordings = recordings_interval(correct(*ours), correct(*theirs))
    assert found.top1 == paired_difference([0.9, 0.8, 0.7], [0.6, 0.6, 0.45], over_recordings)
    by_class = recordings_interval(correct(*ours), correct(*theirs), np.array([*CLASSES] * 3))
    assert found.mean_class_accuracy.recordings == by_class
    per_class_difference = first.accuracies["best"]["mean_class_accuracy"].mean - np.mean(per_class)
    assert found.mean_class_accuracy.difference == pytest.approx(per_class_difference)
    expected = [mcnemar(*pair) for pair in zip(correct(*ours), correct(*theirs), strict=True)]
    assert list(found.mcnemar) == expected


def draws(name: str, wrong: int, wrong_last: int | None, count: int = 3, **report: Any) -> list[EvaluatedRun]:
    return [make_run(f"{name}{seed}", wrong, seed, wrong_last=wrong_last, **report) for seed in range(count)]


@pytest.mark.parametrize(
    ("best", "last", "verdict"),
    [
        ((2, 12), (2, 12), "ahead"),
        ((12, 2), (12, 2), "behind"),
        ((2, 12), (6, 6), "open"),  # ahead on `best` alone
        ((6, 6), (2, 12), "open"),
        ((2, 12), (12, 2), "open"),
        ((2, 12), (None, None), None),  # an earlier version's, or imported weights: `last` is not known
    ],
)
def test_a_method_is_ahead_of_both_checkpoints_or_not_at_all(
    best: tuple[int, int], last: tuple[int | None, int | None], verdict: str | None
) -> None:
    a, b = (draws(name, *wrong) for name, wrong in zip("ab", zip(best, last, strict=True), strict=True))
    report = compare.run({"a": a, "b": b}, "b")
    (difference,) = report.differences
    assert difference.verdict == verdict
    assert any("evaluate such runs again" in note for note in report.notes) == (verdict is None)
    assert difference.checkpoints["best"].top1.difference == pytest.approx((best[1] - best[0]) / 20)
    if last[0] is not None:
        assert difference.checkpoints["last"].top1.difference == pytest.approx((last[1] - last[0]) / 20)


def test_a_difference_that_other_recordings_could_undo_is_open() -> None:
    """Each draw is better by one recording: nothing varies over draws, but other recordings may have none such."""
    (difference,) = compare.run({"a": draws("a", 5, 5), "b": draws("b", 6, 6)}, "b").differences
    top1 = difference.checkpoints["last"].top1
    assert top1.draws is not None
    assert top1.recordings is not None
    assert top1.draws.low > 0 == top1.recordings.low
    assert difference.verdict == "open"


@pytest.mark.parametrize("count", [1, 2])
def test_few_draws_have_no_interval_no_verdict_and_a_note(count: int) -> None:
    report = compare.run({"a": draws("a", 0, 0, count), "b": draws("b", 15, 15, count)}, "b")
    (difference,) = report.differences
    assert difference.verdict is None
    for found in difference.checkpoints.values():
        assert found.mcnemar == ()
        for paired in (found.top1, found.mean_class_accuracy):
            assert (paired.draws, paired.p, paired.recordings) == (None, None, None)
            assert paired.difference >= 0.5
    assert all(method.accuracies["last"]["top1"].interval is None for method in report.methods)
    assert any(note.startswith("no interval and no verdict: they need 3 draws of each method") for note in report.notes)


@pytest.mark.parametrize(
    ("selection", "validation_per_class", "order"),
    [
        ("validation", 10, ("best", "last")),
        ("validation", 9, ("last", "best")),
        ("validation", None, ("last", "best")),  # an earlier version's
        ("test_as_released", 50, ("last", "best")),
        ("last", 0, ("last",)),
    ],
)
def test_last_comes_first_where_few_recordings_chose_best(
    selection: str, validation_per_class: int | None, order: tuple[str, ...]
) -> None:
    facts = {"selection": selection, "validation_per_class": validation_per_class}
    few = draws("b", 8, 8, train_labels=240, selection_labels=90, **facts)
    many = draws("a", 3, 3, train_labels=240, selection_labels=100, selection="validation", validation_per_class=10)
    report = compare.run({"b": few}, "b")
    assert report.checkpoints == tuple(report.methods[0].accuracies) == order
    assert any("last comes first" in note for note in report.notes) == (order == ("last", "best"))
    assert (report.methods[0].train_labels, report.methods[0].selection_labels) == (240, 90)
    mixed = compare.run({"a": many, "b": few}, "a")
    assert mixed.checkpoints == tuple(mixed.differences[0].checkpoints)
    assert mixed.checkpoints == (order if selection != "last" else ("best", "last"))


def test_the_last_epoch_alone_can_be_compared() -> None:
    runs = {name: draws(name, wrong, None, checkpoint="last") for name, wrong in (("a", 2), ("b", 12))}
    report = compare.run(runs, "b")
    assert (report.checkpoints, report.differences[0].verdict) == (("last",), "ahead")


def test_draws_of_labels_are_told_apart_and_differ_in_nothing_that_needs_a_note() -> None:
    methods = {
        name: [make_run(f"{name}{k}", 3, 1, wrong_last=3, subset_seed=k, split_digest=f"{k}") for k in range(3)]
        for name in ("a", "b")
    }
    report = compare.run(methods, "a")
    assert report.methods[0].subset_seeds == (0, 1, 2)
    assert report.notes == ()
    methods["b"][2] = make_run("b2", 3, 1, wrong_last=3, subset_seed=2, split_digest="another")
    assert "what was trained on differs" in compare.run(methods, "a").notes[0]


def test_recordings_that_taught_without_labels_are_noted_beside_their_method() -> None:
    facts = {"unlabelled_use": "AdaBN", "selection": "last"}
    adapted = [make_run(f"b{k}", 3, k, unlabelled_recordings=1940 + k // 2, **facts) for k in range(3)]
    notes = compare.run({"a": [make_run(f"a{k}", 3, k) for k in range(3)], "b": adapted}, "a").notes
    said = "beside the labels seen, recordings of the training split taught without theirs"
    assert [note for note in notes if said in note] == [
        f"b: {said}: drawn from 1,940 for AdaBN or drawn from 1,941 for AdaBN"
    ]


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
    few = "no interval and no verdict: they need 3 draws of each method (other seeds), here is 1"
    assert same.notes == (few,)
    seeds = "b: its only run and the baseline's have other seeds (2 and 1): a difference may be that of the seeds"
    assert other.notes == (few, seeds)
    imported = compare.run({"a": [make_run("a", 2, 1)], "b": [make_run("b", 3, None)]}, "a").notes[-1]
    assert imported.startswith("b: its only run and the baseline's have other seeds (one not known and 1)")
    draws = [make_run(f"c{seed}", 4, seed) for seed in (1, 2, 3)]
    third = compare.run({"a": [make_run("a", 2, 1)], "b": [make_run("b", 3, 2)], "c": draws}, "a")
    assert seeds in third.notes
    assert [note for note in third.notes if "are the baseline's too" in note] == [
        "c: 1 of its 3 draws are the baseline's too, and were compared; means are of all draws"
    ]


def test_a_training_that_was_stopped_is_named() -> None:
    stopped = make_run("b", 3, unfinished="25 of 40 epochs")
    notes = compare.run({"a": [make_run("a", 2)], "b": [stopped]}, "a").notes
    assert "b: training was stopped after 25 of 40 epochs" in notes


@pytest.mark.parametrize(
    ("way", "usual", "other"),
    [("precision", "float32", "int8"), ("heads", "event", "both"), ("shifts", 0, 2), ("adapt", False, True)],
)
def test_ways_to_evaluate_are_not_mixed(way: str, usual: Any, other: Any) -> None:
    methods = {"a": [make_run("runs/a", 2)], "b": [make_run("runs/b", 3, **{way: other})]}
    says = (
        f"runs/a was evaluated with {way} = {usual}, runs/b with {other}; .* --set evaluate.{way}={str(usual).lower()}"
    )
    with pytest.raises(TrainingError, match=says):
        compare.run(methods, "a")


def test_another_way_than_the_usual_one_is_said() -> None:
    way = "float32, event head, mean of 5 views (0 and ±2 pixels along x and y)"
    for shifts, said in ((0, []), (2, [f"all were evaluated with: {way}"])):
        methods = {name: [make_run(f"runs/{name}", 2, shifts=shifts)] for name in ("a", "b")}
        assert [note for note in compare.run(methods, "a").notes if "evaluated with" in note] == said


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


def test_draws_that_both_methods_have_are_paired_and_means_are_of_all() -> None:
    """Two of the draws are common; the others move the means, and nothing else."""
    ours = [make_run("a1", 2, 1), make_run("a2", 4, 2), make_run("a9", 20, 9)]
    theirs = [make_run("b2", 8, 2), make_run("b1", 8, 1), make_run("b4", 16, 4)]
    report = compare.run({"ours": ours, "theirs": theirs}, "theirs")
    common = compare.run({"ours": ours[:2], "theirs": [theirs[1], theirs[0]]}, "theirs")
    assert report.differences == common.differences
    assert {result.method: len(result.runs) for result in report.methods} == {"ours": 3, "theirs": 3}
    assert any(note.startswith("ours: 2 of its 3 draws are the baseline's too") for note in report.notes)


def test_too_few_common_draws_are_those_of_a_method() -> None:
    runs = {
        name: [make_run(f"{name}{seed}", wrong, seed) for seed in (1, 2, 3)] for name, wrong in (("a", 2), ("b", 3))
    }
    report = compare.run({**runs, "c": [make_run("c1", 4, 1)]}, "a")
    (note,) = [note for note in report.notes if "no interval" in note]
    assert note.startswith("c: no interval and no verdict: they need 3 draws")
    assert note.endswith("here is 1")
    has_interval = [found.checkpoints["best"].top1.draws is not None for found in report.differences]
    assert has_interval == [True, False]


def test_methods_without_a_common_draw_have_means_alone() -> None:
    report = compare.run(
        {"a": [make_run("a1", 2, 1), make_run("a2", 4, 2)], "b": [make_run("b3", 2, 3), make_run("b4", 4, 4)]}, "b"
    )
    assert report.differences == ()
    assert any(note.startswith("a: 0 of its 2 draws") for note in report.notes)
