"""Every command of docs/training.md and docs/datasets/your-own.md runs, on small frames for two epochs.

The second page's run on one recording of every format.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import succeed
from own_recordings import WRITERS, make_events
from PIL import Image

from dvs_transfer.cache.store import FrameStore, list_stores
from dvs_transfer.stages.sources import SOURCES

OWN_PAGE = (Path(__file__).parent.parent / "docs" / "datasets" / "your-own.md").read_text()
OWN_COMMANDS = re.findall(r"^    dvs-transfer (.*)$", OWN_PAGE, re.MULTILINE)
PAGE = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
COMMANDS = re.findall(r"^    dvs-transfer ((?:preprocess|train|evaluate) .*)$", PAGE, re.MULTILINE)
SMALL = (
    *("demo.images_per_class=5", "demo.simulation.sensor_width=32", "demo.simulation.sensor_height=32"),
    *("frames.num_bins=2", "frames.size=16", "pairing.validation=0.2", "pairing.test=0.2"),
    *("train.epochs=2", "train.batch_size=10", "train.threads=1"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.mark.timeout(900)
def test_every_command(root: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test for all, since they hold in the page's order alone: the first ones make the data."""
    monkeypatch.chdir(repository)
    overrides = [part for setting in SMALL for part in ("--set", setting)]
    for command in (command.replace("pretrain_epochs=20", "pretrain_epochs=1") for command in COMMANDS):
        succeed("--quiet", "--root", root, *shlex.split(command), *overrides)


def test_the_page_shows_every_command_that_it_should() -> None:
    assert len(COMMANDS) >= 20
    for key in ("method", "loss", "released", "sliding", "encoding", "pairing", "sampling", "augmentation", "schedule"):
        assert any(f"train.{key}" in command for command in COMMANDS), key


def test_from_own_folders_to_a_trained_network(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each class has a recording of every format, and as many images."""
    rng = np.random.default_rng(0)
    for class_name in ("left", "right"):
        for kind in ("recordings", "images"):
            (tmp_path / "data" / "raw" / kind / class_name).mkdir(parents=True)
        for number, (file, write) in enumerate(WRITERS.items()):
            name = f"{class_name}/{number:02}"
            write(tmp_path / "data/raw/recordings" / f"{name}{Path(file).suffix}", make_events(seed=number))
            picture = Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8))
            picture.save(tmp_path / "data/raw/images" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    small = (
        *("frames.num_bins=2", "frames.size=16", "train.epochs=1", "train.batch_size=10", "train.threads=1"),
        *("pairing.train=0.6", "pairing.validation=0.2", 'model.widths=[4, "P", 8, "P"]'),
    )
    small_sensor = ("simulate.sensor_width=32", "simulate.sensor_height=32")
    for command in OWN_COMMANDS:
        as_it_is = command.startswith(("convert", "calibrate"))
        settings = () if as_it_is else (*small, *(small_sensor if "simulate" in command else ()))
        succeed("--quiet", *shlex.split(command), *(part for setting in settings for part in ("--set", setting)))
    first_words = [command.split()[0] for command in OWN_COMMANDS]
    assert first_words[:7] == ["convert", "preprocess", "train", "evaluate", "report", "calibrate", "train"]
    assert (tmp_path / "calibration.png").is_file()
    stores = [FrameStore(path) for path in list_stores(tmp_path / "data" / "cache")]
    assert sorted(store.kind for store in stores) == ["events"] * 3 + ["images"] + ["pairs"] * 2
    for store in stores:
        assert len(store) == 2 * len(WRITERS)
        assert store.kind == "pairs" or store.valid.all()
    recorded = [set(store.column("num_events")) for store in stores if store.kind == "events"]
    assert recorded.count({2000}) == 2  # the third is simulated


def test_every_source_has_its_page(repository: Path) -> None:
    folder = repository / "docs" / "datasets"
    index = (folder / "README.md").read_text()
    pages = re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\) \|", index, re.MULTILINE)
    assert sorted(pages) == sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
    assert set(SOURCES) <= set(re.findall(r"`([\w-]+)`", index))
    for config in re.findall(r"`(configs/\S+)`", index):
        assert (repository / config).is_file()


def test_every_shipped_configuration_has_its_place(repository: Path) -> None:
    """Those of a data set in the table of data sets, the others on some page."""
    table = (repository / "docs" / "datasets" / "README.md").read_text()
    told = "".join(path.read_text() for path in [*(repository / "docs").rglob("*.md"), repository / "README.md"])
    for path in (repository / "configs").glob("*.toml"):
        of_a_data_set = not path.stem.startswith(("demo", "caltech101"))
        assert f"`configs/{path.name}`" in table if of_a_data_set else f"configs/{path.name}" in told, path.name
