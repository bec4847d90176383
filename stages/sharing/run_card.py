"""A run's card: what was trained on what, how good it is, under which protocol, and whether photos leaked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...cache.pairs import Reach
from ..evaluation.results import Accuracies, EvaluationReport, find_few
from ..runs.checkpoint import CheckpointInfo
from ..runs.origin import describe_origin, origin_of, settings_of, shows_photos
from . import licences
from .cards import card, repository_name, table

LIBRARY: Final = "dvs-transfer"
TASK: Final = {"type": "video-classification", "name": "Classification of event camera recordings"}
_TAGS: Final = ("event-camera", "dvs", "neuromorphic", "spiking-neural-network", "transfer-learning")
_REACH: Final[Mapping[Reach, str]] = {
    "none": "none: no photo of a held-out recording was among what taught",
    "some": "**some**: photos of held-out recordings were among what taught, so accuracies are too high for new scenes",
    "unknown": "**unknown**: whether photos of held-out recordings were among what taught is not known",
}


@dataclass(frozen=True)
class DataSet:
    """What a run learned from. source: of its reader; "demo" data were drawn in that reader's format."""

    source: str
    title: str
    licence: str | None  # None: nobody else's

    @property
    def text(self) -> str:
        return f"{self.title} (licence of the raw data: {self.licence})" if self.licence else self.title


def data_sets(document: Mapping[str, Any]) -> list[DataSet]:
    """Recordings, then photos that were shown; none where the settings do not say, as of imported weights.

    Drawn and simulated data are read as published ones are, and are none.
    """
    found = []
    experiment, origin = settings_of(document), origin_of(document)
    for section in ("events", "images") if shows_photos(document) else ("events",):
        source = (experiment.get(section) or {}).get("source")
        if source is None:
            continue
        title, licence = licences.title_and_licence(source)
        if experiment.get("demo") or (section == "events" and origin == "demo"):
            found.append(DataSet(f"demo-{source}", f"objects drawn by the demo in the format of {title}", None))
        elif section == "events" and origin == "simulated":
            found.append(DataSet(f"simulated-{source}", "recordings of photos by a simulated camera", None))
        else:
            found.append(DataSet(source, title, licence))
    return found


def run_card(
    name: str,
    document: Mapping[str, Any],
    pairs: str,
    info: CheckpointInfo,
    reports: Sequence[EvaluationReport],
    licence: str | None,
) -> str:
    """document: `config.json`'s content.  pairs: the pair store's name.

    reports: of each split that was evaluated, the test recordings first.
    """
    data = data_sets(document)
    metadata = {
        # Whose weights they are decides that; of the data it is only said what their licence is.
        **licences.metadata([], licence),
        "library_name": LIBRARY,
        "tags": [*_TAGS, info.method.replace(":", "."), info.model.name.replace(":", ".")],
        "datasets": [one.source for one in data] or [pairs],
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [_result(report, data, pairs) for report in reports]}],
    }
    return card(metadata, "\n\n".join(_text(name, document, pairs, info, reports, data, licence)))


def _result(report: EvaluationReport, data: Sequence[DataSet], pairs: str) -> dict[str, Any]:
    def details(interval: tuple[float, float] | None, is_few: bool) -> dict[str, Any]:
        found: dict[str, Any] = {} if interval is None else {"interval_95": list(interval)}
        found |= {"interval_is_too_narrow": True} if found and is_few else {}
        return found | ({"stopped_after": report.unfinished} if report.unfinished else {})

    metrics = [
        {
            "type": kind,
            "name": f"{title}, {epoch}",
            "value": value,
            "args": details(interval, is_few),
        }
        for epoch, accuracies in _accuracies(report)
        for kind, title, value, interval, is_few in _numbers(report, accuracies)
    ]
    dataset = {
        "type": data[0].source if data else pairs,
        "name": data[0].title if data else pairs,
        "split": report.split,
        "args": {
            "split_digest": report.split_digest,
            "protocol": report.protocol,
            "photos_in_reach": report.photos_in_reach,
            "num_recordings": report.num_samples,
            "num_classes": report.num_classes_there,
            "asked": report.way,
        },
    }
    return {"task": dict(TASK), "dataset": dataset, "metrics": metrics}


def _accuracies(report: EvaluationReport) -> Iterator[tuple[str, Accuracies]]:
    """Those of each checkpoint, with which epoch it is; first the one to go by."""
    found: list[tuple[str, Accuracies]] = [(report.which_epoch, report)]
    if report.last is not None and not report.holds("last"):
        found.insert(0 if report.leads_with_last else 1, ("last epoch", report.last))
    yield from found


def _numbers(
    report: EvaluationReport, accuracies: Any
) -> Iterator[tuple[str, str, float, tuple[float, float] | None, bool]]:
    """The metric's identifier and name, its value as a share of 1, its 95 % interval; whether that is too narrow."""
    few = find_few(report, accuracies)
    yield "accuracy", "top-1", accuracies.top1, accuracies.top1_interval, few["top1"]
    mean, interval = accuracies.mean_class_accuracy, accuracies.mean_class_accuracy_interval
    yield "balanced_accuracy", "mean of the classes' top-1", mean, interval, few["mean_class_accuracy"]
    if report.tells_top5:
        yield "top_5_accuracy", "top-5", accuracies.top5, None, False


def _percent(value: float, interval: tuple[float, float] | None, is_few: bool) -> str:
    too_narrow = ", too narrow" if is_few else ""
    between = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]{too_narrow}"
    return f"{100 * value:.1f} %{between}"


def _text(
    name: str,
    document: Mapping[str, Any],
    pairs: str,
    info: CheckpointInfo,
    reports: Sequence[EvaluationReport],
    data: Sequence[DataSet],
    licence: str | None,
) -> Iterator[str]:
    yield f"# {name}"
    of = " and ".join(one.title for one in data) or pairs
    is_imported = info.method == "imported"
    taught = f"Taught by the method `{info.method}` on {of}, with dvs-transfer."
    yield (
        f"A spiking network, `{info.model.name}`, that names recordings of an event camera: {len(info.class_names)} "
        f"classes, {info.num_steps} time steps of 2 x {info.size} x {info.size}. "
        + ("Its weights were imported, and not taught by dvs-transfer." if is_imported else taught)
    )
    if origin := describe_origin([document]):
        yield f"**{origin}**"
    for report in reports:
        yield f"## {report.split.capitalize()} recordings"
        yield table(list(_rows(report)))
    yield "Intervals are of 95 %, over recordings, for this network: another seed is another network."
    yield "## Evaluated on" if is_imported else "## Trained on"
    seed = (settings_of(document).get("train") or {}).get("seed")
    rows: list[tuple[str, object]] = [("data", "; ".join(one.text for one in data) or "not known")]
    rows += [("pair store", f"`{pairs}`"), ("seed", "not known" if seed is None else seed)]
    rows += [("licence of these weights", licence or "not said")]
    if info.network_code is not None:
        rows += [("code of its own", f"`{info.model.name}` is not part of dvs-transfer, and not in this folder")]
    yield table(rows)
    yield "Classes: " + ", ".join(info.class_names)
    yield "## Use"
    yield (
        "    pip install 'dvs-transfer[hub]'\n"
        f"    dvs-transfer hub pull USER/{repository_name(name)}\n"
        f"    dvs-transfer predict runs/{repository_name(name)} RECORDINGS"
    )
    yield "Weights are safetensors, everything else is text; reading them executes nothing."


def _rows(report: EvaluationReport) -> Iterator[tuple[str, object]]:
    for epoch, accuracies in _accuracies(report):
        for _, title, value, interval, is_few in _numbers(report, accuracies):
            yield f"{title}, {epoch}", _percent(value, interval, is_few)
    yield "by guessing", f"{100 / report.num_classes_there:.1f} %"
    yield "recordings", f"{report.num_samples:,}{report.in_groups} of {report.num_classes_there:,} classes"
    yield "protocol", report.protocol
    yield "photos in reach", _REACH[report.photos_in_reach]
    yield "split digest", f"`{report.split_digest}`"
    stopped = f"; training was stopped after {report.unfinished}" if report.unfinished else ""
    yield "epoch choice", f"{report.epoch_choice}{stopped}"
    labels = "not known" if report.train_labels is None else f"{report.train_labels:,}"
    chose = f", and {report.selection_labels:,} that chose the epoch" if report.selection_labels else ""
    yield "labels seen", f"{labels}{chose}"
    if report.unlabelled:
        yield "recordings without labels", report.unlabelled
    yield "asked", report.way
    yield f"calibration error, {report.which_epoch}", f"{report.calibration_error:.3f}"
