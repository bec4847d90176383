"""Files of binary words, written after their specifications, and read word by word without numpy: what kernels are held
to. Events are rows (x, y, t, p).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

Row = tuple[int, int, int, int]
Rows = list[Row]


class BadWordError(Exception):
    """A word that may not be, at `offset` behind the header, after the rows that were read."""

    def __init__(self, offset: int, rows: Rows) -> None:
        self.offset, self.rows = offset, rows


# Writing -------------------------------------------------------------------------------------------------------------


def evt_header(version: str, more: str = "") -> bytes:
    return f"% evt {version}\n{more}% end\n".encode()


def dat(rows: Sequence[Row], version: int = 2, kind: int = 12, more: str = "") -> bytes:
    y_at, p_at = {1: (9, 17), 2: (14, 28)}[version]
    words = (struct.pack("<II", t % 2**32, x | y << y_at | p << p_at) for x, y, t, p in rows)
    return (
        f"% Data file containing CD events.\n% Version {version}\n{more}".encode() + bytes((kind, 8)) + b"".join(words)
    )


def evt2(rows: Sequence[Row], header: bytes | None = None) -> bytes:
    return (header or evt_header("2.0")) + b"".join(struct.pack("<I", word) for word in _evt2_words(rows))


def _evt2_words(rows: Sequence[Row]) -> Iterator[int]:
    high = None
    for x, y, t, p in rows:
        if t >> 6 != high:
            high = t >> 6
            yield 8 << 28 | high % 2**28
        yield p << 28 | (t & 63) << 22 | x << 11 | y


def groups(rows: Sequence[Row], width: int, aligned: bool = False) -> Iterator[tuple[int, int, int, int, int]]:
    """x, y, t, p and a mask of events that differ in x alone, ascending, less than `width` from the first x.

    aligned: the first x is a multiple of `width`."""
    held: tuple[int, int, int, int] | None = None
    mask = 0
    for x, y, t, p in rows:
        if held and (y, t, p) == held[1:] and held[0] + mask.bit_length() <= x < held[0] + width:
            mask |= 1 << x - held[0]
            continue
        if held:
            yield *held, mask
        start = x // width * width if aligned else x
        held, mask = (start, y, t, p), 1 << x - start
    if held:
        yield *held, mask


def evt21(rows: Sequence[Row], endianness: str | None = "little", legacy: bool = False) -> bytes:
    words = []
    high = None
    for x, y, t, p, mask in groups(rows, 32, aligned=True):
        if t >> 6 != high:
            high = t >> 6
            words.append((8 << 28 | high % 2**28) << 32)
        words.append((p << 28 | (t & 63) << 22 | x << 11 | y) << 32 | mask)
    more = "" if endianness is None else f"% endianness {endianness}\n"
    pack = (
        (lambda word: struct.pack("<II", word >> 32, word % 2**32))
        if legacy
        else (lambda word: struct.pack("<Q", word))
    )
    return evt_header("2.1", more) + b"".join(map(pack, words))


def evt3(rows: Sequence[Row], header: bytes | None = None) -> bytes:
    """Events that are alone singly, the others as vectors of 8 or 12."""
    words: list[int] = []
    high = low = row = None
    for x, y, t, p, mask in groups(rows, 20):
        if t >> 12 != high:
            high, low = t >> 12, None
            words.append(0x8000 | high % 2**12)
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append(0x6000 | low)
        if y != row:
            row = y
            words.append(row)
        if mask == 1:
            words.append(0x2000 | p << 11 | x)
            continue
        words += [0x3000 | p << 11 | x, 0x4000 | mask & 0xFFF]
        if mask >> 12:
            words.append(0x5000 | mask >> 12)
    return (header or evt_header("3.0")) + struct.pack(f"<{len(words)}H", *words)


def evt4(rows: Sequence[Row]) -> bytes:
    words = []
    high = None
    for x, y, t, p, mask in groups(rows, 32):
        if t >> 6 != high:
            high = t >> 6
            words.append(14 << 28 | high % 2**28)
        fields = (t & 63) << 22 | x << 11 | y
        words += [(10 + p) << 28 | fields] if mask == 1 else [(12 + p) << 28 | fields, mask]
    return evt_header("4.0") + struct.pack(f"<{len(words)}I", *words)


def aedat31(rows: Sequence[Row], camera: str = "DVS128", per_packet: int = 3, source: int = 0) -> bytes:
    """With an event that is not valid in each packet, room that is not used, and packets of other types between."""
    parts = [f"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source {source}: {camera}\r\n#!END-HEADER\r\n".encode()]
    overflows = [t >> 31 for *_, t, _ in rows]
    start = 0
    while start < len(rows):
        end = start + 1
        while end < min(len(rows), start + per_packet) and overflows[end] == overflows[start]:
            end += 1
        events = [(x << 17 | y << 2 | p << 1 | 1, t % 2**31) for x, y, t, p in rows[start:end]]
        events.insert(1, (7 << 17 | 2, events[0][1]))
        parts.append(packet(1, 8, events, overflows[start], source, spare=1))
        parts.append(packet(0, 12, [(1, 2, 3)], 0, source))
        start = end
    return b"".join(parts)


def packet(
    kind: int, event_bytes: int, events: Sequence[tuple[int, ...]], overflow: int, source: int = 0, spare: int = 0
) -> bytes:
    counts = (len(events) + spare, len(events), sum(event[0] & 1 for event in events))
    content = b"".join(struct.pack(f"<{len(event)}I", *event) for event in events)
    return (
        struct.pack("<hhiiiiii", kind, source, event_bytes, 4, overflow, *counts) + content + bytes(spare * event_bytes)
    )


DVS, ATIS, COLOUR = 1, 2, 4


def es(rows: Sequence[Row], size: tuple[int, int], kind: int = DVS) -> bytes:
    """Colour has no polarity, and ATIS a threshold crossing after each event."""
    parts = [b"Event Stream\2\0\0" + bytes([kind]) + struct.pack("<HH", *size)]
    time = 0
    for x, y, t, p in rows:
        step, time = t - time, t
        place = struct.pack("<HH", x, size[1] - 1 - y)
        if kind == DVS:
            parts += [b"\xff" * (step // 127), bytes([step % 127 << 1 | p]), place]
        elif kind == ATIS:
            many, few = divmod(step // 63, 3)
            parts += [b"\xff" * many, bytes([0xFC | few]) if few else b"", bytes([step % 63 << 2 | p << 1]), place]
            parts += [bytes([(1 - p) << 1 | 1]), place, b"\xfc"]
        else:
            parts += [b"\xff" * (step // 254), bytes([step % 254]), place, b"rgb"]
    return b"".join(parts)


# Reading -------------------------------------------------------------------------------------------------------------


def nearest(last: int | None, low: int, bits: int) -> int:
    """The counter whose lowest bits are `low`, nearest to the last one."""
    if last is None:
        return low
    period = 1 << bits
    candidates = [(last // period + turn) * period + low for turn in (-1, 0, 1)]
    return min(candidates, key=lambda value: (abs(value - last), value))


def numbers(data: bytes, size: int) -> list[int]:
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data) - size + 1, size)]


def bits_of(mask: int) -> list[int]:
    return [bit for bit, digit in enumerate(reversed(f"{mask:b}")) if digit == "1"]


def read_dat(data: bytes, version: int = 2) -> Rows:
    x_bits, y_bits = {1: (9, 8), 2: (14, 14)}[version]
    rows: Rows = []
    time = None
    for word in numbers(data, 8):
        time = nearest(time, word % 2**32, 32)
        fields = f"{word >> 32:032b}"[::-1]  # from the lowest bit
        x, y, p = fields[:x_bits], fields[x_bits : x_bits + y_bits], fields[x_bits + y_bits]
        rows.append((int(x[::-1], 2), int(y[::-1], 2), time, int(p)))
    return rows


def read_evt2(data: bytes) -> Rows:
    rows: Rows = []
    high = None
    for number, word in enumerate(numbers(data, 4)):
        kind, rest = divmod(word, 2**28)
        if kind == 8:
            high = nearest(high, rest, 28)
        elif kind in (0, 1):
            if high is not None:
                low, place = divmod(rest, 2**22)
                rows.append((*divmod(place, 2**11), high * 64 + low, kind))
        elif kind not in (10, 13, 14, 15):
            raise BadWordError(4 * number, rows)
    return rows


def read_evt21(data: bytes, legacy: bool = False) -> Rows:
    rows: Rows = []
    high = None
    for number, word in enumerate(numbers(data, 8)):
        if legacy:
            word = word % 2**32 << 32 | word >> 32
        kind, rest = divmod(word, 2**60)
        if kind == 8:
            high = nearest(high, rest >> 32, 28)
        elif kind in (0, 1):
            low, place = divmod(rest >> 32, 2**22)
            x, y = divmod(place, 2**11)
            if high is not None:
                rows += [(x + bit, y, high * 64 + low, kind) for bit in bits_of(rest % 2**32)]
        elif kind not in (10, 14, 15):
            raise BadWordError(8 * number, rows)
    return rows


def read_evt3(data: bytes) -> Rows:
    rows: Rows = []
    high = time = row = None
    base, polarity = 0, 0
    for number, word in enumerate(numbers(data, 2)):
        kind, rest = divmod(word, 4096)
        p, x = divmod(rest, 2048)
        events: list[tuple[int, int]] = []
        if kind == 0:
            row = x
        elif kind == 2:
            events = [(x, p)]
        elif kind == 3:
            base, polarity = x, p
        elif kind in (4, 5):
            length = 12 if kind == 4 else 8
            events = [
                (base + bit, polarity) for bit in bits_of(rest) if bit < length and time is not None and row is not None
            ]
            if any(column > 2047 for column, _ in events):
                raise BadWordError(2 * number, rows)
            base += length
        elif kind == 6 and high is not None:
            time = high * 4096 + rest
        elif kind == 8:
            time = rest * 4096 if high is None else time
            high = rest if high is None else next(n for n in range(high - 16, high + 2**12) if n % 2**12 == rest)
        elif kind not in (6, 7, 10, 14, 15):
            raise BadWordError(2 * number, rows)
        if time is not None and row is not None:
            rows += [(x, row, time, p) for x, p in events]
    return rows


def read_evt4(data: bytes) -> Rows:
    rows: Rows = []
    words = list(enumerate(numbers(data, 4)))
    high = None
    while words:
        number, word = words.pop(0)
        kind, rest = divmod(word, 2**28)
        if kind == 14:
            high = nearest(high, rest, 28)
        elif 10 <= kind <= 13:
            if kind >= 12 and not words:
                raise BadWordError(4 * number, rows)
            mask = words.pop(0)[1] if kind >= 12 else 1
            low, place = divmod(rest, 2**22)
            x, y = divmod(place, 2**11)
            if high is not None:
                rows += [(x + bit, y, high * 64 + low, kind % 2) for bit in bits_of(mask)]
        elif kind not in (6, 7, 9, 15):
            raise BadWordError(4 * number, rows)
    return rows


def read_aedat31(data: bytes) -> Rows:
    rows: Rows = []
    at = 0
    camera = None
    while at < len(data):
        if len(data) < at + 28:
            raise BadWordError(at, rows)
        kind, source, size, offset, overflow, capacity, number, valid = struct.unpack_from("<hhiiiiii", data, at)
        is_event = kind == 1
        if size <= 0 or overflow < 0 or not 0 <= valid <= number <= capacity or (is_event and (size, offset) != (8, 4)):
            raise BadWordError(at, rows)
        if is_event and number and camera not in (None, source):
            raise BadWordError(at, rows)
        at += 28
        if is_event and number:
            camera = source
        for place in range(at, at + 8 * number, 8) if is_event else ():
            if place + 8 > len(data):
                raise BadWordError(len(data) if place >= len(data) else place, rows)
            fields, time = struct.unpack_from("<Ii", data, place)
            if time < 0:
                raise BadWordError(place, rows)
            if fields % 2:
                rows.append((fields >> 17, fields >> 2 & 0x7FFF, overflow * 2**31 + time, fields >> 1 & 1))
        at += size * capacity
    if at > len(data):
        raise BadWordError(len(data), rows)
    return rows


def read_es(data: bytes, kind: int = DVS) -> Rows:
    """Of a sensor of `SIZE`."""
    rows: Rows = []
    stream = iter(enumerate(data))
    time = 0
    for at, byte in stream:
        if kind == ATIS and byte >= 252:
            time += 63 * (byte - 252)
        elif kind != ATIS and byte >= 254:
            time += {254: 0, 255: 127 if kind == DVS else 254}[byte]
        else:
            rest = bytes(
                value for _, value in zip(range(7 if kind == COLOUR else 4), (b for _, b in stream), strict=False)
            )
            if len(rest) < (7 if kind == COLOUR else 4):
                raise BadWordError(at, rows)
            x, y = struct.unpack_from("<HH", rest)
            if (y := SIZE[1] - 1 - y) < 0:
                raise BadWordError(at, rows)
            bits = {DVS: 2, ATIS: 4, COLOUR: 1}[kind]
            time += byte // bits
            if kind == DVS:
                rows.append((x, y, time, byte % 2))
            elif kind == COLOUR or byte % 2 == 0:
                rows.append((x, y, time, 1 if kind == COLOUR else byte // 2 % 2))
    return rows


@dataclass(frozen=True)
class Format:
    """A format of words: write(rows) -> file, read(what is behind the header) -> rows."""

    suffix: str
    write: Callable[[Sequence[Row]], bytes]
    read: Callable[[bytes], Rows]
    word_bytes: int  # 0: words differ
    x_limit: int = 1280
    y_limit: int = 960
    first_times: Iterable[int] = field(default=(0,))  # where a counter is about to overflow
    header: bytes = b""

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", self.write([]))


SIZE = (1280, 960)
FORMATS = {
    "dat1": Format(".dat", lambda rows: dat(rows, 1), lambda data: read_dat(data, 1), 8, 512, 256, (0, 2**32 - 3000)),
    "dat2": Format(".dat", dat, read_dat, 8, first_times=(0, 2**32 - 3000)),
    "evt2": Format(".raw", evt2, read_evt2, 4, first_times=(0, 2**34 - 3000)),
    "evt2.1": Format(".raw", evt21, read_evt21, 8, first_times=(0, 2**34 - 3000)),
    "evt2.1 legacy": Format(
        ".raw",
        lambda rows: evt21(rows, "legacy", legacy=True),
        lambda data: read_evt21(data, legacy=True),
        8,
        first_times=(0, 2**34 - 3000),
    ),
    "evt3": Format(".raw", evt3, read_evt3, 2, first_times=(0, 2**24 - 3000)),
    "evt4": Format(".raw", evt4, read_evt4, 4, first_times=(0, 2**34 - 3000)),
    "aedat3.1": Format(".aedat", aedat31, read_aedat31, 0, 128, 128, (0, 2**31 - 3000)),
    "es dvs": Format(".es", lambda rows: es(rows, SIZE), read_es, 0),
    "es atis": Format(".es", lambda rows: es(rows, SIZE, ATIS), lambda data: read_es(data, ATIS), 0),
    "es colour": Format(".es", lambda rows: es(rows, SIZE, COLOUR), lambda data: read_es(data, COLOUR), 0),
}
