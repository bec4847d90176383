"""The fuzzer in short, and that it finds what it is for. At length: `make fuzz`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz import damage
from fuzz_targets import TARGETS


@pytest.mark.slow
def test_no_parser_does_what_it_may_not(tmp_path: Path) -> None:
    """A quarter of a second for each of those that need no other process."""
    slow = ("aedat4", "hdf5", "mat73", "tonic", "published-checkpoint", "nir")
    quick = [name for name in TARGETS if name not in slow]
    command = [
        sys.executable,
        Path(__file__).with_name("fuzz.py"),
        "--out",
        tmp_path,
        "--minutes",
        f"{len(quick) / 240}",
    ]
    done = subprocess.run([*command, "--only", *quick], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_damage_is_the_same_for_a_seed_and_changes_something() -> None:
    seed = bytes(range(256)) * 4
    first, again = ([damage(seed, [seed], random.Random(number)) for number in range(200)] for _ in range(2))
    assert first == again
    assert sum(changed != seed for changed in first) > 180


SECONDS = {"time.sleep(60)": 1}  # that an input may take, where not a minute
FAULTS = {
    "raise KeyError(1)": "KeyError in",
    "os.kill(os.getpid(), signal.SIGSEGV)": "the process ended with -11",
    "time.sleep(60)": "the process ended with -14",
    "b'x' * (1200 << 20)": "memory grew",
}
PLANTED = """
import json, os, signal, sys, time
from pathlib import Path
import fuzz, fuzz_targets

folder, faults, seconds = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])

def seeds(folder):
    with (Path(sys.argv[1]) / "noted").open("a") as file: file.write("x")
    return [b"seed"]

def plant(fault, seconds):
    def parse(data, folder):
        if data != b"seed": exec(fault)
    fuzz_targets.TARGETS = {"planted": fuzz_targets.Target(seeds, parse)}
    fuzz.MAX_SECONDS = seconds

plant("pass", 60)
for _ in range(50):
    fuzz.fuzz("planted", 0.002, 0, folder)
found = {"set up": len((folder / "noted").read_text())}
for number, fault in enumerate(faults):
    plant(fault, seconds.get(fault, 60))
    found[fault] = fuzz.fuzz("planted", 0.5, 0, folder / str(number)).findings
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What is found where each fault is planted in a parser, in a process that has no thread to fork beside."""
    folder = tmp_path_factory.mktemp("planted")
    command = [sys.executable, "-c", PLANTED, folder, json.dumps(list(FAULTS)), json.dumps(SECONDS)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_a_parser_is_set_up_once(planted: tuple[Path, dict[str, Any]]) -> None:
    """Making the seeds may take seconds: what is left after the last input is no reason to begin again."""
    assert planted[1]["set up"] == 50


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault: str, planted: tuple[Path, dict[str, Any]]) -> None:
    folder, found = planted
    assert any(FAULTS[fault] in finding for finding in found[fault]), found[fault]
    assert list((folder / str(list(FAULTS).index(fault))).glob("planted-*.input"))
