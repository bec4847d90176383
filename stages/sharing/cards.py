"""A card: Markdown below a front matter in YAML, as hubs read it (model-index and the like, of the card format)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def card(metadata: Mapping[str, Any], text: str) -> str:
    """The file's content. metadata: of plain values, lists and mappings, in any nesting."""
    return "\n".join(["---", *_lines(metadata), "---", "", text.strip(), ""])


def repository_name(name: str) -> str:
    """A name as hubs take it for a repository: of letters, digits, and - . _ between them."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Two columns of Markdown."""
    cells = [(name, str(value).replace("|", "\\|").replace("\n", " ")) for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in cells)])


def _lines(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    """Block style for what has parts, JSON for what has none: every JSON text is one of YAML."""
    for key, item in value.items() if isinstance(value, Mapping) else ((None, item) for item in value):
        name = "-" if key is None else f"{key}:"
        if isinstance(item, Mapping | list | tuple) and item:
            inner = list(_lines(item))
            if key is None:  # the first line stands beside the dash
                yield f"- {inner[0]}"
                yield from (f"  {line}" for line in inner[1:])
            else:
                yield name
                yield from (f"  {line}" for line in inner)
        else:
            yield f"{name} {_scalar(item)}"


def _scalar(item: Any) -> str:
    """As JSON has it, but for a float such as 1e-06, which YAML takes for text where it has no point."""
    text = json.dumps(item, ensure_ascii=False)
    return text.replace("e", ".0e") if isinstance(item, float) and "e" in text and "." not in text else text
