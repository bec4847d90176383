"""Where and how torch computes during a run: device, threads, deterministic algorithms."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ...cache.errors import TrainingError

# Parameters of mallopt(3), from <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def select_device(name: str) -> torch.device:
    """The device of a configuration; "auto" is the first CUDA device, else the CPU. Raises TrainingError: not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(f"device {name!r} is not known; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise TrainingError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TrainingError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    return device


def cpu_capabilities() -> set[str]:
    """Names of the CPU's instruction sets, as torch says them (avx512_bf16 ...); empty from a torch that does not."""
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return {name for name, value in found.items() if value is True}


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(cpu_capabilities() & {"avx512_bf16", "amx_bf16", "bf16"})


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors give back, for the next step's tensors; only glibc knows how.

    Otherwise every large tensor on the CPU is fresh pages from the kernel, and a step spends up to half of its time on
    faulting them in. The process stays as large as its largest step. Has no effect on results.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def torch_settings(*, threads: int = 0, deterministic: bool = False) -> Iterator[None]:
    """Set torch's threads (0: as they are) and deterministic algorithms; both are put back at the end.

    On CUDA, deterministic also means cuBLAS with a workspace of fixed size; otherwise cuDNN times its algorithms for
    the first batch and takes the fastest, which pays since all batches have one shape. TF32 stays as torch has it, and
    as the released code ran: in convolutions, whose numbers keep 10 bits then, and not in matrix products.
    """
    threads_before = torch.get_num_threads()
    benchmark_before = torch.backends.cudnn.benchmark
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    keep_freed_memory()
    try:
        if threads:
            torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = not deterministic
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(deterministic_before)
        torch.backends.cudnn.benchmark = benchmark_before
