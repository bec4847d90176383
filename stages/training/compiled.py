"""The kernels of `kernels` as differentiable operations of torch: the neuron, and batch norm with neuron.

On a CPU, float32 and float64. Results do not depend on the number of threads: sums are taken image by image and added
in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import kernels

if TYPE_CHECKING:
    from .neurons import LifConstants

# Elements of a layer's input from which the operations here pay on the CPU: below, torch's own are faster, since its
# threads still spin when the pool here starts (docs/performance.md).
smallest = 8_000_000

_ROW = 1024  # most neurons of a row where there are no channels; a row of 32 steps fits the second cache


def supports(x: Tensor) -> bool:
    """Whether the operations here can take x, and are worth it."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.numel() >= smallest


def lif(current: Tensor, constants: LifConstants, want_membrane: bool) -> tuple[Tensor, Tensor | None]:
    """Spikes, and membranes after reset where wanted, of current (T, ...), contiguous."""
    width = math.gcd(current[0].numel(), _ROW)
    rows = current.reshape(len(current), -1, width)
    spikes, membrane = _NormLif.apply(rows, None, None, None, None, 1, constants, want_membrane)  # type: ignore[no-untyped-call]
    return spikes.view(current.shape), None if membrane is None else membrane.view(current.shape)


def norm_lif(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    rstd: Tensor,
    batch_statistics: bool,
    constants: LifConstants,
    want_membrane: bool,
) -> tuple[Tensor, Tensor | None]:
    """Spikes and membranes of neurons that receive (x - mean) * rstd * weight + bias; x (T, B, C, H, W).

    `mean` and `rstd` (T, C) are constants, or x's own statistics with `batch_statistics`: (T, C) then stands for each
    step alone, (1, C) for all steps together.
    """
    num_steps, batch, channels, height, width = x.shape
    rows = x.permute(0, 1, 3, 4, 2).reshape(num_steps, -1, channels)
    spikes, membrane = _NormLif.apply(  # type: ignore[no-untyped-call]
        rows, weight, bias, mean, rstd, batch if batch_statistics else -batch, constants, want_membrane
    )

    def images(out: Tensor) -> Tensor:
        return out.view(num_steps, batch, height, width, channels).permute(0, 1, 4, 2, 3)

    return images(spikes), None if membrane is None else images(membrane)


def statistics(x: Tensor, merged: bool) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of x (T, B, C, H, W): of each step (T, C), or of all steps (1, C)."""
    num_steps, batch, channels = x.shape[:3]
    rows = x.detach().permute(0, 1, 3, 4, 2).reshape(num_steps, -1, channels)
    means, squares = x.new_empty(2, num_steps, batch, channels)
    size = rows.shape[1] // batch
    array, mean_array, square_array = rows.numpy(), means.numpy(), squares.numpy()

    def image(index: int) -> None:
        for t in range(num_steps):
            first = index * size
            kernels.moments_of_rows(array, t, first, first + size, mean_array[t, index], square_array[t, index])

    _each(image, batch)
    # Chan, Golub and LeVeque 1979: squares about the common mean, from those about the images' own means
    groups = (1, num_steps * batch) if merged else (num_steps, batch)
    means, squares = means.double().view(*groups, channels), squares.double().view(*groups, channels)
    mean = means.mean(1)
    variance = squares.mean(1) / size + (means - mean[:, None]).square().mean(1)
    return mean.to(x.dtype), variance.to(x.dtype)


class _NormLif(torch.autograd.Function):
    """Rows (T, M, C) to spikes and membranes. Keeps the rows alone; potentials are computed again.

    `num_images` shares the rows among threads; negative: mean and rstd are constants; without weight: no norm.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        rstd: Tensor | None,
        num_images: int,
        constants: LifConstants,
        want_membrane: bool,
    ) -> tuple[Tensor, Tensor | None]:
        num_steps, num_rows, width = x.shape
        if weight is None or bias is None or mean is None or rstd is None:
            scale, shift = x.new_ones(num_steps, width), x.new_zeros(num_steps, width)
            mean = rstd = None
        else:
            scale = (rstd * weight).expand(num_steps, -1).contiguous()
            shift = (bias - mean * scale).contiguous()
        spikes = torch.empty_like(x)
        membrane = torch.empty_like(x) if want_membrane else None
        number = x.numpy().dtype.type
        inverse_tau, threshold = number(1 / constants.tau), number(constants.threshold)
        arrays = [tensor.detach().numpy() for tensor in (x, scale, shift)]
        out = spikes.numpy(), None if membrane is None else membrane.numpy()
        _each_rows(
            lambda first, last: kernels.lif_forward(*arrays, inverse_tau, threshold, first, last, *out), num_rows
        )
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, scale, shift, mean, rstd)
            ctx.constants, ctx.num_images = constants, num_images
        return spikes, membrane

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_membrane: Tensor | None) -> tuple[Tensor | None, ...]:
        x, scale, shift, mean, rstd = ctx.saved_tensors
        num_steps, num_rows, width = x.shape
        number = x.numpy().dtype.type
        threshold, alpha = number(ctx.constants.threshold), number(ctx.constants.alpha)
        images = abs(ctx.num_images) if mean is not None else math.ceil(num_rows / 256)
        size = math.ceil(num_rows / images)
        grad = torch.empty_like(x)
        sums, moments = x.new_empty(2, images, num_steps, width) if mean is not None else x.new_empty(2, images, 1, 1)
        centre = None if mean is None else mean.expand(num_steps, -1).contiguous().numpy()
        inputs = x.detach().numpy(), scale.numpy(), shift.numpy(), centre, number(1 / ctx.constants.tau)
        upstream = (
            grad_spikes.contiguous().numpy(),
            None if grad_membrane is None else grad_membrane.contiguous().numpy(),
        )
        grad_array, sum_array, moment_array = grad.numpy(), sums.numpy(), moments.numpy()

        def image(index: int) -> None:
            kernels.lif_backward(
                *inputs,
                threshold,
                alpha,
                *upstream,
                index * size,
                min((index + 1) * size, num_rows),
                grad_array,
                sum_array[index],
                moment_array[index],
            )

        _each(image, images)
        if mean is None:
            return grad, *[None] * 7
        sum_grad = sums.double().sum(0)
        sum_moment = moments.double().sum(0) * rstd  # of grad * normalised x
        if ctx.num_images > 0:
            if len(mean) == 1:  # one mean for all steps
                shares = [part.sum(0, keepdim=True) / (num_steps * num_rows) for part in (sum_grad, sum_moment)]
            else:
                shares = [sum_grad / num_rows, sum_moment / num_rows]
            slope = scale * rstd * shares[1].neg()
            offset = -scale * shares[0] - slope * mean
        else:
            slope = offset = torch.zeros_like(scale)
        affine = [part.to(x.dtype).contiguous().numpy() for part in (slope, offset, scale)]
        _each_rows(
            lambda first, last: kernels.norm_backward(x.detach().numpy(), *affine, first, last, grad_array), num_rows
        )
        return grad, sum_moment.sum(0).to(x.dtype), sum_grad.sum(0).to(x.dtype), *[None] * 5


def _each_rows(function: Callable[[int, int], object], num_rows: int) -> None:
    """Call function(first, last) for ranges that cover the rows."""
    parts = min(num_rows, 4 * torch.get_num_threads())
    edges = [num_rows * i // parts for i in range(parts + 1)]
    _each(lambda i: function(edges[i], edges[i + 1]), parts)


def _each(function: Callable[[int], object], number: int) -> None:
    """Call function(0) to function(number - 1) on torch's number of threads."""
    threads = torch.get_num_threads()
    if threads == 1 or number == 1:
        for i in range(number):
            function(i)
    else:
        list(_pool(threads).map(function, range(number)))


@lru_cache(maxsize=2)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="neurons")
