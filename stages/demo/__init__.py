"""Drawn data sets in the formats of the real ones: everything can be tried without downloading anything."""

from .config import DemoConfig
from .run import DemoReport, run

__all__ = ["DemoConfig", "DemoReport", "run"]
