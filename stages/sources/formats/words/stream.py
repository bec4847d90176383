"""From a file of binary words to events: blocks of bytes through a format's kernel, whatever their lengths.

A kernel takes a block, as unsigned integers; what it has to remember; and arrays to fill. It returns how many integers
it has used up and how many events it has written, and stops in front of what it cannot finish: a word that the block
ends within, arrays without room, a word that the format does not have. The next block begins where it stopped. What a
kernel remembers lies in an int64 array, `state`, whose first value is what is wrong with the word that it stopped at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .....cache.errors import SourceError
from ...base import Events, EventStream
from ...random_access import RandomAccess
from ...ranges import Look
from .. import columns

PROBLEM: Final = 0  # index in a state: 0, or 1 + the index of a text in `Words.problems`
ROOM: Final = 32  # events that a word can hold at most; a kernel stops where fewer fit
PIECE_EVENTS: Final = 1 << 20
NEVER: Final = -(1 << 62)  # of a counter, in a state: not told yet
_BLOCK_BYTES: Final = 1 << 17
_EVENT_BYTES: Final = 13  # in memory

Kernel = Callable[..., tuple[int, int]]
"""(units, state, x, y, t, p) -> units used up, events written."""


@dataclass(frozen=True, slots=True)
class Words:
    """Where the words of a file begin and how they are decoded.

    start: byte of the first word.  unit: of what a block is an array.  state: what the kernel begins with.
    bytes_per_event: as most events take.  problems: what can be wrong with a word.
    word_bytes: of each word, 0 where they differ; for messages.
    is_incomplete: what is missing at the end of the file, by the kernel's state; "" for nothing.
    first_us: is added to all times.  assumed: what the file leaves open and was assumed, "" for nothing.
    """

    kernel: Kernel
    start: int
    unit: type[np.unsignedinteger[Any]]
    state: tuple[int, ...]
    bytes_per_event: int
    problems: tuple[str, ...] = ()
    sensor_size: tuple[int, int] | None = None
    word_bytes: int = 0
    is_incomplete: Callable[[NDArray[np.int64]], str] = lambda state: ""
    first_us: int = 0
    assumed: str = ""


def open_words(content: RandomAccess, words: Words) -> Events | EventStream:
    """The events, decoded; a stream in pieces where there are more than `columns.HELD_EVENTS`. Raises SourceError."""
    expected = (content.size - words.start) // words.bytes_per_event
    decoding = _Decoding(content, words)
    held = [decoding.read(min(expected, columns.HELD_EVENTS) + 1)]
    while not decoding.is_at_end and (room := columns.HELD_EVENTS + 1 - sum(map(len, held))) > 0:
        held.append(decoding.read(min(len(held[0]) + 1, room)))
    if decoding.is_at_end:
        return held[0] if len(held) == 1 else columns.join(held)
    return EventStream(lambda: word_pieces(content, words), words.sensor_size, assumed=words.assumed)


def word_pieces(content: RandomAccess, words: Words) -> Iterator[Events]:
    """The events in pieces of about `PIECE_EVENTS`. Raises SourceError, also while they are read."""
    decoding = _Decoding(content, words)
    while not decoding.is_at_end:
        events = decoding.read(PIECE_EVENTS)
        if len(events):
            yield events


class _Decoding:
    """A pass over a file's words."""

    def __init__(self, content: RandomAccess, words: Words) -> None:
        self._content, self._words, self._offset = content, words, words.start
        self._state = np.array(words.state, np.int64)
        self.is_at_end = words.start >= content.size

    def read(self, num_events: int) -> Events:
        """The next events: at least `num_events`, and a few more, or those that are left. Raises SourceError."""
        words, content = self._words, self._content
        unit_bytes = np.dtype(words.unit).itemsize
        size = num_events + ROOM
        memory = np.empty(_EVENT_BYTES * size, np.uint8)  # one piece, which systems give in large pages
        t: NDArray[np.int64] = memory[: 8 * size].view(np.int64)
        x, y = memory[8 * size : 12 * size].view(np.uint16).reshape(2, size)
        p = memory[12 * size :]
        look = Look()
        filled = 0
        while filled < num_events and not self.is_at_end:
            block = content.read_at(self._offset, _BLOCK_BYTES)
            units = np.frombuffer(block, words.unit, len(block) // unit_bytes)
            used, found = words.kernel(units, self._state, x[filled:], y[filled:], t[filled:], p[filled:])
            self._offset += used * unit_bytes
            new = slice(filled, filled + found)
            look.at(x[new], y[new], t[new], p[new])
            filled += found
            if self._state[PROBLEM]:
                self._refuse(words.problems[self._state[PROBLEM] - 1])
            if not used and size - filled >= ROOM:
                self._refuse(f"the file ends {len(block)} bytes later, within a word; it is truncated: fetch it again")
            self.is_at_end = self._offset >= content.size
        if self.is_at_end and (problem := words.is_incomplete(self._state)):
            raise SourceError(f"{content.location}: {problem}")
        if words.first_us:
            t[:filled] += words.first_us
        events = Events(x[:filled], y[:filled], t[:filled], p[:filled], words.sensor_size, assumed=words.assumed)
        return events.looked_at(look.ranges())

    def _refuse(self, problem: str) -> None:
        number = ""
        if word_bytes := self._words.word_bytes:
            number = f"word {(self._offset - self._words.start) // word_bytes}, "
        raise SourceError(f"{self._content.location}: {number}byte {self._offset}: {problem}")


@njit(nogil=True, inline="always")
def unwrapped(counter, low_bits, num_bits, back_bits):  # type: ignore[no-untyped-def]  # inlined into the kernels
    """The value next to `counter` whose lowest bits are these: where they overflow, it goes on.

    It is the first one behind `counter`, but for one that is at most 2^back_bits before it.
    """
    step = (low_bits - counter) & ((np.int64(1) << num_bits) - np.int64(1))
    if step >= (np.int64(1) << num_bits) - (np.int64(1) << back_bits):
        step -= np.int64(1) << num_bits
    return counter + step


_DE_BRUIJN: Final = np.uint32(0x077C_B531)  # its 32 rotations differ in the upper five bits
_PLACES: Final = np.empty(32, np.uint32)
_PLACES[[(0x077C_B531 << place) % 2**32 >> 27 for place in range(32)]] = np.arange(32)


@njit(nogil=True, inline="always")
def lowest_bit(mask):  # type: ignore[no-untyped-def]  # inlined into the kernels
    """The place of the lowest bit of a uint32 that is not 0."""
    lowest = np.uint32(mask & (~mask + np.uint32(1)))
    return _PLACES[np.uint32(lowest * _DE_BRUIJN) >> np.uint32(27)]
