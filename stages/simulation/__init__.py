"""Images to event recordings: a simulated event camera that moves before them in three saccades."""

from .config import SimulateConfig, SimulationConfig
from .run import SimulationReport, run
from .sensor import simulate_image

__all__ = ["SimulateConfig", "SimulationConfig", "SimulationReport", "run", "simulate_image"]
