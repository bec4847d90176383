"""The report of several runs: side by side, their means, and which cannot stand together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import MakeRun, evaluate
from html_page import Page

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.pipeline.results import compare_runs, report
from dvs_transfer.stages import pairing
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.style import SERIES
from dvs_transfer.stages.evaluation.results import evaluation_path
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.runs.checkpoint import weights_digest

VERSION = ANALYSES["alignment"].version
METHODS = ({"method": "transfer"}, {"method": "events"})


def make_runs(make_run: MakeRun, seeds: tuple[int, ...] = (1, 2), **changes: Any) -> list[Path]:
    """Two methods with some seeds, of which one recording more is wrong with each run."""
    settings = [method | {"seed": seed} for method in METHODS for seed in seeds]
    return [make_run(f"run{index}", train, wrong=range(index), **changes) for index, train in enumerate(settings)]


def test_runs_stand_side_by_side(make_run: MakeRun, tmp_path: Path) -> None:
    runs = make_runs(make_run)
    made = report(runs, tmp_path / "several.html")
    assert (made.num_runs, made.splits) == (4, ("test",))
    page = Page(made.page.read_text())
    assert page.headings[0] == "4 runs, 2 settings"
    assert "A, the baseline: train.method=transfer, 2 runs: 95.8 % top-1 B: " in " ".join(page.text.split())
    for run in runs:
        assert run.name in page.text
    accuracies = np.array([12, 11, 10, 9]) / 12
    for first, letter in ((0, "A"), (2, "B")):
        pair = accuracies[first : first + 2]
        assert f"{100 * pair.mean():.1f} % ± {100 * pair.std(ddof=1):.1f} %" in page.text
        assert f"{letter}, 2 draws" in page.text
    assert f"B - A = {100 * (accuracies[2:].mean() - accuracies[:2].mean()):+.1f} points of top-1" in page.text
    assert {"Named rightly by some runs", "Named rightly by all runs"} <= set(page.headings)
    assert page.loaded == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def read_words(runs: list[Path], folder: Path) -> str:
    """The text of their report, a space between cells."""
    content = report(runs, folder / "several.html").page.read_text()
    return " ".join(Page(re.sub("(</t[dh]>)", r" \1", content)).text.split())


@pytest.mark.parametrize("way", [{"shifts": 2}, {"heads": "both"}, {"precision": "bfloat16"}, {"adapt": True}])
def test_runs_are_compared_as_they_were_evaluated_and_not_evaluated_again(
    make_run: MakeRun, tmp_path: Path, way: dict[str, Any]
) -> None:
    runs = [make_run(method["method"], method, **way) for method in METHODS]
    before = [evaluation_path(run, "test").read_bytes() for run in runs]
    (key, value), *_ = way.items()
    words = read_words(runs, tmp_path)
    assert "All were evaluated with: " in words
    said = {"shifts": "±2 pixels", "heads": "both heads", "precision": "bfloat16", "adapt": "unlabelled recordings"}
    assert said[key] in words
    assert [evaluation_path(run, "test").read_bytes() for run in runs] == before
    usual = make_run("c", {"seed": 3})
    says = rf"{runs[0]} was evaluated with {key} = {value}, {usual} with .* same evaluate\.{key}"
    with pytest.raises(TrainingError, match=says):
        report([*runs, usual], tmp_path / "mixed.html")


def test_the_evaluated_weights_of_several_runs_are_named_by_their_epochs(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(f"run{epoch}", {"seed": epoch}, epoch=epoch) for epoch in (2, 3)]
    assert "12 test recordings, named by the best weights of epoch 2 to 3" in read_words(runs, tmp_path)


def test_analyses_of_other_recordings_and_settings_are_told_apart(make_run: MakeRun, tmp_path: Path) -> None:
    runs = make_runs(make_run, seeds=(1,))
    for run, split, extent in zip(runs, ("train", "test"), (1.0, 0.1), strict=True):
        values = {
            **{"analysis": "alignment", "fingerprint": "0", "settings": {"extent": extent}, "split": split},
            **{"weights_digest": weights_digest(run, "best"), "num_recordings": 6, "checkpoint": "best", "epoch": 2},
            **{"method": "transfer", "protocol": "disjoint", "split_digest": "0", "version": VERSION, "arrays": []},
            **{"seconds": 1.0, "layers": ["backbone.0"], "trained": [[0.1, 0.2]], "initial": None, "epochs": []},
            **{"aligned_features": 0.6, "aligned_features_initial": None, "w_t": [], "sliding_probability": []},
        }
        (run / "analysis").mkdir()
        (run / "analysis" / "alignment.json").write_text(json.dumps(values))
    words = read_words(runs, tmp_path)
    assert "6 train, best weights 6 test, best weights" in words
    assert '{"extent": 1.0} {"extent": 0.1}' in words


@pytest.mark.parametrize(
    ("trained", "differ"),
    [
        ([{"method": "mixture"}, {"method": "events"}], True),
        ([{"method": "mixture", "options": {"share": share}} for share in (0.5, 0.9)], True),
        ([{"method": "events"}, {"method": "events"}], False),
    ],
)
def test_losses_that_are_weighted_otherwise_are_not_to_be_compared(
    trained: list[dict[str, Any]], differ: bool, make_run: MakeRun, tmp_path: Path
) -> None:
    runs = [make_run(f"r{seed}", {**of, "seed": seed}, method=of["method"]) for seed, of in enumerate(trained)]
    says = "their terms as weighted in it: not comparable where method, options or weights differ."
    assert (says in read_words(runs, tmp_path)) == differ


def test_curves_of_one_run_among_others_have_its_colour(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("imported", {}, method="imported"), make_run("trained", {"seed": 1})]
    (runs[0] / "metrics.jsonl").unlink()
    pairs = json.loads((runs[0] / "config.json").read_text())["pairs"]
    (runs[0] / "config.json").write_text(json.dumps({"imported": "model.pth.tar", "pairs": pairs}))
    page = report(runs, tmp_path / "one.html").page.read_text()
    charts = re.findall(r'<svg[^>]*aria-label="(?:loss|training accuracy).*?</svg>', page, re.DOTALL)
    assert charts
    assert all(SERIES[1] in chart and SERIES[0] not in chart for chart in charts)


def test_two_draws_have_neither_interval_nor_verdict(make_run: MakeRun, tmp_path: Path) -> None:
    words = read_words(make_runs(make_run), tmp_path)
    opening, _, rest = words.partition(" Results 12 test recordings ")
    assert "B - A = -16.7 points of top-1, the weights of the best epoch; no interval: 2 draws of each. A, " in opening
    assert "B - A, best top-1 -16.7 B - A, best mean per-class accuracy -16.7 Runs:" in rest
    assert "over draws" not in opening
    assert "No interval and no verdict: they need 3 draws of each method (other seeds), here are 2." in words


def test_three_draws_have_both_intervals_of_both_checkpoints_and_a_verdict(make_run: MakeRun, tmp_path: Path) -> None:
    """Few validation recordings: `last` leads. Labels: those that trained, and those that chose the epoch."""
    facts = {"validation_per_class": 2, "train_labels": 12, "selection_labels": 6}
    runs = make_runs(make_run, (1, 2, 3), wrong_last=(0,), **facts)
    words = read_words(runs, tmp_path)
    zero = "+0.0 +0.0 to +0.0 1 +0.0 to +0.0"
    assert f"B - A, last top-1 {zero} 0 : 0 (1); 0 : 0 (1); 0 : 0 (1) B - A, last mean" in words
    assert "B - A, best top-1 -25.0 -25.0 to -25.0 - -" in words  # the same in each draw
    assert "All on the same 12 test recordings of 3 classes. Guessing: 33.3 %. Differences are paired" in words
    assert (
        "B - A = +0.0 points of top-1, the last epoch's weights; 95 % interval +0.0 to +0.0 over 3 draws, +0.0 to +0.0 "
        "over recordings (so few that it is too narrow). Open which is ahead. (last and best judged together)" in words
    )
    assert words.index("last: top-1") < words.index("best: top-1")
    assert "12 + 6" in words
    assert "Last comes first: fewer than 10 validation recordings of a class" in words


def test_the_opening_has_the_numbers_of_the_comparison(make_run: MakeRun, tmp_path: Path) -> None:
    """Ahead in every draw, by another number of recordings in each."""
    wrong = {"events": [range(9), range(8), range(9)], "transfer": [range(1), range(2), range(1)]}
    runs = [
        make_run(f"{method}{seed}", {"method": method, "seed": seed}, wrong=of[seed], selection="last")
        for method, of in wrong.items()
        for seed in range(3)
    ]
    compared = compare_runs(runs)
    (difference,) = compared.differences
    found, mean = difference.checkpoints["last"].top1, (8 + 6 + 8) / 36
    assert (difference.verdict, found.difference) == ("ahead", pytest.approx(mean))
    assert found.draws is not None
    assert found.recordings is not None
    ends = [f"{100 * end:+.1f}" for of in (found.draws, found.recordings) for end in (of.low, of.high)]
    words = read_words(runs, tmp_path)
    assert (
        f"6 runs, 2 settings B - A = +61.1 points of top-1, the last epoch's weights; 95 % interval {ends[0]} to "
        f"{ends[1]} over 3 draws, {ends[2]} to {ends[3]} over recordings (so few that it is too narrow). B is ahead. "
        "A, the baseline: train.method=events, 3 runs: 27.8 % top-1 (95 % interval of the mean over draws" in words
    )


def test_what_all_runs_share_is_said_once(make_run: MakeRun, tmp_path: Path) -> None:
    words = read_words(make_runs(make_run), tmp_path)
    assert "Labels that each run saw (those that trained + those that chose the epoch): 240 + 100." in words
    assert words.count("Evaluated: epoch 2.") == 1
    assert "labels seen" not in words.partition("What was run")[0]
    others = [make_run(f"b{seed}", {"seed": seed}, train_labels=seed, epoch_choice=f"no {seed}") for seed in (1, 2)]
    words = read_words(others, tmp_path)
    table = (tmp_path / "several.html").read_text().partition('aria-label="Accuracies of the runs"')[2]
    head, _, body = table[: table.index("</table>")].partition("</thead>")
    assert re.findall(r'colspan="(\d+)"', body) == [str(head.count("<th "))]
    assert "calibration error labels seen evaluated" in words
    assert "no 1" in words
    assert "1 + 100" in words


def test_what_each_said_of_a_recording(make_run: MakeRun, tmp_path: Path) -> None:
    page = Page(report(make_runs(make_run), tmp_path / "several.html").page.read_text())
    assert "named by A ant (1), bee (1); B bee" in page.text  # the first recording: right with the first run alone


def test_a_leaky_run_among_others_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    a = make_run("a", {"seed": 1})
    b = make_run("b", {"seed": 1, "epochs": 9}, protocol="unrestricted")
    page = Page(report([a, b], tmp_path / "x.html").page.read_text())
    assert "Leaky: photos of held-out recordings taught the network" in page.text
    assert "photos in reach: some" in page.text
    assert "Runs: B, seed 1." in page.text


def test_simulated_recordings_of_several_runs_are_told_once(make_run: MakeRun, tmp_path: Path) -> None:
    """One of the runs is shown photos by a camera; of another it is not known where its recordings are from."""
    shown = {"method": "transfer", "encoding": "saccade", "saccade": {"motion": "drift"}}
    runs = [make_run(train["method"], train) for train in ({"method": "events"}, shown)]
    assert "recordings are simulated" not in read_words(runs, tmp_path)
    for run in runs:
        document = json.loads((run / "config.json").read_text())
        document["experiment"]["demo"] = {"out": "demo"}
        (run / "config.json").write_text(json.dumps(document))
    words = read_words([*runs, make_run("unknown", {"method": "mixture"})], tmp_path)
    says = "The recordings are simulated: drawn shapes before a simulated camera, which is not the one that photos are "
    assert f"{says}shown with. All on the same 12 test recordings" in words.partition(" Results ")[0]
    assert words.count("recordings are simulated") == 1


def test_where_the_page_goes(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(name, {"seed": seed}) for seed, name in enumerate(("a", "b"))]
    assert report(runs[0]).page == runs[0] / "report" / "report.html"
    assert report(runs, root=tmp_path).page == tmp_path / "runs" / "report.html"


def test_runs_of_other_data(make_run: MakeRun, tmp_path: Path) -> None:
    a, b = make_run("a", {"seed": 1}), make_run("b", {"seed": 2})
    stores = sorted(tmp_path.glob("toy-events-*.zarr")), sorted(tmp_path.glob("toy-images-*.zarr"))
    config = PairingConfig(train=0.4, validation=0.2, test=0.4, seed=5)
    other = pairing.run(config, stores[0][0], stores[1][0], tmp_path).path
    document = json.loads((b / "config.json").read_text())
    document["experiment"]["pairing"]["seed"] = 5
    (b / "config.json").write_text(json.dumps(document | {"pairs": str(other)}))
    evaluate(b, PairedCache.open(other, "test"))
    with pytest.raises(TrainingError, match=rf"{a} and {b} cannot be compared: other test recordings"):
        report([a, b], tmp_path / "x.html")


def test_a_run_without_results_among_others(make_run: MakeRun, tmp_path: Path) -> None:
    a, b = make_run("a", {"seed": 1}), make_run("b", {"seed": 2})
    evaluation_path(b, "test").unlink()
    with pytest.raises(TrainingError, match=rf"{b}: no results to report"):
        report([a, b], tmp_path / "x.html")


def test_runs_evaluated_on_different_splits(make_run: MakeRun, pairs: Path, tmp_path: Path) -> None:
    a, b = make_run("a", {"seed": 1}), make_run("b", {"seed": 2})
    evaluation_path(b, "test").unlink()
    evaluate(b, PairedCache.open(pairs, "validation"))
    with pytest.raises(
        TrainingError, match=rf"different splits \({a}: test; {b}: validation\); run `dvs-transfer eval"
    ):
        report([a, b], tmp_path / "x.html")


def test_of_one_that_selected_nothing_and_one_asked_for_last_the_last_epochs_are_compared(
    make_run: MakeRun, tmp_path: Path
) -> None:
    a = make_run("a", {"seed": 1}, selection="last")
    b = make_run("b", {"seed": 2}, checkpoint="last")
    before = [evaluation_path(run, "test").read_bytes() for run in (a, b)]
    read_words([a, b], tmp_path)
    assert [evaluation_path(run, "test").read_bytes() for run in (a, b)] == before, "nothing was evaluated anew"


def test_best_and_last_weights_are_not_mixed(make_run: MakeRun, tmp_path: Path) -> None:
    a, b = make_run("a", {"seed": 1}), make_run("b", {"seed": 2}, checkpoint="last")
    with pytest.raises(TrainingError, match=rf"{a} was evaluated with checkpoint = best, {b} with last"):
        report([a, b], tmp_path / "x.html")
