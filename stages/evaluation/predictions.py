"""What a network said of each recording of a split: `predictions-<split>.csv`, a row for each."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

COLUMNS: Final = ("sample_id", "class", "predicted", "predicted_last", "group")
_REQUIRED: Final = set(COLUMNS[:3])  # an earlier version's, or weights that have no last epoch


@dataclass(frozen=True)
class Predictions:
    """What was said of each recording of a split, in the split's order. Classes by name.

    predicted: by the evaluated checkpoint. predicted_last: by the last epoch's weights; None where that is not known.
    groups: what each was cut out of, or is grouped by; None where each stands alone.
    """

    sample_ids: tuple[str, ...]
    classes: tuple[str, ...]
    predicted: tuple[str, ...]
    predicted_last: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None

    @classmethod
    def from_csv(cls, text: str) -> Predictions | None:
        """What `as_csv` gave; None of any other text."""
        try:
            header, *rows = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))] or [()]
        except csv.Error:  # a field of megabytes
            return None
        is_known = header == tuple(name for name in COLUMNS if name in header) and set(header) >= _REQUIRED
        if not is_known or {len(row) for row in rows} != {len(header)}:
            return None
        found = dict(zip(header, zip(*rows, strict=True), strict=True))
        more = found.get("predicted_last"), found.get("group")
        return cls(found["sample_id"], found["class"], found["predicted"], *more)

    def as_csv(self) -> str:
        """A column for each field that is known."""
        columns = {name: column for name, column in zip(COLUMNS, astuple(self), strict=True) if column is not None}
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return out.getvalue()

    @property
    def units(self) -> tuple[str, ...]:
        """(n,) what the bootstrap resamples: the groups, or the recordings."""
        return self.sample_ids if self.groups is None else self.groups

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) whether each was named rightly."""
        return np.array([name == said for name, said in zip(self.classes, self.predicted, strict=True)], bool)

    @property
    def correct_last(self) -> NDArray[np.bool_] | None:
        """(n,) the same of the last epoch's weights."""
        return None if self.predicted_last is None else replace(self, predicted=self.predicted_last).correct
