"""A small N-Omniglot with its Omniglot, as they are published: AEDAT 4 and CSV by character, PNGs by drawer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import faery
import numpy as np
from numpy.typing import NDArray
from PIL import Image

NUM_DRAWERS = 20
SENSOR = (346, 260)
CORNER = (54, 4)  # of the writing area, 250 x 250
CLOCK_US = 1_633_000_000_000_000  # a camera's clock counts from 1970
DURATION_US, PAUSE_US = 6_000, 1_000
CHARACTERS = {
    "background": ("Greek/character01", "Greek/character02"),
    "evaluation": ("Angelic/character01", "Angelic/character02"),
}


def stroke(character: int, drawer: int, num_points: int = 60) -> NDArray[np.int64]:
    """(n, 2) x and y in the writing area: a bar at the character's place, trembling with the drawer."""
    rng = np.random.default_rng([character, drawer])
    along = np.linspace(40, 210, num_points)
    across = 40 + 40 * character + rng.integers(-6, 7, num_points)
    return np.rint(np.stack([along, across], 1)).astype(np.int64)[:, :: 1 if character % 2 else -1]


def events_of(character: int, num_drawers: int = NUM_DRAWERS) -> tuple[NDArray[np.void], list[tuple[int, int]]]:
    """A recording in faery's type, with noise outside the writing area and between drawings; and the intervals."""
    parts, intervals = [], []
    for drawer in range(1, num_drawers + 1):
        start = CLOCK_US + (drawer - 1) * (DURATION_US + PAUSE_US)
        points = np.repeat(stroke(character, drawer), 2, axis=0) + CORNER
        drawn = np.zeros(len(points) + 3, faery.EVENTS_DTYPE)
        drawn["t"][:-1] = start + np.arange(len(points) + 2) * DURATION_US // (len(points) + 2)
        drawn["x"][:-3], drawn["y"][:-3] = points.T
        drawn["on"][:-3:2] = True
        drawn["x"][-3:-1] = 20  # left of the writing area
        drawn["t"][-1] = start + DURATION_US  # the first event that is not of the drawing any more
        drawn["x"][-1] = drawn["y"][-1] = 100
        parts.append(drawn)
        intervals.append((start, start + DURATION_US))
    return np.concatenate(parts), intervals


def write_aedat4(path: Path, events: NDArray[np.void]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    faery.events_stream_from_array(events, SENSOR).to_file(path)


def write_table(path: Path, intervals: Sequence[tuple[int, int]]) -> None:
    lines = [f"{row},{start},{end}" for row, (start, end) in enumerate(intervals)]
    path.write_text("\n".join(["number,start,end", *lines]) + "\n")


def write_drawings(folder: Path, characters: Mapping[str, Sequence[str]] = CHARACTERS) -> Path:
    """`<folder>/nomniglot` and `<folder>/omniglot`, 20 recordings and drawings of each character."""
    names = sorted(name for part in characters.values() for name in part)
    for part, of_part in characters.items():
        recorded = {"background": "dvs_background_1", "evaluation": "dvs_evaluation"}[part]
        for name in of_part:
            code = names.index(name)
            events, intervals = events_of(code)
            place = folder / "nomniglot" / recorded / name
            write_aedat4(place / f"{700 + code:04d}.aedat4", events)
            write_table(place / f"{700 + code:04d}.csv", intervals)
            images = folder / "omniglot" / f"images_{part}" / name
            images.mkdir(parents=True)
            for drawer in range(1, NUM_DRAWERS + 1):
                picture = np.full((105, 105), 255, np.uint8)
                x, y = (stroke(code, drawer) * 105 // 250).T
                picture[y, x] = 0
                Image.fromarray(picture).convert("1").save(images / f"{700 + code:04d}_{drawer:02d}.png")
    return folder


def write_strokes(folder: Path, characters: Mapping[str, Sequence[str]] = CHARACTERS) -> Path:
    """The strokes of the drawings in `<folder>/omniglot`, beside them: the bar in two strokes, a pause between."""
    names = sorted(name for part in characters.values() for name in part)
    for part, of_part in characters.items():
        for name in of_part:
            code = names.index(name)
            place = folder / "omniglot" / f"strokes_{part}" / name
            place.mkdir(parents=True)
            for drawer in range(1, NUM_DRAWERS + 1):
                points = stroke(code, drawer) * 105 / 250
                half = len(points) // 2
                lines = ["START"]
                for first, some in ((0, points[:half]), (half + 20, points[half:])):
                    lines += [f"{x:.6f},{-y:.6f},{25 * (first + i)}" for i, (x, y) in enumerate(some)] + ["BREAK"]
                (place / f"{700 + code:04d}_{drawer:02d}.txt").write_text("\n".join(lines) + "\n")
    return folder
