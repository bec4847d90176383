"""The Triton kernels in Triton's interpreter, which needs no GPU, against torch's own operations."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

if find_spec("triton") is None:
    pytest.skip("needs triton, which CPU builds of torch leave out (pip install triton)", allow_module_level=True)

# Triton decides at its import whether to interpret, and stays that way: hence a process of its own.
COMPARE = """
import itertools, torch
from dvs_transfer.stages.network.lif import LifConstants, pytorch_lif
from dvs_transfer.stages.network.triton_lif import lif
constants = LifConstants(tau=1.7, threshold=0.4, alpha=1.5)
shapes = [(1, 1, 1), (2, 3, 5), (10, 1, 257), (7, 2, 256), (32, 1, 300)]
for shape, dtype, want in itertools.product(shapes, (torch.float32, torch.bfloat16), (False, True)):
    generator = torch.Generator().manual_seed(sum(shape))
    x, *upstream = torch.randn((3, *shape), generator=generator).to(dtype)
    results = []
    for function, kind in ((lif, dtype), (pytorch_lif, torch.float32)):  # potentials are float32 in both
        current = x.detach().to(kind).requires_grad_()
        outputs = [out for out in function(current, constants, want) if out is not None]
        torch.autograd.backward(outputs, [grad.to(kind) for grad in upstream[: len(outputs)]])
        results.append([*outputs, current.grad])
    assert torch.equal(results[0][0].float(), results[1][0]), (shape, dtype, "spikes")
    types = [dtype, torch.float32, dtype] if want else [dtype, dtype]  # of spikes, membranes, gradient
    for found, expected, kind in zip(*results, types):
        assert found.dtype == kind
        tolerance = dict(rtol=1e-5, atol=1e-6) if dtype == torch.float32 else dict(rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(found.float(), expected, **tolerance)
print("equal")
"""

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from dvs_transfer.stages.network.triton_lif import _backward, _forward
for number in ("fp32", "bf16"):
    for kernel, pointers in ((_forward, 3), (_backward, 4)):
        names = kernel.arg_names
        types = {name: f"*{number}" for name in names[:pointers]} | {name: "fp32" for name in names[pointers:]}
        constants = {"NUM_STEPS": 32, "HAS_MEMBRANE": True, "BLOCK": 256}
        types |= {"n": "i32"} | dict.fromkeys(constants, "constexpr")
        source = ASTSource(fn=kernel, signature=types, constexprs={(names.index(k),): v for k, v in constants.items()})
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        spilled = [line for line in compiled.asm["ptx"].splitlines() if ".local" in line]
        assert not spilled, spilled
print("compiled")
"""


def in_process(script: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, timeout=250
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_values_and_gradients_in_the_interpreter():
    assert in_process(COMPARE, TRITON_INTERPRET="1") == "equal"


def test_kernels_compile_for_a_gpu_and_keep_their_potentials_in_registers(tmp_path):
    assert in_process(COMPILE, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path)) == "compiled"
