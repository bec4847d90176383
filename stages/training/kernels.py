"""Compiled loops of the neurons on a CPU: affine map, charge, fire and reset of all time steps in one pass over memory.

Arrays are (T, M, C), contiguous: at each step M rows of C numbers; a kernel treats rows `first` to `last`, so that
threads share the work by rows. `scale` and `shift` (T, C) map a row of the input to the neurons' current: a batch norm
folded into two numbers. A row of all steps stays in the nearest cache, and the compiler vectorises along C.
Constants must have the arrays' type: a float64 number would make the arithmetic so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, np.dtype[Any]]


@njit(nogil=True, cache=True)
def lif_forward(x, scale, shift, inverse_tau, threshold, first, last, spikes, membrane):  # type: ignore[no-untyped-def]
    """Fill `spikes`, and `membrane` (potentials after reset) unless it is None."""
    num_steps, _, width = x.shape
    zero, one = threshold - threshold, threshold / threshold
    v = np.empty(width, x.dtype)
    for row in range(first, last):
        v[:] = zero
        for t in range(num_steps):
            for c in range(width):
                u = v[c] + (x[t, row, c] * scale[t, c] + shift[t, c] - v[c]) * inverse_tau
                fired = u > threshold
                spikes[t, row, c] = one if fired else zero
                v[c] = zero if fired else u
                if membrane is not None:
                    membrane[t, row, c] = v[c]


@njit(nogil=True, cache=True)
def lif_backward(  # type: ignore[no-untyped-def]
    x,
    scale,
    shift,
    mean,
    inverse_tau,
    threshold,
    alpha,
    grad_spikes,
    grad_membrane,
    first,
    last,
    grad_current,
    sums,
    moments,
):
    """Fill `grad_current`, the gradient of the current, from those of spikes and (unless None) membrane.

    The potentials are computed again, not kept. Unless `mean` (T, C) is None, `sums` and `moments` (T, C) become the
    sums over the rows of grad_current and of grad_current * (x - mean).
    """
    num_steps, _, width = x.shape
    zero = threshold - threshold
    one = threshold / threshold
    slope = alpha * alpha
    leak = one - inverse_tau
    u = np.empty((num_steps, width), x.dtype)
    v = np.empty(width, x.dtype)
    if mean is not None:
        sums[:] = zero
        moments[:] = zero
    for row in range(first, last):
        v[:] = zero
        for t in range(num_steps):
            for c in range(width):
                charged = v[c] + (x[t, row, c] * scale[t, c] + shift[t, c] - v[c]) * inverse_tau
                u[t, c] = charged
                v[c] = zero if charged > threshold else charged
        v[:] = zero  # from here on the gradient of v[t]
        for t in range(num_steps - 1, -1, -1):
            for c in range(width):
                above = u[t, c] - threshold
                grad = v[c]
                if grad_membrane is not None:
                    grad += grad_membrane[t, row, c]
                grad = zero if above > zero else grad
                grad += grad_spikes[t, row, c] * max(zero, alpha - slope * abs(above))
                v[c] = grad * leak
                grad *= inverse_tau
                grad_current[t, row, c] = grad
                if mean is not None:
                    sums[t, c] += grad
                    moments[t, c] += grad * (x[t, row, c] - mean[t, c])


@njit(nogil=True, cache=True)
def moments_of_rows(x, step, first, last, mean, squares):  # type: ignore[no-untyped-def]
    """Fill `mean` and `squares` (C,): mean of the rows of a step, and their summed squared distance from it."""
    width = x.shape[2]
    mean[:] = 0
    squares[:] = 0
    for row in range(first, last):
        for c in range(width):
            mean[c] += x[step, row, c]
    for c in range(width):
        mean[c] /= last - first
    for row in range(first, last):
        for c in range(width):
            distance = x[step, row, c] - mean[c]
            squares[c] += distance * distance


@njit(nogil=True, cache=True)
def norm_backward(x, slope, offset, scale, first, last, grad):  # type: ignore[no-untyped-def]
    """Turn `grad`, the gradient of the current, into that of x: scale * grad + slope * x + offset, each (T, C)."""
    num_steps, _, width = x.shape
    for t in range(num_steps):
        for row in range(first, last):
            for c in range(width):
                grad[t, row, c] = scale[t, c] * grad[t, row, c] + slope[t, c] * x[t, row, c] + offset[t, c]
