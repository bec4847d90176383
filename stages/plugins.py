"""Networks, methods, sliding strategies and readers that are not this package's: found by name, kept by their code.

A name is that of a built-in one, `package.module:Name` (also of a module beside the configuration file: its folder is
put at the end of the path when the file is read), or that of an entry point in the group `dvs_transfer.<kind>` of an
installed package.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Literal, TypeVar

from ..cache.digests import code_digest
from ..cache.errors import DvsTransferError

Kind = Literal["networks", "methods", "motions", "sliding", "sources"]
Found = TypeVar("Found")


class PluginError(DvsTransferError, ValueError):
    """A name that leads to nothing, or to code that cannot be imported."""


def look_in(folder: Path) -> None:
    """Let plug-ins be modules of `folder`, after all that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def require_name(kind: Kind, name: str, known: Collection[str]) -> None:
    """Raise PluginError where `name` can lead to nothing; nothing is imported."""
    if name not in known:
        _entry_point(kind, name, known)


def find(kind: Kind, name: str, known: Mapping[str, Found]) -> Found:
    """What `name` stands for: an entry of `known`, or what a user or an installed package brought.

    Raises PluginError: nothing of that name, or its module cannot be imported.
    """
    if name in known:
        return known[name]
    point = _entry_point(kind, name, known)
    try:
        found: Found = point.load()
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        raise PluginError(
            f"{name}: cannot be imported ({type(error).__name__}: {error}); it must be defined by an installed module, "
            "by one beside the configuration file that --config names, or, for commands without --config, by one in a "
            "folder that PYTHONPATH names"
        ) from error
    _digest_of(_top_of(point), _made_by_loading(found))  # now: its files may change while what was imported goes on
    return found


def plugin_digest(kind: Kind, name: str, known: Collection[str]) -> str | None:
    """Digest of the source that defines a plug-in: its module, or all modules of its package; None if built in.

    Of the code that was imported, whatever its files hold by now.
    Raises PluginError: nothing of that name, or its module cannot be imported.
    """
    if name in known:
        return None
    found: object = find(kind, name, {})
    return _digest_of(_top_of(_entry_point(kind, name, known)), _made_by_loading(found))


def _made_by_loading(found: object) -> object:
    """What is another object once its module is loaded anew (`importlib.reload`, a notebook's autoreload)."""
    return found if isinstance(found, type | FunctionType) else None


def _top_of(point: EntryPoint) -> ModuleType:
    """The module that defines it, or the package that this is in."""
    return import_module(point.module.partition(".")[0])


@cache
def _digest_of(top: ModuleType, found: object) -> str:
    """Of the module's file, or of the package's files; read when `found` is first seen."""
    files = sorted(file for folder in getattr(top, "__path__", []) for file in Path(folder).rglob("*.py"))
    return code_digest(files or [Path(file) for file in [getattr(top, "__file__", None)] if file])


def _entry_point(kind: Kind, name: str, known: Collection[str]) -> EntryPoint:
    group = f"dvs_transfer.{kind}"
    if ":" in name:
        module, _, found = name.partition(":")
        if not (found and EntryPoint.pattern.match(name)) or module.endswith(".py"):
            raise PluginError(f"{name!r} names no code: expected `module:Name`, for `Name` in module.py")
        return EntryPoint(name, name, group)
    installed = {point.name: point for point in entry_points(group=group)}
    if name not in installed:
        raise PluginError(
            f"{name!r} is none of {', '.join(sorted({*known, *installed}))}, and not `package.module:Name` (an entry "
            f"point of {group} would be found, too)"
        )
    return installed[name]
