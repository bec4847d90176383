"""Every key that a configuration file may have, with its type, default, unit and meaning."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ..cache.errors import ConfigError

_UNITS: Final = {
    **dict.fromkeys(("time_shift", "num_bins"), "time bins"),
    **dict.fromkeys(("size", "sensor_size", "sensor_width", "sensor_height", "shifts"), "pixels"),
}
_ENDINGS: Final = {
    **{f"_{unit}": unit for unit in ("us", "ms", "s")},
    **{"_hz": "Hz", "_degrees": "degrees", "_px": "pixels"},
}
_PLAIN: Final = {int: "integer", float: "number", bool: "true or false", str: "text", Path: "path", Any: "any"}
_BOUNDS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclass(frozen=True)
class Key:
    """One key of a configuration file. default: as the file would have it; None where it must be given.

    unit: of its number; "" where it has none.
    """

    key: str
    type: str
    default: str | None
    unit: str
    meaning: str


def explain(section: str = "") -> list[Key]:
    """Every key of a configuration file, or those of a section ("train.saccade"), or one alone. Raises ConfigError."""
    from ..stages.training.config import METHOD_NAMES
    from ..stages.training.methods import method_class  # which loads torch
    from .config import ExperimentConfig  # and numba

    found = list(_keys_of(ExperimentConfig, ""))
    for method in METHOD_NAMES:
        if options := method_class(method).Options:
            own = _keys_of(options, "train.options.")
            found += [replace(key, meaning=f"{key.meaning} (train.method = {method})") for key in own]
    if section:
        inside = [key for key in found if key.key == section or key.key.startswith(f"{section}.")]
        if not inside:
            sections = sorted({key.key.rpartition(".")[0] for key in found} - {""})
            known = [*sections, *(key.key for key in found)]
            near = [name for name in known if name.endswith(f".{section}")]
            near = near or difflib.get_close_matches(section, known, n=1)
            hint = f"did you mean {' or '.join(near[:3])}?" if near else f"sections are {', '.join(sections)}"
            raise ConfigError(f"{section}: no section or key of a configuration; {hint}")
        return inside
    return found


def keys_like(name: str) -> list[str]:
    """Keys of a configuration file whose last part is `name`, or else is like it; those of training first."""
    from .config import ExperimentConfig  # which loads numba

    found = sorted({key.key for key in _keys_of(ExperimentConfig, "")}, key=lambda key: not key.startswith("train."))
    ends = [key.rpartition(".")[2] for key in found]
    wanted = {name} if name in ends else set(difflib.get_close_matches(name, ends, n=1, cutoff=0.8))
    return [key for key, end in zip(found, ends, strict=True) if end in wanted]


def as_markdown(found: list[Key]) -> str:
    """The keys as tables, one for each section."""
    lines: list[str] = []
    heading = None
    for key in sorted(found, key=lambda key: key.key.rpartition(".")[0]):
        section, _, name = key.key.rpartition(".")
        if section != heading:
            heading = section
            lines += ["", f"## {f'`[{section}]`' if section else 'Top level'}", ""]
            lines += ["| key | type | default | unit | meaning |", "|---|---|---|---|---|"]
        default = "required" if key.default is None else f"`{key.default}`" if key.default else "unset"
        cells = (f"`{name}`", key.type, default, key.unit, key.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).lstrip("\n") + "\n"


def _keys_of(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        if inner := _model_in(field.annotation):
            yield from _keys_of(inner, f"{prefix}{name}.")
        else:
            unit = _UNITS.get(name) or next((unit for end, unit in _ENDINGS.items() if name.endswith(end)), "")
            yield Key(f"{prefix}{name}", _type_of(field), _default_of(field), unit, field.description or "")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field is, also one that may be left out."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    models = (option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return next((model for model in models if not hasattr(model, "WRITTEN_AS")), None)


def _type_of(field: FieldInfo) -> str:
    return ", ".join([_words_for(field.annotation), *_bounds(field.metadata)])


def _bounds(constraints: Iterable[Any]) -> list[str]:
    """ "> 0" and "<= 1". constraints: as pydantic keeps them of a field, or of a part of its type."""
    parts = [part for each in constraints for part in (each.metadata if isinstance(each, FieldInfo) else [each])]
    bounds = [(sign, getattr(part, name, None)) for part in parts for name, sign in _BOUNDS.items()]
    return [f"{sign} {bound:,.10g}" for sign, bound in bounds if bound is not None]


def _words_for(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([_words_for(inside[0]), *_bounds(inside[1:])])
    if origin is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in inside)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words_for(option) for option in inside if option is not NoneType))
    if origin is tuple and inside[-1] is not Ellipsis:
        return f"[{', '.join(map(_words_for, inside))}]"
    if origin in (tuple, list, frozenset):
        return f"list of {_words_for(inside[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"table of {_words_for(inside[1])}"
    if hasattr(annotation, "WRITTEN_AS"):  # a section that a file has as something shorter
        return str(annotation.WRITTEN_AS)
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default_of(field: FieldInfo) -> str | None:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return None
    return _as_toml(default)


def _as_toml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list | frozenset):
        return f"[{', '.join(map(_as_toml, value))}]"
    return str(value) if isinstance(value, int | float) else f'"{value}"'
