"""The gallery page in a browser without a network: it plays, is scrubbed and filtered, by keys and by touch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_page import HOSTILE, build_pairs
from numpy.typing import NDArray

from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.stages import preview

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")

SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LIGHT = {"paper": (255, 255, 255), "on": (0xD5, 0x5E, 0x00), "off": (0x00, 0x72, 0xB2)}
DARK = {"paper": (0x0A, 0x0B, 0x0D), "on": (0xFF, 0x9D, 0x3C), "off": (0x4A, 0xA8, 0xFF)}
NUM_BINS = 4
VISIBLE = "[role=option]:not([hidden])"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, SYSTEM_BROWSERS)), playwright.chromium.executable_path)
        if not Path(installed).exists():
            pytest.skip("there is no Chromium: apt-get install chromium, or playwright install chromium")
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=installed, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    """Names that would be a script."""
    return PairStore(build_pairs(tmp_path_factory.mktemp("stores"), num_bins=NUM_BINS, class_names=HOSTILE))


@pytest.fixture(scope="module")
def named(store: PairStore) -> dict[str, str]:
    """A run that names every recording of the test split "plain"."""
    return dict.fromkeys(store.events.sample_id[store.rows_of("test")].tolist(), "plain")


class Visit:
    """A page that is open, and what it complained about or asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        settings = {"reduced_motion": "reduce", "viewport": {"width": 1280, "height": 900}, **options}
        self.context = browser.new_context(offline=True, **settings)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.extend([message.text] * (message.type == "error")))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.until(lambda: self.page.evaluate("Boolean(selected.levels)"))

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits from here: Playwright's own way to wait evaluates text, which the page's policy refuses."""
        for _ in range(200):
            if holds():
                return
            self.page.wait_for_timeout(50)
        pytest.fail("did not happen within ten seconds")

    @property
    def bin(self) -> int:
        return int(self.page.locator("#bin").input_value())

    @property
    def selected(self) -> str:
        return str(self.page.locator("#facts b").inner_text())

    @property
    def visible(self) -> list[str]:
        return [text.partition("\n")[0] for text in self.page.locator(VISIBLE).all_inner_texts()]

    @property
    def plays(self) -> bool:
        return bool(self.page.locator("#play").inner_text() == "Pause")

    def pixels(self, canvas: str = "#recording") -> NDArray[np.uint8]:
        """(H, W, 3) of the canvas as it is."""
        read = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
        data = np.array(self.page.locator(canvas).evaluate(read), np.uint8)
        return data.reshape(self.page.evaluate("[height, width, 4]"))[..., :3]

    def close(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests[1:] if not url.startswith("data:")] == []
        self.context.close()


@pytest.fixture
def visit(browser: Any, store: PairStore, tmp_path: Path) -> Iterator[Any]:
    visits: list[Visit] = []

    def open_page(named: preview.Named | None = None, **options: Any) -> Visit:
        (path,) = preview.run(store.path, tmp_path / "a.html", named=named)
        visits.append(Visit(browser, path, **options))
        return visits[-1]

    yield open_page
    for each in visits:
        each.close()


def expected(frames: NDArray[Any], colours: dict[str, tuple[int, int, int]]) -> NDArray[np.float64]:
    """(T, H, W, 3): paper, moved towards the colour of each polarity by its share of full colour."""
    full = np.percentile(frames[frames > 0], 95)
    paper, on, off = (np.array(colours[name], float) for name in ("paper", "on", "off"))
    found = np.empty((*frames.shape[:1], *frames.shape[2:], 3))
    for step, y, x in np.ndindex(found.shape[:3]):
        off_share, on_share = (min(1, frames[step, polarity, y, x] / full) for polarity in (0, 1))
        found[step, y, x] = np.clip(paper + on_share * (on - paper) + off_share * (off - paper), 0, 255)
    return found


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_every_bin_is_drawn_in_the_colours_of_the_theme(
    scheme: str, colours: dict[str, tuple[int, int, int]], visit: Any, store: PairStore
) -> None:
    opened = visit(color_scheme=scheme)
    rows = np.flatnonzero(store.events.valid)[:2]
    frames = store.events.read("frames", rows).astype(float)
    for recording, canvas in ((0, "#recording"), (1, "#recording-1 canvas")):
        for step, picture in enumerate(expected(frames[recording], colours)):
            opened.page.locator("#bin").fill(str(step + 1))
            assert np.abs(opened.pixels(canvas) - picture).max() <= 1
    opened.page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    other = expected(frames[0], DARK if scheme == "light" else LIGHT)[-1]
    opened.until(lambda: np.abs(opened.pixels() - other).max() <= 1)


def test_it_plays_and_pauses(visit: Any) -> None:
    opened = visit(reduced_motion="no-preference")
    assert opened.plays
    seen: set[int] = set()
    opened.until(lambda: bool(seen.add(opened.bin)) or seen == set(range(1, NUM_BINS + 1)))
    opened.page.get_by_role("button", name="Pause").click()
    at = opened.bin
    opened.page.wait_for_timeout(500)
    assert (opened.bin, opened.plays) == (at, False)
    opened.page.locator("#speed").select_option("20")
    assert not opened.plays
    opened.page.get_by_role("button", name="Play").click()
    opened.until(lambda: opened.bin != at)


def test_it_stands_still_for_those_who_want_less_motion(visit: Any) -> None:
    opened = visit(reduced_motion="reduce")
    opened.page.wait_for_timeout(500)
    assert (opened.bin, opened.plays) == (1, False)


def test_keys(visit: Any, store: PairStore) -> None:
    opened, press = visit(), None
    ids, press = store.events.sample_id[store.events.valid].tolist(), opened.page.keyboard.press
    for key, at in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("ArrowLeft", 1), ("ArrowLeft", NUM_BINS)):
        press(key)
        assert opened.bin == at
    for key, name in (("ArrowDown", ids[1]), ("ArrowDown", ids[2]), ("ArrowUp", ids[1])):
        press(key)
        assert opened.selected == name
    press("Space")
    assert opened.plays
    press("ArrowRight")
    assert not opened.plays
    opened.page.locator("#play").focus()
    press("Space")  # of the button alone, not also of the page
    assert opened.plays
    press("Space")
    opened.page.locator("#bin").fill("3")
    press("ArrowLeft")  # the slider's own, once
    assert opened.bin == 2
    opened.page.locator("#class").focus()
    press("ArrowDown")
    assert opened.page.locator("#class").input_value() == HOSTILE[0]
    assert opened.selected == ids[1]
    option = opened.page.locator("[role=option][aria-selected=true]")
    assert option.count() == 1
    assert opened.page.locator("#recordings").get_attribute("aria-activedescendant") == option.get_attribute("id")


def test_touch(visit: Any, store: PairStore) -> None:
    opened = visit(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    ids = store.events.sample_id[store.events.valid].tolist()
    box = opened.page.locator("#recording").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    opened.page.touchscreen.tap(x, y)
    opened.until(lambda: opened.plays)
    opened.page.touchscreen.tap(x, y)
    opened.until(lambda: not opened.plays)
    opened.page.locator("#recording-4").tap()
    opened.until(lambda: opened.selected == ids[4])
    touches = opened.context.new_cdp_session(opened.page)

    def swipe(by: int) -> None:
        for kind, points in (
            ("touchStart", [{"x": x, "y": y}]),
            *(("touchMove", [{"x": x + by * part / 5, "y": y}]) for part in range(1, 6)),
            ("touchEnd", []),
        ):
            touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    for by, name in ((-80, ids[5]), (-80, ids[6]), (80, ids[5])):
        swipe(by)
        opened.until(lambda name=name: opened.selected == name)
    assert not opened.plays
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390


def test_filters(visit: Any, store: PairStore, named: dict[str, str]) -> None:
    opened = visit()
    ids = store.events.sample_id[store.events.valid].tolist()
    of_split = {
        split: store.events.sample_id[store.rows_of(split)].tolist() for split in ("train", "validation", "test")
    }
    assert not opened.page.locator("#result").is_visible()
    assert opened.visible == ids
    opened.page.locator("#split").select_option("test")
    assert opened.visible == of_split["test"]
    assert opened.selected == of_split["test"][0]
    opened.page.locator("#class").select_option(HOSTILE[1])
    both = [name for name in of_split["test"] if name.startswith(HOSTILE[1])]
    assert opened.visible == both != []
    assert opened.page.get_by_role("status").inner_text() == f"{len(both)} of {len(ids)} recordings"
    opened.page.keyboard.press("Tab")
    opened.page.locator("#recordings").focus()
    for _ in both:
        opened.page.keyboard.press("ArrowDown")
    assert opened.selected == both[0]  # round once, and never to one that is filtered out
    opened.page.locator("#split").select_option("")
    assert opened.visible == [name for name in ids if name.startswith(HOSTILE[1])]


def test_right_and_wrong(visit: Any, named: dict[str, str]) -> None:
    opened = visit(preview.Named("run-7", named))
    right = [name for name in named if name.startswith("plain")]
    wrong = [name for name in named if name not in right]
    assert right
    assert wrong
    opened.page.locator("#result").select_option("wrongly")
    assert opened.visible == wrong
    assert "✗ named plain" in opened.page.locator("#facts").inner_text()
    opened.page.locator("#result").select_option("rightly")
    assert opened.visible == right
    assert "✓ named plain" in opened.page.locator("#facts").inner_text()
    opened.page.locator("#class").select_option(HOSTILE[0])
    assert opened.visible == []
    assert opened.page.get_by_role("status").inner_text() == "No recording fits."
    opened.page.locator("#class").select_option("")
    assert opened.selected == right[0]


def test_the_photo_is_told_to_be_its_own_or_of_its_class(visit: Any) -> None:
    opened = visit()
    assert opened.page.locator("#whose").inner_text() == f"its own photo: {opened.selected}"
    opened.page.keyboard.press("ArrowUp")  # the last one, whose photo cannot be read
    assert opened.selected == "plain/image_0029"
    told = opened.page.locator("#whose").inner_text()
    assert told.startswith("a photo of its class: plain/")
    assert opened.page.evaluate("photo.naturalWidth") == 6
