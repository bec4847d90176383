"""One column of a recording's events: whether it can be counted, and in the type in which the kernels take it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError

KEPT_AS: Final = tuple(map(np.dtype, (np.uint16, np.uint16, np.int64, np.uint8)))
"""Types of x, y, t and p in the kernels."""


def is_kept_as(values: Any, kind: np.dtype[Any], length: int) -> bool:
    """Whether a column has the kernels' type and form already."""
    is_array = isinstance(values, np.ndarray) and values.dtype == kind
    return is_array and values.shape == (length,) and values.flags.c_contiguous


def judge_column(
    name: str,
    values: NDArray[Any],
    kept_as: type[np.generic],
    low: int,
    high: int,
    *,
    location: str,
    first_event: int,
    shape: tuple[int],
    guess: str | None = None,
) -> NDArray[Any]:
    """A column in the type that it is kept as, into which all its values fit. Raises SourceError."""
    if not isinstance(values, np.ndarray):
        raise SourceError(f"{location}: {name} is a {type(values).__name__}, expected an array of {shape} numbers")
    if values.shape != shape or values.dtype.kind not in ("iuf" if name == "t" else "iufb"):
        raise SourceError(f"{location}: {name} is {values.shape} {values.dtype}, expected {shape} numbers")
    if not len(values):
        raise SourceError(f"{location}: no event in it; leave the recording out or fetch it again")
    in_range = low <= values.min() and values.max() <= high  # also false for NaN
    if not in_range or (values.dtype.kind == "f" and (values != np.floor(values)).any()):
        reals = values.astype(np.float64)
        i = int(np.argmin((reals >= low) & (reals <= high) & (reals == np.floor(reals))))
        unit = " of microseconds" if name == "t" and not guess else ""
        hint = f"; that it is in {guess} is a guess: if not, set frames.time_unit (--time-unit), for example to ns"
        raise SourceError(
            f"{location}: event {first_event + i} has {name}={values[i]}, expected a whole number from {low} to {high}"
            f"{unit}{hint if guess else ''}"
        )
    return np.ascontiguousarray(values, kept_as)
