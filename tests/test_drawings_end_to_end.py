"""Drawn characters in the published formats of N-Omniglot and Omniglot, from files to few-shot accuracies."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import refuse, succeed
from drawings import write_drawings

from dvs_transfer import PairedCache, analyse
from dvs_transfer.cli import app
from dvs_transfer.pipeline.config import load_config

# The shipped values, but for one epoch of few steps.
QUICK = ("--set", "train.epochs=1", "--set", "train.threads=1", "--set", "train.batch_size=15")
CONFIG = ("--config", "configs/nomniglot.toml", *QUICK)
NOVEL = (*CONFIG, "--set", 'pairing.novel_classes=["Angelic/*"]')


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    write_drawings(root / "data" / "raw")
    return root


def run(root: Path, *command: str) -> Any:
    return succeed("--quiet", "--root", root, *command, "--json").document


def test_fifteen_recordings_of_each_character_train_and_five_test(root: Path) -> None:
    made = run(root, "preprocess", *CONFIG)
    assert (made["events"]["num_samples"], made["events"]["quarantined"]) == (80, {})
    assert made["pairs"]["num_with_photo"] == 80
    for split, count in (("train", 15), ("test", 5), ("validation", 0), ("novel", 0)):
        recordings = PairedCache.open(made["pairs"]["path"], split)  # type: ignore[arg-type]
        found = Counter(recordings.event_labels.tolist())
        assert found == (dict.fromkeys(range(4), count) if count else {}), split
    train, test = (PairedCache.open(made["pairs"]["path"], split) for split in ("train", "test"))  # type: ignore[arg-type]
    assert (train.num_bins, train.size) == (12, 28)
    assert set(train.image_ids) == set(train.sample_ids)  # nobody's whose recording is tested
    assert not set(train.image_ids) & set(test.sample_ids)


def test_a_network_is_trained_evaluated_and_asked_for_few_shot(root: Path) -> None:
    made = run(root, "preprocess", *NOVEL)
    assert (made["pairs"]["num_train"], made["pairs"]["num_test"], made["pairs"]["num_novel"]) == (30, 10, 40)
    trained = run(root, "train", *NOVEL)["run"]
    evaluated = run(root, "evaluate", trained)
    assert (evaluated["num_samples"], evaluated["num_classes"]) == (10, 4)
    assert evaluated["epoch_choice"].startswith("the last epoch")
    shots = ("--ways", "2", "--shots", "1", "--shots", "5", "--episodes", "30", "--threads", "1")
    report = run(root, "few-shot", trained, *shots)[trained]
    assert [(entry["classes"], entry["shot"]) for entry in report["results"]] == [
        ("seen", 1),
        ("seen", 5),
        ("novel", 1),
        ("novel", 5),
    ]
    again = analyse(trained, "few-shot", ways=(2,), shots=(1, 5), episodes=30, threads=1).report
    assert again.model_dump(mode="json") == report
    told = succeed("--root", root, "few-shot", trained, *shots).out.splitlines()
    how = "30 episodes each, 5 queries a class, cosine distance, last epoch's weights (epoch 1), photos in reach: none"
    assert told[0] == f"{trained}: {how}"
    assert told[1].startswith("  seen classes, 2-way 1-shot ")
    page = run(root, "report", trained)["page"]
    text = Path(page).read_text()
    assert "2-way 5-shot" in text
    assert f"{100 * report['results'][3]['accuracy']:.1f} %" in text
    refuse("--root", root, "few-shot", trained, code=1, says=["--ways 20: the data have 4 classes"])
    refuse("few-shot", root / "nowhere", code=1, says=["no run here"])


def test_the_commands_of_the_page(root: Path, repository: Path) -> None:
    """Those that make data and runs are run; the others parse."""
    page = (repository / "docs" / "datasets" / "nomniglot.md").read_text()
    commands = [shlex.split(line, comments=True) for line in re.findall(r"^    dvs-transfer (.*)$", page, re.MULTILINE)]
    assert [name for name, *_ in commands].count("few-shot") == 2
    assert len(commands) == 10
    for name, *arguments in commands:
        if name in ("preprocess", "train", "evaluate", "report"):
            novel = NOVEL[-2:] if "configs/nomniglot-novel.toml" in arguments else ()
            succeed("--quiet", "--root", root, name, *arguments, *QUICK, *novel)
        else:
            command: Any = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
            command = command.commands[arguments.pop(0)] if hasattr(command, "commands") else command
            command.make_context(name, arguments)


def test_the_two_shipped_files_differ_in_the_novel_alphabets_alone(repository: Path) -> None:
    plain, novel = (load_config(repository / "configs" / f"{name}.toml") for name in ("nomniglot", "nomniglot-novel"))
    assert len(novel.pairing.novel_classes) == 20
    seen = novel.pairing.model_copy(update={"novel_classes": ()})
    assert novel.model_copy(update={"name": plain.name, "pairing": seen}) == plain
    assert plain.train.base_learning_rate * plain.train.batch_size / 1024 == 0.01875
