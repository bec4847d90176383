"""What all commands share: the options before the subcommand, the types of common options, loading a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..progress import Reporter
from ..workspace import Workspace


class Settings:
    """What the options before the subcommand say."""

    reporter = Reporter()
    workspace = Workspace.at()


Config = Annotated[Path, typer.Option("--config", "-c", help="Configuration file (TOML).")]
Override = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. train.epochs=5.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Workers = Annotated[int, typer.Option("--workers", "-w", min=0, help="Workers on this machine; 0: one for each core.")]
Scheduler = Annotated[str, typer.Option(help="threads, processes, serial, or a dask cluster's tcp://host:port.")]
DEFAULT_CONFIG = Path("configs/demo.toml")


def runner(scheduler: str, workers: int) -> Any:
    from ..execution import DaskRunner

    return DaskRunner(Settings.reporter, scheduler, workers)


def load(config: Path, overrides: list[str]) -> Any:
    from ..config import load_config

    loaded = load_config(config, overrides)
    Settings.reporter.detail(f"settings of {config}: {loaded.model_dump_json()}")
    return loaded
