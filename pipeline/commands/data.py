"""`dvs-transfer cache ...`, `split ...` and `audit`: the converted data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ... import pipeline
from ...cache.errors import ConfigError, DvsTransferError
from .. import summaries
from ..progress import to_document
from .common import JSON, TASKS, Given, Settings, command, store_argument

if TYPE_CHECKING:
    from ...stages.calibration import CalibrationReport
    from ...stages.leakage.audit import AuditReport

cache_app = typer.Typer(help="Look after the converted data sets.", no_args_is_help=True, rich_markup_mode=None)

split_app = typer.Typer(help="Splits, to be kept and given to others.", no_args_is_help=True, rich_markup_mode=None)


@command(cache_app, JSON, name="ls")
def cache_list(given: Given) -> None:
    """List the stores of the cache. Example: dvs-transfer cache ls"""

    def tell(entries: Any) -> None:
        for entry in entries:
            print(f"{entry.name}  {entry.state}, {entry.num_samples:,} samples, {entry.num_bytes / 1e6:,.1f} MB")
        print(f"{len(entries)} stores in {Settings.workspace.cache}")

    given.show(pipeline.stores.list_cache(Settings.workspace.cache), text=tell)


@command(cache_app, JSON, name="info")
def cache_info(given: Given, store: Annotated[Path, store_argument()]) -> None:
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
    stores: Annotated[list[Path] | None, store_argument("Stores; by default the whole cache.")] = None,
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
    store: Annotated[Path, store_argument("The damaged store.")],
    raw: Annotated[
        Path | None, typer.Option(help="Its raw data; by default where `preprocess` of a configuration found them.")
    ] = None,
) -> None:
    """Make damaged files of a store again from its raw data. Example: dvs-transfer cache repair data/cache/NAME.zarr"""
    from ...stages.conversion import repair

    report = repair.run(store, raw or pipeline.stores.raw_data_of(store, Settings.workspace), given.runner())
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
    found = pipeline.stores.prune(Settings.workspace, unused=unused, dry_run=dry_run)
    for path in found:
        print(f"{'would delete' if dry_run else 'deleted'} {path}")
    if not found:
        Settings.reporter.say(f"nothing to delete in {Settings.workspace.cache}")


def audit(
    given: Given,
    pairs: Annotated[Path, store_argument("A pair store.")],
    out: Annotated[Path, typer.Option(help="Picture of the worst cases to write (PNG).")] = Path("audit.png"),
) -> None:
    """How many held-out recordings have their photo, or one like it, in the static pool; which recordings are alike.

    Example: dvs-transfer audit data/cache/ncaltech101+caltech101-0123456789ab.zarr
    """
    from ...stages.leakage import audit

    given.show(audit.run(pairs, out), text=_print, summary=summaries.of_audit)


@command(split_app, JSON, name="export")
def split_export(
    given: Given,
    pairs: Annotated[Path, store_argument("A pair store.")],
    out: Annotated[Path, typer.Option(help="List to write (CSV of sample and part).")] = Path("split.csv"),
) -> None:
    """Write which recording trains, validates and tests, for others and for pairing.split_file.

    Example: dvs-transfer split export data/cache/nmnist+mnist-0123456789ab.zarr --out nmnist-split.csv
    """
    from ...stages.pairing import export

    given.show(export.run(pairs, out), "exported", summary=summaries.of_split)


def calibrate(
    given: Given,
    pairs: Annotated[Path, store_argument("A pair store, with images.")],
    out: Annotated[Path, typer.Option(help="Picture of both side by side to write (PNG).")] = Path("calibration.png"),
    unlabelled: Annotated[
        bool,
        typer.Option("--unlabelled", help="At most 2,000 that may train, labelled or not; no label is read."),
    ] = False,
) -> None:
    """Propose a camera for train.encoding = saccade from training recordings: counts, their course in time, places.

    Prints a section for the configuration file. --set gives what is known beforehand, without its section: motion,
    surround, rotation_degrees ... Labels are read only to draw photos of the same classes, and not with --unlabelled.

    Example: dvs-transfer calibrate data/cache/nmnist+mnist-0123456789ab.zarr --set surround=black
    """
    from ...stages import calibration
    from ...stages.saccades.config import SaccadeConfig

    known = pipeline.config.validate(SaccadeConfig, pipeline.config.parse_overrides(given.override), "--set")
    given.show(calibration.run(pairs, out, known, unlabelled), text=_print_camera)


def _print_camera(report: CalibrationReport) -> None:
    counts = [f"{sum(sum(bins) for bins in mean):,.0f}" for mean in (report.recorded, report.drawn)]
    print(
        f"# {report.num_recordings:,} recordings of {counts[0]} events on average; drawn: {counts[1]}\n"
        f"# distance of drawn from recorded frames: {report.error_before:.2f} before, {report.error:.2f} now\n"
        f"# spread of the logarithm of counts: recorded {report.recorded_spread:.2f}, drawn {report.drawn_spread:.2f}\n"
        f"# both side by side: {report.picture}\n[train.saccade]"
    )
    for key, value in to_document(report.saccade).items():
        print(f"{key} = {json.dumps(value)}")


def _print(report: AuditReport) -> None:
    declared = f" (declared: pairing.originals = {report.originals})" if report.originals != "auto" else ""
    print(f"{report.pairs.name}: protocol {report.protocol}, photos in reach: {report.photos_in_reach}{declared}")
    if report.num_left_out:
        most = ", ".join(f"{name} {count:,}" for name, count in report.most_left_out.items())
        print(f"left out as copies of held-out recordings' photos: {report.num_left_out:,} images; most of {most}")
    print(f"static pool of {report.num_pool:,} images; in it, of the recordings of each split:")
    for split in report.splits:
        print(
            f"  {split.split:<11} {split.num_recordings:,} recordings, {split.num_with_photo:,} have their photo among "
            f"the images, of {split.num_unknown:,} it is not known\n"
            f"  {'':<11} in the pool {split.num_in_reach:,}: {split.by_id:,} the photo itself, {split.by_digest:,} the "
            f"same file, {split.by_near_duplicate:,} one that looks the same"
        )
        if split.num_otherwise:
            print(f"  {'':<11} of {split.num_otherwise:,} names tell something else than what was declared")
    print("recordings that have one like them in another split:")
    for pair in report.between:
        pieces = f", {pair.by_group:,} of the same recording" if pair.by_group else ""
        print(
            f"  {pair.split} in {pair.other}: {pair.num_alike:,}: {pair.by_digest:,} the same file, "
            f"{pair.by_near_duplicate:,} look the same, of {pair.by_photo:,} the photos do{pieces}"
        )
    print(f"the worst {len(report.photos)} photos (hash, bits of 64; correlation; are they one?):")
    for photo in report.photos:
        how = f"{photo.distance}  {photo.correlation:.3f}  {photo.way}"
        print(f"  {photo.split}  {photo.recording}  of {photo.photo}  in the pool {photo.image}  {how}")
    print(f"the worst {len(report.recordings)} pairs of recordings:")
    for match in report.recordings:
        how = f"{match.distance}  {match.correlation:.3f}  {match.way}"
        print(f"  {match.split}  {match.recording}  {match.other_split}  {match.other}  {how}")
    print(f"picture of them: {report.picture}")


def preview(
    _: Given,
    store: Annotated[Path, store_argument("A pair, event or image store.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write (.png, .gif, .mp4, .html). [default: preview.png]"),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write a page of recordings that play, preview.html.")] = False,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Samples to show, 4 in a picture and 300 on a page by default.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="An evaluated run: the page shows what it named rightly.")] = None,
) -> None:
    """Show frames beside image and V channel: a picture, a video, or a page of recordings that play.

    Example: dvs-transfer preview data/cache/ncaltech101+caltech101-*.zarr --html --run runs/demo-0123456789ab
    """
    from ...stages import preview as previews

    out = out or Path("preview.html" if html or run else "preview.png")
    if html and out.suffix.lower() not in previews.PAGES:
        raise ConfigError(f"{out}: --html writes a page; give a name that ends in .html")
    named = None if run is None else pipeline.results.named_by(run, store)
    for path in previews.run(store, out, samples, named):
        print(path)
