"""What made a folder of generated raw data: written beside it, so that nothing is mixed, done twice or half done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.documents import read_json
from ...cache.durable import remove_temporaries, write_json
from ...cache.errors import ConfigError
from ...cache.locks import lock_path


@dataclass(frozen=True)
class Provenance:
    """The record `<folder>/<name>.json` of a finished run, and `<name>.begun.json` of one under way.

    identity: JSON-able, everything that decides the folder's content. Who checks, begins or finishes holds the lock
    `name` of the folder.
    """

    folder: Path
    name: str
    identity: dict[str, Any]

    def finished(self) -> dict[str, Any] | None:
        """`check` for whoever holds no lock, which a read-only folder has no place for: None while another works there.

        Who works there has made the lock's file before any other, and removes it after the record of a finished run.
        """
        strangers = self._strangers()
        if strangers and not any(
            path.exists() for path in (lock_path(self.folder, self.name), self._begun, self._done)
        ):
            raise self._unknown(strangers)
        done = self._read(self._done)
        return None if self._begun.exists() else done

    def check(self) -> dict[str, Any] | None:
        """The record of a finished run of this identity, or None where the work is to do or to finish.

        Raises ConfigError where the folder holds the work of another identity (naming the fields that differ) or files
        of unknown origin.
        """
        done, begun = self._read(self._done), self._read(self._begun)
        if done is not None:
            self._begun.unlink(missing_ok=True)  # of a run that was killed at its very end
        elif begun is None and (strangers := self._strangers()):
            raise self._unknown(strangers)
        return done

    def begin(self) -> None:
        """Say that the work is under way, and clear what a killed run left behind."""
        remove_temporaries(self.folder)
        write_json(self._begun, self.identity)
        self._done.unlink(missing_ok=True)

    def finish(self, results: dict[str, Any]) -> None:
        """Say that everything is there, with what `check` is to give back the next time."""
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

    def _strangers(self) -> list[str]:
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(path.name for path in there if not path.name.startswith("."))

    def _unknown(self, strangers: list[str]) -> ConfigError:
        return ConfigError(
            f"{self.folder} is not empty ({', '.join(strangers[:3])}) and no {self._done.name} says what made it; "
            "choose another folder"
        )


def _differences(wanted: Any, found: Any, field: str = "") -> list[str]:
    """The fields of `wanted` that `found` has otherwise, as "name: theirs there, ours here"."""
    if not (isinstance(wanted, dict) and isinstance(found, dict)):
        return [] if wanted == found else [f"{field}: {found} there, {wanted} here"]
    pairs = ((f"{field}.{name}".lstrip("."), value, found.get(name)) for name, value in wanted.items())
    return [line for name, ours, theirs in pairs for line in _differences(ours, theirs, name)]
