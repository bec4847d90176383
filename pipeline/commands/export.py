"""`dvs-transfer export` and `hub ...`: runs and stores for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from ... import pipeline
from .. import summaries
from .common import JSON, Given, Settings, command, store_argument

if TYPE_CHECKING:
    from ...stages.sharing.export import ExportReport

hub_app = typer.Typer(
    help="Runs and stores on a hub of models and data sets.", no_args_is_help=True, rich_markup_mode=None
)


Checkpoint = Literal["best", "last"]


def _to_nir(given: Given, what: Path, out: Path | None, checkpoint: Checkpoint | None, licence: str | None) -> None:
    from ...stages.runs import nir_export
    from ...stages.runs.checkpoint import weights_path

    if licence is not None:
        raise typer.BadParameter("is for --to hub, whose card names it", param_hint="--licence")
    chosen = pipeline.experiment.evaluation_of_run(what, checkpoint=checkpoint).checkpoint
    written = nir_export.export(weights_path(what, chosen), out or Path(f"{what.resolve().name}.nir"))
    given.show(written, "exported", summary=summaries.of_nir)


def _to_hub(given: Given, what: Path, out: Path | None, checkpoint: Checkpoint | None, licence: str | None) -> None:
    from ...stages.sharing.cards import repository_name
    from ...stages.sharing.export import export as export_folder

    if checkpoint is not None:
        raise typer.BadParameter(
            "is for --to nir; for a hub a run is exported with all of its weights", param_hint="--checkpoint"
        )
    if out is not None and out.suffix == ".nir":
        raise typer.BadParameter(f"{out}: a graph is written with --to nir; for a hub name a folder")
    name = what.resolve().name.removesuffix(".zarr")
    report = export_folder(what, out or Path("hub") / name, licence)
    given.show(report, "exported", summary=_of_export)
    repository = f"{'' if report.kind == 'run' else 'datasets/'}USER/{repository_name(report.folder.name)}"
    given.next("hub", "push", report.folder, repository)


TARGETS: Final[Mapping[str, Callable[[Given, Path, Path | None, Checkpoint | None, str | None], None]]] = (
    MappingProxyType({"nir": _to_nir, "hub": _to_hub})
)


def export(
    given: Given,
    what: Annotated[Path, store_argument("A run folder; for a hub also a store.")],
    out: Annotated[
        Path | None,
        typer.Argument(help="What to make, by default RUN.nir or hub/NAME."),
    ] = None,
    to: Annotated[
        Literal["nir", "hub"],
        typer.Option(help="nir: a graph for other frameworks; hub: a folder with a card and digests."),
    ] = "hub",
    checkpoint: Annotated[Checkpoint | None, typer.Option(help="nir: weights, if not the run's.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="hub: its licence, as a card names it (cc-by-4.0, mit ...).")
    ] = None,
) -> None:
    """Write a run, or a store, for others: a graph of the network, or a folder for a hub.

    Example: dvs-transfer export runs/demo-0123456789ab --to nir demo.nir
    """
    TARGETS[to](given, what, out, checkpoint, licence)


def _of_export(report: ExportReport) -> list[str]:
    of = f"{report.num_files} files, {report.num_bytes / 1e6:,.1f} MB"
    said = report.licence or ("of the raw data" if report.kind == "stores" else "not said")
    hint = "" if report.licence else " (--licence says another)" if report.kind == "stores" else " (--licence says one)"
    what = "a run" if report.kind == "run" else "stores"
    return [f"exported: a folder of {what}, {of}; licence: {said}{hint}", f"  {report.folder}"]


@command(hub_app, JSON)
def push(
    given: Given,
    folder: Annotated[Path, typer.Argument(help="A folder that `export --to hub` made.")],
    repository: Annotated[str, typer.Argument(help="USER/NAME for a run, datasets/USER/NAME for stores.")],
    public: Annotated[bool, typer.Option("--public", help="A new repository can be seen by everybody.")] = False,
) -> None:
    """Put an exported folder on a hub; a repository that is not there is made, and is private.

    Example: dvs-transfer hub push demo-for-others user/demo
    """
    from ...stages.sharing import hub

    def told(report: Any) -> list[str]:
        return [f"pushed: {report.num_files} files and their card, commit {report.commit[:12]}", f"  {report.url}"]

    given.show(hub.push(folder, repository, public=public), "pushed", summary=told)


@command(hub_app, JSON)
def pull(
    given: Given,
    repository: Annotated[str, typer.Argument(help="USER/NAME of a run, datasets/USER/NAME of stores.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to make; by default runs/NAME, or data/NAME for stores.")
    ] = None,
) -> None:
    """Fetch a folder that was pushed, and verify every file; nothing in it is executed.

    Example: dvs-transfer hub pull user/demo
    """
    from ...stages.sharing import hub

    def told(report: Any) -> list[str]:
        size = f"{report.num_bytes / 1e6:,.1f} MB"
        return [
            f"pulled: {report.num_files} files, {size}, verified, commit {report.commit[:12]}",
            f"  {report.folder}",
        ]

    beside = Settings.workspace.root / "data" if hub.is_dataset(repository) else Settings.workspace.runs
    given.show(hub.pull(repository, folder or beside / hub.name_of(repository)), "pulled", summary=told)
