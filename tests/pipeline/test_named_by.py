"""What an evaluated run named the recordings of a pair store, for the page that shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import refuse, succeed
from finished_run import evaluate, make_run
from gallery_page import Gallery, build_pairs

from dvs_transfer.cache.errors import StoreError, TrainingError
from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.pipeline.results import named_by

from stores import CLASS_NAMES


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return build_pairs(tmp_path)


def test_every_evaluated_split_counts(pairs: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run-7", pairs)  # of the test recordings the first two are named wrongly
    evaluate(run, PairedCache.open(pairs, "validation"), wrong=(1,))
    expected = {}
    for split, wrong in (("test", (0, 1)), ("validation", (1,))):
        for place, name in enumerate(PairedCache.open(pairs, split).sample_ids):  # type: ignore[arg-type]
            label = CLASS_NAMES.index(name.partition("/")[0]) + (place in wrong)
            expected[name] = CLASS_NAMES[label % len(CLASS_NAMES)]
    named = named_by(run, pairs)
    assert (named.run, dict(named.classes)) == ("run-7", expected)
    out = tmp_path / "page.html"
    assert succeed("preview", pairs, "--html", "--run", run, "--out", out).out == f"{out}\n"
    words = " ".join(Gallery(out).page.text.split())
    assert "the run run-7 was evaluated on, with the class that the weights of epoch 2 named" in words
    assert {name: entry["named"] for name, entry in Gallery(out).recordings.items()} == expected


def test_results_of_others_are_refused(pairs: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", pairs)
    (tmp_path / "other").mkdir()
    other = build_pairs(tmp_path / "other", seed=1)
    with pytest.raises(
        TrainingError, match=r"evaluated on other test recordings than .*; give the run's own pair store"
    ):
        named_by(run, other)
    with pytest.raises(StoreError, match="expected a pair store"):
        named_by(run, PairStore(pairs).events.path)
    with pytest.raises(TrainingError, match="no run here"):
        named_by(tmp_path, pairs)
    (run / "checkpoints" / "best.safetensors").write_bytes(b"trained on")
    with pytest.raises(TrainingError, match=r"of other weights than best.* evaluate .* --split test` again"):
        named_by(run, pairs)
    (run / "evaluation-test.json").unlink()
    with pytest.raises(TrainingError, match="no results to report"):
        named_by(run, pairs)


def test_the_options_of_a_page(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert succeed("preview", pairs, "--html", "--samples", "5").out == "preview.html\n"
    assert len(Gallery(Path("preview.html")).recordings) == 5
    refuse("preview", pairs, "--html", "--out", "a.png", code=2, says=["a.png: --html writes a page"])
    run = make_run(tmp_path / "run", pairs)
    refuse("preview", pairs, "--run", run, "--out", "a.png", code=2, says=["what a run named is shown on pages alone"])
    assert not Path("a.png").exists()
