"""A card: Markdown below a front matter in YAML, as hubs read it (model-index and the like, of the card format)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml


def card(metadata: Mapping[str, Any], text: str) -> str:
    """The file's content. metadata: of plain values, lists and mappings, in any nesting."""
    front = yaml.safe_dump(dict(metadata), sort_keys=False)
    return f"---\n{front}---\n\n{text.strip()}\n"


def repository_name(name: str) -> str:
    """A name as hubs take it for a repository: of letters, digits, and - . _ between them."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Two columns of Markdown."""
    cells = [(name, str(value).replace("|", "\\|").replace("\n", " ")) for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in cells)])
