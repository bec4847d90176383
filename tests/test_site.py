"""The documentation site: it builds without a warning, what is generated is current, the tutorial runs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

import dvs_transfer

DOCS = Path(__file__).parent.parent / "docs"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does, with no way to the network. The build checks its own links."""
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(build, cwd=repository, env=os.environ | nowhere, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.slow
def test_every_page_and_public_name_is_there(site: Path) -> None:
    pages = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")}
    pages = {page.replace("README.html", "index.html") for page in pages} | {"start.html", "SECURITY.html"}
    assert pages <= {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    reference = "".join((site / "api" / f"{page}.html").read_text() for page in ("functions", "data"))
    for name in set(dvs_transfer.__all__) - {"__version__"}:
        assert f'id="dvs_transfer.{name}"' in reference, name
    assert "<code>config</code>: a model, a file, or the name of a shipped one" in reference


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('<a href="b.html#here"></a>', None),
        ('<a href="b.html#there"></a>', "b.html#there leads nowhere"),
        ('<a href="c.html"></a>', "c.html leads nowhere"),
        ('<img src="a.png">', "a.png leads nowhere"),
        ('<a href="https://example.org"></a>', None),
        ("<run>/report", "<run> is not closed"),
        ('<script src="https://example.org/a.js"></script>', "<script> loads https://example.org/a.js"),
    ],
)
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path, line: str, problem: str | None) -> None:
    errors = pytest.importorskip("mkdocs.exceptions", reason="needs the extra `docs`")
    (tmp_path / "a.html").write_text(line)
    (tmp_path / "b.html").write_text('<p id="here"></p>')
    check = load("hooks").on_post_build
    if problem is None:
        check(SimpleNamespace(site_dir=tmp_path))
    else:
        with pytest.raises(errors.PluginError, match=re.escape(f"a.html: {problem}")):
            check(SimpleNamespace(site_dir=tmp_path))


def test_the_page_of_the_commands_is_current() -> None:
    assert load("generated").commands() == (DOCS / "commands.md").read_text(), "`make docs` writes it"


def test_the_notebook_is_the_script() -> None:
    generated = load("generated")
    settings = pytest.importorskip("mkdocs.config", reason="needs the extra `docs`")
    repo_url = settings.load_config(str(DOCS.parent / "mkdocs.yml")).repo_url
    assert generated.is_current(DOCS / "tutorial.ipynb", repo_url), "`make docs` writes it"
    code = "\n".join(text for kind, text in generated.cells(None) if kind == "code")
    assert [line for line in (DOCS / "tutorial.py").read_text().splitlines() if line and line[:1] != "#"] == [
        line for line in code.splitlines() if line
    ]
    for_colab = generated.cells("https://example.org/owner/name")
    assert any(
        "colab.research.google.com/github/owner/name/blob/main/docs/tutorial.ipynb" in text for _, text in for_colab
    )


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    quiet = {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(DOCS / "tutorial.py")]
    ran = subprocess.run(command, cwd=tmp_path, env=os.environ | quiet, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "200 recordings" in ran.stdout
    accuracies = dict(re.findall(r"^(demo\S*): (\d+)% of 60 recordings", ran.stdout, re.MULTILINE))
    assert set(accuracies) == {"demo", "demo-events-alone"}
    assert int(accuracies["demo"]) > 15  # chance is 10
    assert len(list((tmp_path / "tutorial" / "runs").glob("demo-*/evaluation-test.json"))) == 2


def test_the_citation_is_of_this_version(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
