"""Every result can be drawn, for every kind of network, and can be read on light and on dark pages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from tiny_networks import NETWORKS, write_run
from tiny_split import open_tiny_split

from dvs_transfer.stages.analysis import landscape, style
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.config import LandscapeConfig
from dvs_transfer.stages.reporting.figures import to_svg

FEW = {"landscape": {"points_1d": 3, "points_2d": 3}, "embedding": {"num_recordings": 4}}


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_colours_can_be_told_from_both_backgrounds() -> None:
    for background in ("#ffffff", "#121212"):
        assert contrast(style.INK, background) >= 4
        for colour in style.SERIES:
            assert contrast(colour, background) >= 3, (colour, background)
    assert len(set(map(tuple, style.class_colours(101)))) == 101


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("analysis", [name for name, entry in ANALYSES.items() if entry.draw is not None])
def test_every_result_is_drawn_on_a_clear_background(name: str, analysis: str, tmp_path: Path) -> None:
    method = {"resnet18": "events", "scnn": "imported"}.get(name, "transfer")
    folder = write_run(tmp_path / "run", NETWORKS[name], method)
    entry = ANALYSES[analysis]
    assert not entry.exists(folder)
    entry.run(entry.config(**FEW.get(analysis, {})), open_tiny_split, folder)
    assert entry.exists(folder)
    figure = entry.draw(*entry.read(folder))
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=40)
    with Image.open(png) as image:
        pixels = np.asarray(image.convert("RGBA"))
    assert pixels[0, 0, 3] == 0
    assert 0.02 < (pixels[..., 3] > 0).mean() < 0.98
    black = (pixels[..., 3] > 200) & (pixels[..., :3].max(-1) < 40)
    assert analysis == "grad-cam" or not black.any()  # text in the default colour


def test_a_landscape_of_large_and_of_infinite_losses(run_folder: Path) -> None:
    ANALYSES["landscape"].run(LandscapeConfig(points_1d=3, points_2d=3), open_tiny_split, run_folder)
    report, arrays = ANALYSES["landscape"].read(run_folder)
    steep = {**arrays, "loss": np.array([[1e3, 5, np.nan], [7, 1, 9], [8, 4, 2e4]])}
    landscape.draw(report, steep).savefig(io.BytesIO(), dpi=40)


def test_names_with_dollars_are_drawn_as_they_are(tmp_path: Path) -> None:
    figure = style.new_figure(3, 2)
    axis = figure.subplots()
    style.title(figure, "$^$ and $\\frac$")
    axis.plot([0, 1], label="$_{$")
    style.legend_beside(axis)
    style.finish(axis, xlabel="$\\nothing$", title="$}{$")
    style.save(figure, tmp_path / "names.png")
    assert (tmp_path / "names.png").stat().st_size > 0
    assert ">$}{$<" in to_svg(figure, "names", "a line")
