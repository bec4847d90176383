"""Text as programs write it: without a header in the order of Prophesee's, with units and sizes in headers."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from own_recordings import make_events, told
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources.base import Events, TimeUnit
from dvs_transfer.stages.sources.formats import lines as whole_lines
from dvs_transfer.stages.sources.formats.lines import parse_whole_numbers
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.random_access import InMemory

NUMBERS = [[3, 4, 1, 2_000], [5, 6, 0, 70_000], [1, 2, 1, 70_001]]  # x, y, p, t


def read(text: str, unit: TimeUnit = "auto", columns: str = "auto") -> Events:
    found = open_recording(InMemory(text.encode(), "a.csv"), ".csv", unit, columns=columns)
    assert isinstance(found, Events)
    return found


def lines(order: str = "xypt", separator: str = ",", numbers: Any = NUMBERS) -> str:
    places = ["xypt".index(name) for name in order]
    return "".join(separator.join(str(row[place]) for place in places) + "\n" for row in numbers)


def assert_numbers(events: Events, factor: float = 1) -> None:
    assert [events.x.tolist(), events.y.tolist(), events.p.tolist()] == [[3, 5, 1], [4, 6, 2], [1, 0, 1]]
    assert events.t.tolist() == [round(t * factor) for t in (2_000, 70_000, 70_001)]


@pytest.mark.parametrize("start", ["", "%geometry:640,480\n"])
@pytest.mark.parametrize("separator", [",", ";", " ", "\t"])
def test_what_prophesee_s_converters_write(start: str, separator: str) -> None:
    found = read(start + lines(separator=separator))
    assert_numbers(found)
    assert (told(found), found.guessed_unit) == ("xypt", "us")
    assert found.sensor_size == ((640, 480) if start else None)


@pytest.mark.parametrize(
    ("header", "unit", "factor"),
    [
        ("t [us], x [px], y [px], p", None, 1),
        ("timestamp (ns),x,y,polarity", None, 1e-3),
        ("t_us,x,y,p", None, 1),
        ("time_ms;x;y;p", None, 1e3),
        ("t[s] x y p", None, 1e6),
        ("# timestamp_us x y polarity", None, 1),
        ("Timestamp [Microseconds]\tX\tY\tPol", None, 1),
        ("t,x,y,p", "us", 1),
    ],
)
def test_headers_with_units(header: str, unit: str | None, factor: float) -> None:
    separator = next((mark for mark in ",;\t" if mark in header), " ")
    found = read(f"{header}\n{lines('txyp', separator)}")
    assert_numbers(found, factor)
    assert (found.guessed_unit, found.assumed) == (unit, "")


def test_the_unit_that_a_file_states_is_believed() -> None:
    """As with formats that state theirs; one that is not known needs the user's word."""
    assert_numbers(read(f"t_us,x,y,p\n{lines('txyp')}", "ms"))
    with pytest.raises(SourceError, match=r"a\.csv: its times are in 'ticks', which is not known; .*--time-unit"):
        read(f"t [ticks],x,y,p\n{lines('txyp')}")
    assert_numbers(read(f"t [ticks],x,y,p\n{lines('txyp')}", "ms"), 1e3)


def test_columns_that_a_header_names_need_no_word() -> None:
    assert_numbers(read(f"x,y,p,t\n{lines()}", columns="txyp"))
    assert_numbers(read(f"id,x,y,polarity,timestamp\n{lines()}".replace("\n", "\n7,").removesuffix("7,")))


@pytest.mark.parametrize(
    "header",
    [
        "# columns: x y p t cam",
        "# columns: x, y, p, t, cam",
        "%Format: x y p t cam_id",
        "# recorded for Gr\u00f6\u00dfe\n# fields:x y p t cam",
        "\ufeffx,y,p,t,cam of both",
        '"x";"y";"p";"t [\u00b5s]";"cam"',
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_of_other_columns_move_none(header: str, separator: str, end: str) -> None:
    """Whatever stands before the names, and whatever the others are called."""
    rows = lines(separator=separator).replace("\n", f"{separator}1\n")
    assert_numbers(read(f"{header}\n{rows}".replace("\n", end)))


def test_a_file_that_is_compressed() -> None:
    content = InMemory(gzip.compress(f"t,x,y,p\n{lines('txyp')}".encode()), "a.csv.gz")
    found = open_recording(content, ".gz")
    assert isinstance(found, Events)
    assert_numbers(found)


def test_the_usual_order_is_kept_where_nothing_speaks_against_it() -> None:
    """As before columns were told apart: whatever else the values could be, which is told."""
    for text in ("1,2,3,1\n", "1,2,3,1\n2,3,4,0\n", "0,0,0,0\n1,1,1,1\n", "0.5 3000 2 1\n0.6 5 2 0\n"):
        found = read(text)
        assert ("are taken for t, x, y, p" in found.assumed) == ("." not in text)
        assert float(found.x[0]) == float(text.replace(" ", ",").split(",")[1])


def test_times_that_run_backwards_are_told_as_such() -> None:
    with pytest.raises(SourceError, match=r"backwards at event 1: 5000 us after 9000 us; sort it .*--order sort"):
        judged(read("9000,10,20,1\n5000,11,2,0\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "10,11,57,12\n3,4,58,13\n",
            r"have no names, and their values \(3 to 10, 4 to 11, 57 to 58, 12 to 13\)",
        ),
        ("when,where,what,why\n1,2,3,1\n", r"could not convert string 'when'.* x, y, t and p in any order"),
        ("t,x,y\n1,2,3\n", "could not convert string 't'"),
        ("timestamp,x,y,p,t\n1000,1,2,1,7\n", "timestamp and t may both be t; keep the recording's alone"),
        ("x,y,z,p,t\n1,2,3\n", "lines of 3 columns, expected 5, as the line 'x,y,z,p,t' names"),
        ("# x y p t and more\n1 2 1 3\n", "lines of 4 columns, expected 6, as the line '# x y p t and more' names"),
        ("1,2,3,1,7\n", "lines of 5 columns, expected four: x, y, t and p, or more under a line that names all"),
    ],
)
def test_messages(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=rf"a\.csv: .*{message}"):
        judged(read(text))


def test_many_lines_of_prophesee_s_order(tmp_path: Path) -> None:
    events = make_events()
    table = np.stack([events.x, events.y, events.p, events.t], axis=1).astype(np.int64)
    np.savetxt(tmp_path / "a.csv", table, "%d", delimiter=",")
    found = judged(read((tmp_path / "a.csv").read_text()))
    for name in "xytp":
        np.testing.assert_array_equal(getattr(found, name), getattr(events, name))


NUMBER = st.one_of(
    st.integers(-9, 9).map(str),
    st.integers(-(10**18), 10**18).map(str),
    st.text("0123456789-+._ xeE", max_size=20),
)


@given(
    st.lists(st.lists(NUMBER, min_size=1, max_size=5), max_size=6),
    st.sampled_from([",", ";", None]),
    st.sampled_from([",", ", ", " ,", ";", " ", "\t", "  "]),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n", " \n", "\x0b"]),
    st.text(" \r\n,0", max_size=2),
)
@example([["1", "2"], ["3"]], ",", ",", "\n", "")
@example([["9" * 18, "-" + "9" * 18], ["0", "-0"]], None, " ", "\r\n", "")
@example([["9" * 19]], None, " ", "\n", "")
@example([["1"] * 5], ",", ",", "\n", "\n\n")
@example([["1", "2"]], ",", ",  ", "\r", "")
def test_lines_are_read_as_numpy_reads_them(
    rows: list[list[str]], separator: str | None, between: str, end: str, rest: str
) -> None:
    """Or not at all, and then NumPy says what is wrong."""
    text = end.join(between.join(row) for row in rows) + rest
    found = parse_whole_numbers(text.encode(), separator)
    if found is not None and text:
        expected = np.loadtxt(text.splitlines(), np.int64, delimiter=separator, ndmin=2, comments=None)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("separator", "between"), [(",", ","), (",", ", "), (";", ";"), (None, " "), (None, " \t ")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "end"])
def test_plain_lines_take_the_short_way(separator: str | None, between: str, end: str, last: str) -> None:
    numbers = np.random.default_rng(0).integers(-(10**17), 10**17, (100, 5))
    text = end.join(between.join(map(str, row)) for row in numbers) + (end if last else "")
    np.testing.assert_array_equal(parse_whole_numbers(text.encode(), separator), numbers)


def test_a_long_first_line_takes_no_memory() -> None:
    """Not that of as many columns in as many lines as there are."""
    assert parse_whole_numbers(b"1 " * 4999 + b"1\n" + b"\n" * (1 << 22), None) is None


@pytest.mark.parametrize("text", ["1,,,", "1,2,3,4\n5", "1,2,3,4\n5,6,7,8\n9,10,11,\n"])
def test_a_line_that_ends_early_is_written_nowhere(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled loop does not look whether a place is one of the array; the same in Python does."""
    monkeypatch.setattr(whole_lines, "_parse", whole_lines._parse.py_func)
    assert parse_whole_numbers(text.encode(), ",") is None
