"""A dictionary of numbers, texts and an array out of a Python pickle, without unpickling it.

A pickle is a program for a stack machine (see Python's `pickletools`); its instruction REDUCE calls what GLOBAL names.
Here the few instructions that the published files need are followed, and nothing is ever called: the three names that
an array of numpy takes are markers, and any other name or instruction is refused.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ...cache.errors import SourceError
from .base import UInt8Array

MAX_INSTRUCTIONS: Final = 1_000_000  # a batch of CIFAR-10 has 42,000; one byte may stand for an object of 64
_RECONSTRUCT: Final = "numpy.core.multiarray _reconstruct"
_NDARRAY: Final = "numpy ndarray"
_DTYPE: Final = "numpy dtype"
_NUMBERS: Final = frozenset(("INT", "BININT", "BININT1", "BININT2", "LONG1"))
_TEXTS: Final = frozenset(("STRING", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "BINBYTES", "SHORT_BINBYTES"))
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_FIXED_TUPLES: Final = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True, slots=True)
class _Name:
    """What a GLOBAL names; it stands for nothing."""

    text: str


@dataclass(slots=True)
class _Made:
    """What a REDUCE of `name` stands for: an array or its type, once BUILD has given its state."""

    name: str
    arguments: tuple[Any, ...]
    array: UInt8Array | None = None


class _Mark:
    """What MARK pushes."""


_MARK: Final = _Mark()


def read_pickled_dict(data: bytes, location: str) -> dict[str, Any]:
    """The dictionary of strings, numbers, lists, tuples and one array of uint8 that a pickle of Python 2 holds.

    Python 2's strings become `str`, a character for each byte (latin-1). Raises SourceError, with the byte offset,
    where there is anything else. Nothing of the file is executed; memory stays below a few times the
    file's size and what `MAX_INSTRUCTIONS` objects take.
    """
    machine = _Machine()
    offset = 0
    try:
        for number, (instruction, argument, position) in enumerate(pickletools.genops(data)):
            offset = position or 0
            if number == MAX_INSTRUCTIONS:
                raise _RefusedError(f"it has more than {MAX_INSTRUCTIONS} instructions")
            machine.follow(instruction.name, argument)
        if len(machine.stack) != 1 or not isinstance(machine.stack[0], dict):
            raise _RefusedError("it holds no single dictionary")
    except (ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(
            f"{location}: byte {offset}: {error}; expected a dictionary of numbers, texts and an array of uint8 as "
            "Python 2 pickled it. Nothing in the file was executed: do not trust it, fetch it again"
        ) from error
    return {key: value.array if isinstance(value, _Made) else value for key, value in machine.stack[0].items()}


class _RefusedError(ValueError):
    """An instruction that the published files do not have."""


class _Machine:
    """The stack and the memo; `follow` is one instruction."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._num_arrays = 0

    def follow(self, name: str, argument: Any) -> None:
        if name in _NUMBERS or name in _TEXTS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name == "EMPTY_DICT":
            self.stack.append({})
        elif name == "EMPTY_LIST":
            self.stack.append([])
        elif name == "TUPLE":
            self.stack.append(tuple(self._pop_to_mark()))
        elif name in _FIXED_TUPLES:
            self.stack.append(tuple(self._pop(_FIXED_TUPLES[name])))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif name in ("APPEND", "APPENDS"):
            self._append(self._pop(1) if name == "APPEND" else self._pop_to_mark())
        elif name in ("SETITEM", "SETITEMS"):
            self._set_items(self._pop(2) if name == "SETITEM" else self._pop_to_mark())
        elif name == "GLOBAL":
            if argument not in (_RECONSTRUCT, _NDARRAY, _DTYPE):
                raise _RefusedError(f"it names {argument!r}")
            self.stack.append(_Name(argument))
        elif name == "REDUCE":
            self._reduce(*self._pop(2))
        elif name == "BUILD":
            _build(self.stack[-2], self._pop(1)[0])
        elif name not in ("PROTO", "STOP"):
            raise _RefusedError(f"it has the instruction {name}")

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise _RefusedError("the stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                taken = self._pop(len(self.stack) - start)
                return taken[1:]
        raise _RefusedError("there is no mark")

    def _append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _RefusedError("it appends to what is no list")
        self.stack[-1].extend(values)

    def _set_items(self, pairs: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or not all(isinstance(key, str) for key in pairs[::2]):
            raise _RefusedError("it has a key that is no text, or sets keys of what is no dictionary")
        self.stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    def _reduce(self, called: Any, arguments: Any) -> None:
        if not isinstance(called, _Name) or called.text == _NDARRAY or not isinstance(arguments, tuple):
            raise _RefusedError("it calls what it may not")
        self._num_arrays += called.text == _RECONSTRUCT
        if self._num_arrays > 1:  # many of one text would need memory that the file does not have
            raise _RefusedError("it has a second array")
        self.stack.append(_Made(called.text, arguments))


def _build(made: Any, state: Any) -> None:
    """Give an array its content: (version, shape, type, Fortran's order, bytes). A type of one byte has no state."""
    if not isinstance(made, _Made) or made.array is not None or not isinstance(state, tuple):
        raise _RefusedError("it gives a state to what is no array, or has one")
    if made.name == _DTYPE:
        if made.arguments[0] != "u1":
            raise _RefusedError(f"it has an array of the type {made.arguments[0]!r}")
        return
    _, shape, kind, is_fortran, content = state
    if not (isinstance(kind, _Made) and kind.name == _DTYPE and kind.arguments[0] == "u1"):
        raise _RefusedError("it has an array that is not of uint8")
    flat = np.frombuffer(content.encode("latin-1") if isinstance(content, str) else content, np.uint8)
    made.array = flat.reshape(shape, order="F" if is_fortran else "C")
