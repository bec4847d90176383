"""`dvs-transfer export`: a run as a NIR graph, which `import-checkpoint` makes a run of again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import refuse, succeed
from published import NUM_STEPS, published
from tiny_networks import NETWORKS, write_run

from dvs_transfer.stages import pairing

from stores import CLASS_NAMES, build_store


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    events, images = (build_store(tmp_path, kind, size=28, num_bins=NUM_STEPS) for kind in ("events", "images"))
    return pairing.run(pairing.PairingConfig(), events, images, tmp_path).path


def test_out_and_in_again(tmp_path: Path, pairs: Path) -> None:
    pytest.importorskip("nir", reason="needs nir (pip install 'dvs-transfer[nir]')")
    first, again, graph = tmp_path / "first", tmp_path / "again", tmp_path / "x.nir"
    torch.save(published(num_classes=len(CLASS_NAMES)), tmp_path / "x.pth.tar")
    succeed("import-checkpoint", tmp_path / "x.pth.tar", "--out", first, "--pairs", pairs)
    told = succeed("export", first, "--to", "nir", graph).out
    assert (
        f"exported: scnn of epoch 50 as a NIR graph, 12 nodes, 11,500 neurons, {graph.stat().st_size / 1e6:.1f} MB"
        in told
    )
    assert f"{NUM_STEPS} frames (2, 28, 28) at dt = 0.0001 s" in told
    told = succeed("import-checkpoint", graph, "--out", again, "--pairs", pairs).out
    of = f"{len(CLASS_NAMES)} classes, {NUM_STEPS} steps of 28 x 28"
    assert told.startswith(f"imported: NIR graph (tau 3 steps of 0.1 ms) as scnn, {of}\n")
    documents = [succeed("evaluate", run, "--set", "evaluate.threads=1", "--json").document for run in (first, again)]
    assert documents[0]["confusion"] == documents[1]["confusion"]
    assert documents[1]["epoch_choice"].startswith("not known")
    succeed("report", again)


def test_what_cannot_be_exported_is_refused(tmp_path: Path, pairs: Path) -> None:
    refuse("export", tmp_path / "nothing", "--to", "nir", tmp_path / "x.nir", code=1, says=["no run here"])
    run = write_run(tmp_path / "run", NETWORKS["resnet18"], method="imported")
    refuse("export", run, "--to", "nir", tmp_path / "x.nir", code=1, says=["resnet18: no NIR graph says what it"])
    refuse("export", run, "--to", "onnx", tmp_path / "x.onnx", code=2, says=["onnx"])
    assert not (tmp_path / "x.nir").exists()
