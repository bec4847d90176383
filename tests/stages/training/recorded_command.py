"""`python -m dvs_transfer ARGUMENTS`, which also writes the rows of its batches to rows-<rank>.json of a FOLDER.

Arguments: FOLDER, then those of the command.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvs_transfer.stages.batches.loading import Batch, OnDevice
from dvs_transfer.stages.batches.sampling import EpochPlan

folder = Path(sys.argv.pop(1))
rows: list[Any] = []
true_batches = OnDevice.batches


def batches(self: OnDevice, plan: EpochPlan, first_step: int = 0) -> Iterator[Batch]:
    for step, batch in enumerate(true_batches(self, plan, first_step), first_step):
        rows.append([plan.recordings[step].tolist(), plan.images[step].tolist(), batch.replacement.tolist()])
        yield batch


OnDevice.batches = batches  # type: ignore[assignment,method-assign]
try:
    runpy.run_module("dvs_transfer", run_name="__main__", alter_sys=True)
finally:
    (folder / f"rows-{os.environ.get('RANK', 'alone')}.json").write_text(json.dumps(rows))
