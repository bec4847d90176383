"""Readers that are not this package's: the page's example, from a file beside a configuration; stale with its code."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refuse, succeed
from tiny import write_config

from dvs_transfer import convert
from dvs_transfer.cache.errors import SourceError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages import plugins
from dvs_transfer.stages.sources import ImageReader, find_source, open_source

PAGE = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text().split("## A data set\n")[1]
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
SETTINGS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight recordings of two classes in the example's format, one broken, and a configuration beside pen.py."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    rng = np.random.default_rng(0)
    for number in range(8):
        path = tmp_path / "data" / "raw" / "pen" / "ab"[number % 2] / f"{number}.pen"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{time / 1000:.3f} {rng.integers(32)},{rng.integers(24)} {'+-'[time % 2]}" for time in range(40)]
        path.write_text("\n".join(lines) + "\n")
    (tmp_path / "data/raw/pen/b/7.pen").write_text("0.001 3,4 +\n0.002 3;4 +\n")
    write_config(tmp_path, tomllib.loads(SETTINGS), train={"method": "events"})
    write_code(tmp_path, CODE)
    return tmp_path


def write_code(root: Path, code: str) -> None:
    (root / "pen.py").write_text(code)
    sys.modules.pop("pen", None)


def preprocess(root: Path) -> Any:
    return succeed("--quiet", "--root", root, "preprocess", "--config", root / "tiny.toml", "--json").document


def test_a_reader_beside_the_configuration(root: Path) -> None:
    events = preprocess(root)["events"]
    store = FrameStore(Path(events["path"]))
    assert store.sample_id.tolist() == [f"a/{n}" for n in (0, 2, 4, 6)] + [f"b/{n}" for n in (1, 3, 5, 7)]
    assert store.column("num_events").tolist() == [40] * 7 + [0]
    problem = events["quarantined"]["b/7"]
    assert "b/7.pen: line 2: '0.002 3;4 +', expected `<ms> <x>,<y> <+ or ->`" in problem
    assert preprocess(root)["events"]["was_built"] is False


def test_another_process_reads_with_it_too(root: Path) -> None:
    options = ("--config", root / "tiny.toml", "--json", "--workers", "2", "--scheduler", "processes")
    events = succeed("--quiet", "--root", root, "preprocess", *options).document["events"]
    assert (events["num_samples"], list(events["quarantined"])) == (7, ["b/7"])


def test_a_changed_reader_makes_the_store_stale(root: Path) -> None:
    first = preprocess(root)["events"]
    write_code(root, CODE.replace("* 1000", "* 1000 * 2"))
    second = preprocess(root)["events"]
    assert second["was_built"]
    assert second["path"] != first["path"]
    durations = [FrameStore(Path(events["path"])).column("duration_us")[0] for events in (first, second)]
    assert durations == [39, 78]
    write_code(root, CODE)
    again = preprocess(root)["events"]
    assert (again["was_built"], again["path"]) == (False, first["path"])


def test_convert_looks_in_the_current_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(root)])
    monkeypatch.chdir(root)
    converted = succeed("--quiet", "convert", "pen:Pen", "data/raw/pen", "--out", "out", "--json").document
    assert converted["num_samples"] == 7


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere:Pen", "No module named 'nowhere'"),
        ("pen:Pencil", "has no attribute 'Pencil'"),
        ("math:pi", "expected a subclass of EventReader or ImageReader, found 3.14"),
        ("penn", "no source of events is called 'penn': 'penn' is none of "),
        ("pen.py:Pen", "names no code"),
        ("./pen:Pen", "'./pen:Pen' names no code"),
        ("pen:", "'pen:' names no code"),
        ("leaves:Pen", "cannot be imported (SystemExit: 0); it must be defined by an installed module"),
        ("blank:Blank", "blank:Blank: does not define decode, which a reader of events needs"),
    ],
)
def test_a_name_that_leads_to_no_reader(root: Path, source: str, says: str) -> None:
    (root / "leaves.py").write_text("raise SystemExit(0)\n")
    (root / "blank.py").write_text(
        "from dvs_transfer.stages.sources import EventReader\nclass Blank(EventReader): ...\n"
    )
    options = ("--config", root / "tiny.toml", "--set", f"events.source='{source}'")
    refuse("--quiet", "--root", root, "preprocess", *options, code=2, says=[says])


def test_what_the_events_of_a_plug_in_may_be_is_judged_as_others(root: Path) -> None:
    write_code(root, CODE.replace("int(y)", "int(y) + 10"))
    problems = preprocess_fails(root)
    assert re.search(r"a/0\.pen: event \d+ has y=\d+, expected a whole number from 0 to 23", problems)


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        ("None", "its reader gave NoneType, expected Events or EventStream"),
        ("(x, y, t_us, p)", "its reader gave tuple, expected Events or EventStream"),
        ("Events(x.tolist(), y, t_us, p)", "x is a list, expected an array of (40,) numbers"),
        ("Events(x, y, t_us / 1e6, p)", " of microseconds"),
        ("Events(x, y, t_us, p, '32x24')", "its reader gave sensor_size='32x24', expected (width, height) in pixels"),
        ("Events(x, y, t_us, p, 32)", "its reader gave sensor_size=32, expected (width, height) in pixels"),
        ("exit()", "a/0.pen: its reader called sys.exit; expected SourceError"),
    ],
)
def test_a_reader_that_gives_something_else(root: Path, gives: str, says: str) -> None:
    write_code(root, CODE.replace("return Events(x, y, t_us, p)", f"return {gives}"))
    assert says in preprocess_fails(root)


def test_metadata_that_json_cannot_hold(root: Path) -> None:
    write_code(root, CODE + "\n    def metadata(self, sample):\n        return {'weight': np.float32(1)}\n")
    assert "a/0.pen: its reader gave metadata that JSON cannot hold" in preprocess_fails(root)


@pytest.mark.parametrize(
    "gives", ["None", "np.zeros((4, 4), np.uint8)", "np.zeros((4, 4, 3))", "np.zeros((0, 4, 3), 'u1')"]
)
def test_an_image_reader_that_gives_something_else(root: Path, gives: str) -> None:
    code = "import numpy as np\nfrom dvs_transfer.stages.sources import ImageReader\n\n\nclass Pen(ImageReader):\n"
    write_code(root, f"{code}    def decode(self, sample, data):\n        return {gives}\n")
    options = ("pen:Pen", root / "data/raw/pen", "--out", root / "out")
    refuse("--quiet", "convert", *options, code=1, says=["a/0.pen: its reader gave", "an image as (H, W, 3) uint8 RGB"])


def test_an_error_in_a_reader_names_the_sample(root: Path) -> None:
    write_code(root, CODE.replace("return Events(x, y, t_us, p)", "return {}['sensor']"))
    with pytest.raises(KeyError) as caught:
        convert("pen:Pen", root / "data/raw/pen", root / "out")
    assert "a/0.pen: in decode of Pen" in caught.value.__notes__[0]


def test_endings_in_capitals_and_endings_that_fit_nothing(root: Path) -> None:
    write_code(root, CODE.replace('(".pen",)', '(".PEN",)'))
    assert preprocess(root)["events"]["num_samples"] == 7
    write_code(root, CODE.replace('(".pen",)', '(".pencil", ".ink")'))
    assert "no file directly in a folder there whose name ends in .pencil, .ink. Put the files" in preprocess_fails(
        root
    )


def preprocess_fails(root: Path) -> str:
    with pytest.raises(AssertionError) as caught:
        preprocess(root)
    return str(caught.value)


def test_an_installed_reader_has_a_short_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Any) -> None:
    """As if a package had brought it: the group's entry points."""
    point = EntryPoint("grey", f"{__name__}:Grey", "dvs_transfer.sources")
    found = plugins.entry_points
    monkeypatch.setattr(plugins, "entry_points", lambda **query: [*found(**query), point])
    from PIL import Image

    make.files(tmp_path, {f"{name}/1.png": make.image(Image.new("L", (3, 2), 9), "PNG") for name in "ab"})
    source = open_source("grey", tmp_path)
    assert (source.name, source.class_names) == ("Grey", ("a", "b"))
    assert source.decode(source.samples[0], source.read_bytes(source.samples[0])).tolist() == [[[9] * 3] * 3] * 2
    with pytest.raises(SourceError, match="no source of events is called 'grey': it is one of images"):
        find_source("grey", "events")


class Grey(ImageReader):
    """Everything as it comes."""
