"""A published checkpoint from the command line: imported for a pair store, evaluated, reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published import NUM_STEPS, published

from dvs_transfer.cli import main
from dvs_transfer.pipeline.run_list import list_runs
from dvs_transfer.stages import pairing

from stores import CLASS_NAMES, build_store


def test_import_then_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, images = (build_store(tmp_path, kind, size=28, num_bins=NUM_STEPS) for kind in ("events", "images"))
    pairs = pairing.run(pairing.PairingConfig(), events, images, tmp_path)
    file, run, logits = tmp_path / "model_best.pth.tar", tmp_path / "run", tmp_path / "logits.npz"
    torch.save(published(num_classes=len(CLASS_NAMES)), file)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "0.json").write_text(json.dumps({"pairs": pairs.path.name, "recordings": "simulated"}))
    assert main(["import-checkpoint", str(file), "--out", str(run), "--pairs", str(pairs.path)]) == 0
    assert "Transfer_SCNN" in capsys.readouterr().out
    (listed,) = list_runs(tmp_path)
    assert (listed.name, listed.method, listed.state) == ("run", "imported", "imported, not evaluated yet")
    assert main(["evaluate", str(run), "--save-logits", str(logits), "--set", "evaluate.threads=1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["method"], report["selection"], report["photos_in_reach"]) == (
        "imported",
        "test_as_released",
        "unknown",
    )
    assert main(["evaluate", str(run)]) == 0
    assert " simulated recordings" in capsys.readouterr().out
    assert main(["report", str(run), "--json"]) == 0
    page = Path(json.loads(capsys.readouterr().out)["page"]).read_text()
    assert "Protocol unknown: imported weights" in page
    assert "imported from model_best.pth.tar" in page
    assert "No learning curves" in page
    with np.load(logits) as written:
        assert written["logits"].shape == (NUM_STEPS, pairs.num_test, len(CLASS_NAMES))
        assert len(set(written["sample_id"].tolist())) == pairs.num_test
        top1 = (written["logits"].mean(0).argmax(1) == written["label"]).mean()
    assert top1 == pytest.approx(report["top1"])
