"""Runs listed: what was trained on what, how good it is; damaged ones say so and hide nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

from command_line import run_command, succeed
from tiny import EVERY_STEP, make_workspace, preprocess

from dvs_transfer.pipeline.run_list import as_table, list_runs
from dvs_transfer.stages.evaluation.results import read_evaluation
from dvs_transfer.stages.runs.checkpoint import weights_path


def test_runs_are_listed_ordered_and_filtered(tmp_path: Path) -> None:
    own = {"train": {"epochs": 1}, "baseline": {"name": "alone", "train": {"method": "events"}}}
    root = make_workspace(tmp_path / "root", EVERY_STEP, own)
    succeed(*preprocess(root))
    common = ("--config", root / "tiny.toml", "--root", root)
    told = succeed("train", *common, "--name", "mine").out
    hint = told.splitlines()[-1]
    assert hint == f"next: dvs-transfer evaluate --config {root}/tiny.toml --set 'name=\"mine\"' --root {root}"
    first, second = sorted(list_runs(root / "runs"), key=lambda run: run.name)
    assert (first.name.rpartition("-")[0], second.name.rpartition("-")[0]) == (
        "alone-events-seed-42",
        "mine-transfer-seed-42",
    )
    assert (first.state, first.accuracy) == ("trained 1 of 1 epochs", None)
    shutil.copytree(first.path, root / "runs" / "begun", ignore=shutil.ignore_patterns("metrics.jsonl"))
    (begun,) = list_runs(root / "runs", "begun")
    assert (begun.state, begun.seed) == ("trained 0 of 1 epochs", 42)
    shutil.rmtree(begun.path)
    asked_otherwise = succeed("evaluate", second.path, "--set", "evaluate.shifts=1", "--json").document
    (shifted,) = list_runs(root / "runs", "mine")
    assert (shifted.accuracy, "views" in str(shifted.way)) == (asked_otherwise["top1"], True)
    assert f"{shifted.num_recordings} test, {shifted.way}" in as_table([shifted])[1]
    results = second.path / "evaluation-test.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"photos_in_reach": "some"}))
    assert " (leaky)  " in as_table(list_runs(root / "runs", "mine"))[1]
    evaluated = succeed("evaluate", second.path, "--json").document
    assert " test  " in as_table(list_runs(root / "runs", "mine"))[1]
    weights = weights_path(second.path, "last")
    kept = weights.read_bytes()
    weights.write_bytes(kept + b"\0")  # trained further, and
    os.utime(weights, (0, 0))  # copied here with its time
    (stale,) = list_runs(root / "runs", "mine")
    assert (stale.accuracy, stale.interval) == (None, None)
    assert stale.state == "evaluated on test recordings before it was trained further; evaluate again"
    weights.write_bytes(kept)
    damaged = root / "runs" / "broken"
    damaged.mkdir()
    (damaged / "config.json").write_text("{")
    listed = {run.name: run for run in list_runs(root / "runs", by="accuracy")}
    run = listed[second.name]
    assert (run.accuracy, run.labels) == (evaluated["top1"], evaluated["train_labels"])
    assert (run.seed, run.method, run.num_recordings) == (42, "transfer, value", evaluated["num_samples"])
    assert next(iter(listed)) == second.name
    assert "damaged" in listed["broken"].state
    assert [run.name for run in list_runs(root / "runs", "TRANSFER")] == [second.name]
    table = as_table(list(listed.values()))
    assert len(table) == 4
    assert f"{100 * evaluated['top1']:.1f} %" in table[1]
    assert all("transfer, value" in line for line in (table[1], as_table([run], 200)[1]))
    narrow = as_table(list(listed.values()), 80)
    assert all(run.name in " ".join(narrow) for run in listed.values())
    assert max(map(len, narrow[:3])) <= 80
    assert table[1].split()[0] == narrow[1].split()[0]
    assert narrow[1].endswith(second.name)
    assert "data" in table[0].split()
    assert "data" not in narrow[0].split()
    document = succeed("runs", "ls", "mine", "--json", "--root", root).document
    assert [Path(entry["path"]).name for entry in document] == [second.name]
    none = succeed("runs", "ls", "xyz", "--root", root).out
    assert none == f'0 runs with "xyz" in name, data or method in {root / "runs"}\n'
    assert "expected one of when, name" in run_command("runs", "ls", "--sort", "x", "--root", root).err
    bare = run_command("evaluate", root / second.name).err
    assert f"{root / second.name}: no run here; there is {second.path}" in bare
    near = run_command("evaluate", root / "runs" / "mine").err
    assert second.name in near
    told = succeed(*shlex.split(hint)[2:]).out  # as it is written, of the baseline, too
    reports = [read_evaluation(run.path, "test") for run in (second, first)]
    found, against = (report.at("last") for report in reports)
    assert found is not None
    assert against is not None
    assert f"difference: {100 * (found.top1 - against.top1):+.1f} points of top-1, last epoch\n" in told
    assert told.splitlines()[-1] == hint.replace(" evaluate ", " report ")
    assert {run.state for run in list_runs(root / "runs", "seed-42")} == {"evaluated"}


def test_a_run_of_an_earlier_version_is_found_by_its_folder_s_name(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "root", EVERY_STEP, {"train": {"epochs": 1}})
    succeed(*preprocess(root))
    common = ("--quiet", "--root", root, "train", "--config", root / "tiny.toml", "--json")
    now = Path(succeed(*common).document["run"])
    before = now.with_name(f"tiny-{now.name.rpartition('-')[2]}")
    now.rename(before)
    again = succeed(*common).document
    assert (Path(again["run"]), again["resumed_after"]) == (before, 1)
    assert json.loads((before / "config.json").read_text())


def test_hints_repeat_the_options_that_matter(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "root", EVERY_STEP, {})
    told = run_command("train", "--config", root / "tiny.toml", "--set", "pairing.seed=3", "--root", root)
    assert f"`dvs-transfer preprocess --config {root}/tiny.toml --set pairing.seed=3 --root {root}`" in told.err
