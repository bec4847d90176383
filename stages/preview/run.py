"""From a store to the file that was asked for: the ending of its name says which kind."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...cache.errors import ConfigError
from ...cache.store import FrameStore
from .animation import write_apng, write_gif, write_mp4
from .gallery import write_page
from .pictures import draw
from .samples import Named, choose_samples

PICTURES: Final = (".png", ".gif", ".mp4")
PAGES: Final = (".html", ".htm")
# Without, and the most that make sense: side by side in one picture, on a page of some 10 to 50 kB for each.
DEFAULT_SAMPLES: Final = {"picture": 4, "page": 300}
MOST_SAMPLES: Final = {"picture": 64, "page": 1000}


def run(store_path: Path, out: Path, num_samples: int | None = None, named: Named | None = None) -> tuple[Path, ...]:
    """Draw some samples of a store to `out`; returns the files that were written.

    .png: of a pair, event or image store; recordings also animated, beside it.  .gif, .mp4: recordings, animated.
    .html: a page of recordings that play.  num_samples: by default 4 in a picture, 300 on a page.  named: what a run
    named the recordings; the page then shows those that it named.
    Raises ConfigError: `out` is named as another kind of file, too many samples, no recordings to play, or what a video
    needs is not installed; StoreError: nothing to draw.
    """
    ending = out.suffix.lower()
    if ending not in PICTURES + PAGES:
        raise ConfigError(
            f"{out}: pictures are written as PNG, GIF or MP4, pages as HTML; give a name that ends in .png, .gif, .mp4 "
            "or .html"
        )
    kind = "page" if ending in PAGES else "picture"
    if named is not None and kind == "picture":
        raise ConfigError(f"{out}: what a run named is shown on pages alone; give a name that ends in .html")
    if num_samples is not None and num_samples > MOST_SAMPLES[kind]:
        raise ConfigError(f"{num_samples} samples: a {kind} shows at most {MOST_SAMPLES[kind]}")
    store, number = FrameStore(store_path), DEFAULT_SAMPLES[kind] if num_samples is None else num_samples
    if ending != ".png" and store.kind == "images":
        raise ConfigError(f"{store_path}: a store of images has no recordings to play; draw it as .png")
    if kind == "page":
        return (write_page(store, number, out, named),)
    samples = choose_samples(store, number)
    out.parent.mkdir(parents=True, exist_ok=True)
    if ending != ".png":
        (write_gif if ending == ".gif" else write_mp4)(samples, out)
        return (out,)
    animated = out.with_name(f"{out.stem}-animated.png")
    if store.kind != "images":
        write_apng(samples, animated)
    draw(samples, out)  # last: where it is, both are
    return (out,) if store.kind == "images" else (out, animated)
