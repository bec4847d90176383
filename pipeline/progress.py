"""Telling the user what happens (bars on a terminal, plain lines elsewhere, nothing with --quiet) and what came out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python
from rich import progress as bars
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from ..stages.training.progress import TrainingProgress

SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Reporter:
    """Messages and progress go to standard error: standard output is for results.

    verbosity: 0 quiet (errors alone), 1 normal, 2 verbose.
    """

    verbosity: int = 1
    console: Console = field(default_factory=lambda: Console(file=sys.stderr, highlight=False))

    def say(self, message: str, verbosity: int = 1) -> None:
        if self.verbosity >= verbosity:
            self.console.print(message, markup=False, soft_wrap=True)

    def detail(self, message: str) -> None:
        """A message for --verbose."""
        self.say(message, 2)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """Show how many of `total` pieces are done; yields the function to call after each."""
        began = last = time.monotonic()
        done = 0
        with self._bar() as bar:
            task = bar.add_task(label, total=total)

            def advance() -> None:
                nonlocal done, last
                done += 1
                bar.advance(task)
                now = time.monotonic()
                if bar.disable and (done == total or now - last >= SECONDS_BETWEEN_LINES):
                    last = now
                    left = (now - began) / done * (total - done)
                    more = f", {left:.0f} s left" if left else ""
                    self.say(f"{label}: {done} of {total}, {now - began:.1f} s{more}")

            yield advance

    @contextmanager
    def training(self) -> Iterator[Callable[[TrainingProgress], None]]:
        """Show a training run; yields the function that takes its progress."""
        with self._bar(_SpeedColumn(), bar_width=8) as bar:
            task = bar.add_task("train", total=None, speed="")

            def tell(at: TrainingProgress) -> None:
                done, total = (at.epoch - 1) * at.num_steps + at.step, at.num_epochs * at.num_steps
                line, speed = describe_training(at), describe_speed(at)
                bar.update(task, completed=done, total=total, description=line, speed=speed)
                if at.ends_epoch:  # a line that stays, above the bar
                    self.say(f"{line}  {speed}")
                    self.detail(f"  {describe_parts(at)}")

            yield tell

    @contextmanager
    def bytes(self) -> Iterator[Callable[[str, int, int | None], None]]:
        """Show downloads; yields the function that takes a file's name, its bytes so far, and their number if known."""
        with self._bar(bars.DownloadColumn(), bars.TransferSpeedColumn()) as bar:
            tasks: dict[str, bars.TaskID] = {}

            def tell(name: str, num_bytes: int, total: int | None) -> None:
                if name not in tasks:
                    tasks[name] = bar.add_task(name, total=total)
                bar.update(tasks[name], completed=num_bytes, total=total)

            yield tell

    def _bar(self, *columns: bars.ProgressColumn, bar_width: int = 40) -> bars.Progress:
        """Nothing is drawn, but where there is somebody to look at it. columns: by default those of pieces of work."""
        is_drawn = self.verbosity >= 1 and self.console.is_terminal
        pieces = (bars.MofNCompleteColumn(), _RateColumn(), bars.TimeElapsedColumn(), bars.TimeRemainingColumn(True))
        drawn = (bars.TextColumn("{task.description}"), bars.BarColumn(bar_width), *(columns or pieces))
        return bars.Progress(*drawn, console=self.console, disable=not is_drawn)


class _RateColumn(bars.ProgressColumn):
    """Pieces done in a second."""

    def render(self, task: bars.Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class _SpeedColumn(bars.ProgressColumn):
    """As the task's field says it."""

    def render(self, task: bars.Task) -> Text:
        return Text(str(task.fields["speed"]))


def describe_training(at: TrainingProgress) -> str:
    """Where a training run stands, in less than 60 columns; an epoch's end also tells what chooses an epoch."""
    split = {"validation": "val"}.get(at.selection_split, at.selection_split)
    chosen = "" if at.selection_accuracy is None else f"  {split} {at.selection_accuracy:.1%}"
    return f"epoch {at.epoch}/{at.num_epochs}  loss {at.loss:.2f}  train {at.train_accuracy:.1%}{chosen}"


def describe_speed(at: TrainingProgress) -> str:
    minutes, seconds = divmod(round(at.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    left = left if hours < 10 else f"{hours} h"  # a line has 80 columns
    return f"{at.pairs_per_s:.0f} samples/s  ETA {left}"


def describe_parts(at: TrainingProgress) -> str:
    """The rest, for --verbose."""
    parts = [
        f"static {at.loss_static:.3f}, event {at.loss_event:.3f}, align {at.loss_alignment:.3f}",
        "" if at.w_t is None else f"w {min(at.w_t):.2f} to {max(at.w_t):.2f}",
        f"sliding {at.sliding_probability:.2f}",
        f"firing {' '.join(f'{rate:.2f}' for rate in at.firing_rates.values())}" if at.firing_rates else "",
        f"data {at.data_share:.1%}",
    ]
    return ", ".join(filter(None, parts))


def to_document(report: Any) -> Any:
    """What JSON writes of dataclasses, models, mappings, paths."""
    return to_jsonable_python(report, fallback=str)


def to_text(value: Any, indent: int = 4) -> str:
    """indent: of the lines of a mapping; those of one inside it are two further right."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        lines = (f"\n{' ' * indent}{key}: {to_text(item, indent + 2)}" for key, item in value.items())
        return "".join(lines) or "none"
    if isinstance(value, list):
        return ", ".join(map(to_text, value)) or "none"
    return "-" if value is None else str(value)
