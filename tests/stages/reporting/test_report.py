"""The report of one run: what is on the page, and what it is not made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import MakeRun, evaluate
from html_page import Page

from dvs_transfer.cache.errors import ConfigError, DvsTransferError, TrainingError
from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.pipeline.results import report
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.evaluation.results import evaluation_path
from dvs_transfer.stages.reporting.figures import _compared, panels
from dvs_transfer.stages.runs.checkpoint import CheckpointName, weights_digest

SECTIONS = ["results", "training", "confusion", "classes", "samples", "analyses", "setup"]


def read(run: Path) -> Page:
    return Page(report([run], run / "report.html").page.read_text())


def test_the_page_stands_alone_and_is_accessible(make_run: MakeRun) -> None:
    page = read(make_run())
    assert page.loaded == []
    assert page.all("script") == []
    assert len(page.content) < 3_000_000
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in page.all("svg"))
    assert all("scope" in cell for cell in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {link["href"] for link in page.all("a")}
    assert anchors == {f"#{name}" for name in SECTIONS}


def test_the_page_has_every_section_in_its_order(make_run: MakeRun) -> None:
    page = read(make_run())
    assert page.sections == SECTIONS
    assert page.headings[0] == "Run run"
    assert {"Named wrongly", "Named rightly"} <= set(page.headings)
    for panel in ("loss", "accuracy", "sliding probability", "alignment coefficient w_t", "firing rate"):
        assert f">{panel}" in page.content
    pictures = page.all("img")
    assert len(pictures) == (2 + 4) * (3 + 2)  # recordings, each with three time bins, photo and V
    assert sum(picture.get("class") == "events" for picture in pictures) == (2 + 4) * 3  # turned on a dark page


def test_provenance_is_last_and_folded_and_every_table_can_scroll(make_run: MakeRun) -> None:
    content = read(make_run()).content
    setup = content[content.index('<section id="setup">') :]
    assert setup.count("<section") == 1
    opened = re.sub(r"<details>.*?</details>", "", setup, flags=re.DOTALL)
    assert "<table" in setup
    assert not re.findall("<table|<pre|<details", opened)
    assert content.count("<table") == len(re.findall(r'<div class="scroll"[^>]*>\s*<table', content))


def test_nothing_slides_where_recordings_train_alone() -> None:
    line = {"epoch": 1, "loss": 1.0, "loss_static": 0.0, "sliding_probability": 0.5}
    assert "sliding probability" not in panels([line])
    assert "sliding probability" in panels([{**line, "loss_static": 0.5}])


def test_layers_that_never_fire_are_drawn_and_counted() -> None:
    found = panels([{"firing_rates": {"one": 0.2, "silent": 0.0}, "w_t": [0.0, 0.0]}])
    assert found["firing rate (spikes per neuron and step)"] == {"one": [0.2], "silent": [0.0]}
    assert _compared(found)["firing rate (spikes per neuron and step)"] == [0.1]
    assert found["alignment coefficient w_t"] == {"step 1": [0.0], "step 2": [0.0]}
    assert "alignment coefficient w_t" not in panels([{"w_t": None}])


@pytest.mark.parametrize(("loss_event", "lines"), [((3.0, 1.5, 1.0), 1), ((2.5, 1.5, 1.0), 2)])
def test_a_loss_that_is_the_whole_is_drawn_once(loss_event: tuple[float, ...], lines: int, make_run: MakeRun) -> None:
    run = make_run()
    losses = zip((3.0, 1.5, 1.0), loss_event, strict=True)
    metrics = [{"epoch": 1 + at, "loss": loss, "loss_event": of} for at, (loss, of) in enumerate(losses)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    (described,) = [str(of["aria-label"]) for of in read(run).all("svg") if str(of["aria-label"]).startswith("loss")]
    assert described.count("loss") == 1 + lines  # the title, and each line's name


def test_what_was_run_is_told(make_run: MakeRun, pairs: Path) -> None:
    page = read(make_run(train={"seed": 77, "method": "events"}))
    split = PairedCache.open(pairs, "test")
    for text in (split.split_digest[:12], "77", "12 train, 6 validation, 12 test", "2 of 300 (best)", "toy-events"):
        assert text in page.text
    assert '"method": "events"' in page.text  # the configuration
    assert "Machine, dates and software of the training are not recorded" in page.text


def test_machine_dates_and_versions_of_the_training(make_run: MakeRun) -> None:
    run = make_run()
    stint = {"started": "2026-02-03T04:05:06+00:00", "ended": "2026-02-03T05:06:06+00:00", "epochs_before": 0}
    machine = {"device": "An Abacus", "system": "Linux-9", "cores": 2, "threads": 1, "versions": {"torch": "9.8.7"}}
    two = machine | {"device": "2 x A Slide Rule", "processes": 2, "data_placement": "sharded"}
    (run / "stints.json").write_text(json.dumps([stint | machine, stint | two]))
    page = read(run)
    for text in (
        "2026-02-03 04:05:06",
        "1 h 1 min",
        "An Abacus",
        "2 x A Slide Rule, data sharded",
        "Linux-9",
        "torch 9.8.7",
    ):
        assert text in page.text
    assert "are not recorded" not in page.text


def test_numbers_are_the_evaluation_s(make_run: MakeRun) -> None:
    run = make_run(
        top5=0.98765,
        top1_interval=(0.51239, 0.71231),
        calibration_error=0.123456,
        last={"top1": 0.34567, "top5": 0.9, "mean_class_accuracy": 0.45678},
        epoch_choice="epoch 2, which was drawn by lot",
        top1_after_step=(0.23456, 0.8),
        class_names=("ant", "bee", "cat", "dog", "eel", "fox"),
    )
    page = read(run)
    assert page.text.index("51.2 to 71.2 %") < page.text.index("34.6 %")  # of `best`, which enough recordings chose
    for text in ("98.8 %", "51.2 to 71.2 %", "12.3 %", "34.6 %", "45.7 %", "epoch 2, which was drawn by lot"):
        assert text in page.text
    assert "0.2346, 0.8" in page.content  # the chart's description


def test_the_last_epoch_leads_where_few_recordings_chose_the_best(make_run: MakeRun) -> None:
    facts = {"validation_per_class": 9, "train_labels": 1234, "selection_labels": 27}
    last = {"top1": 0.34567, "top5": 0.9, "mean_class_accuracy": 0.45678, "top1_interval": (0.21111, 0.51111)}
    page = read(make_run(last=last, top1_interval=(0.51239, 0.71231), **facts))
    words = " ".join(page.text.split())
    assert "34.6 % top-1 on 12 test recordings of 3 classes (95 % interval over recordings 21.1 to 51.1 %" in words
    assert "Method transfer, 1,234 labelled recordings; the last epoch's weights. " in words
    assert page.text.rindex("21.1 to 51.1 %") < page.text.index("51.2 to 71.2 %")
    assert "The last epoch comes first: fewer than 10 validation recordings of some class chose the best one" in words
    assert "1,234 that trained, and 27 that chose the epoch of best" in words
    assert "without labels" not in words
    assert words.count("12 test recordings, named by the best weights of epoch 2") == 1  # above what they said
    assert "after the first steps, of the best weights of epoch 2: what an early stop would cost" in words
    assert "Top-1 after each time step, of the best weights of epoch 2." in page.content  # the chart's description


def test_recordings_that_taught_without_labels_are_counted_beside_the_labels(make_run: MakeRun) -> None:
    facts = {"train_labels": 60, "selection_labels": 0, "unlabelled_recordings": 1940, "unlabelled_use": "FixMatch"}
    words = " ".join(read(make_run(**facts)).text.split())
    assert "60 that trained; beside them, without labels, drawn from 1,940 for FixMatch" in words


def test_weights_that_were_not_selected_are_called_last(make_run: MakeRun) -> None:
    words = " ".join(read(make_run(selection="last", epoch=3)).text.split())
    assert words.count("named by the last weights of epoch 3") == 2  # confusion, samples
    assert "By the last weights of epoch 3." in words  # classes
    assert "the last epoch's weights (epoch 3)" in words
    assert "3 of 300 (last epoch's weights)" in words


def test_every_evaluated_split_has_its_results(make_run: MakeRun, pairs: Path) -> None:
    run = make_run()
    evaluate(run, PairedCache.open(pairs, "validation"))
    assert {"12 test recordings", "6 validation recordings"} <= set(read(run).headings)


def test_a_report_of_validation_recordings_does_not_open_the_others(make_run: MakeRun, pairs: Path) -> None:
    run = make_run()
    evaluation_path(run, "test").unlink()
    evaluate(run, PairedCache.open(pairs, "validation"))
    headings = read(run).headings
    assert "6 validation recordings" in headings
    assert "12 test recordings" not in headings


def test_whatever_stands_in_a_name_is_text(make_run: MakeRun) -> None:
    names = ("<b>ant</b>", 'b"ee&amp;', "<script>alert(1)</script>")
    run = make_run("r&<i>", class_names=names, epoch_choice="</section><img src=http://x>")
    (run / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "loss": 1.0, "firing_rates": {"<u>": 0.5}}) + "\n")
    page = read(run)
    assert not {"b", "i", "u", "script"} & {tag for tag, _ in page.tags}
    assert page.loaded == []
    for name in (*names, "r&<i>", "</section><img src=http://x>"):
        assert name in page.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"photos_in_reach": "some"}, "Leaky: photos of held-out recordings taught the network."),
        ({"photos_in_reach": "unknown"}, "Not known: photos of held-out recordings."),
        ({"protocol": "unknown", "method": "imported"}, "Protocol unknown: imported weights."),
        ({"selection": "test_as_released"}, "Epoch chosen on the test recordings."),
        ({}, None),
    ],
)
def test_results_that_flatter_are_marked(changes: dict[str, str], says: str | None, make_run: MakeRun) -> None:
    page = read(make_run(**changes))
    boxes = page.all("aside")
    assert [box["class"] for box in boxes] == ([] if says is None else ["warning"])
    assert says is None or says in page.text
    assert says is None or page.text.index(says) < page.text.index("Results")


def test_imported_weights_have_no_curves(make_run: MakeRun, pairs: Path) -> None:
    run = make_run(protocol="unknown", method="imported")
    (run / "metrics.jsonl").unlink()
    (run / "config.json").write_text(json.dumps({"imported": "model_best.pth.tar", "pairs": str(pairs)}))
    page = read(run)
    assert "No learning curves: the weights were imported." in page.text
    assert "model_best.pth.tar" in page.text


def test_every_analysis_can_be_read_and_what_is_missing_is_named(make_run: MakeRun) -> None:
    run = make_run()
    page = read(run)
    for name, entry in ANALYSES.items():
        drawn = entry.draw is not None
        assert entry.title not in page.headings
        assert (f"dvs-transfer analyse {name} {run}" in page.text) == drawn
    titles = [entry.title for entry in ANALYSES.values() if entry.draw is not None]
    assert page.text.count("Not made yet") == page.text.count(", ".join(titles)) == 1


def test_what_the_data_of_a_run_refuse_is_not_proposed(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three recordings are too few for CKA and t-SNE, and a network of one's own has layers that are not known."""

    def proposed(run: Path) -> set[str]:
        return set(re.findall(rf"dvs-transfer analyse (\S+) {run}", read(run).text))

    run = make_run()
    assert proposed(run) == {"activity", "alignment", "embedding", "grad-cam", "landscape"}
    document = json.loads((run / "config.json").read_text())
    document["experiment"]["model"]["name"] = "mine:Network"
    (run / "config.json").write_text(json.dumps(document))
    assert proposed(run) == {"alignment", "embedding", "landscape"}
    monkeypatch.setattr(PairedCache, "count", lambda self, split: np.array([2, 1]))
    assert proposed(run) == {"landscape"}


def write_alignment(run: Path, checkpoint: CheckpointName, **changes: Any) -> None:
    (run / "analysis").mkdir()
    values = {
        **{"analysis": "alignment", "fingerprint": "0", "settings": {}, "split": "validation", "num_recordings": 6},
        **{"weights_digest": weights_digest(run, checkpoint)},
        **{"checkpoint": checkpoint, "epoch": 3, "method": "transfer", "protocol": "disjoint", "split_digest": "0"},
        **{
            "revision": ANALYSES["alignment"].version,
            "arrays": [],
            "note": "",
            "seconds": 1.0,
            "layers": ["backbone.0"],
            "trained": [[0.1, 0.2]],
        },
        **{"initial": None, "aligned_features": 0.65432, "aligned_features_initial": None, "epochs": [1, 2]},
        **{"w_t": [[0.7, 0.8], [0.7, 0.9]], "sliding_probability": [0.5, 1.0]},
    }
    (run / "analysis" / "alignment.json").write_text(json.dumps(values | changes))


@pytest.mark.parametrize("told", [{}, {"selection": "last"}], ids=["by the evaluation", "by the analysis"])
def test_an_analysis_of_weights_that_were_not_selected(told: dict[str, str], make_run: MakeRun) -> None:
    """One file says `best`, and it is the last epoch's."""
    run = make_run(selection="last", checkpoint="last", epoch=3)
    write_alignment(run, "best", **told)
    words = " ".join(read(run).text.split())
    assert "6 validation recordings, last epoch's weights (epoch 3)" in words
    assert "Made of the" not in words


def test_an_analysis_of_other_weights_is_marked(make_run: MakeRun) -> None:
    run = make_run()
    write_alignment(run, "last")
    page = read(run)
    assert "0.6543" in page.text
    assert ANALYSES["alignment"].reading in page.text
    other = "Made of the last epoch's weights (epoch 3); the results above are of the best weights (epoch 2)"
    assert other in page.text
    assert "analyse alignment" not in page.text
    assert "CKA of recordings and images, after training" in page.content
    assert "learned coefficient of each time step" not in page.content  # that is among the learning curves


def test_an_analysis_beside_results_of_an_unusual_way_is_marked(make_run: MakeRun) -> None:
    """An accuracy of adapted statistics does not belong to the activity of the network that was trained."""
    run = make_run(checkpoint="last", epoch=3, selection="last", adapt=True)
    write_alignment(run, "last")
    way = "evaluated in another way for the results above: float32, event head, statistics of unlabelled recordings"
    assert way in " ".join(read(run).text.split())


# What cannot be reported


def test_a_run_without_results(make_run: MakeRun) -> None:
    run = make_run()
    evaluation_path(run, "test").unlink()
    with pytest.raises(TrainingError, match=rf"{run}: no results to report; run `dvs-transfer evaluate {run}` first"):
        read(run)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("content", [None, b""])
def test_a_run_without_a_finished_epoch(content: bytes | None, make_run: MakeRun) -> None:
    run = make_run()
    (run / "metrics.jsonl").unlink()
    if content is not None:
        (run / "metrics.jsonl").write_bytes(content)
    with pytest.raises(TrainingError, match=r"run: no finished epoch here .* with `dvs-transfer train`"):
        read(run)


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "evaluation-test.json", "predictions-test.csv", "stints.json", "analysis/activity.json"]
)
@pytest.mark.parametrize("damage", ["cut", "garbled", "not text", "other"])
def test_damaged_files_are_named(name: str, damage: str, make_run: MakeRun) -> None:
    path = make_run() / name
    path.parent.mkdir(exist_ok=True)
    whole = path.read_bytes() if path.exists() else b'[{"a": 1}]\n'
    damaged = {"cut": whole[:-9], "garbled": b"garbled\n", "not text": b"\xff\xfe\x00\n", "other": b"{}\n"}
    path.write_bytes(damaged[damage])
    with pytest.raises(TrainingError, match=rf"{path.name}: .*(`dvs-transfer (train|evaluate|analyse)|delete it)"):
        read(path.parent if path.parent.name == "run" else path.parent.parent)


@pytest.mark.parametrize("name", ["best", "last"])
def test_results_of_weights_that_are_gone(name: str, make_run: MakeRun) -> None:
    run = make_run()
    (run / "checkpoints" / f"{name}.safetensors").write_bytes(b"trained on")
    says = rf"evaluation-test.json: of other weights than {name}.safetensors holds now, .*; run `dvs-transfer evaluate"
    with pytest.raises(TrainingError, match=says):
        read(run)


def test_results_of_other_recordings(make_run: MakeRun, pairs: Path) -> None:
    run = make_run()
    evaluate(run, PairedCache.open(pairs, "validation"), split="test")
    with pytest.raises(TrainingError, match=r"of other recordings than the run's test split has now \(6 and 12\)"):
        read(run)


def test_a_cache_that_is_gone(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    document = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(document | {"pairs": str(tmp_path / "gone.zarr")}))
    with pytest.raises(
        DvsTransferError, match=r"gone.zarr: no such store.*make it again with `dvs-transfer preprocess`"
    ):
        read(run)


def test_another_kind_of_file(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(ConfigError, match=r"report.pdf: reports are written as HTML"):
        report([run], run / "report.pdf")
