"""Compiled loops of the neurons on a CPU: affine map, charge, fire and reset of all time steps in one pass over memory.

Arrays are (T, M, C), contiguous: at each step M rows of C numbers; a kernel treats rows `first` to `last`, so that
threads share the work by rows. `scale` and `shift` (T, C) map a row of the input to the neurons' current: a batch norm
folded into two numbers. A row of all steps stays in the nearest cache, and the compiler vectorises along C, which it
does only for loops that touch few arrays.

Inputs, spikes and their gradients are float32 or float64, or bfloat16 as its 16 bits in uint16. Everything else,
`constants` (1 / tau, threshold, alpha) too, has the type that is computed in: a float64 number would make all of it so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

Array = np.ndarray[Any, np.dtype[Any]]


def _widened(stored: Any) -> Any:
    """A stored number as one to compute with: the bits of a bfloat16 become a float32."""


@overload(_widened)
def _widened_by_type(stored):  # type: ignore[no-untyped-def]
    if isinstance(stored, types.Integer):
        return lambda stored: np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)
    return lambda stored: stored


def _narrowed(number: Any, out: Any) -> Any:
    """A number as `out` stores it: the bits of the nearest bfloat16, of two the even one."""


@overload(_narrowed)
def _narrowed_by_type(number, out):  # type: ignore[no-untyped-def]
    if not isinstance(out.dtype, types.Integer):
        return lambda number, out: number

    def bits_of_bfloat16(number, out):  # type: ignore[no-untyped-def]
        bits = np.float32(number).view(np.uint32)
        half = np.uint32(0x7FFF) + np.uint32((bits >> np.uint32(16)) & np.uint32(1))
        rounded = np.uint16(np.uint32(bits + half) >> np.uint32(16))
        return rounded if number == number else np.uint16(0x7FC0)

    return bits_of_bfloat16


@njit(nogil=True, cache=True)
def lif_forward(x, scale, shift, constants, first, last, spikes, membrane):  # type: ignore[no-untyped-def]
    """Fill `spikes`, and `membrane` (potentials after reset) unless it is None."""
    inverse_tau, threshold, _ = constants
    num_steps, _, width = x.shape
    zero, one = threshold - threshold, threshold / threshold
    v = np.empty(width, scale.dtype)
    for row in range(first, last):
        v[:] = zero
        for t in range(num_steps):
            for c in range(width):
                u = v[c] + (_widened(x[t, row, c]) * scale[t, c] + shift[t, c] - v[c]) * inverse_tau
                fired = u > threshold
                spikes[t, row, c] = _narrowed(one if fired else zero, spikes)
                v[c] = zero if fired else u
                if membrane is not None:
                    membrane[t, row, c] = v[c]


@njit(nogil=True, cache=True)
def lif_counts(x, scale, shift, constants, pool, first, last, counts):  # type: ignore[no-untyped-def]
    """Fill `counts` (T, B, H', W', C) uint8: spikes in each square of pool x pool pixels of x (T, B, H, W, C).

    `scale` and `shift` (C,) are the same at all steps. `first` and `last` number the squares of all B images.
    """
    inverse_tau, threshold, _ = constants
    num_steps, _, height, width, channels = counts.shape
    zero = threshold - threshold
    v = np.empty(channels, scale.dtype)
    fired = np.empty((num_steps, channels), np.uint8)
    for square in range(first, last):
        image, row, column = square // (height * width), square // width % height, square % width
        fired[:] = 0
        for pixel in range(pool * pool):
            i, j = row * pool + pixel // pool, column * pool + pixel % pool
            v[:] = zero
            for t in range(num_steps):
                for c in range(channels):
                    u = v[c] + (x[t, image, i, j, c] * scale[c] + shift[c] - v[c]) * inverse_tau
                    fired[t, c] += np.uint8(u > threshold)
                    v[c] = zero if u > threshold else u
        for t in range(num_steps):
            counts[t, image, row, column] = fired[t]


@njit(nogil=True, cache=True)
def lif_backward(  # type: ignore[no-untyped-def]
    x, scale, shift, constants, grad_spikes, grad_membrane, first, last, mean, sums, moments, slope, offset, grad_x
):
    """Take the gradients of spikes and (unless None) membrane back to x, in one of two passes over the rows, or both.

    Unless `mean` (T, C) is None, fill `sums` and `moments` (T, C) with the sums over the rows of g, the gradient of the
    current, and of g * (x - mean). Unless `grad_x` is None, fill it with scale * g + slope * x + offset, which (T, C)
    follow from the sums. Potentials and g are computed in each pass: quicker than writing them and reading them back.
    """
    inverse_tau, threshold, alpha = constants
    num_steps, _, width = x.shape
    zero, one = threshold - threshold, threshold / threshold
    steepness = alpha * alpha
    leak = one - inverse_tau
    u = np.empty((num_steps, width), scale.dtype)
    v = np.empty(width, scale.dtype)
    g = np.empty(width, scale.dtype)
    if mean is not None:
        sums[:] = zero
        moments[:] = zero
    for row in range(first, last):
        v[:] = zero
        for t in range(num_steps):
            for c in range(width):
                charged = v[c] + (_widened(x[t, row, c]) * scale[t, c] + shift[t, c] - v[c]) * inverse_tau
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
                grad += _widened(grad_spikes[t, row, c]) * max(zero, alpha - steepness * abs(above))
                v[c] = grad * leak
                g[c] = grad * inverse_tau
            if mean is not None:
                for c in range(width):
                    sums[t, c] += g[c]
                    moments[t, c] += g[c] * (_widened(x[t, row, c]) - mean[t, c])
            if grad_x is not None:
                for c in range(width):
                    grad = scale[t, c] * g[c] + slope[t, c] * _widened(x[t, row, c]) + offset[t, c]
                    grad_x[t, row, c] = _narrowed(grad, grad_x)


@njit(nogil=True, cache=True)
def moments_of_rows(x, step, first, last, mean, squares):  # type: ignore[no-untyped-def]
    """Fill `mean` and `squares` (C,): mean of the rows of a step, and their summed squared distance from it."""
    width = x.shape[2]
    mean[:] = 0
    squares[:] = 0
    for row in range(first, last):
        for c in range(width):
            mean[c] += _widened(x[step, row, c])
    for c in range(width):
        mean[c] /= last - first
    for row in range(first, last):
        for c in range(width):
            distance = _widened(x[step, row, c]) - mean[c]
            squares[c] += distance * distance
