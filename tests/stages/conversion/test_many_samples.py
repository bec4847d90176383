"""What millions of samples must not take: rows are not held as Python objects, nor their manifest, nor torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dvs_transfer.cache.digests import manifest_digest
from dvs_transfer.stages.conversion import shards
from dvs_transfer.stages.conversion.shards import columns_from_rows, identities_of


def rows(count: int, moved: int = -1) -> Iterator[dict[str, Any]]:
    """As the records of shards have them, each of its own objects; the row `moved` has a column that others lack."""
    for number in range(count):
        yield json.loads(
            json.dumps(
                {
                    "label": number % 10,
                    "sample_id": f"{number % 10}/träin-{number:06d}",
                    "source_digest": f"xxh3:{number:032x}",
                    "problem": "cut off" if number % 7 == 5 else "",
                    "metadata": '{"a": 1}' if number % 3 else "",
                    "sensor_size": [34, number],
                    **dict.fromkeys(("num_events", "num_dropped", "num_in_frames", "num_saturated"), number),
                    "duration_us": 300_000 + number,
                    "guessed_unit": "",
                    **({"num_moved": 3} if number == moved else {}),
                }
            )
        )


@pytest.mark.parametrize("moved", [-1, 0, 22])
def test_columns_are_those_of_all_rows_together(moved: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS_AT_A_TIME", 10)
    expected, found = list(rows(23, moved)), columns_from_rows(rows(23, moved), "events")
    assert found.keys() == set(expected[0]) | ({"num_moved"} if moved >= 0 else set())
    for name, values in found.items():
        assert values.tolist() == [row.get(name, 0) for row in expected]
        is_text = isinstance(expected[1].get(name, 0), str)
        assert values.dtype == (np.dtypes.StringDType() if is_text else np.int64)


def test_the_manifest_is_the_digest_of_the_list_of_identities() -> None:
    identities = [[row[name] for name in ("sample_id", "source_digest", "metadata")] for row in rows(23)]
    text = json.dumps(identities, separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert manifest_digest(identities_of(columns_from_rows(rows(23), "events"))) == expected
    assert manifest_digest(()) == hashlib.sha256(b"[]").hexdigest()


def test_rows_are_not_held() -> None:
    count, columns_of_numbers, columns_of_texts = 40_000, 8, 6  # sensor_size counts as two; with the unusual ones
    tracemalloc.start()
    try:
        columns = columns_from_rows(rows(count), "events")
        manifest_digest(identities_of(columns))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    whole = count * (8 * columns_of_numbers + 16 * columns_of_texts)  # 16 bytes: a string's own, or where it lies
    few = shards.ROWS_AT_A_TIME * 2_000
    assert peak < 2 * whole + few  # all rows at once are 1,500 bytes each


def test_converting_and_pairing_import_no_torch() -> None:
    """It takes seconds and more memory than 200,000 recordings."""
    check = "import sys; from dvs_transfer import convert, pair; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout == "False\n"
