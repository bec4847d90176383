"""The benchmark of growing data sets converts, finds up to date and splits what it says; no speeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run_command, succeed

from dvs_transfer.benchmarks import scale
from dvs_transfer.cache.errors import DvsTransferError

from naive import encode_records


def write_recordings(folder: Path) -> Path:
    """One of each digit."""
    for digit in scale.DIGITS:
        file = folder / "Train" / digit / f"0000{digit}.bin"
        file.parent.mkdir(parents=True)
        file.write_bytes(encode_records([(int(digit), step % 30, 100 * step, step % 2) for step in range(50)]))
    return folder


def test_every_number_of_recordings_has_a_figure_of_each_kind(tmp_path: Path) -> None:
    raw, out = write_recordings(tmp_path / "raw"), tmp_path / "scale.json"
    options = ["--recordings", "60", "--samples-per-shard", "8", "--folder", tmp_path, "--json", out]
    told = succeed("bench", "scale", raw, *options).out
    figures = json.loads(out.read_text())
    assert "recordings             60" in told
    assert figures["num_recordings"] == [60]
    lists = {key: values for key, values in figures.items() if isinstance(values, list)}
    assert len(lists) == 16
    assert all(value > 0 for key, [value] in lists.items() if key != "convert_worker_mb")
    # one for each shard, the frames' metadata, and of each of 12 columns its metadata and its chunk
    assert figures["num_files"] == [8 + 1 + 2 * 12]
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "scale.json"}


def test_links_are_of_the_recordings_in_turn(tmp_path: Path) -> None:
    raw, linked = write_recordings(tmp_path / "raw"), tmp_path / "linked"
    scale.link_recordings(raw, linked, 23)
    found = {path.relative_to(linked).as_posix(): path.read_bytes() for path in linked.rglob("*.bin")}
    content = [path.read_bytes() for path in sorted(raw.rglob("*.bin"))]
    assert found == {f"Train/{number % 10}/{number:07d}.bin": content[number % 10] for number in range(23)}


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"")
    outcome = run_command("bench", "scale", tmp_path, "--recordings", "10")
    assert outcome.code == 1
    assert "no recordings <digit>/<number>.bin there" in outcome.err


def test_a_call_that_fails_is_no_figure(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DvsTransferError, match="dvs-transfer convert nmnist /nowhere: ended with exit code 1"):
        scale.call("convert", "nmnist", "/nowhere")


def test_few_links_are_of_every_digit(tmp_path: Path) -> None:
    for digit in "0123456789":
        for number in range(7):
            file = tmp_path / "some" / digit / f"{number}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
    scale.link_recordings(tmp_path / "some", tmp_path / "raw", 30)
    assert [len(list((tmp_path / "raw" / "Train" / digit).iterdir())) for digit in "0123456789"] == [3] * 10
