"""CKA against the sums it is defined by, and what it must be where that is known."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import torch
from tiny_networks import NETWORKS, write_run
from tiny_split import open_tiny_split

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.analysis.alignment import FEATURES, gram, hsic
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.config import AlignmentConfig
from dvs_transfer.stages.training.losses import linear_cka

run = ANALYSES["alignment"].run


def cka(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    k, l = gram(x), gram(y)  # noqa: E741
    return hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt()


def test_hsic_is_the_mean_over_all_different_samples() -> None:
    """Song et al. (2012), equation 4: means over different i, j, q, r of KijLij + KijLqr - 2 KijLiq."""
    k, l = (gram(torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(i)))[0] for i in (0, 1))  # noqa: E741
    terms = [k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in permutations(range(6), 4)]
    assert float(hsic(k[None], l[None])) == pytest.approx(float(sum(terms) / len(terms)))


def test_equal_features_are_aligned_and_unrelated_ones_are_not() -> None:
    x, y = (torch.randn(5, 32, 500, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    rotated = 3 * x @ torch.linalg.qr(torch.randn(500, 500))[0] + 1
    assert cka(x, rotated).tolist() == pytest.approx([1] * 5, abs=1e-3)
    assert cka(x, y).abs().max() < 0.1
    assert linear_cka(x, y).min() > 0.9  # why the loss's own CKA is not used here


def test_features_that_do_not_vary_have_no_alignment() -> None:
    """Constant ones that are not 0, whose HSIC is rounding alone; large ones that vary by a thousandth do have one."""
    draws = torch.Generator().manual_seed(0)
    x, y = (torch.randn(1, 32, 200, generator=draws) for _ in range(2))
    for constant in torch.rand(20, 1, 1, 200, generator=draws) * 10:
        assert cka(constant.expand(1, 32, 200), y).isnan().all()
        assert cka(constant.expand(1, 32, 200), constant.expand(1, 32, 200)).isnan().all()
    assert float(cka(1000 + x, x)) == pytest.approx(1, abs=1e-3)
    assert float(cka(1000 + x, 1000 + y).abs()) < 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name: str, tmp_path: Path) -> None:
    """The weights are those that the run started from, so both networks must give the same."""
    folder = write_run(tmp_path / "run", NETWORKS[name])
    report = run(AlignmentConfig(), open_tiny_split, folder)
    assert report.layers[-1] == FEATURES
    assert report.initial == report.trained
    known = [cka for cka in report.trained[-1] if cka is not None]
    assert known or name == "scnn"  # whose untrained neurons stay silent
    assert report.aligned_features == (pytest.approx(sum(known) / len(known)) if known else None)
    assert [len(steps) for steps in report.trained] == [3] * len(report.layers)
    assert (report.epochs, report.sliding_probability) == ((1, 2), (0.5, 1.0))
    assert report.w_t == ((0.5, 0.6, 0.7),) * 2


def test_the_initial_network_is_not_the_trained_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", NETWORKS["vgg_snn"])
    other = write_run(tmp_path / "other", NETWORKS["vgg_snn"], seed=2)
    (other / "config.json").write_bytes((folder / "config.json").read_bytes())
    report = run(AlignmentConfig(), open_tiny_split, other)
    assert report.initial == run(AlignmentConfig(), open_tiny_split, folder).trained != report.trained


def test_imported_weights_have_no_history(tmp_path: Path) -> None:
    report = run(AlignmentConfig(), open_tiny_split, write_run(tmp_path / "run", NETWORKS["scnn"], "imported"))
    assert (report.initial, report.epochs, report.w_t) == (None, (), ())
    assert "imported weights" in report.note
    assert len(report.trained) == len(report.layers)


def test_three_recordings_are_too_few(run_folder: Path) -> None:
    with pytest.raises(TrainingError, match="at least 4 recordings, it has 3"):
        run(AlignmentConfig(num_recordings=3), open_tiny_split, run_folder)
