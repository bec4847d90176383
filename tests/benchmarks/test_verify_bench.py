"""The benchmark of `cache verify` measures a whole store, and stays below its floor."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import succeed


def test_the_figures_are_of_the_store_that_it_made(tmp_path: Path) -> None:
    out = tmp_path / "verify.json"
    told = succeed("bench", "verify", "--shards", "2", "--json", out).out
    figures = json.loads(out.read_text())
    assert figures["megabytes"] > 2 * 64 * 10 * 2 * 48 * 48 * 2 / 1e6
    assert figures["verify_gb_per_s"] > 0
    assert figures["floor_gb_per_s"] > 0
    assert f"verify gb per s        {figures['verify_gb_per_s']:.4g}" in told
