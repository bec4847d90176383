"""`dvs-transfer bench ...`: the measurements as commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..pipeline.printing import show, to_document

bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True, rich_markup_mode=None)


@bench_app.command("frames")
def bench_frames(
    nmnist: Annotated[Path | None, typer.Option(help="Folder of real N-MNIST recordings, measured too.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Compare the frame kernels and the conversion with tonic and the released code, on one core.

    Example: dvs-transfer bench frames --json frames.json
    """
    from ..cache.durable import write_json
    from . import frames

    report = frames.run(nmnist)
    show(report.rows(), False, "frames, one core")
    if json_file is not None:
        write_json(json_file, to_document(report))
