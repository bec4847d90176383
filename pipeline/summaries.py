"""Results in the few lines that a person reads: what, how good, where. The rest is for --verbose and --json.

Each function takes a report as the command has it, and gives lines without their ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .progress import to_text

if TYPE_CHECKING:
    from ..stages.conversion.run import ConversionReport
    from ..stages.demo.run import DemoReport
    from ..stages.download import DownloadReport
    from ..stages.evaluation.compare import ComparisonReport
    from ..stages.evaluation.results import EvaluationReport
    from ..stages.leakage.audit import AuditReport
    from ..stages.pairing import PairingReport
    from ..stages.pairing.export import ExportReport
    from ..stages.reporting.page import ReportFiles
    from ..stages.runs.nir_export import NirReport
    from ..stages.runs.origin import Origin
    from ..stages.runs.released import ImportReport
    from ..stages.simulation.run import SimulationReport
    from ..stages.training.progress import TrainingReport
    from .experiment import PreprocessReport


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def of_preprocess(report: PreprocessReport) -> list[str]:
    lines = of_demo(report.demo) if report.demo else []
    lines += of_simulation(report.simulated) if report.simulated else []
    for name in ("events", "images", "recorded"):
        part = getattr(report, name)
        lines += of_conversion(part, name) if part else []
    return [*lines, *of_pairs(report.pairs), f"picture: {report.picture}"]


def of_demo(report: DemoReport) -> list[str]:
    state = ", up to date" if report.up_to_date else ""
    of = f"{len(report.class_names)} classes, {report.num_photos:,} photos with recordings, {report.num_pairs:,} pairs"
    return [f"demo: {of}{state}"]


def of_simulation(report: SimulationReport) -> list[str]:
    state = ", up to date" if report.up_to_date else ""
    left_out = f", {len(report.quarantined):,} images without one" if report.quarantined else ""
    return [f"simulated: {report.num_recordings:,} recordings, {report.num_events:,} events{left_out}{state}"]


def of_conversion(report: ConversionReport, name: str = "") -> list[str]:
    events = "" if report.num_events is None else f", {report.num_events:,} events"
    broken = f", {len(report.quarantined):,} quarantined" if report.quarantined else ""
    state = f"{report.seconds:.1f} s" if report.was_built else "up to date"
    what = f"{report.num_samples:,} {'images' if report.num_events is None else 'recordings'} of {report.source}"
    left_out = [f"  left out: {sample}: {problem}" for sample, problem in list(report.quarantined.items())[:3]]
    left_out += [f"  and {more:,} more (-v)"] if (more := len(report.quarantined) - 3) > 0 else []
    told = f"{name or 'converted'}: {what}{events}{broken}, {report.megabytes:,.1f} MB, {state}"
    return [told, *left_out, f"  {report.path}"]


def of_pairs(report: PairingReport) -> list[str]:
    novel = f", {report.num_novel:,} of novel classes" if report.num_novel else ""
    unused = f", {report.num_unused:,} in no split" if report.num_unused else ""
    of = f"{report.num_train:,} train, {report.num_validation:,} validate, {report.num_test:,} test{novel}{unused}"
    photos = f"{report.num_pool:,} photos teach, photos in reach: {report.photos_in_reach}"
    return [
        f"pairs: {report.num_classes:,} classes, recordings: {of}",
        f"  {photos} ({report.protocol})",
        f"  {report.path}",
    ]


def of_audit(report: AuditReport) -> list[str]:
    declared = f" (declared: pairing.originals = {report.originals})" if report.originals != "auto" else ""
    lines = [f"audit: protocol {report.protocol}, photos in reach: {report.photos_in_reach}{declared}"]
    for split in report.splits:
        what = f"{split.num_in_reach:,} of {split.num_recordings:,} recordings have their photo, or one like it, there"
        unknown = f"; of {split.num_unknown:,} the photo is not known" if split.num_unknown else ""
        otherwise = f"; {split.num_otherwise:,} names tell otherwise than declared" if split.num_otherwise else ""
        lines.append(f"  {split.split}: {what}{unknown}{otherwise}")
    if report.splits:
        copies = f"; {report.num_left_out:,} copies were left out of it" if report.num_left_out else ""
        lines.insert(1, f"  static pool: {report.num_pool:,} images{copies}")
    alike = [f"{pair.num_alike:,} of {pair.split} in {pair.other}" for pair in report.between if pair.num_alike]
    return [
        *lines,
        f"recordings with one like them in another split: {', '.join(alike) or 'none'}",
        f"picture of the most alike: {report.picture} (-v lists them)",
    ]


def of_split(report: ExportReport) -> list[str]:
    novel = f", {report.num_novel:,} of novel classes" if report.num_novel else ""
    of = f"{report.num_train:,} train, {report.num_validation:,} validate, {report.num_test:,} test{novel}"
    also = "" if report.settings == "none" else f", with {report.settings}"
    return [
        f"split: {of} ({report.protocol})",
        f"  {report.path}",
        f"to use it: pairing.split_file = {report.path}{also}",
    ]


def of_training(folder: Path, report: TrainingReport) -> list[str]:
    went_on = f" (went on after {report.resumed_after})" if report.resumed_after or report.resumed_steps else ""
    spent = f", {report.seconds:.0f} s{' since then' if went_on else ''} on {report.device}"
    if report.resumed_after == report.epochs:
        went_on, spent = " (complete before)", ""
    photos = f" and {report.num_images:,} photos" if report.num_images else ""
    epochs = f"{report.epochs} epoch{'s' if report.epochs != 1 else ''}"
    what = f"{epochs}{went_on}, {report.num_recordings:,} labelled recordings{photos}"
    found = ""
    if report.last_accuracy is not None:
        found = f"; {report.selection_split} accuracy {percent(report.last_accuracy)}"
        if report.selection == "last":
            found += " after the last epoch"
        elif report.best_accuracy is not None:
            found += f", best {percent(report.best_accuracy)} in epoch {report.best_epoch}"
    return [f"trained: {what}{spent}{found}", f"  {folder}"]


def of_evaluation(folder: Path, report: EvaluationReport, origin: Origin | None = None) -> list[str]:
    """origin: of recordings that are not real."""
    shown = report.first
    epoch = report.first_epoch
    interval = shown.top1_interval
    between = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
    few = "groups" if report.num_groups else "recordings"
    rough = f"; so few {few} that the interval is rough" if report.has_few_recordings else ""
    more = [f"classes' mean {percent(shown.mean_class_accuracy)}"]
    if report.tells_top5:
        more.append(f"top-5 {percent(shown.top5)}")
    labels = "" if report.train_labels is None else f", {report.train_labels:,} labels"
    asked = f", {report.unusual_way}" if report.unusual_way else ""
    simulated = "simulated " if origin else ""
    epoch += f" (stopped after {report.unfinished})" if report.unfinished else ""
    return [
        f"{report.split}: top-1 {percent(shown.top1)}{between} of {report.num_samples:,} {simulated}recordings"
        f"{report.in_groups}, {percent(1 / report.num_classes_there)} by guessing{rough}",
        f"  {', '.join(more)}; {report.method}{labels}, {epoch}{asked}, photos in reach: {report.photos_in_reach}",
        f"  {folder}",
    ]


def of_analysis(name: str, told: Mapping[str, Any]) -> list[str]:
    """told: the report's numbers and texts, and where files lie. What every analysis says of itself is one line."""
    from ..stages.analysis.results import AnalysisReport, name_weights

    recordings = f"{told['num_recordings']:,} {told['split']} recording{'s' if told['num_recordings'] != 1 else ''}"
    weights = name_weights(told["checkpoint"], told.get("selection"))
    of = f"{recordings}, {weights}" + (f" (epoch {told['epoch']})" if told["epoch"] else "")
    own = [key for key in told if key not in {*AnalysisReport.model_fields, "result", "picture"}]
    words = {"energy_ratio": "ann / snn energy"}
    said = {key: words.get(key, key.removeprefix("num_").replace("_", " ")) for key in own}
    numbers = [f"  {said[key]:<22} {to_text(told[key])}" for key in own]
    note = [f"  {told['note']}"] if "note" in told else []
    return [f"{name}: {of}", *numbers, *note, f"  {told['picture'] or told['result']}"]


def of_report(report: ReportFiles) -> list[str]:
    analyses = f" and {report.num_analyses} analyses" if report.num_analyses else ""
    runs = f"{report.num_runs} run{'s' if report.num_runs > 1 else ''}"
    return [f"report of {runs}{analyses}, {report.num_bytes / 1e6:.1f} MB", f"  {report.page}"]


def of_import(report: ImportReport) -> list[str]:
    stated = "" if report.accuracy is None else f", {percent(report.accuracy)} as the file says"
    of = f"{report.num_classes} classes, {report.num_steps} steps of {report.size} x {report.size}"
    epoch = "" if report.epoch is None else f", epoch {report.epoch}"
    return [
        f"imported: {report.architecture} as {report.network}, {of}{epoch}{stated}",
        f"  {report.run}",
    ]


def of_nir(report: NirReport) -> list[str]:
    of = f"{report.nodes} nodes, {report.neurons:,} neurons"
    epoch = f" of epoch {report.epoch}" if report.epoch else ""  # imported weights may not say
    return [
        f"exported: {report.network}{epoch} as a NIR graph, {of}, {report.num_bytes / 1e6:.1f} MB",
        f"  {report.file}",
        f"  give it {report.num_steps} frames (2, {report.size}, {report.size}) at dt = {report.dt_s:g} s; the mean of "
        f"its outputs names the class",
    ]


def of_download(report: DownloadReport) -> list[str]:
    files: Sequence[Any] = report.files
    there = f"{len(files)} file{'s' if len(files) != 1 else ''}, {sum(file.num_bytes for file in files) / 1e6:,.1f} MB"
    unverified = [file.path.name for file in files if not file.verified]
    remarks = [f"  not compared with a published digest: {', '.join(unverified)}"] if unverified else []
    samples = "" if report.num_samples is None else f", {report.num_samples:,} samples"
    more = [f"  {report.remark}"] if report.remark else []
    return [f"{report.dataset}: {there}{samples}", f"  {report.folder}", *remarks, *more]


def of_comparison(report: ComparisonReport) -> list[str]:
    """Each difference of one draw from the baseline, of the checkpoint to go by, and what a reader must know of it.

    So few draws have neither an interval nor a verdict.
    """
    lines = []
    for found in report.differences:
        checkpoint, of = next(iter(found.checkpoints.items()))
        lines.append(f"difference: {100 * of.top1.difference:+.1f} points of top-1, {checkpoint} epoch")
        lines.append(f"  {found.method} minus {found.baseline}")
    return [*lines, *(f"  {note}" for note in report.notes)]
