"""Raw samples and their identity: what a store's fingerprint covers, and whether a store is up to date."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...cache.digests import blocks_digest
from ...cache.errors import SourceError
from ..sources.base import Sample
from ..sources.random_access import RandomAccess, blocks
from ..sources.reader import Reader
from ..tasks import TaskRunner

SAMPLES_PER_TASK = 256
UNREADABLE = "unreadable"
_OF_THIS_RUN = re.compile(r" at 0x[0-9a-f]+|/proc/\d+/fd/\d+")

Identity = tuple[str, str, str]


@dataclass(frozen=True)
class RawSample:
    """A sample as it lies on disk. digest: of its file; metadata: JSON or ""; problem: why it is of no use, or "".

    data: what the source's `decode` takes.
    """

    sample_id: str
    data: bytes | RandomAccess
    digest: str
    metadata: str
    problem: str

    @property
    def identity(self) -> Identity:
        """What must not change for a converted sample to be up to date."""
        return self.sample_id, self.digest, self.metadata


def read_raw(source: Reader, sample: Sample) -> RawSample:
    """Read a sample's file and metadata; what cannot be read is told in `problem`."""
    data: bytes | RandomAccess = b""
    digest, metadata, problem = UNREADABLE, "", ""
    try:
        data = source.read_content(sample)
        digest = blocks_digest([data] if isinstance(data, bytes) else blocks(data))
        if found := source.metadata(sample):
            metadata = json.dumps(found, sort_keys=True)
    except SourceError as error:
        problem = problem_of(error)
    return RawSample(sample.sample_id, data, digest, metadata, problem)


def problem_of(error: SourceError) -> str:
    """The message as a store keeps it: without addresses in memory and open files, which each run has its own of."""
    return _OF_THIS_RUN.sub("", str(error))


@dataclass(frozen=True)
class IdentifyTask:
    """A piece of a source to read."""

    source: Reader
    samples: tuple[Sample, ...]


def identify(task: IdentifyTask) -> list[Identity]:
    """The identity of each sample of the task."""
    return [read_raw(task.source, sample).identity for sample in task.samples]


def take_identities(source: Reader, samples: Sequence[Sample], map_tasks: TaskRunner) -> list[Identity]:
    """The identity of each of the samples, in their order, without converting them."""
    tasks = [
        IdentifyTask(source, tuple(samples[first : first + SAMPLES_PER_TASK]))
        for first in range(0, len(samples), SAMPLES_PER_TASK)
    ]
    parts: Iterable[list[Identity]] = map_tasks(identify, tasks, label=f"check {source.name}")
    return [identity for part in parts for identity in part]


def identity_of_row(row: dict[str, str]) -> Identity:
    """The identity that a converted sample had."""
    return row["sample_id"], row["source_digest"], row["metadata"]
