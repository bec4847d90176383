"""`dvs-transfer cache ...`: look after the converted data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...cache.errors import DvsTransferError
from ..printing import show, to_document
from .common import Json, Scheduler, Settings, Workers, runner

cache_app = typer.Typer(help="Look after the converted data sets.", no_args_is_help=True, rich_markup_mode=None)


@cache_app.command("ls")
def cache_list(as_json: Json = False) -> None:
    """List the stores of the cache. Example: dvs-transfer cache ls"""
    from ..stores import list_cache

    entries = list_cache(Settings.workspace.cache)
    if as_json:
        return show(entries, as_json)
    for entry in entries:
        print(f"{entry.name}  {entry.state}, {entry.num_samples:,} samples, {entry.num_bytes / 1e6:,.1f} MB")
    print(f"{len(entries)} stores in {Settings.workspace.cache}")


@cache_app.command("info")
def cache_info(store: Path, as_json: Json = False) -> None:
    """Show what a store holds and how it was made. Example: dvs-transfer cache info data/cache/NAME.zarr"""
    from ...cache.store import FrameStore
    from ...stages.conversion.notices import share_in_frames

    opened = FrameStore(store)
    attributes = opened.attributes.model_dump(mode="json")
    attributes["files"] = len(attributes["files"])
    attributes["share_in_frames"] = to_document(share_in_frames(opened))
    show(attributes, as_json, str(store))


@cache_app.command("verify")
def cache_verify(
    stores: Annotated[list[Path] | None, typer.Argument(help="Stores; by default the whole cache.")] = None,
    as_json: Json = False,
) -> None:
    """Compare every file of stores with its digest; exit code 1 when one is bad. Example: dvs-transfer cache verify"""
    from ...cache.store import list_stores
    from ...cache.verify import verify_store

    reports = [verify_store(store) for store in stores or list_stores(Settings.workspace.cache)]
    if as_json:
        show(reports, as_json)
    for report in [] if as_json else reports:
        show(report, as_json, f"{report.path.name}: {'whole' if report.is_whole else 'DAMAGED'}")
    if not all(report.is_whole for report in reports):
        raise typer.Exit(DvsTransferError.exit_code)


@cache_app.command("repair")
def cache_repair(
    store: Annotated[Path, typer.Argument(help="The damaged store.")],
    raw: Annotated[
        Path | None, typer.Option(help="Its raw data; by default where `preprocess` of a configuration found them.")
    ] = None,
    workers: Workers = 0,
    scheduler: Scheduler = "threads",
    as_json: Json = False,
) -> None:
    """Make damaged files of a store again from its raw data. Example: dvs-transfer cache repair data/cache/NAME.zarr"""
    from ...stages.conversion import repair
    from ..stores import raw_data_of

    report = repair.run(store, raw or raw_data_of(store, Settings.workspace), runner(scheduler, workers))
    show(report, as_json, "repaired" if report.repaired or report.removed else "nothing to repair")


@cache_app.command("prune")
def cache_prune(
    unused: Annotated[
        bool, typer.Option(help="Also stores that no configuration's preprocess and no run in runs/ uses.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False,
) -> None:
    """Delete what unfinished builds left. Example: dvs-transfer cache prune --unused --dry-run"""
    from ..stores import prune

    for path in prune(Settings.workspace, unused=unused, dry_run=dry_run):
        print(f"{'would delete' if dry_run else 'deleted'} {path}")
