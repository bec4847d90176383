"""The counts of samples that look alike are those of a store that has two pairs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from command_line import succeed
from photo_stores import ids, scene, write_store

from dvs_transfer.benchmarks import alike

NAMES = ids(("cat", "dog"), [f"image_{number}" for number in range(10)])


def test_pairs_are_counted(tmp_path: Path) -> None:
    pictures = {NAMES[0]: scene(1), NAMES[1]: 0.9 * scene(1), NAMES[2]: scene(2), NAMES[12]: 0.9 * scene(2)}
    images = write_store(tmp_path, "images", NAMES, pictures=pictures)
    events = write_store(tmp_path, "events", NAMES, pictures={name: pictures[name] for name in NAMES[:2]})
    found = alike.run(images)
    assert (found.num_samples, set(found.alike.values()), found.of_photos) == (20, {4}, None)
    found = alike.run(events, images)
    assert (found.num_of_photos, set(found.alike.values())) == (4, {2})
    assert found.of_photos is not None
    assert set(found.of_photos.values()) == {2}
    assert found.recorded == (0, 0, 0)  # random recordings have no image's edges
    told = succeed("bench", "alike", events, "--images", images).out
    assert "by edges" in told
    assert told.count("2 of 20; where their photos are alike: 2 of 4") == 6


def test_recordings_of_edges_are_traced_to_their_photos(tmp_path: Path) -> None:
    pictures = {name: scene(row) for row, name in enumerate(NAMES)}
    edges = {name: np.hypot(*np.gradient(picture)) for name, picture in pictures.items()}
    edges[NAMES[3]] = edges[NAMES[4]]  # which was not made of its own photo
    images = write_store(tmp_path, "images", NAMES, pictures=pictures)
    events = write_store(tmp_path, "events", NAMES, pictures=edges)
    found = alike.run(events, images).recorded
    assert found is not None
    right, wrong, absent = found
    assert (right, wrong) == (19, 1)
    assert absent <= 3  # both that show one image in one part
