"""The fuzzer in short, and that it finds what it is for. At length: `make fuzz`."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import damage
from fuzz_targets import TARGETS


@pytest.mark.slow
def test_no_parser_does_what_it_may_not(tmp_path: Path) -> None:
    """A quarter of a second for each of those that need no other process."""
    slow = ("aedat4", "dat", "evt", "hdf5", "mat73", "tonic", "published-checkpoint")
    quick = [name for name in TARGETS if name not in slow]
    command = [
        sys.executable,
        Path(__file__).with_name("fuzz.py"),
        "--out",
        tmp_path,
        "--minutes",
        f"{len(quick) / 120}",
    ]
    done = subprocess.run([*command, "--only", *quick], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_damage_is_the_same_for_a_seed_and_changes_something() -> None:
    seed = bytes(range(256)) * 4
    first, again = ([damage(seed, [seed], random.Random(number)) for number in range(200)] for _ in range(2))
    assert first == again
    assert sum(changed != seed for changed in first) > 180


SET_UP = """
import sys
from pathlib import Path
import fuzz, fuzz_targets
noted = Path(sys.argv[1]) / "noted"
def seeds(folder):
    with noted.open("a") as file: file.write("x")
    return [b"seed"]
fuzz_targets.TARGETS = {"planted": fuzz_targets.Target(seeds, lambda data, folder: None)}
for _ in range(50):
    fuzz.fuzz("planted", 0.002, 0, Path(sys.argv[1]))
print(len(noted.read_text()))
"""


def test_a_parser_is_set_up_once(tmp_path: Path) -> None:
    """Making the seeds may take seconds: what is left after the last input is no reason to begin again."""
    command = [sys.executable, "-c", SET_UP, tmp_path]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "50\n"), done.stderr


PLANTED = """
import os, signal, sys, time
from pathlib import Path
import fuzz, fuzz_targets
def parse(data, folder):
    if data != b"seed": {fault}
fuzz_targets.TARGETS = {{"planted": fuzz_targets.Target(lambda folder: [b"seed"], parse)}}
fuzz.MAX_SECONDS = {seconds}
found = fuzz.fuzz("planted", 0.5, 0, Path(sys.argv[1])).findings
print(found)
sys.exit(any({expected!r} in finding for finding in found))
"""


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("raise KeyError(1)", "KeyError in"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the process ended with -11"),
        ("time.sleep(60)", "the process ended with -14"),
        ("b'x' * (1200 << 20)", "memory grew"),
    ],
)
def test_planted_faults_are_found(fault: str, expected: str, tmp_path: Path) -> None:
    script = PLANTED.format(fault=fault, expected=expected, seconds=1 if "sleep" in fault else 60)
    command = [sys.executable, "-c", script, tmp_path]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert list(tmp_path.glob("planted-*.input"))
