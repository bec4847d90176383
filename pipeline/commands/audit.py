"""`dvs-transfer audit`: what of the held-out recordings is within reach of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import Given

if TYPE_CHECKING:
    from ...stages.leakage.audit import AuditReport


def audit(
    given: Given,
    pairs: Annotated[Path, typer.Argument(help="A pair store.")],
    out: Annotated[Path, typer.Option(help="Picture of the worst cases to write (PNG).")] = Path("audit.png"),
) -> None:
    """How many held-out recordings have their photo, or one like it, in the static pool; which recordings are alike.

    Example: dvs-transfer audit data/cache/ncaltech101+caltech101-0123456789ab.zarr
    """
    from ...stages.leakage import audit

    given.show(audit.run(pairs, out), text=_print)


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
        print(
            f"  {pair.split} in {pair.other}: {pair.num_alike:,}: {pair.by_digest:,} the same file, "
            f"{pair.by_near_duplicate:,} look the same, of {pair.by_photo:,} the photos do"
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
