"""The pages that are made and kept: commands.md, and the notebook of tutorial.py. `make docs` writes them.

The notebook is run where its cells have changed; to run it for other reasons, remove it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DOCS = Path(__file__).parent


def commands() -> str:
    """Every command with its options, as Markdown."""
    import typer

    from dvs_transfer.cli import app

    def describe(command: Any, context: Any) -> Iterator[str]:
        depth = len(context.command_path.split())
        yield f"{'#' * depth} {context.command_path if depth > 1 else 'Commands'}"
        for paragraph in (command.help or "").split("\n\n"):
            text = " ".join(paragraph.split())
            example = re.fullmatch(r"(Example|Start with): (.*)", text)
            yield f"{example[1]}:\n\n    {example[2]}" if example else text
        records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
        rows = [(name, " ".join(text.split())) for name, text in filter(None, records) if name != "--help"]
        if rows:
            told = [(name, text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")) for name, text in rows]
            yield "\n".join(["| option | meaning |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in told)])
        for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
            if not (each := command.commands[name]).hidden:
                yield from describe(each, typer.Context(each, info_name=name, parent=context))

    root = typer.main.get_command(app)
    return "\n\n".join(describe(root, typer.Context(root, info_name="dvs-transfer"))) + "\n"


def cells(repo_url: str | None) -> list[tuple[str, str]]:
    """("markdown" or "code", text) of the tutorial; with what Colab needs where the repository's address is known."""
    found = []
    for part in re.split(r"^# %%", (DOCS / "tutorial.py").read_text(), flags=re.MULTILINE)[1:]:
        kind, _, body = part.partition("\n")
        if kind:
            found.append(("markdown", re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip()))
        else:
            found.append(("code", body.strip()))
    if repo_url:
        place = urlsplit(repo_url).path.strip("/")
        colab = f"https://colab.research.google.com/github/{place}/blob/main/docs/tutorial.ipynb"
        found.insert(1, ("markdown", f"[![Open in Colab](images/open-in-colab.svg)]({colab})"))
        found.insert(2, ("code", f"%pip install --quiet git+{repo_url}"))
    return found


def notebook(repo_url: str | None) -> dict[str, Any]:
    """The tutorial with what its cells print and draw, run in the current folder."""
    made = []
    names: dict[str, Any] = {}
    for number, (kind, text) in enumerate(cells(repo_url)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": [] if text.startswith("%") else list(_run(text, names))}
        made.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _run(code: str, names: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a cell printed and drew, as a notebook keeps it."""
    from matplotlib import pyplot

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "tutorial", "exec"), names)
    if lines := printed.getvalue().splitlines(keepends=True):
        yield {"output_type": "stream", "name": "stdout", "text": lines}
    for figure in map(pyplot.figure, pyplot.get_fignums()):
        picture = io.BytesIO()
        figure.savefig(picture, dpi=100)
        data = {"image/png": base64.b64encode(picture.getvalue()).decode()}
        yield {"output_type": "display_data", "metadata": {}, "data": data}
    pyplot.close("all")


def is_current(kept: Path, repo_url: str | None) -> bool:
    """Whether a notebook is that of the script, as it is now."""
    try:
        found = json.loads(kept.read_text())["cells"]
    except FileNotFoundError:
        return False
    return [(cell["cell_type"], "".join(cell["source"])) for cell in found] == cells(repo_url)


def main() -> None:
    from mkdocs.config import load_config

    (DOCS / "commands.md").write_text(commands())
    kept, repo_url = DOCS / "tutorial.ipynb", load_config(str(DOCS.parent / "mkdocs.yml")).repo_url
    if not is_current(kept, repo_url):
        os.environ["MPLBACKEND"] = "Agg"
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            made = notebook(repo_url)
        kept.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
