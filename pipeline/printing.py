"""Results on standard output: a line for each field of a report, or JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def show(report: Any, as_json: bool, title: str = "") -> None:
    """Print a report: as JSON, or a line for each of its fields."""
    document = to_document(report)
    if as_json:
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return
    if title:
        print(title)
    for key, value in document.items():
        if key == "warnings":
            continue  # told on standard error when they arose
        print(f"  {key.removeprefix('num_').replace('_', ' '):<22} {to_text(value)}")


def to_document(report: Any) -> Any:
    if isinstance(report, BaseModel):
        return report.model_dump(mode="json")
    if dataclasses.is_dataclass(report):
        return {field.name: to_document(getattr(report, field.name)) for field in dataclasses.fields(report)}
    if isinstance(report, Mapping):
        return {str(key): to_document(value) for key, value in report.items()}
    if isinstance(report, list | tuple):
        return [to_document(value) for value in report]
    return str(report) if isinstance(report, Path) else report


def to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "".join(f"\n    {key}: {to_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(to_text, value)) or "none"
    return "-" if value is None else str(value)
