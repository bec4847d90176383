"""The runs of a report by method: one run is a group of its own, several are grouped as they were compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..evaluation.compare import ComparisonReport
from .records import RunRecord


@dataclass(frozen=True)
class Group:
    """Runs that differ in the draw alone. letter: stands for the name where there is little room."""

    name: str
    letter: str
    runs: tuple[RunRecord, ...]

    @property
    def label(self) -> str:
        return f"{self.letter}: {self.name}" if self.letter else self.name


def group_runs(records: Sequence[RunRecord], comparison: ComparisonReport | None) -> list[Group]:
    """The groups of a comparison, in its order; without one the only run."""
    if comparison is None:
        (record,) = records
        return [Group(record.name, "", (record,))]
    by_folder = {record.folder: record for record in records}
    return [
        Group(method.method, _letter(index), tuple(by_folder[folder] for folder in method.runs))
        for index, method in enumerate(comparison.methods)
    ]


def _letter(index: int) -> str:
    """A ... Z, AA, AB ..."""
    before, last = divmod(index, 26)
    return (_letter(before - 1) if before else "") + chr(ord("A") + last)


def seed_of(record: RunRecord) -> int | None:
    seed: int | None = record.settings.get("train", {}).get("seed")
    return seed


def run_label(group: Group, record: RunRecord) -> str:
    """How a run is called in tables: by its draw where its group tells the rest."""
    if not group.letter:
        return record.name
    seed = seed_of(record)
    subset_seed = record.settings.get("pairing", {}).get("subset_seed")
    labels = f", labels of seed {subset_seed}" if subset_seed not in (None, seed) else ""
    return f"{group.letter}, seed {seed}{labels}" if seed is not None else group.letter


def members(groups: Sequence[Group]) -> Iterator[tuple[int, Group, RunRecord]]:
    """Every run with its group and that one's position."""
    for index, group in enumerate(groups):
        for record in group.runs:
            yield index, group, record
