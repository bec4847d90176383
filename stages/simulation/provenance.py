"""What made a folder of generated raw data: written beside it, so that nothing is mixed, done twice or half done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...cache.documents import read_json
from ...cache.durable import remove_temporaries, write_json
from ...cache.errors import ConfigError
from ...cache.locks import lock_path, once

Report = TypeVar("Report")


@dataclass(frozen=True)
class Provenance:
    """The record `<folder>/<name>.json` of a finished run, and `<name>.begun.json` of one under way.

    identity: JSON-able, everything that decides the folder's content. Who begins or finishes holds the lock `name` of
    the folder.
    """

    folder: Path
    name: str
    identity: dict[str, Any]

    def once(
        self, find: Callable[[dict[str, Any]], Report | None], make: Callable[[], tuple[Report, dict[str, Any]]]
    ) -> Report:
        """What `find` tells of the record of a finished run; where there is none, or `find` misses something, what
        `make` does, with the results to be recorded.

        Raises ConfigError where the folder holds the work of another identity (naming the fields that differ) or files
        of unknown origin.
        """

        def find_finished() -> Report | None:
            done = self.finished()
            return None if done is None else find(done)

        def work() -> Report:
            self.begin()
            report, results = make()
            self.finish(results)
            return report

        return once(self.folder, self.name, find_finished, work, lambda: self._begun.unlink(missing_ok=True))[0]

    def finished(self) -> dict[str, Any] | None:
        """The record of a finished run, or None. With or without the lock: a read-only folder has no place for one.

        Who works there has made the lock's file before any other, and removes it after the record of a finished run.
        """
        self._refuse_other_files(lock_path(self.folder, self.name), self._begun, self._done)
        return self._read(self._done)

    def begin(self) -> None:
        """Say that the work is under way, and clear what a killed run left behind. Raises ConfigError as `once`."""
        self._refuse_other_files(self._begun, self._done)
        self._read(self._begun)
        remove_temporaries(self.folder)
        write_json(self._begun, self.identity)
        self._done.unlink(missing_ok=True)

    def finish(self, results: dict[str, Any]) -> None:
        """Say that everything is there, with what `finished` is to give back the next time."""
        write_json(self._done, {**self.identity, **results})
        self._begun.unlink(missing_ok=True)

    @property
    def _done(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def _begun(self) -> Path:
        return self.folder / f"{self.name}.begun.json"

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = read_json(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ConfigError(f"{path}: is no JSON document ({error}); delete {self.folder} and run again") from error
        if others := _differences(self.identity, found):
            raise ConfigError(
                f"{self.folder} was made otherwise ({'; '.join(others)}); choose another folder, or delete this one"
            )
        return found

    def _refuse_other_files(self, *ours: Path) -> None:
        """Raise ConfigError where there are files, and none of `ours`."""
        there = sorted(self.folder.iterdir()) if self.folder.is_dir() else ()  # before it is looked for `ours`
        others = [path.name for path in there if not path.name.startswith(".")]
        if others and not any(path.exists() for path in ours):
            raise ConfigError(
                f"{self.folder} is not empty ({', '.join(others[:3])}) and no {self._done.name} says what made it; "
                "choose another folder"
            )


def _differences(wanted: Any, found: Any, field: str = "") -> list[str]:
    """The fields that `found` has otherwise than `wanted`, as "name: theirs there, ours here". Beside the fields of
    `wanted` itself there are results; inside them, one that is on one side alone has its default on the other."""
    if not (isinstance(wanted, dict) and isinstance(found, dict)):
        theirs, ours = ("its default" if value is None else value for value in (found, wanted))
        return [] if wanted == found else [f"{field}: {theirs} there, {ours} here"]
    names = {**wanted, **found} if field else wanted
    pairs = ((f"{field}.{name}".lstrip("."), wanted.get(name), found.get(name)) for name in names)
    return [line for name, ours, theirs in pairs for line in _differences(ours, theirs, name)]
