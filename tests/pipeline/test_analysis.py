"""`dvs-transfer analyse` on a real pair store: results, pictures, and what is said of runs that cannot be analysed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import refuse, snapshot, succeed
from html_page import Page

from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.stages import pairing
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.training import loop
from dvs_transfer.stages.training.config import TrainConfig

from stores import build_store


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on a pair store beside it."""
    root = tmp_path_factory.mktemp("analysed")
    stores = (build_store(root, kind, size=8) for kind in ("events", "images"))
    pairs = pairing.run(PairingConfig(train=0.4, validation=0.2, test=0.4), *stores, root).path
    model, train = ModelConfig(widths=(4, "P", 6)), TrainConfig(epochs=1, batch_size=4, threads=1, encoding="grey")
    sections = {"model": model.model_dump(mode="json"), "train": train.model_dump(mode="json")}
    resolved = {"experiment": sections, "pairs": str(pairs)}
    loop.run(model, train, lambda split: PairedCache.open(pairs, split), root / "run", resolved=resolved)
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def test_all_analyses_leave_a_result_and_a_picture_and_are_quick_the_second_time(run: Path) -> None:
    first = succeed("--quiet", "analyse", "all", run, "--json").document
    assert set(first) == set(ANALYSES) - {"few-shot"}
    for name, entry in first.items():
        assert json.loads(Path(entry["result"]).read_text()) == entry["report"]
        assert Path(entry["picture"]) == run / "analysis" / f"{name}.png"
        assert Path(entry["picture"]).read_bytes().startswith(b"\x89PNG")
        assert entry["report"]["split"] == "validation"
    before = snapshot(run / "analysis")
    told = succeed("--quiet", "analyse", "all", run).out
    assert snapshot(run / "analysis") == before
    assert str(run / "analysis" / "landscape.png") in told
    assert "snn energy uj" in told


def test_all_analyses_are_in_the_report(run: Path) -> None:
    succeed("--quiet", "analyse", "all", run)
    succeed("--quiet", "evaluate", run, "--set", "evaluate.threads=1")
    embedded = run / "analysis" / "embedding.npz"
    arrays = dict(np.load(embedded))
    np.savez(embedded, **(arrays | {"position": arrays["position"] + 1e4 * arrays["domain"][:, None]}))
    page = Page(Path(succeed("report", run, "--json").document["page"]).read_text())
    described = [str(drawing["aria-label"]) for drawing in page.all("svg")]
    for entry in ANALYSES.values():
        if entry.draw is not None:
            assert entry.reading in page.text
            assert sum(text.startswith(f"{entry.title} of run") for text in described) == 1
    assert "Mind: the domains do not mix: of the nearest points 0% are of the other domain" in page.text
    assert "dvs-transfer analyse" not in page.text
    assert page.loaded == []


def test_options_reach_the_analysis_and_a_new_result_gets_a_new_picture(run: Path) -> None:
    first = succeed("--quiet", "analyse", "grad-cam", run, "--json").document
    picture = Path(first["picture"]).read_bytes()
    options = ("--split", "test", "--num-recordings", "3", "--layer", "backbone.0", "--target", "label")
    second = succeed("--quiet", "analyse", "grad-cam", run, *options, "--json").document["report"]
    assert (second["split"], second["num_recordings"], second["layer"]) == ("test", 3, "backbone.0")
    assert second["event_class"] == second["labels"]
    assert Path(first["picture"]).read_bytes() != picture


def test_what_cannot_be_analysed(run: Path, tmp_path: Path) -> None:
    refuse("analyse", "activity", tmp_path, code=1, says=["no run here (it has no config.json)"])
    refuse("analyse", "activity", run, "--split", "all", code=2, says=["--split", "'all' is not one of"])
    refuse("--quiet", "analyse", "grad-cam", run, "--layer", "x", code=2, says=["no feature maps called 'x'"])
    (run / "checkpoints" / "best.safetensors").unlink()
    refuse("analyse", "landscape", run, code=1, says=["best.safetensors: no such checkpoint"])
    (run / "config.json").write_text('{"pairs": "/nowhere/gone.zarr"}')
    refuse("analyse", "embedding", run, "--checkpoint", "last", code=1, says=["gone.zarr: no such store"])
