"""Commands that get raw data: from where they are published, from a simulated camera, or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ... import pipeline
from .. import summaries
from .common import Given, Settings


def simulate(
    given: Given,
    images: Annotated[Path, typer.Argument(help="Folder of class folders of images.")],
    out: Annotated[Path, typer.Argument(help="Folder for the recordings, in N-Caltech101's layout.")],
    camera: Annotated[Literal["ncaltech101", "nmnist"], typer.Option(help="Whose display, field and thresholds.")] = (
        "ncaltech101"
    ),
) -> None:
    """Turn images into event recordings, as if a camera moved before them in three saccades.

    Example: dvs-transfer simulate photos/ recordings/ --set seed=1 --set on_threshold=0.3
    """
    from ...stages import simulation

    values = simulation.CAMERAS[camera].model_dump() | pipeline.config.parse_overrides(given.override)
    settings = pipeline.config.build(simulation.SimulateConfig, images=images, out=out, simulation=values)
    report = simulation.run(settings, given.runner())
    given.show(report, f"simulated into {out}", summary=lambda found: [*summaries.of_simulation(found), f"  {out}"])


def demo(given: Given, out: Annotated[Path, typer.Argument(help="Folder for the three data sets.")]) -> None:
    """Draw a small data set of objects in the formats of Caltech101, N-Caltech101 and CEP-DVS.

    Example: dvs-transfer demo data/raw/demo --set images_per_class=20
    """
    from ...stages import demo

    settings = pipeline.config.build(demo.DemoConfig, **{"out": out, **pipeline.config.parse_overrides(given.override)})
    report = demo.run(settings, given.runner())
    given.show(
        report, f"drawn into {settings.out}", summary=lambda found: [*summaries.of_demo(found), f"  {settings.out}"]
    )


def download(
    given: Given,
    dataset: Annotated[str, typer.Argument(help="A name from `dvs-transfer sources`.")],
    archive: Annotated[Path | None, typer.Option(help="An archive that you have already.")] = None,
) -> None:
    """Fetch a data set from where it is published, with resume and digest check, or say how to get it.

    Example: dvs-transfer download caltech101
    """
    from ...stages import download

    settings = pipeline.config.build(
        download.DownloadConfig, dataset=dataset, root=Settings.workspace.raw, archive=archive
    )
    with Settings.reporter.bytes() as progress:
        report = download.run(settings, progress=progress)
    given.show(report, "downloaded", summary=summaries.of_download)


def sources(given: Given) -> None:
    """List the raw data sets that can be converted, and where to get them.

    Example: dvs-transfer sources --json
    """
    from ...stages.sources import SOURCES, TonicReader

    def tell(listed: dict[str, dict[str, Any]]) -> None:
        for name, entry in listed.items():
            given.show({fact: value for fact, value in entry.items() if value is not None}, name)

    facts = ("title", "kind", "num_samples", "num_classes", "layout", "licence", "origin")
    readers = {**SOURCES, TonicReader.name: TonicReader}
    listed = {name: {fact: getattr(source, fact, None) for fact in facts} for name, source in readers.items()}
    given.show(listed, text=tell)
