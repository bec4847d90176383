"""Small text files (configurations, records, results), read within bounds, whoever wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from .errors import DvsTransferError
from .places import is_address, read_object

MAX_DOCUMENT_BYTES: Final = 1 << 26  # the attributes of a store of 10,000 shards have 2 MB
MAX_CONFIG_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 1 << 20


class Frozen(BaseModel):
    """A configuration: no key beside its own, no number that is none, and no change.

    LATER: fields that earlier versions did not have. A document leaves them out while they have their default, so that
    it, and the identity of what was made with it, is what it was. The context {"whole": True} keeps them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        if (info.context or {}).get("whole"):
            whole: dict[str, Any] = dump(self)
            return whole
        fields = type(self).model_fields
        unused = {key for key in self.LATER if getattr(self, key) == fields[key].get_default(call_default_factory=True)}
        return {key: value for key, value in dump(self).items() if key not in unused}


def read_document(path: Path, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
    """The content of a file or an object. Raises OSError where it cannot be read, DvsTransferError: it is larger."""
    content = read_object(path, max_bytes + 1) if is_address(path) else _read_file(path, max_bytes)
    if len(content) > max_bytes:
        raise DvsTransferError(
            f"{path}: more than {max_bytes} bytes, the limit for such a file; is it what it is named?"
        )
    return content


def _read_file(path: Path, max_bytes: int) -> bytes:
    """A file; of a larger one, somewhat more than so many bytes."""
    content = bytearray()
    with path.open("rb") as file:  # all at once, Python would set the limit's memory aside
        while len(content) <= max_bytes and (block := file.read(_BLOCK_BYTES)):
            content += block
    return bytes(content)


def read_json(path: Path) -> Any:
    """The document in a JSON file. Raises ValueError where it is none, and as `read_document` does."""
    return parse_json(read_document(path))


def parse_json(content: bytes) -> Any:
    """Raises ValueError, also for what is nested more deeply than Python can follow."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def flatten(document: Any, keep_empty: bool = False) -> Any:
    """Values by dotted key: `{train = {epochs = 5}}` and `{"train.epochs" = 5}` are the same.

    keep_empty: a section without keys is a value, too.
    """
    if not isinstance(document, Mapping):
        return document
    flat: dict[str, Any] = {}
    for key, value in document.items():
        is_section = isinstance(value, Mapping) and (value or not keep_empty)
        inner = flatten(value, keep_empty) if is_section else None
        flat |= {key: value} if inner is None else {f"{key}.{below}": at for below, at in inner.items()}
    return flat


def name_some(names: Iterable[str], limit: int = 5, between: str = ", ") -> str:
    """For messages: "a, b and 3 more"."""
    listed = list(names)
    more = len(listed) - limit
    return between.join(listed[:limit]) + (f" and {more} more" if more > 0 else "")
