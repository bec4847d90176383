"""`dvs-transfer export` and `hub ...`: runs and stores for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .common import JSON, Given, Settings, command

if TYPE_CHECKING:
    from ...stages.sharing.export import ExportReport

hub_app = typer.Typer(
    help="Runs and stores on a hub of models and data sets.", no_args_is_help=True, rich_markup_mode=None
)


def _to_hub(given: Given, what: Path, out: Path | None, licence: str | None) -> None:
    from ...stages.sharing.export import export as export_folder

    name = what.resolve().name.removesuffix(".zarr")
    report = export_folder(what, out or Path("hub") / name, licence)
    given.show(report, "exported", summary=_of_export)
    given.next(f"hub push {report.folder} {'' if report.kind == 'run' else 'datasets/'}USER/{report.folder.name}")


TARGETS: Final[Mapping[str, Callable[[Given, Path, Path | None, str | None], None]]] = MappingProxyType(
    {"hub": _to_hub}
)


def export(
    given: Given,
    what: Annotated[Path, typer.Argument(help="A run folder, or a store.")],
    out: Annotated[Path | None, typer.Argument(help="What to make; hub: a folder, by default hub/NAME.")] = None,
    to: Annotated[str, typer.Option(help=f"For whom: {', '.join(TARGETS)}.")] = "hub",
    licence: Annotated[
        str | None, typer.Option(help="hub: its licence, as a card names it (cc-by-4.0, mit ...).")
    ] = None,
) -> None:
    """Write a run, or a store, for others: for a hub a folder with a card and a manifest of digests.

    Example: dvs-transfer export runs/demo-0123456789ab --to hub demo-for-others --licence cc-by-4.0
    """
    if to not in TARGETS:
        raise typer.BadParameter(f"{to}: expected {' or '.join(TARGETS)}", param_hint="--to")
    TARGETS[to](given, what, out, licence)


def _of_export(report: ExportReport) -> list[str]:
    of = f"{report.num_files} files, {report.num_bytes / 1e6:,.1f} MB"
    said = report.licence or ("of the raw data" if report.kind == "stores" else "not said")
    hint = "" if report.licence else " (--licence says another)" if report.kind == "stores" else " (--licence says one)"
    return [f"exported: a folder of {report.kind}, {of}; licence: {said}{hint}", f"  {report.folder}"]


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
