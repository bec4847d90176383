"""Networks, methods, sliding strategies and readers that are not this package's: found by name, kept by their code.

A name is one of the built-in ones, `package.module:Name` (also of a module beside the configuration file, whose folder
the command line puts on the path), or that of an entry point in the group `dvs_transfer.<kind>` of an installed
package.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..cache.digests import code_digest
from ..cache.errors import DvsTransferError

Kind = Literal["networks", "methods", "sliding", "sources"]
Found = TypeVar("Found")


class PluginError(DvsTransferError, ValueError):
    """A name that leads to nothing, or to code that cannot be imported."""


def find(kind: Kind, name: str, known: Mapping[str, Found]) -> Found:
    """What `name` stands for: an entry of `known`, or what a user or an installed package brought.

    Raises PluginError: nothing of that name, or its module cannot be imported.
    """
    return known[name] if name in known else _load(kind, name, known)


def plugin_digest(kind: Kind, name: str, known: Mapping[str, Any]) -> str | None:
    """Digest of the source that defines a plug-in: its module, or all modules of its package; None if built in."""
    if name in known:
        return None
    module = sys.modules[_load(kind, name, known).__module__]
    top = sys.modules[module.__name__.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", [])]
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    return code_digest(files or [Path(str(module.__file__))])


def _load(kind: Kind, name: str, known: Mapping[str, Any]) -> Any:
    group = f"dvs_transfer.{kind}"
    place, _, attribute = name.partition(":")
    installed = {point.name: point for point in entry_points(group=group)}
    try:
        if name in installed:
            return installed[name].load()
        if attribute:
            return getattr(import_module(place), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise PluginError(
            f"{name}: cannot be imported ({error}); a module beside the configuration file, or an installed one, must "
            f"define it"
        ) from error
    raise PluginError(
        f"{name!r} is none of {', '.join(sorted([*known, *installed]))}, and not `package.module:Name` (an entry point "
        f"of {group} would be found, too)"
    )
