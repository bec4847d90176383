"""Settings of torch during a run."""

from __future__ import annotations

import pytest
import torch

from dvs_transfer.stages.network.runtime import torch_settings


@pytest.mark.parametrize("deterministic", [False, True])
def test_settings_hold_within_and_are_put_back(deterministic):
    before = torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with torch_settings(threads=1, deterministic=deterministic):
        assert torch.backends.cudnn.benchmark is not deterministic
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        # what docs/training.md says of float32: TF32 in convolutions alone
        assert torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert before == (
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
    )
