"""What a store holds, to look at: pictures, animations, and a page of recordings that play."""

from .pictures import PreviewSample, draw, event_picture, pictures_of
from .run import PAGES, run
from .samples import Named, choose_samples

__all__ = ["PAGES", "Named", "PreviewSample", "choose_samples", "draw", "event_picture", "pictures_of", "run"]
