"""The steps from raw data to a report, and the science that they need."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# Whose functions and constants the kernels of other files beside them have in themselves.
_PARTS_OF_KERNELS = ("frames/vectors.py", "sources/formats/words/stream.py")


def _give_numba_a_place() -> None:
    """numba keeps compiled kernels beside their source, else below the user's home, and refuses to start where it may
    write to neither: then they go to a folder that this process and its workers share, and that goes with it.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    places = (Path(__file__).parent / "frames" / "__pycache__", home / "numba")
    if "NUMBA_CACHE_DIR" in os.environ or any(map(_may_write, places)):
        return
    import atexit
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="dvs-transfer-kernels-")  # others may neither guess nor enter it
    os.environ["NUMBA_CACHE_DIR"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _may_write(folder: Path) -> bool:
    """Whether the folder can be written, or made in the nearest one above it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _forget_kernels_before(part: Path) -> None:
    """numba compiles a kernel anew where its own file has changed; not where a part of it has, in another file."""
    with suppress(OSError):  # what may not be removed is nobody's checkout
        changed_ns = part.stat().st_mtime_ns
        for index in part.parent.glob("__pycache__/*.nbi"):
            if index.stat().st_mtime_ns < changed_ns:
                index.unlink(missing_ok=True)


_give_numba_a_place()
for _part in _PARTS_OF_KERNELS:
    _forget_kernels_before(Path(__file__).parent / _part)
