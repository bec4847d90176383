"""A source of images read as recordings of them."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.simulation import CAMERAS, SimulationConfig, simulate_image
from dvs_transfer.stages.simulation.recorded import RecordedPhotos
from dvs_transfer.stages.sources import open_source

CALM = SimulationConfig(threshold_sigma=0, noise_rate_hz=0)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """MNIST's files: a 3, a 1, and a 1 without anything on it."""
    pictures = np.zeros((3, 28, 28), np.uint8)
    pictures[0, 4:20, 8:12], pictures[1, 10:24, 3:25] = 200, 255
    for name, array in (("images-idx3", pictures), ("labels-idx1", np.array([3, 1, 1], np.uint8))):
        header = struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape)
        (tmp_path / f"train-{name}-ubyte").write_bytes(header + array.tobytes())
    return tmp_path


def test_a_source_that_is_no_folder_is_recorded_too(digits: Path) -> None:
    photos = open_source("mnist", digits)
    recorded = RecordedPhotos(photos, CAMERAS["nmnist"])
    assert (recorded.kind, recorded.class_names) == ("events", photos.class_names)
    assert recorded.samples == photos.samples
    for sample in recorded.samples:
        data = recorded.read_content(sample)
        assert data == photos.read_content(sample)
        found = recorded.decode(sample, data)
        grey = np.frombuffer(data, np.uint8).reshape(28, 28)
        wanted = simulate_image(grey, CAMERAS["nmnist"], sample.sample_id)
        assert found.sensor_size == (34, 34)
        for name in "xytp":
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_a_worker_opens_the_same(digits: Path) -> None:
    recorded = RecordedPhotos(open_source("mnist", digits), CAMERAS["nmnist"])
    opened = pickle.loads(pickle.dumps(recorded))
    assert opened.samples == recorded.samples
    assert opened.simulation == recorded.simulation
    assert pickle.loads(pickle.dumps(recorded)) is opened  # once in each process


def test_a_photo_without_events_says_why(digits: Path) -> None:
    recorded = RecordedPhotos(open_source("mnist", digits), CALM.model_copy(update={"on_threshold": 2.0}))
    blank = next(sample for sample in recorded.samples if sample.sample_id == "1/train-00003")
    with pytest.raises(SourceError, match=r"image 3: nothing in it moves a pixel by its threshold"):
        recorded.decode(blank, recorded.read_content(blank))
