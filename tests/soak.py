"""Preprocess, train and evaluate in a loop with random kills; figures of what is left before and after (`make soak`).

    python tests/soak.py MINUTES [FOLDER]

A round is the three commands on a small demo, the first round's stores deleted every few rounds, so that there is work
to kill. Every command runs until it ends by itself; at a chance of a half its process group is killed on the way, and
the same command runs again. Exit code 1 when a command fails, a result differs from the first, or something piles up.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from fault_injection import command_line, kill_after, processes_of, start
from tiny import assert_stores_are_whole, files_below, make_workspace

SETTINGS = [
    *("--set", "train.epochs=3", "--set", "train.warmup_epochs=1", "--set", "train.batch_size=10"),
    *("--set", "train.threads=1", "--set", "train.deterministic=true", "--set", "train.checkpoint_steps=2"),
    *("--set", 'model.widths=[4, "P", 8, "P"]', "--set", "evaluate.threads=1"),
]


def commands(root: Path) -> dict[str, list[str]]:
    shared = ["--config", str(root / "tiny.toml"), *SETTINGS]
    before = ["--quiet", "--root", str(root)]
    return {
        "preprocess": [*before, "preprocess", *shared, "--workers", "2", "--scheduler"],
        "train": [*before, "train", *shared],
        "evaluate": [*before, "evaluate", *shared, "--json"],
    }


def run_until_done(command: list[str], seconds: float, generator: random.Random) -> int:
    """Kill a command at random moments, then let it end; returns how often it was killed."""
    kills = 0
    while generator.random() < 0.5:
        kills += kill_after(command, generator.uniform(0.2, 1.0) * seconds)
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if outcome.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {outcome.returncode}: {outcome.stderr}")
    return kills


def left_over(root: Path) -> dict[str, int]:
    """What could pile up: files of the workspace, its processes, descriptors of this one, other places' files."""
    memory = psutil.virtual_memory()
    return {
        "files in the workspace": len(files_below(root)),
        "temporary files in it": sum(name.endswith((".tmp", ".partial", ".lock")) for name in files_below(root)),
        "its processes": len(processes_of(root)),
        "open descriptors of this process": len(list(Path("/proc/self/fd").iterdir())),
        "files in the temporary folder": len(list(Path(tempfile.gettempdir()).glob("dvs-transfer*"))),
        "semaphores in /dev/shm": len(list(Path("/dev/shm").glob("sem.*"))),
        "memory used by others and us, MB": (memory.total - memory.available) // 1_000_000,
    }


def soak(minutes: float, root: Path) -> dict[str, Any]:
    generator = random.Random(1)
    make_workspace(root, demo=True)
    durations: dict[str, float] = {}
    first: dict[str, Any] = {}
    before: dict[str, int] = {}
    rounds = kills = 0
    deadline = time.monotonic() + 60 * minutes
    while rounds == 0 or time.monotonic() < deadline:
        if rounds % 3 == 0:
            shutil.rmtree(root / "data", ignore_errors=True)
        shutil.rmtree(root / "runs", ignore_errors=True)
        for name, arguments in commands(root).items():
            schedulers = [generator.choice(["threads", "processes"])] if name == "preprocess" else []
            command = command_line(*arguments, *schedulers)
            if rounds == 0:
                began = time.monotonic()
                if start(command).wait(1800):
                    raise SystemExit(f"{' '.join(command)} failed")
                durations[name] = time.monotonic() - began
            else:
                kills += run_until_done(command, durations[name], generator)
            assert_stores_are_whole(root)
        result = json.loads(next((root / "runs").glob("*/evaluation-test.json")).read_text())
        result = {key: result[key] for key in ("split_digest", "top1", "top5") if key in result}
        first = first or result
        if result != first:
            raise SystemExit(f"round {rounds} came to {result}, the first one to {first}")
        before = before or left_over(root)
        rounds += 1
        print(f"round {rounds}, {kills} kills: {left_over(root)}", flush=True)
    return {"rounds": rounds, "kills": kills, "before": before, "after": left_over(root)}


def main() -> int:
    minutes = float(sys.argv[1])
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        figures = soak(minutes, Path(folder) / "soak")
    print(f"{figures['rounds']} rounds, {figures['kills']} kills")
    for what, number in figures["before"].items():
        print(f"  {what:36} {number:8,} after the first round, {figures['after'][what]:8,} at the end")
    figures["before"].pop("memory used by others and us, MB")  # which others change, too
    piled = [what for what, number in figures["before"].items() if figures["after"][what] > number]
    if figures["after"]["temporary files in it"] or piled:
        print(f"left behind: {', '.join(piled) or 'temporary files'}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
