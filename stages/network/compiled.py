"""The kernels of `kernels` as differentiable operations of torch: the neuron, and batch norm with neuron.

On a CPU, float32 and float64, and bfloat16, where all but inputs, spikes and their gradients is float32. Results do not
depend on the number of threads: sums are taken image by image and added in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import kernels
from .lif import LifConstants

# Elements of a layer from which threads share its work. Below, the calling thread is done before it pays: torch's own
# threads still spin for some milliseconds after a convolution, and stand in the way (docs/performance.md).
SHARED_FROM = 2_000_000

_TYPES = (torch.bfloat16, torch.float32, torch.float64)
_ROW = 1024  # most neurons of a row where there are no channels; a row of 32 steps fits the second cache


class Norm(NamedTuple):
    """A batch norm before neurons, whose current is (x - mean) * rstd * weight + bias. weight, bias: (C,).

    `mean` and `rstd` (T, C) are constants, or x's own statistics with `of_batch`: (T, C) then stands for each step
    alone, (1, C) for all steps together.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    rstd: Tensor
    of_batch: bool


def can_take(x: Tensor) -> bool:
    """Whether the operations here can."""
    return x.device.type == "cpu" and x.dtype in _TYPES and x.numel() > 0


def lif(
    current: Tensor, constants: LifConstants, want_membrane: bool, norm: Norm | None = None
) -> tuple[Tensor, Tensor | None]:
    """Spikes, and membranes after reset where wanted, of current (T, ...), contiguous.

    With `norm`, of what it makes of (T, B, C, H, W), channels last.
    """
    if norm is not None:
        current = current.permute(0, 1, 3, 4, 2)
    width = math.gcd(current[0].numel(), _ROW) if norm is None else current.shape[-1]
    rows = current.reshape(len(current), -1, width)
    images = 1 if norm is None else current.shape[1]
    spikes, membrane = _NormLif.apply(rows, constants, want_membrane, images, *(norm or ()))  # type: ignore[no-untyped-call]

    def like_current(out: Tensor) -> Tensor:
        out = out.view(current.shape)
        return out if norm is None else out.permute(0, 1, 4, 2, 3)

    return like_current(spikes), None if membrane is None else like_current(membrane)


def pooled_spikes(x: Tensor, scale: Tensor, shift: Tensor, constants: LifConstants, pool: int) -> Tensor:
    """Spikes of neurons that receive x * scale + shift, summed over squares of pool x pixels, without a gradient.

    x (T, B, C, H, W) float32, scale and shift (C,); returns uint8 (T, B, C, H // pool, W // pool), channels last.
    """
    num_steps, batch, channels, height, width = x.shape
    counts = torch.empty(num_steps, batch, height // pool, width // pool, channels, dtype=torch.uint8)
    inputs = _array(x.permute(0, 1, 3, 4, 2).contiguous()), _array(scale), _array(shift)
    neuron, out = _numbers(scale, constants), counts.numpy()
    squares = counts[0, ..., 0].numel()
    _each_rows(lambda first, last: kernels.lif_counts(*inputs, neuron, pool, first, last, out), squares, x.numel())
    return counts.permute(0, 1, 4, 2, 3)


def statistics(x: Tensor, merged: bool) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of x (T, B, C, H, W): of each step (T, C), or of all steps (1, C)."""
    num_steps, batch, channels = x.shape[:3]
    rows = x.detach().permute(0, 1, 3, 4, 2).reshape(num_steps, -1, channels)
    means, squares = torch.empty(2, num_steps, batch, channels, dtype=_computing_type(x))
    size = rows.shape[1] // batch
    array, mean_array, square_array = _array(rows), means.numpy(), squares.numpy()

    def image(index: int) -> None:
        for t in range(num_steps):
            first = index * size
            kernels.moments_of_rows(array, t, first, first + size, mean_array[t, index], square_array[t, index])

    _each(image, batch, x.numel())
    # Chan, Golub and LeVeque 1979: squares about the common mean, from those about the images' own means
    groups = (1, num_steps * batch) if merged else (num_steps, batch)
    mean_of_image, square_of_image = (part.double().view(*groups, channels) for part in (means, squares))
    mean = mean_of_image.mean(1)
    variance = square_of_image.mean(1) / size + (mean_of_image - mean[:, None]).square().mean(1)
    return mean.to(means.dtype), variance.to(means.dtype)


class _NormLif(torch.autograd.Function):
    """Rows (T, M, C) of `num_images` images to spikes and membranes. Keeps the rows; potentials are computed again.

    norm: the fields of `Norm`, or nothing.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, constants: LifConstants, want_membrane: bool, num_images: int, *norm: Any
    ) -> tuple[Tensor, Tensor | None]:
        number = _computing_type(x)
        if norm:
            weight, bias, mean, rstd, of_batch = norm
            scale = (rstd * weight).expand(len(x), -1).contiguous()
            shift = (bias - mean * scale).contiguous()
        else:
            scale = torch.ones(len(x), x.shape[2], dtype=number)
            shift, of_batch = torch.zeros_like(scale), False
        spikes = torch.empty_like(x)
        membrane = torch.empty_like(x, dtype=number) if want_membrane else None
        neuron = _numbers(scale, constants)
        arrays = _array(x), _array(scale), _array(shift), neuron
        out = _array(spikes), None if membrane is None else _array(membrane)
        _each_rows(lambda first, last: kernels.lif_forward(*arrays, first, last, *out), x.shape[1], x.numel())
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, scale, shift, *norm[2:4])
            ctx.neuron, ctx.num_images, ctx.of_batch = neuron, num_images, of_batch
        return spikes, membrane

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_membrane: Tensor | None) -> tuple[Tensor | None, ...]:
        x, scale, shift, *statistics = ctx.saved_tensors
        upstream = [None if part is None else _array(part.contiguous()) for part in (grad_spikes, grad_membrane)]
        inputs = _array(x), _array(scale), _array(shift), ctx.neuron, *upstream
        slope = offset = torch.zeros_like(scale)
        of_norm: tuple[Tensor | None, ...] = ()
        if statistics:
            mean, rstd = statistics
            sums = _gradient_sums(inputs, mean.expand(len(x), -1).contiguous(), ctx.num_images)
            sum_grad, sum_moment = sums[0], sums[1] * rstd  # the second: of grad * normalised x
            of_norm = (sum_moment.sum(0).to(scale.dtype), sum_grad.sum(0).to(scale.dtype), None, None, None)
            if ctx.of_batch:  # x moves its own statistics; one mean for all steps has all steps' sums
                num_rows = x.shape[1]
                if len(mean) == 1:
                    sum_grad, sum_moment = sum_grad.sum(0, keepdim=True), sum_moment.sum(0, keepdim=True)
                    num_rows *= len(x)
                slope = -scale * rstd * sum_moment / num_rows
                offset = -scale * sum_grad / num_rows - slope * mean
        affine = [_array(part.to(scale.dtype).contiguous()) for part in (slope, offset)]
        grad = torch.empty_like(x)
        rest = None, None, None, *affine, _array(grad)  # no sums this time
        _each_rows(lambda first, last: kernels.lif_backward(*inputs, first, last, *rest), x.shape[1], x.numel())
        return grad, None, None, None, *of_norm


def _gradient_sums(inputs: tuple[Any, ...], mean: Tensor, num_images: int) -> Tensor:
    """Sums and moments (2, T, C) float64 of the rows' gradients, taken image by image and added in order."""
    size = inputs[0].shape[1] // num_images
    sums, moments = torch.empty(2, num_images, *mean.shape, dtype=mean.dtype)
    centre, sum_array, moment_array = mean.numpy(), sums.numpy(), moments.numpy()

    def image(index: int) -> None:
        first = index * size
        statistics = centre, sum_array[index], moment_array[index]
        kernels.lif_backward(*inputs, first, first + size, *statistics, None, None, None)

    _each(image, num_images, inputs[0].size)
    return torch.stack([sums.double().sum(0), moments.double().sum(0)])


def _computing_type(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype == torch.bfloat16 else x.dtype


def _array(x: Tensor) -> kernels.Array:
    """The tensor's memory as the kernels take it; NumPy has no bfloat16, so that goes as its bits."""
    x = x.detach()
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def _numbers(like: Tensor, constants: LifConstants) -> tuple[Any, ...]:
    """What the kernels take for constants, in the type of `like`."""
    values = 1 / constants.tau, constants.threshold, constants.alpha
    return tuple(like.numpy().dtype.type(value) for value in values)


def _each_rows(function: Callable[[int, int], object], num_rows: int, num_elements: int) -> None:
    """Call function(first, last) for ranges that cover the rows."""
    parts = min(num_rows, 4 * torch.get_num_threads())
    edges = [num_rows * i // parts for i in range(parts + 1)]
    _each(lambda i: function(edges[i], edges[i + 1]), parts, num_elements)


def _each(function: Callable[[int], object], number: int, num_elements: int) -> None:
    """Call function(0) to function(number - 1), on torch's number of threads where there are elements enough."""
    threads = torch.get_num_threads()
    if threads == 1 or number == 1 or num_elements < SHARED_FROM:
        for i in range(number):
            function(i)
    else:
        list(_pool(threads).map(function, range(number)))


@lru_cache(maxsize=2)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="neurons")
