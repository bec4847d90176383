"""How recordings and photos are joined and split: the configuration alone, so that it can be had without zarr."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from ..cache.digests import fingerprint
from ..cache.documents import MAX_CONFIG_BYTES, Frozen, read_document
from ..cache.errors import DvsTransferError, StoreError

MAX_SPLIT_BYTES: Final = 1 << 25  # of a list of samples: a million lines of 32
LISTED_PARTS: Final = ("train", "validation", "test")
SHORT_DIGEST: Final = 8


class SplitFile(Frozen):
    """The file, or one for each part, that lists which recording is in which.

    files: path by part; "" is one file of all.  digest: of their contents, which alone is an identity. In a document of
    this software it stands beside the paths; what is read later must still have it.
    """

    WRITTEN_AS: ClassVar[str] = "path, or table of paths by part"

    digest: str
    files: dict[str, str] = Field({})

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        given = {"": value} if isinstance(value, str | Path) else value
        if not isinstance(given, Mapping) or "digest" in given:
            return given
        unknown = sorted({str(part) for part in given} - {"", *LISTED_PARTS})
        if unknown or not given or not all(isinstance(path, str | Path) for path in given.values()):
            raise ValueError(
                f"expected a path, or a table of paths by part ({', '.join(LISTED_PARTS)})"
                + (f", found the part {', '.join(unknown)}" if unknown else "")
            )
        files = {str(part): str(path) for part, path in given.items()}
        try:
            return {"files": files, "digest": _digest(_texts(files))}
        except (OSError, DvsTransferError) as error:
            raise ValueError(str(error)) from None

    @property
    def name(self) -> str:
        """As messages and results show it: the files' names, and the beginning of the digest."""
        names = " and ".join(Path(path).name for path in self.files.values())
        return f"{names} ({self.digest[:SHORT_DIGEST]})"

    def read(self) -> dict[str, str]:
        """The text of each file, by part. Raises StoreError: gone, no UTF-8, too large, changed since."""
        try:
            texts = _texts(self.files)
        except OSError as error:
            raise StoreError(str(error)) from None
        if _digest(texts) != self.digest:
            raise StoreError(f"{', '.join(self.files.values())}: changed meanwhile; run the command again")
        return texts


def _texts(files: Mapping[str, str]) -> dict[str, str]:
    texts = {}
    for part, path in files.items():
        content = read_document(Path(path), MAX_SPLIT_BYTES)
        try:
            texts[part] = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise StoreError(f"{path}, line {line}: not UTF-8; expected a text of samples and parts") from None
    return texts


def _digest(texts: Mapping[str, str]) -> str:
    return fingerprint({part: hashlib.sha256(text.encode()).hexdigest() for part, text in texts.items()})


class PairingConfig(Frozen):
    """How recordings and photos are joined and split."""

    LATER = frozenset({"subset_seed", "split", "split_file", "group"})

    protocol: Literal["disjoint", "unrestricted"] = Field(
        "disjoint",
        description="disjoint: no photo of a validation, test or novel recording, as far as these are known, and "
        "no copy of one is in the static pool; unrestricted: every photo is",
    )
    train: float = Field(0.8, gt=0, le=1, description="share of each class's recordings that train")
    validation: float = Field(0.1, ge=0, lt=1, description="share of each class's recordings that choose the epoch")
    test: float = Field(0.1, gt=0, lt=1, description="share of each class's recordings that are tested once")
    train_share: float = Field(1.0, gt=0, le=1, description="part of the training recordings that is used")
    train_per_class: int | None = Field(
        None, ge=1, description="training recordings of each class that are used, at most; unset: as train_share says"
    )
    pool_share: float = Field(1.0, gt=0, le=1, description="part of each class's photos that makes the static pool")
    classes: Literal["same", "shared"] = Field(
        "same",
        description="same: recordings and images must have the same classes; shared: those that both have are used",
    )
    image_classes: dict[str, str] = Field(
        {},
        description="class of the images that teaches a class of the recordings, where its name is another: a table, "
        'or a TOML file of lines like "car_side" = "automobile"',
    )
    originals: Literal["auto", "by_id", "by_number", "none"] = Field(
        "auto",
        description="which image a recording was made of. auto: as the sources say; of your own data the one of the "
        "same name, and of other recordings it is not known. by_id: the one of the same name, else none; by_number: of "
        "the same last number in its name, else none; none: no image is a recording's",
    )
    novel_classes: tuple[str, ...] = Field(
        (),
        description="classes by name or pattern (* and ?) that are kept out of training, validation, test and static "
        "pool: their recordings are the split `novel`, for few-shot evaluation",
    )
    seed: int = Field(0, ge=0, description="seed of the split")
    subset_seed: int | None = Field(
        None,
        ge=0,
        description="draws which recordings train, of those that neither validate nor test, where not all do; unset: "
        "as seed",
    )

    split: Literal["hash", "official"] = Field(
        "hash",
        description="hash: drawn, by hashes of seed and id; official: as the makers of the data give it. Where they "
        "give no validation part, `validation` is a share of each class's training part; `train` and `test` do not "
        "apply",
    )
    split_file: SplitFile | None = Field(
        None,
        description="file of a sample and its part in each line (CSV or text), or a table of one file for each part: "
        '{ train = "train.txt", test = "test.txt" }; in place of a split that is drawn (docs/splits.md)',
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="recordings of one group stay on one side of the split: a regular expression on the id, of which "
        "the first group or else the whole match names it, or a column of the split file; unset: as the source says",
    )

    @field_validator("image_classes", mode="before")
    @classmethod
    def _read_file(cls, value: Any) -> Any:
        if not isinstance(value, str | Path):
            return value
        try:
            return tomllib.loads(read_document(Path(value), MAX_CONFIG_BYTES).decode())
        except (OSError, ValueError, RecursionError, DvsTransferError) as error:
            raise ValueError(f"expected a TOML file of class names: {error}") from None

    @property
    def has_given_parts(self) -> bool:
        """Whether the parts are others', and not drawn."""
        return self.split == "official" or self.split_file is not None

    @property
    def uses_all(self) -> bool:
        """Whether the ratios leave no recording over."""
        return self.has_given_parts or self.train + self.validation + self.test > 1 - 1e-9

    @property
    def draws_labels(self) -> bool:
        """Whether some recordings that could train do not, so that `subset_seed` chooses those that do."""
        return not self.uses_all or self.train_share < 1 or self.train_per_class is not None

    def name_split(self, keeps_recordings: bool = False) -> str:
        """Which split it is, to be shown beside the protocol; "" where single recordings are drawn by their hashes.

        keeps_recordings: the source has pieces of recordings, and those of one stay together.
        """
        words = ["official split"] if self.split == "official" else []
        words += [f"split of {self.split_file.name}"] if self.split_file else []
        words += [f"groups by {self.group}"] if self.group else ["whole recordings"] * keeps_recordings
        return ", ".join(words)

    @model_validator(mode="after")
    def _split_is_one(self) -> Self:
        if self.split == "official" and self.split_file:
            raise ValueError("split = official and split_file both say which recordings train: leave one out")
        if self.group and not self.split_file:
            try:
                re.compile(self.group)
            except re.error as error:
                raise ValueError(f"group: {self.group!r} is no regular expression ({error})") from None
        others = {
            name: field.default
            for name, field in type(self).model_fields.items()
            if name in ("train", "test") and getattr(self, name) != field.default
        }
        if self.has_given_parts and others:
            given = " and ".join(f"{name} = {getattr(self, name):g}" for name in others)
            back = " ".join(f"--set pairing.{name}={default:g}" for name, default in others.items())
            raise ValueError(
                f"{given}: means nothing where {'split = official' if self.split == 'official' else 'split_file'} says "
                f"which recordings train and test: leave it out, or set it back to what it is unset ({back})"
            )
        return self

    @model_validator(mode="after")
    def _ratios_fit(self) -> Self:
        total = self.train + self.validation + self.test
        if total > 1 + 1e-9 and not self.has_given_parts:
            raise ValueError(f"train + validation + test must be at most 1, they are {total:g}")
        if self.train_per_class is not None and self.train_share < 1:
            raise ValueError("train_share and train_per_class both limit the training recordings: set one of them")
        return self
