"""Which source files decide what a store holds: those that its reader and the frames need, and no other reader's."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

from ..sources.reader import Reader

_STAGES: Final = Path(__file__).parent.parent
_ROOMS: Final = ("sources", "frames")  # folders of `stages` in which imports are followed


def code_files(reader: type[Reader], stages: Path = _STAGES) -> list[Path]:
    """The files below `stages` that the reader's class and the making of a shard need, sorted.

    The package's own files alone; `stages` may be a copy of them.
    """
    modules = {sys.modules[parent.__module__] for parent in reader.__mro__ if issubclass(parent, Reader)}
    files = {Path(str(module.__file__)) for module in modules}
    files = {file.relative_to(_STAGES) if file.is_relative_to(_STAGES) else file for file in files}
    found: set[Path] = set()
    waiting = [stages / file for file in (Path("conversion", "shards.py"), *files)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported_files(path, stages)
    return sorted(found)


def _imported_files(path: Path, stages: Path) -> list[Path]:
    """What a file imports, relatively, from the followed folders."""
    names: list[Path] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1]
            if node.module:
                base = base.joinpath(*node.module.split("."))
                names.append(base)
            names += [base / alias.name for alias in node.names]  # modules of the package `base`, where it is one
    files = [file for name in names for file in (name.with_suffix(".py"), name / "__init__.py")]
    return [file for file in files if any(file.is_relative_to(stages / room) for room in _ROOMS) and file.is_file()]
