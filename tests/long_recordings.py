"""Long recordings in each layout that the source `segments` cuts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from own_recordings import WRITERS, make_events

from dvs_transfer.stages.sources.base import Events

MAPPING = "action,label\nhand_clapping,1\nright_hand_wave,2\nair_drums,9\nother_gestures,11\n"
GESTURES = ((1, 20_000, 80_000), (11, 80_000, 160_000), (2, 160_000, 250_000), (1, 260_000, 299_000))


def write(path: Path, seed: int, format_name: str = "caer.aedat", num_events: int = 2000) -> Events:
    """A recording of 0.3 s; returns its events."""
    events = make_events(num_events, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[format_name](path, events)
    return events


def write_gestures(
    root: Path, num_users: int = 2, segments: Iterable[tuple[int, int, int]] = GESTURES
) -> dict[str, Events]:
    """As DVS128 Gesture is published, every second user for the test; returns the events by the recording's name."""
    folder, made = root / "DvsGesture", {}
    for number in range(num_users):
        name = f"user{number + 1:02}_fluorescent"
        made[name] = write(folder / f"{name}.aedat", number)
        lines = "".join(f"{label},{start},{end}\n" for label, start, end in segments)
        (folder / f"{name}_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n{lines}")
    for part, names in (("train", list(made)[::2]), ("test", list(made)[1::2])):
        (folder / f"trials_to_{part}.txt").write_text("".join(f"{name}.aedat\n" for name in names))
    (root / "gesture_mapping.csv").write_text(MAPPING)
    return made


def write_table(folder: Path, *lines: str, header: str = "file,start_us,end_us,label") -> dict[str, Events]:
    """`segments.csv` with these lines, and the recordings a/one.npz and two.csv."""
    made = {
        "a/one": write(folder / "a" / "one.npz", 0, "columns.npz"),
        "two": write(folder / "two.csv", 1, "plain.csv"),
    }
    (folder / "segments.csv").write_text("\n".join((header, *lines)) + "\n")
    return made


def write_classes(folder: Path, per_class: int = 2) -> dict[str, Events]:
    """`<class>/<class>_<k>` of the classes box and mug."""
    return {
        f"{name}/{name}_{number}": write(folder / name / f"{name}_{number}.aedat", 10 * label + number, "jaer.aedat")
        for label, name in enumerate(("box", "mug"))
        for number in range(1, per_class + 1)
    }
