"""Workers that outlive a command read the raw data as the next command finds them, though no folder's time tells it."""

from __future__ import annotations

import pickle
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import assert_same_store

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.pipeline.execution import DaskRunner
from dvs_transfer.pipeline.progress import Reporter
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion import shards
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.sources import openings

NUM_IMAGES = 8
pytestmark = pytest.mark.filterwarnings("default")  # distributed's own clean-up warns of sockets


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """One process, for all commands of all tests here."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def several_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of identities: a single task would be run by the command itself."""
    monkeypatch.setattr(shards, "SAMPLES_PER_TASK", 3)


def digits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (NUM_IMAGES, 28, 28), np.uint8)


def encode_idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.tobytes()


def write_digits(folder: Path) -> Path:
    folder.mkdir()
    (folder / "train-labels-idx1-ubyte").write_bytes(encode_idx(np.arange(NUM_IMAGES, dtype=np.uint8) % 2))
    (folder / "train-images-idx3-ubyte").write_bytes(encode_idx(digits()))
    return folder


def write_images(folder: Path) -> Path:
    for name, seed in (("ant", 0), ("bee", 1)):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(digits(seed)[: NUM_IMAGES // 2]):
            Image.fromarray(image).save(folder / name / f"{number}.png")
    return folder


def settings(source: str, raw: Path, out: Path) -> ConvertConfig:
    values = {"images": {"size": 16}, "conversion": {"samples_per_shard": 2}}
    return ConvertConfig.model_validate({"source": source, "raw": raw, "out": out, **values})


def test_a_file_that_is_rewritten_in_place_makes_another_store(cluster: Any, tmp_path: Path) -> None:
    """The reader holds the images; neither the listing nor the folder's time changes."""
    raw = write_digits(tmp_path / "raw")
    config, runner = settings("mnist", raw, tmp_path / "out"), DaskRunner(Reporter(0), cluster.scheduler_address)
    first = conversion.run(config, runner)
    with (raw / "train-images-idx3-ubyte").open("r+b") as file:
        file.write(encode_idx(255 - digits()))
    second = conversion.run(config, runner)
    assert second.was_built
    assert second.path != first.path
    assert_same_store(second.path, conversion.run(settings("mnist", raw, tmp_path / "here")).path)
    assert not conversion.run(config, runner).was_built


def test_a_file_that_is_renamed_in_its_folder_loses_no_sample(cluster: Any, tmp_path: Path) -> None:
    """The listing changes, and the time of the class folder, but not that of the data set's."""
    raw = write_images(tmp_path / "raw")
    config = settings("image-folder", raw, tmp_path / "out")
    runner = DaskRunner(Reporter(0), cluster.scheduler_address)
    conversion.run(config, runner)
    (raw / "ant" / "0.png").rename(raw / "ant" / "9.png")
    second = conversion.run(config, runner)
    assert second.was_built
    assert second.quarantined == {}
    assert_same_store(second.path, conversion.run(settings("image-folder", raw, tmp_path / "here")).path)


def test_the_tasks_of_a_command_share_one_opening(cluster: Any, tmp_path: Path) -> None:
    config = settings("mnist", write_digits(tmp_path / "raw"), tmp_path / "out")
    with cluster.get_client() as client:

        def num_openings() -> int:
            (known,) = client.run(openings._open_once.cache_info).values()
            return int(known.misses)

        before = num_openings()
        runner = DaskRunner(Reporter(0), cluster.scheduler_address)
        conversion.run(config, runner)
        assert num_openings() == before + 1
        conversion.run(config, runner)
        assert num_openings() == before + 2


@pytest.mark.parametrize("is_converted", [False, True], ids=["convert", "check"])
def test_a_worker_that_lists_other_samples_than_the_command_is_told(is_converted: bool, tmp_path: Path) -> None:
    raw = write_images(tmp_path / "raw")
    config = settings("image-folder", raw, tmp_path / "out")
    if is_converted:
        conversion.run(config)

    def rename_and_run(function: Any, items: Any, *, label: str) -> Any:
        if (raw / "ant" / "0.png").exists():
            (raw / "ant" / "0.png").rename(raw / "ant" / "9.png")
        return (function(pickle.loads(pickle.dumps(item))) for item in items)

    with pytest.raises(SourceError, match=r"raw: a worker lists other samples .* run the same command again"):
        conversion.run(config, rename_and_run)
    report = conversion.run(config)
    assert report.was_built
    assert report.quarantined == {}


def test_raw_data_that_a_worker_cannot_open_are_told(cluster: Any, tmp_path: Path) -> None:
    """While they are unpickled, an error would end the worker, and the command would wait for ever."""
    raw = write_images(tmp_path / "raw")
    runner = DaskRunner(Reporter(0), cluster.scheduler_address)

    def remove_and_run(function: Any, items: Any, *, label: str) -> Any:
        shutil.rmtree(raw / "ant")
        shutil.rmtree(raw / "bee")
        return runner(function, items, label=label)

    with pytest.raises(SourceError, match=r"raw: expected <class>/<name>.*; found nothing"):
        conversion.run(settings("image-folder", raw, tmp_path / "out"), remove_and_run)
