"""The house's order: who imports whom, what stands at the root, how long a file may be, what the wheel holds."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOMS = ("cache", "stages", "pipeline", "cli")  # each may import itself and those before it
LEAF_ROOMS = {
    "benchmarks": ("cache", "stages", "pipeline")
}  # measure what they may import; the command line alone imports them
MAX_LINES = 400


def package_files(repository: Path) -> list[Path]:
    rooms = [*(repository / room for room in (*ROOMS, *LEAF_ROOMS))]
    return sorted([*repository.glob("*.py"), *(path for room in rooms for path in room.rglob("*.py"))])


def imported_rooms(path: Path, repository: Path) -> set[str]:
    """The rooms that a file's imports lead to."""
    place = path.relative_to(repository).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = place[: len(place) - node.level + 1]
            target = [*base, *(node.module.split(".") if node.module else [])]
            found |= {target[0]} if target else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.split(".")[0] == "dvs_transfer" for name in names), f"{path}: absolute import of itself"
    return found


def test_rooms_import_only_those_below(repository: Path) -> None:
    files = package_files(repository)
    assert len(files) > 40
    for path in files:
        room = path.relative_to(repository).parts[0]
        if room in ROOMS:
            allowed = set(ROOMS[: ROOMS.index(room) + 1])
        elif room in LEAF_ROOMS:
            allowed = {room, *LEAF_ROOMS[room]}
        else:
            continue  # __init__.py, __main__.py and cli.py
        assert imported_rooms(path, repository) <= allowed, path


def test_the_root_holds_three_modules(repository: Path) -> None:
    assert {path.name for path in repository.glob("*.py")} == {"__init__.py", "__main__.py", "cli.py"}


def test_files_are_short(repository: Path) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in package_files(repository)}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_every_package_is_listed(repository: Path) -> None:
    listed = set(tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(repository).parts for path in package_files(repository)}
    assert listed == {".".join(["dvs_transfer", *parts]) for parts in folders} | {"dvs_transfer.configs"}


@pytest.mark.slow
def test_every_module_imports_from_the_wheel(repository: Path, tmp_path: Path) -> None:
    """Built and unpacked elsewhere: what an editable install would hide."""
    shutil.rmtree(repository / "build" / "lib", ignore_errors=True)  # of modules that are gone
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(repository)], check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert {path.name for path in (site / "dvs_transfer" / "configs").iterdir()} >= {"demo.toml", "ncaltech101.toml"}
    assert {path.name for path in (site / "dvs_transfer" / "stages" / "reporting" / "templates").iterdir()} == {
        path.name for path in (repository / "stages" / "reporting" / "templates").iterdir()
    }
    modules = [".".join(path.relative_to(site).with_suffix("").parts) for path in site.rglob("*.py")]
    names = sorted(module.removesuffix(".__init__") for module in modules if not module.endswith("__main__"))
    assert len(names) == len(package_files(repository)) - 1
    if find_spec("triton") is None:  # comes with torch's CUDA builds alone
        names.remove("dvs_transfer.stages.network.triton_lif")
    code = (
        f"import importlib, sys; sys.path.insert(0, {str(site)!r}); [importlib.import_module(n) for n in {names!r}]; "
    )
    code += f"import dvs_transfer; assert dvs_transfer.__file__.startswith({str(site)!r})"
    subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], check=True, cwd=tmp_path, timeout=200)
