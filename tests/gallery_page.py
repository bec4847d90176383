"""A gallery page as its file holds it, and stores to make pages of."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from html_page import Page
from numpy.typing import NDArray
from PIL import Image

from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store

# Names that a page must not take for its own, in label order.
HOSTILE = ("<!--<script>alert(1)", '"><img src=x onerror=alert(1)>', "plain")


def build_pairs(folder: Path, num_samples: int = 30, **layout: Any) -> Path:
    """Recordings 0 and 9 and the last photo cannot be read."""
    images = {key: value for key, value in layout.items() if key != "num_bins"}
    events = build_store(folder, "events", num_samples, quarantined=(0, 9), **layout)
    photos = build_store(folder, "images", num_samples, quarantined=(num_samples - 1,), **images)
    config = PairingConfig(train=0.5, validation=0.2, test=0.3)
    return pairing.run(config, events, photos, folder).path


@dataclass(frozen=True)
class Gallery:
    """Decoded without the page's own script."""

    path: Path

    @cached_property
    def page(self) -> Page:
        return Page(self.path.read_text())

    @cached_property
    def scripts(self) -> list[str]:
        """The data, and the script."""
        found: list[str] = re.findall(r"<script[^>]*>(.*?)</script>", self.page.content, re.DOTALL)
        return found

    @cached_property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.scripts[0])
        return document

    @cached_property
    def recordings(self) -> dict[str, dict[str, Any]]:
        return {recording["id"]: recording for recording in self.document["recordings"]}

    def levels(self, sample_id: str) -> NDArray[np.uint8]:
        """(T, 2, H, W)"""
        unpacked = gzip.decompress(base64.b64decode(self.recordings[sample_id]["frames"]))
        shape = (self.document["bins"], 2, self.document["height"], self.document["width"])
        return np.frombuffer(unpacked, np.uint8).reshape(shape)

    def photo(self, sample_id: str) -> tuple[str, NDArray[np.uint8]]:
        """Its id, and (H, W, 3)."""
        photo = self.document["photos"][self.recordings[sample_id]["photo"]]
        kind, _, data = photo["source"].partition(",")
        assert kind == "data:image/webp;base64"
        return photo["id"], np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
