"""What each process of `test_distributed.py` runs: a training without batch norm or CKA.

Arguments: FOLDER, EPOCHS, METHOD.

Neither layer statistics nor alignment tie a batch's samples together then, so that any number of processes must agree.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tiny_run import changed, train

from dvs_transfer.stages.network.layers import BatchNormOverTime
from dvs_transfer.stages.network.neurons import spike
from dvs_transfer.stages.training.config import LossConfig


def main(folder: Path, epochs: int, method: str) -> None:
    BatchNormOverTime.forward = lambda self, x, domain: 2 * x * self.weight[:, None, None] + self.bias[:, None, None]
    BatchNormOverTime.then_lif = lambda self, x, domain, constants, want_membrane: spike(
        self(x, domain), constants, want_membrane
    )
    reports = []
    own = {"loss": LossConfig(alignment_weight=0), "base_learning_rate": 0.1, "average": 0.5}
    config = changed(method=method, epochs=epochs, **own)
    train(folder, config, on_progress=reports.append)
    sys.stdout.write(f"reports {len(reports)}\n")  # in one piece: the processes share it


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
