"""The gallery: one HTML page of recordings that play, with all that it needs inside.

Frames are 8-bit levels, compressed with gzip and written in base64; the page's script unpacks and colours them. Nothing
is loaded from anywhere, and the page's policy (Content-Security-Policy) lets nothing be.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from ...cache import durable
from ...cache.store import FrameStore
from .pictures import full_scale
from .samples import Named, Sample, ShownStore

TEMPLATES: Final = Path(__file__).parent / "templates"
LEVELS: Final = 255
PHOTO_PIXELS: Final = 160  # of a photo's longer side, at most
PHOTO_QUALITY: Final = 90


def write_page(of: FrameStore, num_samples: int, out: Path, named: Named | None = None) -> Path:
    """Write the page of at most `num_samples` recordings to `out`; with `named` of those that the run named.

    Raises StoreError: nothing to show. OSError: `out` cannot be written.
    """
    store = ShownStore(of)
    rows = store.readable(None if named is None else named.classes)
    samples = store.choose(rows, num_samples)
    document = describe(store, samples, named)
    style, script = ((TEMPLATES / f"gallery.{kind}").read_text() for kind in ("css", "js"))
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:"
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("gallery.html").render(
        policy=f"{policy}; base-uri 'none'; form-action 'none'",
        style=Markup(style),
        script=Markup(script),
        document=document,
        dataset=store.dataset,
        store=store.path.name,
        num_shown=len(samples),
        num_rows=len(rows),
        named=named,
        levels=LEVELS,
        photo_pixels=PHOTO_PIXELS,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(out, page.encode())
    return out


def describe(store: ShownStore, samples: Sequence[Sample], named: Named | None) -> dict[str, Any]:
    """What the page's script reads: recordings with their frames, and the photos that stand beside them."""
    photo_rows = sorted({sample.photo_row for sample in samples} - {-1})
    recordings = []
    for sample in samples:
        counts = store.samples.read("frames", np.array([sample.row]))[0]
        levels, step = to_levels(counts)
        recordings.append(
            {
                "id": sample.sample_id,
                "class": sample.class_name,
                "split": sample.split,
                "about": sample.about,
                "photo": photo_rows.index(sample.photo_row) if sample.photo_row >= 0 else None,
                "whose": sample.photo,
                "named": None if named is None else named.classes[sample.sample_id],
                "step": step,
                "full": full_scale(counts),
                "frames": base64.b64encode(gzip.compress(levels.tobytes(), mtime=0)).decode(),
            }
        )
    photos: list[dict[str, str]] = []
    if photo_rows and store.images is not None:
        ids = store.images.sample_id[photo_rows].tolist()
        images = store.images.read("images", np.array(photo_rows))
        photos = [{"id": name, "source": _photo_uri(image)} for name, image in zip(ids, images, strict=True)]
    num_bins, _, height, width = store.samples.array("frames").shape[1:]
    return {"bins": num_bins, "height": height, "width": width, "recordings": recordings, "photos": photos}


def to_levels(counts: NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """Counts as 8-bit levels, and the events that one level stands for.

    Whole counts up to 255 stay what they are, a level for each event; others are right to half a level, of which the
    largest count has 255.
    """
    exact = counts.astype(np.float64)
    largest = float(exact.max())
    step = 1.0 if largest <= LEVELS and (exact == np.floor(exact)).all() else largest / LEVELS
    return np.round(exact / step).astype(np.uint8), step


def _photo_uri(image: NDArray[np.uint8]) -> str:
    """A data URI of (3, H, W) RGB."""
    photo, buffer = Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1))), io.BytesIO()
    photo.thumbnail((PHOTO_PIXELS, PHOTO_PIXELS))
    photo.save(buffer, "WEBP", quality=PHOTO_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _hash(text: str) -> str:
    """How a policy names what stands in the page itself."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
