"""The limits that SECURITY.md states are those of the code, and no parser's limit is left out."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
ROWS = re.findall(
    r"^\|([^|]+\|[^|]+)\| (\d+) \| `([\w.]+):(\w+)` \|$", (REPOSITORY / "SECURITY.md").read_text(), re.MULTILINE
)
UNSTATED = {"_MAX_VARIABLES", "_MAX_DEPTH", "MAX_STORED_US", "MAX_X"}  # beside a stated one, or none on bytes or time


@pytest.mark.parametrize(("what", "value", "module", "name"), ROWS)
def test_a_stated_limit_is_the_one_in_force(what: str, value: str, module: str, name: str) -> None:
    assert getattr(importlib.import_module(f"dvs_transfer.{module}"), name) == int(value), what


def test_every_limit_of_a_reader_is_stated() -> None:
    stated = {(module, name) for _, _, module, name in ROWS}
    for path in (REPOSITORY / "stages" / "sources").rglob("*.py"):
        module = path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".")
        for name in re.findall(r"^(_?MAX_\w+)(?:: Final)? = ", path.read_text(), re.MULTILINE):
            if name not in UNSTATED:
                assert (module, name) in stated
