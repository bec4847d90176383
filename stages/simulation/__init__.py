"""Images to event recordings: a simulated event camera that moves before them in three saccades."""

from .config import CAMERAS, Camera, SimulateConfig, SimulationConfig
from .run import SimulationReport, run
from .sensor import simulate_image

__all__ = ["CAMERAS", "Camera", "SimulateConfig", "SimulationConfig", "SimulationReport", "run", "simulate_image"]
