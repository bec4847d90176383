"""Recordings without images: every command from preprocessing to the report, and what needs images says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import refuse, succeed
from html_page import Page
from tiny import DEMO, write_config

EVENTS_ALONE = {
    "demo": {**DEMO["demo"], "images_per_class": 4},
    "events": DEMO["events"],
    "pairing": {"train": 0.5, "validation": 0.25, "test": 0.25},
    "train": {"method": "events", "batch_size": 5},
}
QUICK = ("--num-recordings", "10")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("alone"), EVENTS_ALONE)


def test_the_chain_from_recordings_to_the_report(config: Path) -> None:
    def command(name: str, *more: str | Path) -> list[str | Path]:
        return ["--quiet", "--root", config.parent, name, *more]

    made = succeed(*command("preprocess", "--config", config, "--json")).document
    assert made["images"] is None
    assert (made["pairs"]["num_pool"], made["pairs"]["num_test"]) == (0, 10)
    assert Path(made["picture"]).is_file()
    run = Path(succeed(*command("train", "--config", config, "--json")).document["run"])
    evaluated = succeed(*command("evaluate", run, "--json")).document
    assert (evaluated["method"], evaluated["num_samples"]) == ("events", 10)
    refuse(*command("analyse", "alignment", run, *QUICK), code=1, says=[f"{run}: was trained without images"])
    found = succeed(*command("analyse", "all", run, *QUICK, "--json")).document
    assert set(found) == {"activity", "embedding", "grad-cam", "landscape"}
    assert found["embedding"]["report"]["num_points"] == 10
    assert found["grad-cam"]["report"]["photo_predicted"] == []
    page = Page(Path(succeed(*command("report", run, "--json")).document["page"]).read_text())
    assert "without images" in page.text
    assert "analyse alignment" not in page.text


def test_transfer_needs_images(config: Path) -> None:
    says = ["train.method = transfer needs a section [images]"]
    refuse("--root", config.parent, "train", "--config", config, "--set", "train.method=transfer", code=2, says=says)
