"""How fast each format of a user's own recordings becomes events in memory, beside the reader that others have.

The other side is what tonic reads the format with (its own reader of .bin, `aedat`, `expelliarmus`), the fastest other
reader (`evt3`, `faery`, `evutils`; left out where it is not installed), or plain h5py, scipy or numpy. They check less:
this project's side refuses coordinates, times and polarities that are no recording's, and decodes AEDAT 4 and HDF5 in
another process.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from ..stages.frames.binning import make_frames
from ..stages.frames.checked import CheckedEvents
from ..stages.frames.spec import FramesConfig
from ..stages.sources.atis import decode_records, encode_records
from ..stages.sources.base import LARGEST_SENSOR, AtisRecords, Events
from ..stages.sources.formats.recordings import open_recording
from ..stages.sources.nomniglot import WRITING_AREA, NOmniglot
from ..stages.sources.omniglot import NUM_DRAWERS
from ..stages.sources.random_access import FileBytes
from .frames import NUM_BINS, SENSOR_SIZE, SIZE, synthetic_records, tonic_frames_of
from .measure import Figures, machine, medians

NUM_EVENTS: Final = 1_000_000
Times = NDArray[Any]


def run(*, folder: Path | None = None, num_events: int = NUM_EVENTS, num_turns: int = 5) -> Figures:
    """Read one recording of each format in turns with the other reader. folder: for the files; temporary if None.

    By file name: `mev_per_s`, million events a second of this project; `ratio` to that of `peer`; of formats of binary
    words `frames_ratio`, from file to frames of 48 x 48 pixels, to `peer`, tonic's `ToFrame` and resizing together. The
    decoding process runs beside this one, so unlike `bench frames` this uses two cores.
    """
    records = AtisRecords(synthetic_records(num_events, seed=0), SENSOR_SIZE)
    events = decode_records(records)
    figures: Figures = {"machine": machine(cores=2), "num_events": num_events}
    figures |= {figure: {} for figure in ("mev_per_s", "ratio", "frames_ratio", "peer")}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for contestant in CONTESTANTS:
            if find_spec(contestant.needs) is None:
                continue
            path = Path(name) / contestant.file
            contestant.write(path, events)
            _check(contestant, path)
            sides: list[Callable[[], object]] = [partial(contestant.ours, path), partial(contestant.read, path)]
            if contestant.has_words:
                sides += [partial(_our_frames, path), partial(tonic_frames_of, _structured(path))]
            ours, theirs, *frames = medians(sides, num_turns)
            found = {"mev_per_s": num_events / ours / 1e6, "ratio": theirs / ours, "peer": contestant.peer}
            if frames:
                found["frames_ratio"] = (theirs + frames[1]) / frames[0]
            for figure, value in found.items():
                figures[figure][path.name] = value
    return figures


def _check(contestant: Contestant, path: Path) -> None:
    ours, theirs = contestant.ours(path), contestant.read(path)
    if not len(ours) or not np.array_equal(ours - ours[0], theirs - theirs[0]):
        raise AssertionError(
            f"{path.name}: this project and {contestant.peer} read other events: nothing to compare the speed of"
        )


def _write_faery(path: Path, events: Events, **options: Any) -> None:
    import faery

    array = np.zeros(len(events), faery.EVENTS_DTYPE)
    array["t"], array["x"], array["y"], array["on"] = events.t, events.x, events.y, events.p
    faery.events_stream_from_array(array, SENSOR_SIZE).to_file(path, **options)


def _write_character(path: Path, events: Events) -> None:
    """As N-Omniglot has a character: its drawings one after the other in one recording, with a table of times."""
    folder = path / "dvs_background" / "Greek" / "character01"
    folder.mkdir(parents=True)
    _write_faery(folder / "0001.aedat4", events)
    edges = np.linspace(events.t[0], events.t[-1], NUM_DRAWERS + 1).astype(np.int64)
    rows = [f"{i},{start},{end}" for i, (start, end) in enumerate(pairwise(edges))]
    (folder / "0001.csv").write_text("\n".join(["number,start,end", *rows]) + "\n")


def _write_aedat2(path: Path, events: Events) -> None:
    """As a DVS128 addresses its 128 x 128 pixels."""
    words = np.empty((len(events), 2), ">u4")
    words[:, 0] = (events.y % 128) << 8 | (events.x % 128) << 1 | events.p
    words[:, 1] = events.t
    path.write_bytes(b"#!AER-DAT2.0\r\n" + words.tobytes())


def _write_evt21(path: Path, events: Events) -> None:
    """As an IMX636, a word for each event."""
    high = np.flatnonzero(np.diff(events.t >> 6, prepend=-1))
    places = np.arange(len(events)) + np.searchsorted(high, np.arange(len(events)), side="right")
    halves = np.zeros((len(events) + len(high), 2), "<u4")
    is_event = np.zeros(len(halves), bool)
    is_event[places] = True
    halves[~is_event, 0] = 8 << 28 | events.t[high] >> 6
    x = events.x.astype(np.int64)
    halves[is_event, 0] = events.p.astype(np.int64) << 28 | (events.t & 63) << 22 | (x & ~31) << 11 | events.y
    halves[is_event, 1] = 1 << (x & 31)
    header = b"% evt 2.1\n% format EVT21;endianness=legacy;height=960;width=1280\n% geometry 1280x960\n% end\n"
    path.write_bytes(header + halves.tobytes())


def _write_aedat31(path: Path, events: Events, packet_events: int = 1000) -> None:
    """As caer, packets of a thousand events."""
    words = np.empty((len(events), 2), "<u4")
    x, y, p = (getattr(events, name).astype(np.int64) for name in "xyp")
    words[:, 0] = x << 17 | y << 2 | p << 1 | 1
    words[:, 1] = events.t
    parts = [b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n"]
    for start in range(0, len(events), packet_events):
        part = words[start : start + packet_events]
        parts += [struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(part), len(part), len(part)), part.tobytes()]
    path.write_bytes(b"".join(parts))


def _write_hdf5(path: Path, events: Events) -> None:
    with h5py.File(path, "w") as file:
        for name in "xytp":
            file.create_dataset(f"events/{name}", data=getattr(events, name), chunks=True)


def _write_mat(path: Path, events: Events) -> None:
    with path.open("wb") as file:
        savemat(file, {"x": events.x, "y": events.y, "ts": events.t, "p": events.p}, do_compression=True)


def _write_npz(path: Path, events: Events) -> None:
    with path.open("wb") as file:
        np.savez(file, x=events.x, y=events.y, t=events.t, p=events.p)


def _read_mnist(path: Path) -> Times:
    from tonic.io import read_mnist_file

    times: Times = read_mnist_file(str(path), dtype=np.dtype([(name, int) for name in "xytp"]))["t"]
    return times


def _read_aedat2(path: Path) -> Times:
    """What tonic's `read_dvs_128` does, which itself fails in tonic 1.7 (it expects two of three values)."""
    from tonic.io import get_aer_events_from_file, make_structured_array, read_aedat_header_from_file

    version, start = read_aedat_header_from_file(str(path))[:2]
    words = get_aer_events_from_file(str(path), version, start)
    address = words["address"]
    columns = (address >> 8) & 0x7F, (address >> 1) & 0x7F, words["timeStamp"], address & 1
    times: Times = make_structured_array(*columns)["t"]
    return times


def _read_aedat(path: Path) -> Times:
    import aedat

    packets = [packet["events"] for packet in aedat.Decoder(path) if "events" in packet]
    return np.concatenate(packets)["t"].astype(np.int64)


def _read_character(path: Path) -> Times:
    """What the published loader does: decode the file, take each drawing's interval, cut the screen out."""
    import aedat

    (recording,) = path.rglob("*.aedat4")
    packets = [packet["events"] for packet in aedat.Decoder(recording) if "events" in packet]
    events = np.concatenate(packets)
    left, top, width, height = WRITING_AREA
    cut = []
    for start, end in np.loadtxt(recording.with_suffix(".csv"), np.int64, delimiter=",", skiprows=1)[:, 1:]:
        part = events[(events["t"] >= start) & (events["t"] < end)]
        x, y = part["x"], part["y"]
        cut.append(part[(x >= left) & (x < left + width) & (y >= top) & (y < top + height)])
    return np.concatenate(cut)["t"].astype(np.int64)


def _read_faery(path: Path) -> Times:
    import faery

    packets = list(faery.events_stream_from_file(path))
    return np.concatenate(packets)["t"].astype(np.int64)


def _read_wizard(encoding: str, path: Path) -> Times:
    from expelliarmus import Wizard

    times: Times = Wizard(encoding=encoding).read(str(path))["t"]
    return times


def _read_evt3(path: Path) -> Times:
    import evt3

    return np.asarray(evt3.decode_file(str(path)).t)


def _read_evutils(path: Path) -> Times:
    from evutils.io import EventReader

    with EventReader(path) as reader:
        return np.concatenate([part["t"].copy() for part in reader])


def _read_hdf5(path: Path) -> Times:
    with h5py.File(path) as file:
        columns = {name: np.asarray(file[f"events/{name}"]) for name in "xytp"}
    return columns["t"]


def _read_npz(path: Path) -> Times:
    with np.load(path) as file:
        arrays: dict[str, Times] = {name: file[name] for name in "xytp"}
    return arrays["t"]


def _read_csv(path: Path) -> Times:
    return np.loadtxt(path, np.int64, delimiter=",", skiprows=1)[:, 0]


def _ours(path: Path) -> Times:
    """All events of a file, decoded and checked."""
    return _judged(_events_of(path), path)


def _events_of(path: Path) -> Events:
    recording = open_recording(FileBytes(path), path.suffix)
    events = decode_records(recording) if isinstance(recording, AtisRecords) else recording
    assert isinstance(events, Events)
    return events


def _structured(path: Path) -> NDArray[Any]:
    """The events of a file, which need not be all that were to be written: a DVS128 has no more than 128 columns."""
    events = _events_of(path)
    structured = np.empty(len(events), [(name, int) for name in "xytp"])
    for column in "xytp":
        structured[column] = getattr(events, column)
    return structured


def _our_frames(path: Path) -> NDArray[Any]:
    config = FramesConfig(num_bins=NUM_BINS, size=SIZE)
    return make_frames(open_recording(FileBytes(path), path.suffix), config, location=str(path)).data


def _our_character(path: Path) -> Times:
    source = NOmniglot(path)
    return np.concatenate([_judged(source.decode(sample, b""), path) for sample in source.samples])


def _judged(events: Events, path: Path) -> Times:
    """The times, after the checks that a conversion makes."""
    return CheckedEvents(events, events.sensor_size or LARGEST_SENSOR, str(path)).events.t


@dataclass(frozen=True, slots=True)
class Contestant:
    """A format: writes events to a path, and reads their times (and all else) with the other reader, and with ours."""

    file: str
    peer: str
    write: Callable[[Path, Events], object]
    read: Callable[[Path], Times]
    needs: str = "numpy"
    ours: Callable[[Path], Times] = _ours
    has_words: bool = False


_WIZARD: Final = "expelliarmus"
_words: Final = partial(Contestant, has_words=True)
CONTESTANTS: Final = (
    _words("a.bin", "tonic", lambda path, events: path.write_bytes(encode_records(events)), _read_mnist),
    _words("a.aedat", "tonic", _write_aedat2, _read_aedat2),
    Contestant("a.aedat4", "aedat", _write_faery, _read_aedat, "aedat"),
    Contestant("character", "aedat", _write_character, _read_character, "aedat", _our_character),
    _words("a.dat", _WIZARD, partial(_write_faery, version="dat2"), partial(_read_wizard, "dat"), _WIZARD),
    _words("a.raw", _WIZARD, partial(_write_faery, version="evt2"), partial(_read_wizard, "evt2"), _WIZARD),
    _words("b.raw", "faery", partial(_write_faery, version="evt3"), _read_faery),
    _words("c.raw", "evt3", partial(_write_faery, version="evt3"), _read_evt3, "evt3"),
    _words("d.raw", "evutils", _write_evt21, _read_evutils, "evutils"),
    _words("b.aedat", "evutils", _write_aedat31, _read_evutils, "evutils"),
    _words("a.es", "faery", partial(_write_faery, zero_t0=False), _read_faery),
    Contestant("a.h5", "h5py", _write_hdf5, _read_hdf5),
    Contestant("a.mat", "scipy", _write_mat, lambda path: loadmat(path)["ts"].reshape(-1)),
    Contestant("a.npz", "numpy", _write_npz, _read_npz),
    Contestant("a.csv", "numpy", _write_faery, _read_csv),
)
