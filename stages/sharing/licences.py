"""Under which terms raw data came, as readers say it and as a card's metadata name it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...cache.errors import DvsTransferError
from ..sources import find_source

UNKNOWN: Final = "not known"
# The card format's names for licences; any other is "other", with its text as `license_name`.
_IDENTIFIERS: Final[Mapping[str, str]] = {
    "CC BY 4.0": "cc-by-4.0",
    "CC BY-SA 3.0": "cc-by-sa-3.0",
    "CC BY-SA 4.0": "cc-by-sa-4.0",
    "MIT": "mit",
}


def title_and_licence(source: str) -> tuple[str, str]:
    """Of the published data set that a reader is for; a reader that is not here is named as it is."""
    try:
        reader = find_source(source)
    except DvsTransferError:  # a plug-in of somebody else's
        return source, UNKNOWN
    return reader.title, reader.licence


def metadata(licences: Iterable[str], chosen: str | None) -> dict[str, Any]:
    """A card's licence: the chosen one, or that of everything in it, where that is one."""
    if chosen:
        return {"license": chosen}
    found = sorted(set(licences))
    if not found:
        return {"license": "unknown"}
    if len(found) == 1 and found[0] in _IDENTIFIERS:
        return {"license": _IDENTIFIERS[found[0]]}
    return {"license": "other", "license_name": "; ".join(found)}
