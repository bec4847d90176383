"""Recordings that were named rightly and wrongly: their frames beside their image."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..evaluation.config import EvaluatedSplit
from ..preview import PreviewSample, pictures_of
from .records import Group, labelled

MAX_SHOWN = 4


class Sample(NamedTuple):
    """A recording. verdict: what was said of it, in words. pictures: captions and PNGs as data URIs."""

    sample_id: str
    class_name: str
    verdict: str
    pictures: list[tuple[str, str]]


def choose_samples(groups: Sequence[Group], split: EvaluatedSplit) -> list[tuple[str, list[Sample]]]:
    """Some recordings that were named wrongly, named rightly by some runs, and named rightly; kinds that exist."""
    runs = [record.evaluated[split] for _, record in labelled(groups)]
    num_right = np.sum([evaluated.predictions.correct for evaluated in runs], axis=0)
    alone = len(runs) == 1
    kinds = {
        "Named wrongly" + ("" if alone else " by all runs"): num_right == 0,
        "Named rightly by some runs": (num_right > 0) & (num_right < len(runs)),
        "Named rightly" + ("" if alone else " by all runs"): num_right == len(runs),
    }
    return [(title, _samples(groups, split, _spread(chosen))) for title, chosen in kinds.items() if chosen.any()]


def _spread(chosen: NDArray[Any]) -> NDArray[np.intp]:
    """At most `MAX_SHOWN` of the positions that are chosen (n,), spread over all of them."""
    positions = np.flatnonzero(chosen)
    spread: NDArray[np.intp] = positions[np.unique(np.linspace(0, len(positions) - 1, MAX_SHOWN).astype(int))]
    return spread


def _samples(groups: Sequence[Group], split: EvaluatedSplit, positions: NDArray[np.intp]) -> list[Sample]:
    shown = groups[0].runs[0].evaluated[split]
    batch = shown.split.read(positions)
    images = shown.split.read_images(positions) if shown.split.has_images else None

    def pictures(row: int) -> list[tuple[str, str]]:
        image, value = (None, None) if images is None else (images[row], batch["value"][row].numpy())
        drawn = pictures_of(PreviewSample("", frames=batch["events"][row].numpy(), image=image, value=value))
        return [(caption, png_uri(picture)) for caption, picture in drawn]

    named = shown.predictions
    return [
        Sample(named.sample_ids[place], named.classes[place], _verdict(groups, split, place), pictures(row))
        for row, place in enumerate(positions.tolist())
    ]


def _verdict(groups: Sequence[Group], split: EvaluatedSplit, position: int) -> str:
    """`named anchor`, or with several runs what each group's runs said."""
    said = []
    for group in groups:
        names = Counter(record.evaluated[split].predictions.predicted[position] for record in group.runs)
        if not group.letter:
            return f"named {next(iter(names))}"
        listed = ", ".join(
            name if count == len(group.runs) else f"{name} ({count})" for name, count in names.most_common()
        )
        said.append(f"{group.letter} {listed}")
    return "named by " + "; ".join(said)


def png_uri(picture: NDArray[Any]) -> str:
    """A picture (H, W, 3) or (H, W), in [0, 1] or uint8, as a PNG in a data URI."""
    pixels = picture if picture.dtype == np.uint8 else np.uint8(np.round(picture.clip(0, 1) * 255))
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
