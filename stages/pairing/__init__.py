"""Pairing: who is whose photo, and the split. The stage is `run`."""

from ..pairing_config import PairingConfig
from .stage import PairingReport, find_novel, run

__all__ = ["PairingConfig", "PairingReport", "find_novel", "run"]
