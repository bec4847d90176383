"""What `FramesConfig` refuses, and what follows from what."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from dvs_transfer.stages.frames.spec import FramesConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "window"}, "needs window_us"),
        ({"window_us": 1000}, "no other mode takes it"),
        ({"resize": "none", "size": 48}, "leave size out or set it to 0"),
        ({"size": 0}, "at least 1 pixel"),
        ({"dtype": "uint8"}, "fractions"),
        ({"dtype": "uint16"}, "fractions"),
        ({"dtype": "int16"}, "float16"),
        ({"num_bins": 0}, "greater than or equal to 1"),
        ({"bins": 3}, "Extra inputs"),
    ],
)
def test_impossible_configurations_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FramesConfig(**values)


def test_the_size_follows_resize_none_and_a_dump_is_accepted_again() -> None:
    config = FramesConfig(resize="none", dtype="uint8")
    assert config.size == 0
    assert config.frame_shape((34, 30)) == (10, 2, 30, 34)
    assert FramesConfig(num_bins=6).frame_shape((240, 180)) == (6, 2, 48, 48)
    assert FramesConfig.model_validate(config.model_dump(mode="json")) == config
