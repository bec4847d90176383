"""Runs the command in this process, as the console script does, and keeps what it printed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvs_transfer.cli import main


@dataclass(frozen=True)
class Outcome:
    """An exit code and what was printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)


def run_command(*arguments: str | Path) -> Outcome:
    """Run `dvs-transfer ARGUMENTS`. An exception that the command does not turn into a message is raised."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def succeed(*arguments: str | Path) -> Outcome:
    outcome = run_command(*arguments)
    assert outcome.code == 0, outcome.err
    return outcome


def refuse(*arguments: str | Path, code: int, says: Iterable[str]) -> Outcome:
    """Run a command that must fail with this code, nothing on standard output, and a message that holds each text."""
    outcome = run_command(*arguments)
    assert (outcome.code, outcome.out) == (code, ""), outcome
    assert "Traceback" not in outcome.err
    for text in says:
        assert text in outcome.err, f"{text!r} is not in {outcome.err!r}"
    return outcome


def convert_command(raw: Path, out: Path, source: str = "ncaltech101") -> tuple[str | Path, ...]:
    """The arguments of a small conversion of `raw_data.write_raw_data`'s folder."""
    folder = raw / ("events" if source == "ncaltech101" else "images")
    return ("--quiet", "convert", source, folder, "--out", out, "--size", "8", "--samples-per-shard", "5")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of everything below a folder."""
    stats = ((path.relative_to(folder).as_posix(), path.stat()) for path in folder.rglob("*"))
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats}
