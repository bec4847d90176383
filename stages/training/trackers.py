"""What listens to a run beside the terminal: TensorBoard, MLflow, Weights & Biases; one protocol for all of them.

Each has a tracked run for the run in a folder, whose id is kept in `<run>/trackers.json`. A run that goes on goes on
there, too, and is first told the epochs that it missed (not TensorBoard: it counts steps, which nothing keeps). Only
the main process tells.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from pydantic import TypeAdapter, ValidationError

from ...cache import durable
from ...cache.documents import Frozen, flatten, read_document
from ...cache.errors import TrainingError
from ..runs.checkpoint import weights_path
from ..runs.metrics import MetricsLine, metrics_path, read_metrics
from .config import TrackerName, TrainConfig
from .progress import OnMessage, OnProgress, TrainingProgress, epoch_metrics
from .stopping import TrainingStoppedError

Status = Literal["finished", "stopped", "failed"]
PROJECT: Final = "dvs-transfer"  # where the tracker's own environment variable names none
_LONGEST_PARAMETER: Final = 500  # characters; MLflow takes so many of old servers, too


class Tracker(Protocol):
    """What a tracker is told of a run. Anything may raise: training goes on without it then."""

    def started(self, known: str | None, parameters: Mapping[str, Any]) -> str:
        """Go on with the tracked run of this id, or begin one with these parameters; returns its id."""

    def told(self, at: TrainingProgress) -> None:
        """A report of progress, within an epoch and at its end."""

    def epoch(self, line: MetricsLine) -> None:
        """A finished epoch, as `metrics.jsonl` has it."""

    def ended(self, status: Status, files: Sequence[Path]) -> None:
        """Nothing more comes from this process. files: what to keep of a finished run, else none."""


class TensorBoard:
    """`<run>/tensorboard`: numbers of steps, under `epoch/` means of epochs.

    Steps count from the run's start; what an interrupted run wrote from `first_step` on is hidden.
    """

    def __init__(self, run_folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self.open: Callable[[], Any] = lambda: writer(str(run_folder / "tensorboard"), purge_step=first_step)

    def started(self, known: str | None, parameters: Mapping[str, Any]) -> str:
        self.writer = self.open()
        if known is None:
            rows = "\n".join(f"| {name} | {value} |" for name, value in parameters.items())
            self.writer.add_text("parameters", f"| parameter | value |\n|---|---|\n{rows}", 0)
        return "tensorboard"

    def told(self, at: TrainingProgress) -> None:
        step, place = (at.epoch - 1) * at.num_steps + at.step, "epoch" if at.ends_epoch else "step"
        numbers = {f"{place}/{name}": value for name, value in vars(at).items() if isinstance(value, float)}
        numbers |= _parts({"w_t": at.w_t, "firing_rates": at.firing_rates})
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def epoch(self, line: MetricsLine) -> None:
        """Its numbers came with their step; those of epochs that it missed are not in it."""

    def ended(self, status: Status, files: Sequence[Path]) -> None:
        self.writer.close()  # the files lie beside what it wrote


class Mlflow:
    """A run in $MLFLOW_TRACKING_URI or, without one, in `mlflow.db` beside the run's folder, with files in `mlruns`."""

    STATUS: Final[Mapping[Status, str]] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}

    def __init__(self, run_folder: Path, first_step: int) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would tell its makers over the network
        import mlflow

        self.run_folder, self.library = run_folder, mlflow

    def started(self, known: str | None, parameters: Mapping[str, Any]) -> str:
        beside, place = self.run_folder.resolve().parent, os.environ.get("MLFLOW_TRACKING_URI")
        self.client = self.library.MlflowClient(place or f"sqlite:///{beside / 'mlflow.db'}")
        if known is not None:
            try:
                self.client.update_run(known, status="RUNNING")
            except Exception as error:
                if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise TrainingError(
                    f"{place or beside / 'mlflow.db'} has no run {known} any more; put that back, or delete "
                    f"{_path(self.run_folder)}, and a new run is begun there"
                ) from None
            self.run_id = known
            return known
        name, files = (
            os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT,
            None if place else (beside / "mlruns").as_uri(),
        )
        found = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name, files) if found is None else found.experiment_id
        self.run_id = str(self.client.create_run(experiment, run_name=self.run_folder.name).info.run_id)
        for name, value in parameters.items():
            self.client.log_param(self.run_id, name, str(value)[:_LONGEST_PARAMETER])
        return self.run_id

    def told(self, at: TrainingProgress) -> None:
        """Steps of an unfinished epoch may be trained again, and nothing is taken back here: it gets epochs alone."""

    def epoch(self, line: MetricsLine) -> None:
        for name, value in numbers_of(line).items():
            self.client.log_metric(self.run_id, name, value, step=line["epoch"])

    def ended(self, status: Status, files: Sequence[Path]) -> None:
        for path in files:
            folder = path.parent.relative_to(self.run_folder).as_posix()
            self.client.log_artifact(self.run_id, str(path), None if folder == "." else folder)
        self.client.set_terminated(self.run_id, self.STATUS[status])


class Wandb:
    """A run in `<run>/wandb`, offline unless $WANDB_MODE says otherwise."""

    def __init__(self, run_folder: Path, first_step: int) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers, over the network
        import wandb

        self.run_folder, self.library = run_folder, wandb

    def started(self, known: str | None, parameters: Mapping[str, Any]) -> str:
        # Of this machine nothing is kept but versions: no console, code, repository, load or name.
        private = {"disable_git": True, "save_code": False, "x_disable_stats": True, "x_disable_meta": True}
        settings = self.library.Settings(console="off", silent=True, host="-", **private)
        self.run = self.library.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=self.run_folder.name,
            id=known,
            resume="allow",
            dir=self.run_folder,
            config=dict(parameters) if known is None else None,
            mode=os.environ.get("WANDB_MODE") or "offline",
            settings=settings,
        )
        return str(self.run.id)

    def told(self, at: TrainingProgress) -> None:
        """As `Mlflow.told`."""

    def epoch(self, line: MetricsLine) -> None:
        self.run.log({"epoch": line["epoch"], **numbers_of(line)}, step=line["epoch"])

    def ended(self, status: Status, files: Sequence[Path]) -> None:
        if files:
            artifact = self.library.Artifact(f"run-{self.run.id}", type="run")
            for path in files:
                # Not copied into a cache in the user's home first.
                name = path.relative_to(self.run_folder).as_posix()
                artifact.add_file(str(path), name, policy="immutable", skip_cache=True)
            self.run.log_artifact(artifact)
        self.run.finish(exit_code=0 if status == "finished" else 1)


TRACKERS: Final[Mapping[TrackerName, Callable[[Path, int], Tracker]]] = {
    "tensorboard": TensorBoard,
    "mlflow": Mlflow,
    "wandb": Wandb,
}


def numbers_of(line: MetricsLine) -> dict[str, float]:
    """The numbers of an epoch by name: `w_t/2` and `firing_rates/backbone.0` for those of a step or a layer."""
    alone = {name: float(value) for name, value in line.items() if isinstance(value, int | float) and name != "epoch"}
    return alone | _parts(line)


def _parts(values: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping | list | tuple):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            found |= {f"{name}/{key}": float(number) for key, number in items}
    return found


class _Known(Frozen):
    """What `trackers.json` keeps of a tracked run. epochs: those that it was told. ended: with the run's files."""

    id: str
    epochs: int = 0
    ended: bool = False


_ALL_KNOWN: Final = TypeAdapter(dict[str, _Known])


class _Listener:
    """A tracker and what it knows already. One that fails is told of once, and is asked no more."""

    def __init__(self, name: TrackerName, tracker: Tracker, run_folder: Path, on_message: OnMessage) -> None:
        self.name, self.tracker, self.folder, self.on_message = name, tracker, run_folder, on_message
        self.known, self.listens = _read(run_folder).get(name), True

    def start(self, parameters: Mapping[str, Any], epochs: Sequence[MetricsLine]) -> None:
        """epochs: those of the run that are done."""
        known = self.known
        if known is not None and known.ended and known.epochs == len(epochs):
            self.listens = False  # it has all of the run
            return
        if known is not None and known.epochs > len(epochs):  # these are trained again, and nothing can be taken back
            known = None

        def begin() -> None:
            tracked = self.tracker.started(None if known is None else known.id, parameters)
            self._keep(_Known(id=tracked, epochs=0 if known is None else known.epochs))

        self._ask(begin)
        for line in epochs[0 if known is None else known.epochs :]:
            self.epoch(line)

    def tell(self, at: TrainingProgress) -> None:
        self._ask(lambda: self.tracker.told(at))

    def epoch(self, line: MetricsLine) -> None:
        def tell() -> None:
            self.tracker.epoch(line)
            self._keep(self._known.model_copy(update={"epochs": line["epoch"]}))

        self._ask(tell)

    def end(self, status: Status, files: Sequence[Path]) -> None:
        def end() -> None:
            self.tracker.ended(status, files)
            self._keep(self._known.model_copy(update={"ended": status == "finished"}))

        self._ask(end)

    @property
    def _known(self) -> _Known:
        assert self.known is not None  # since it was started
        return self.known

    def _ask(self, act: Callable[[], None]) -> None:
        if not self.listens:
            return
        try:
            act()
        except Exception as error:  # whatever a server or its library does, a training of days goes on
            self.listens = False
            what = (str(error).splitlines() or [""])[0]
            what = what if isinstance(error, TrainingError) else f"{type(error).__name__}: {what}"
            self.on_message(
                f"{self.name} failed ({what}); training goes on without it; it is asked again when the run goes on the "
                "next time"
            )

    def _keep(self, known: _Known) -> None:
        self.known = known
        document = _ALL_KNOWN.dump_json({**_read(self.folder), self.name: known}, indent=1)
        durable.write_bytes(_path(self.folder), document + b"\n")


def _path(run_folder: Path) -> Path:
    return run_folder / "trackers.json"


def _read(run_folder: Path) -> dict[str, _Known]:
    """Raises TrainingError: damaged."""
    try:
        return _ALL_KNOWN.validate_json(read_document(_path(run_folder)))
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        raise TrainingError(
            f"{_path(run_folder)}: damaged ({error.errors()[0]['msg']}); delete it, and trackers begin new runs"
        ) from None


def _open(name: TrackerName, run_folder: Path, first_step: int) -> Tracker:
    try:
        return TRACKERS[name](run_folder, first_step)
    except ImportError:
        raise TrainingError(
            f"train.trackers = [\"{name}\"] needs a library that is not installed: pip install 'dvs-transfer[{name}]'"
        ) from None


@contextmanager
def tracked(
    config: TrainConfig,
    run_folder: Path,
    document: Mapping[str, Any],
    done: tuple[int, int],
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Iterator[OnProgress]:
    """What `on_progress` is told goes to the configuration's trackers, too.

    document: what `config.json` holds.  done: epochs of the run, and steps in all.
    Raises TrainingError: the extra of a tracker is not installed, `trackers.json` is damaged.
    """
    names: list[TrackerName] = ["tensorboard"] if config.tensorboard else []
    names += config.trackers
    try:
        epochs = read_metrics(run_folder) if names and done[0] else []
    except TrainingError as error:  # training can go on without it, and so it does
        on_message(f"trackers are not told of this run: {error}")
        names, epochs = [], []
    parameters = flatten(document.get("experiment", document)) | {"run": run_folder.name}
    listeners = [
        _Listener(name, _open(name, run_folder, done[1] + 1), run_folder, on_message) for name in dict.fromkeys(names)
    ]
    for listener in listeners:
        listener.start(parameters, epochs)

    def tell(at: TrainingProgress) -> None:
        for listener in listeners:
            listener.tell(at)
            if at.ends_epoch:
                listener.epoch(epoch_metrics(at))
        on_progress(at)

    status: Status = "failed"
    try:
        yield tell
        status = "finished"
    except (TrainingStoppedError, KeyboardInterrupt):
        status = "stopped"
        raise
    finally:
        files = [run_folder / "config.json", metrics_path(run_folder), run_folder / "stints.json"]
        files += [weights_path(run_folder, "best"), weights_path(run_folder, "last")]
        for listener in listeners:
            listener.end(status, [path for path in files if path.is_file()] if status == "finished" else [])
