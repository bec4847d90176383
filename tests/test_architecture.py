"""The house's order: who imports whom, what stands at the root, how long a file may be, what the wheel holds."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

# From the bottom up; a room may import those of the floors below it. Rooms of `stages` stand beside the others.
FLOORS = (
    "cache",
    "plugins tasks process_main",
    "processes",
    "sources batches saccades",
    "frames network download preview pairing_config",
    "simulation leakage calibration",
    "runs conversion",
    "pairing demo training",
    "evaluation",
    "analysis prediction sharing",
    "reporting stages",
    "pipeline",
    "benchmarks",
    "cli __init__",
)
MAX_LINES = 350


def package_files(repository: Path) -> list[Path]:
    rooms = [repository / name for name in ("cache", "stages", "pipeline", "benchmarks")]
    return sorted([*repository.glob("*.py"), *(path for folder in rooms for path in folder.rglob("*.py"))])


def imports(path: Path, repository: Path) -> set[Path]:
    """The package's own modules that a file imports, anywhere in it."""
    place = path.relative_to(repository).parts[:-1]
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = repository.joinpath(*place[: len(place) - node.level + 1], *(node.module or "").split("."))
            inside = [base / alias.name for alias in node.names]
            names = [name for name in inside if module_file(name)] or [base]
            found |= {file for name in names if (file := module_file(name))}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.split(".")[0] == "dvs_transfer" for name in names), f"{path}: absolute import of itself"
    return found


def module_file(name: Path) -> Path | None:
    files = (name.with_suffix(".py"), name / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def room(path: Path, repository: Path) -> str:
    """The first folder, below `stages` the second; a module of its own there is a room."""
    first, *rest = path.relative_to(repository).with_suffix("").parts
    return rest[0] if first == "stages" and rest else first


def test_rooms_import_only_those_below(repository: Path) -> None:
    floors = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
    files = [path for path in package_files(repository) if path.name != "__main__.py"]
    assert len(files) > 40
    up = {
        f"{path.relative_to(repository)} -> {target.relative_to(repository)}"
        for path in files
        for target in imports(path, repository)
        if room(path, repository) != room(target, repository)
        and floors[room(path, repository)] <= floors[room(target, repository)]
    }
    assert up == set()


def test_contributing_shows_the_rooms_as_they_are(repository: Path) -> None:
    """Its table names every room of `stages`, from the top down, and what each imports."""
    rows = re.findall(r"^\| (\w+) \| .* \| (.*) \|$", (repository / "CONTRIBUTING.md").read_text(), re.MULTILINE)[1:]
    found: dict[str, set[str]] = {}
    for path in package_files(repository):
        if path.is_relative_to(repository / "stages"):
            targets = {room(target, repository) for target in imports(path, repository)}
            own = room(path, repository)
            found.setdefault(own, set()).update(targets - {own, "process_main"})
    assert {name: set(filter(None, text.split(", "))) for name, text in rows} == {
        name: targets for name, targets in found.items() if name not in ("__init__", "process_main")
    }
    order = [name for names in reversed(FLOORS) for name in names.split()]
    assert [name for name, _ in rows] == [name for name in order if name in dict(rows)]


def test_no_file_imports_itself_by_way_of_others(repository: Path) -> None:
    TopologicalSorter({path: imports(path, repository) for path in package_files(repository)}).prepare()


def test_the_root_holds_three_modules(repository: Path) -> None:
    assert {path.name for path in repository.glob("*.py")} == {"__init__.py", "__main__.py", "cli.py"}


def test_files_are_short(repository: Path) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in package_files(repository)}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_every_package_is_listed(repository: Path) -> None:
    listed = set(tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(repository).parts for path in package_files(repository)}
    assert listed == {".".join(["dvs_transfer", *parts]) for parts in folders} | {"dvs_transfer.configs"}


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, which is built first: it has all that a wheel needs."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(repository)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_works_where_nothing_else_of_the_project_is(repository: Path, wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, from an empty folder; the dependencies are lent by this environment."""
    venv.create(tmp_path / "environment", symlinks=True)
    python, here = tmp_path / "environment" / "bin" / "python", tmp_path / "here"
    here.mkdir()
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, text=True)
    (packages,) = (tmp_path / "environment" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def answer(program: str, *arguments: str) -> str:
        command = [str(python.with_name(program)), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=here, env=environment).stdout

    assert Path(answer("python", "-c", "import dvs_transfer; print(dvs_transfer.__file__)")).is_relative_to(packages)
    assert answer("dvs-transfer", "--version") == f"dvs-transfer {wheel.name.split('-')[1]}\n"
    assert answer("dvs-transfer", "config", "show", "demo") == (repository / "configs" / "demo.toml").read_text()
    assert {"dvs-transfer", "torch"} <= set(json.loads(answer("dvs-transfer", "doctor", "--json")))
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_every_module_imports_from_the_wheel(repository: Path, wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere: what an editable install would hide."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert {path.name for path in (site / "dvs_transfer" / "configs").iterdir()} >= {"demo.toml", "ncaltech101.toml"}
    for templates in ("stages/reporting/templates", "stages/preview/templates"):
        assert {path.name for path in (site / "dvs_transfer" / templates).iterdir()} == {
            path.name for path in (repository / templates).iterdir()
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
