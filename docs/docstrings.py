"""How docstrings become a reference: sentences that begin with a name, `size (H, W): ...`, are a list of its own."""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from typing import Any

import griffe


class Prose(griffe.Extension):
    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        _list_names(func, [parameter.name.lstrip("*") for parameter in func.parameters])

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        _list_names(cls, list(cls.attributes))

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """A field of a model says what it is in `Field(description=...)`, one of a class in a comment behind it."""
        if attr.docstring is not None:
            attr.docstring.value = _escaped(attr.docstring.value)
        if attr.docstring is not None or attr.lineno is None:
            return
        said = ""
        if isinstance(attr.value, griffe.ExprCall):
            for argument in attr.value.arguments:
                if isinstance(argument, griffe.ExprKeyword) and argument.name == "description":
                    with suppress(ValueError):  # an f-string
                        said, attr.value = ast.literal_eval(str(argument.value)), None
        elif comment := re.search(r"  # (.*)$", attr.source):
            said = comment[1]
        if said:
            attr.docstring = griffe.Docstring(_escaped(said), parent=attr)


def _list_names(described: griffe.Object, names: list[str]) -> None:
    if described.docstring is None:
        return
    name = "|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)"
    begins = re.compile(rf"(?:^|(?<=[.;])\s+)(?=(?:{name})(?::| \(|, (?:{name})\b)|Raises\b)")
    paragraphs = []
    for paragraph in described.docstring.value.split("\n\n"):
        if not paragraph.startswith(" "):  # a formula
            prose, *items = begins.split(_escaped(paragraph))
            shown = []
            for head, colon, said in (" ".join(item.split()).partition(":") for item in items):
                of = head if head.startswith("Raises") else re.sub(rf"\b({name})\b", r"`\1`", head)
                shown.append(f"- {of}{colon}{said}")
            paragraph = "\n".join([prose, "", *shown]).strip()
        paragraphs.append(paragraph)
    described.docstring.value = "\n\n".join(paragraphs)


def _escaped(text: str) -> str:
    """`<class>` is a tag to Markdown, but in code."""
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", text)
