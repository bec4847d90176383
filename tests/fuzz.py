"""Damages valid inputs of every parser and looks for what none may do: `make fuzz`.

A parser of damaged bytes gives a result or raises an error of ours, within a time and a memory. Anything else is a
finding: another exception, a process that dies or hangs, memory beyond the bound. The input of a finding is kept below
`build/fuzz/`, with what happened beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dvs_transfer.cache.errors import DvsTransferError

MAX_SECONDS = 90  # for one input, by the clock of the wall: a decoder may be silent for 60
MAX_RSS_GROWTH = 1 << 30
MAX_ADDRESS_GROWTH = 3 << 30
MAX_INPUT_BYTES = 1 << 20
_POOL = 200
_MEMORY = Path("/dev/shm")  # a file for each input
_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    1 << 40,
    (1 << 63) - 1,
)
_WORDS = (
    b"-1",
    b"99999999999999999999",
    b"1e999",
    b"nan",
    b"\xff\xfe",
    b"\0",
    b"[" * 3000,
    b"{" * 3000,
    b'"',
    b"\n",
    b"../",
)


@dataclass
class Outcome:
    """What happened to a parser. refused: inputs that raised our error; slowest_s: CPU time of one input."""

    executions: int = 0
    refused: int = 0
    seconds: float = 0
    slowest_s: float = 0
    rss_growth_mb: float = 0
    findings: list[str] = field(default_factory=list)


# Damage ---------------------------------------------------------------------------------------------------------------


def damage(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One to eight changes, stacked: bits and bytes, numbers of every width, cuts, copies, splices, words."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8))):
        rng.choice(_CHANGES)(changed, others, rng)
    return bytes(changed[:MAX_INPUT_BYTES])


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere; one time in two near the start or the end, where headers and directories are."""
    width = rng.choice((len(data), len(data), 64, 256))
    offset = rng.randrange(width) if width else 0
    return min(offset if rng.random() < 0.7 else max(0, len(data) - 1 - offset), max(0, len(data) - 1))


def _flip_bit(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _set_number(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    width = rng.choice((2, 4, 8))
    number = rng.choice((*_NUMBERS, rng.getrandbits(8 * width), len(data))) % (1 << 8 * width)
    offset = _place(data, rng)
    data[offset : offset + width] = number.to_bytes(width, rng.choice(("little", "big")))[: len(data) - offset]


def _cut_end(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _cut_middle(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start = _place(data, rng)
    del data[start : start + rng.choice((1, 2, 4, 8, rng.randrange(1, 300)))]


def _insert(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start = _place(data, rng)
    data[start:start] = rng.choice((*_WORDS, rng.randbytes(rng.randrange(1, 20)), bytes(rng.randrange(1, 2000))))


def _repeat(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    start = _place(data, rng)
    part = data[start : start + rng.randrange(1, 400)]
    data[start:start] = part * rng.choice((1, 1, 2, 50))


def _splice(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = bytearray(rng.choice(others))
    data[_place(data, rng) :] = other[_place(other, rng) :]


def _copy(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    source, target, size = _place(data, rng), _place(data, rng), rng.choice((1, 4, 8, 64))
    part = data[source : source + size]
    data[target : target + len(part)] = part


def _replace_digits(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    """A number written as text; in a binary file there may be none."""
    start = _place(data, rng)
    for offset in range(start, min(len(data), start + 2000)):
        if 0x30 <= data[offset] <= 0x39:
            end = offset + 1
            while end < len(data) and 0x30 <= data[end] <= 0x39:
                end += 1
            data[offset:end] = rng.choice(
                (b"0", b"-1", b"2", b"4294967296", b"9" * 30, b"1e400", b"null", b'"x"', b"[]")
            )
            return


_CHANGES = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_byte,
    _set_number,
    _set_number,
    _cut_end,
    _cut_middle,
    _insert,
    _repeat,
    _splice,
    _copy,
    _replace_digits,
    _replace_digits,
)


# One parser -----------------------------------------------------------------------------------------------------------


def describe(error: BaseException) -> str:
    """The type of an exception and where it was raised last, in code of this project if it passed there."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/tests/" not in frame.filename and "/.venv/" not in frame.filename]
    frame = (ours or frames)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.name}"


def keep(folder: Path, target: str, what: str, data: bytes, details: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{target}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    (folder / f"{stem}.input").write_bytes(data)
    (folder / f"{stem}.txt").write_text(f"{what}\n\n{details}")


def peak_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(name: str, seconds: float, seed: int, scratch: Path, kept: Path, pipe: Any) -> None:
    """In a process of its own: damage and parse until the time is up; the outcome goes into the pipe now and then."""
    from fuzz_targets import TARGETS

    warnings.simplefilter("ignore")
    target, rng, outcome = TARGETS[name], random.Random(seed), Outcome()
    folder = Path(tempfile.mkdtemp(dir=scratch))
    seeds = target.seeds(folder)
    for valid in seeds:
        target.parse(valid, folder)
    with Path("/proc/self/statm").open() as statm:
        address_space = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (address_space + MAX_ADDRESS_GROWTH, resource.RLIM_INFINITY))
    pool, current, rss = list(seeds), scratch / "current", peak_rss()
    began = told = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        if now > told + 2:
            pipe.send(outcome)
            told = now
        data = damage(rng.choice(pool), seeds, rng)
        current.write_bytes(data)
        signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
        started = time.process_time()
        try:
            target.parse(data, folder)
            pool.append(data)
            if len(pool) > _POOL:
                pool.pop(rng.randrange(len(seeds), len(pool)))
        except DvsTransferError:
            outcome.refused += 1
        except BaseException as error:
            what = describe(error)
            if what not in outcome.findings:
                outcome.findings.append(what)
                keep(kept, name, what, data, "".join(traceback.format_exception(error)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        outcome.executions += 1
        outcome.slowest_s = max(outcome.slowest_s, time.process_time() - started)
        outcome.rss_growth_mb = max(outcome.rss_growth_mb, (peak_rss() - rss) / 1e6)
        outcome.seconds = time.monotonic() - began
        if peak_rss() > rss + MAX_RSS_GROWTH:
            outcome.findings.append(f"memory grew by {(peak_rss() - rss) >> 20} MiB")
            keep(kept, name, "memory", data, outcome.findings[-1])
            break
    outcome.seconds = time.monotonic() - began  # not less than `seconds` unless memory ran out
    pipe.send(outcome)


def fuzz(name: str, seconds: float, seed: int, kept: Path) -> Outcome:
    """Fuzz a parser; a process that dies is a finding, and another goes on."""
    total = Outcome()
    round_seed = seed
    while total.seconds < seconds and len(total.findings) < 20:
        scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
        theirs, ours = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        arguments = (name, seconds - total.seconds, round_seed, scratch, kept, ours)
        process = context.Process(target=work, args=arguments)
        began = time.monotonic()
        process.start()
        ours.close()
        outcome = Outcome()
        try:
            while True:
                outcome = theirs.recv()
        except EOFError:
            process.join()
        _add(total, outcome)
        if process.exitcode:
            total.seconds += max(1.0, time.monotonic() - began - outcome.seconds)
            what = f"the process ended with {process.exitcode}"
            total.findings.append(what)
            data = (scratch / "current").read_bytes() if (scratch / "current").exists() else b""
            keep(kept, name, what, data, f"{name}, seed {round_seed}")
        shutil.rmtree(scratch, ignore_errors=True)
        round_seed += 1
    return total


def _add(total: Outcome, more: Outcome) -> None:
    total.executions += more.executions
    total.refused += more.refused
    total.seconds += more.seconds
    total.slowest_s = max(total.slowest_s, more.slowest_s)
    total.rss_growth_mb = max(total.rss_growth_mb, more.rss_growth_mb)
    total.findings += [finding for finding in more.findings if finding not in total.findings]


def main(arguments: Iterable[str] | None = None) -> int:
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="over all parsers together")
    parser.add_argument("--only", nargs="*", default=list(TARGETS), choices=list(TARGETS), metavar="PARSER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    given = parser.parse_args(list(arguments) if arguments is not None else None)
    outcomes = {}
    print("| parser | inputs | refused | seconds | slowest, ms CPU | memory, MB | found |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in given.only:
        found = outcomes[name] = fuzz(name, 60 * given.minutes / len(given.only), given.seed, given.out)
        figures = f"{found.seconds:.0f} | {found.slowest_s * 1e3:.0f} | {found.rss_growth_mb:.0f}"
        print(
            f"| {name} | {found.executions} | {found.refused} | {figures} | {'; '.join(found.findings) or '-'} |",
            flush=True,
        )
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "outcomes.json").write_text(json.dumps({name: asdict(found) for name, found in outcomes.items()}))
    return any(found.findings for found in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
