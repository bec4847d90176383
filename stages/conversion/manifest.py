"""The digests of raw samples without converting them: to see whether a store, or a part of one, is up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...cache.digests import content_digest
from ...cache.errors import SourceError
from ..sources import open_source
from ..sources.base import Sample
from ..sources.reader import Reader
from ..tasks import TaskRunner

SAMPLES_PER_TASK = 256
UNREADABLE = "unreadable"


@lru_cache(maxsize=8)
def opened_source(name: str, path: Path) -> Reader:
    """The source, listed once in each process."""
    return open_source(name, path)


@dataclass(frozen=True)
class DigestTask:
    """A piece of a source to digest."""

    source: str
    raw: Path
    samples: tuple[Sample, ...]


def digest_samples(task: DigestTask) -> list[str]:
    """The content digest of each sample of the task; "unreadable" where its file cannot be read."""
    source = opened_source(task.source, task.raw)
    return [_digest(source, sample) for sample in task.samples]


def _digest(source: Reader, sample: Sample) -> str:
    try:
        return content_digest(source.read_bytes(sample))
    except SourceError:
        return UNREADABLE


def take_digests(source: Reader, raw: Path, samples: Sequence[Sample], map_tasks: TaskRunner) -> list[tuple[str, str]]:
    """The (sample id, content digest) of each of the samples, in their order."""
    tasks = [
        DigestTask(source.name, raw, tuple(samples[first : first + SAMPLES_PER_TASK]))
        for first in range(0, len(samples), SAMPLES_PER_TASK)
    ]
    parts: Iterable[list[str]] = map_tasks(digest_samples, tasks, label=f"check {source.name}")
    digests = [digest for part in parts for digest in part]
    return [(sample.sample_id, digest) for sample, digest in zip(samples, digests, strict=True)]
