"""`dvs-transfer bench ...`: the measurements as commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..pipeline.commands.common import JSON_FILE, Given, command

bench_app = typer.Typer(
    help="Measure speed on this machine, and the released code's split.", no_args_is_help=True, rich_markup_mode=None
)


@command(bench_app, JSON_FILE, name="frames")
def bench_frames(
    given: Given,
    nmnist: Annotated[Path | None, typer.Option(help="Folder of real N-MNIST recordings, measured too.")] = None,
) -> None:
    """Compare the frame kernels and the conversion with tonic and the released code, on one core.

    Example: dvs-transfer bench frames --json frames.json
    """
    from . import frames

    given.show(frames.run(nmnist), "frames, one core")


@command(bench_app, JSON_FILE, name="readers")
def bench_readers(given: Given) -> None:
    """Compare the readers of your own recordings with tonic's for the same files.

    Example: dvs-transfer bench readers --json readers.json
    """
    from . import readers

    given.show(readers.run(), "readers, raw file to events")


@command(bench_app, JSON_FILE, name="verify")
def bench_verify(
    given: Given,
    num_shards: Annotated[int, typer.Option("--shards", min=1, help="Shards of about 6 MB each.")] = 60,
) -> None:
    """Compare `cache verify` of a store in memory with reading its files alone.

    Example: dvs-transfer bench verify --json verify.json
    """
    from . import verify

    given.show(verify.run(num_shards), "verify")


@command(bench_app, JSON_FILE, name="scale")
def bench_scale(
    given: Given,
    nmnist: Annotated[Path, typer.Argument(help="Folder of real N-MNIST recordings, which are linked to.")],
    counts: Annotated[list[int], typer.Option("--recordings", min=10, help="How many; for each of several.")],
    folder: Annotated[Path | None, typer.Option(help="Where to write; on the recordings' disk links are free.")] = None,
    scheduler: Annotated[
        Literal["threads", "processes"], typer.Option(help="What the conversion runs on.")
    ] = "threads",
    workers: Annotated[int, typer.Option(min=1, help="How many of them.")] = 2,
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Samples in one shard.")] = 64,
) -> None:
    """Measure time, memory and the size of the root's metadata as the number of recordings grows.

    Example: dvs-transfer bench scale data/raw/NMNIST --recordings 60000 --recordings 600000 --json scale.json
    """
    from . import scale

    measured = scale.run(
        nmnist, counts, folder=folder, scheduler=scheduler, workers=workers, samples_per_shard=samples_per_shard
    )
    given.show(measured, "conversion as the number of recordings grows")


@command(bench_app, JSON_FILE, name="simulator")
def bench_simulator(
    given: Given,
    recording: Annotated[Path | None, typer.Option(help="A recording of N-Caltech101; needs --photo.")] = None,
    photo: Annotated[Path | None, typer.Option(help="The photo of Caltech101 that it is of.")] = None,
    nmnist: Annotated[Path | None, typer.Option(help="Folder of N-MNIST; needs --mnist.")] = None,
    mnist: Annotated[Path | None, typer.Option(help="Folder of MNIST.")] = None,
) -> None:
    """Compare the simulator's recordings with real ones.

    Example: dvs-transfer bench simulator --nmnist data/raw/NMNIST --mnist data/raw/MNIST
    """
    from . import simulator

    if (recording is None) != (photo is None) or (nmnist is None) != (mnist is None) or not (recording or nmnist):
        raise typer.BadParameter("give --recording and --photo, --nmnist and --mnist, or all four")
    given.show(
        simulator.run(recording=recording, photo=photo, nmnist=nmnist, mnist=mnist),
        "simulated and real recordings",
    )


@command(bench_app, JSON_FILE, name="released-split")
def bench_released_split(
    given: Given,
    events: Annotated[Path, typer.Argument(help="Store of N-Caltech101's recordings, or of simulated ones.")],
    images: Annotated[Path, typer.Argument(help="Store of Caltech101's photos.")],
    folder: Annotated[
        Path | None, typer.Option(help="The recordings' class folders, to be listed as they lie.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Random orders of the folders' listings.")] = 20,
) -> None:
    """Count the test recordings of the released code's split whose photos are in its static pool.

    Example: dvs-transfer bench released-split EVENTS.zarr IMAGES.zarr --folder data/raw/ncaltech101/Caltech101
    """
    from . import released_split

    given.show(
        released_split.run(events, images, folder, seeds),
        "the released split: test recordings with their photo in the static pool",
    )


@command(bench_app, JSON_FILE, name="train")
def bench_train(
    given: Given,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=2, help="Recordings (and as many images) in a step.")] = 8,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option(help="auto: bfloat16 where the machine computes in it.")
    ] = "auto",
    num_steps: Annotated[int, typer.Option(min=1, help="Time steps, T.")] = 10,
    recompute: Annotated[bool, typer.Option(help="Keep the inputs of layers alone, as train.recompute does.")] = False,
) -> None:
    """Compare training and evaluation with plain PyTorch in float32, and with the floor of this machine.

    Example: dvs-transfer bench train --json train.json
    """
    from . import training
    from .contestants import Workload

    workload = Workload(
        device=device,
        batch_size=batch_size,
        num_steps=num_steps,
        precision=training.choose_precision(device, precision),
        recompute=recompute,
    )
    given.show(training.run(workload), "training")
