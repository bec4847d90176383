"""Compiled kernels that numba keeps are those of the source that is there."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dvs_transfer import stages

ROOT = Path(stages.__file__).parent
PART = re.compile(r"""^@(?:intrinsic|njit\(.*inline="always"\))\ndef [a-z]""", re.MULTILINE)


def test_kernels_older_than_a_part_of_theirs_are_compiled_anew(tmp_path: Path) -> None:
    part = tmp_path / "part.py"
    kept = [tmp_path / "__pycache__" / name for name in ("before.py311.nbi", "behind.py311.nbi", "before.pyc")]
    kept[0].parent.mkdir()
    for file, seconds in zip((part, *kept), (2, 1, 3, 1), strict=True):
        file.touch()
        os.utime(file, (seconds, seconds))
    stages._forget_kernels_before(part)
    assert [file.exists() for file in kept] == [False, True, True]
    stages._forget_kernels_before(tmp_path / "none.py")


def test_all_files_with_parts_of_other_files_kernels_are_known() -> None:
    found = {file.relative_to(ROOT).as_posix() for file in ROOT.rglob("*.py") if PART.search(file.read_text())}
    assert found == {*stages._PARTS_OF_KERNELS}
