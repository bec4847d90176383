"""What mkdocs asks while it builds the site: pages from outside docs/, and a check of every link that it wrote."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
ROOT_PAGES = {"README.md": "start.md", **{name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}}
VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


def on_config(config: Any) -> None:
    """Docstrings are read from where types are checked, see `make check`."""
    link = ROOT / "build" / "types" / "dvs_transfer"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to("../..")


def on_files(files: Any, config: Any) -> None:
    for name, page in ROOT_PAGES.items():
        text = (ROOT / name).read_text().replace("](docs/", "](").replace("](README.md", "](start.md")
        files.append(File.generated(config, page, content=text))
    page, pictures = _tutorial(json.loads((ROOT / "docs" / "tutorial.ipynb").read_text()))
    files.append(File.generated(config, "tutorial.md", content=page))
    for name, picture in pictures.items():
        files.append(File.generated(config, name, content=picture))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links from docs/ to the repository's root stay in the site."""
    for name, page in ROOT_PAGES.items():
        markdown = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(name)}", rf"](\1{page}", markdown)
    return markdown


def on_post_page(output: str, **_: Any) -> str:
    """The link to the repository is a link: its stars are not asked for."""
    return output.replace(' data-md-component="source"', "")


def on_post_build(config: Any) -> None:
    """Raises PluginError: a link leads nowhere, a page loads something from elsewhere, or shows no `<name>`: a tag."""
    site = Path(config.site_dir).resolve()
    pages = {path: _read(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    problems = []
    for path, page in pages.items():
        where = path.relative_to(site)
        problems += [f"{where}: <{tag}> is not closed; if it is no tag, write it as code" for tag in +page.open]
        for tag, link in page.links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                if tag != "a":
                    problems.append(f"{where}: <{tag}> loads {link}")
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            file = file / "index.html" if file.is_dir() else file
            there = file.is_file() and file.is_relative_to(site)
            if not there or (target.fragment and unquote(target.fragment) not in pages[file].anchors):
                problems.append(f"{where}: {link} leads nowhere")
    if problems:
        raise PluginError("\n".join(["the built site:", *problems]))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.anchors: set[str] = {"__top"}
        self.open: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open[tag] += tag not in VOID
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append((tag, value))
            elif name in ("id", "name") and value:
                self.anchors.add(value)

    def handle_endtag(self, tag: str) -> None:
        self.open[tag] -= 1


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


def _tutorial(notebook: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """The notebook as a page, and its pictures."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        if len(parts) == 1:
            parts.append("As [a notebook](tutorial.ipynb), and as [a script](tutorial.py).")
        for output in cell.get("outputs", ()):
            if "text" in output:
                parts.append(f"```text\n{''.join(output['text'])}```")
            else:
                name = f"tutorial-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(output["data"]["image/png"])
                parts.append(f"![What the lines above draw]({name})")
    return "\n\n".join(parts) + "\n", pictures
