"""`dvs-transfer cache ...`: look after the converted data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...cache.errors import DvsTransferError
from ..printing import to_document
from .common import JSON, TASKS, Given, Settings, command

cache_app = typer.Typer(help="Look after the converted data sets.", no_args_is_help=True, rich_markup_mode=None)


@command(cache_app, JSON, name="ls")
def cache_list(given: Given) -> None:
    """List the stores of the cache. Example: dvs-transfer cache ls"""
    from ..stores import list_cache

    def tell(entries: Any) -> None:
        for entry in entries:
            print(f"{entry.name}  {entry.state}, {entry.num_samples:,} samples, {entry.num_bytes / 1e6:,.1f} MB")
        print(f"{len(entries)} stores in {Settings.workspace.cache}")

    given.show(list_cache(Settings.workspace.cache), text=tell)


@command(cache_app, JSON, name="info")
def cache_info(given: Given, store: Path) -> None:
    """Show what a store holds and how it was made. Example: dvs-transfer cache info data/cache/NAME.zarr"""
    from ...cache.store import FrameStore
    from ...stages.conversion.notices import share_in_frames

    opened = FrameStore(store)
    attributes = opened.attributes.model_dump(mode="json")
    attributes["files"] = len(attributes["files"])
    attributes["share_in_frames"] = to_document(share_in_frames(opened))
    given.show(attributes, str(store))


@command(cache_app, JSON, name="verify")
def cache_verify(
    given: Given,
    stores: Annotated[list[Path] | None, typer.Argument(help="Stores; by default the whole cache.")] = None,
) -> None:
    """Compare every file of stores with its digest; exit code 1 when one is bad. Example: dvs-transfer cache verify"""
    from ...cache.store import list_stores
    from ...cache.verify import verify_store

    reports = [verify_store(store) for store in stores or list_stores(Settings.workspace.cache)]
    if given.as_json:
        given.show(reports)
    for report in [] if given.as_json else reports:
        given.show(report, f"{report.path.name}: {'whole' if report.is_whole else 'DAMAGED'}")
    if not all(report.is_whole for report in reports):
        raise typer.Exit(DvsTransferError.exit_code)


@command(cache_app, TASKS, JSON, name="repair")
def cache_repair(
    given: Given,
    store: Annotated[Path, typer.Argument(help="The damaged store.")],
    raw: Annotated[
        Path | None, typer.Option(help="Its raw data; by default where `preprocess` of a configuration found them.")
    ] = None,
) -> None:
    """Make damaged files of a store again from its raw data. Example: dvs-transfer cache repair data/cache/NAME.zarr"""
    from ...stages.conversion import repair
    from ..stores import raw_data_of

    report = repair.run(store, raw or raw_data_of(store, Settings.workspace), given.runner())
    given.show(report, "repaired" if report.repaired or report.removed else "nothing to repair")


@command(cache_app, name="prune")
def cache_prune(
    _: Given,
    unused: Annotated[
        bool, typer.Option(help="Also stores that no configuration's preprocess and no run in runs/ uses.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False,
) -> None:
    """Delete what unfinished builds left. Example: dvs-transfer cache prune --unused --dry-run"""
    from ..stores import prune

    for path in prune(Settings.workspace, unused=unused, dry_run=dry_run):
        print(f"{'would delete' if dry_run else 'deleted'} {path}")
