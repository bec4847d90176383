"""What a process of `processes` does. Run as a script, so that it imports nothing of this project by itself.

Its standard input is a connection (`multiprocessing.connection`) to the process that started it. When that one ends, or
lets go of it, this one ends too: at once where it waits, else by SIGTERM, for which training saves its state.

The first message is JSON: `path`, what `sys.path` is to be; `script` (null: calls); and with a script `blocks`, the
descriptor of the memory through which values go (see `Blocks`).

Without a script each request is a pickled (function, arguments, takes_notes: whether a function that sends a note is to
be its last argument). Answers are pickled: ("note", value) any number of times, ("result", value) or ("error", error).

With one, each request is JSON: `reader`, one of the script's `READERS`; `path`, whose size decides how long the answer
may take; and what that reader takes besides. No pickle comes back, since what was read may be hostile, but JSON:

{"facts": ...}                              first and once: what the reader says of the whole
{"columns": [[name, dtype, shape, places], ...]}
                                            a piece; the values follow, in blocks, nothing between them, but those of
                                            which is said where they lie in the file: [[offset, number of bytes], ...]
{"full": true}                              the next block is; an empty message says that it has been copied
{"done": true}                              the next request may come
{"error": text, "ends": false}              so after it; true: it was no plain refusal (a panic, no memory), and it ends
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import pickle
import queue
import resource
import runpy
import signal
import sys
import threading
import traceback
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Bounds on reading what may be damaged or hostile. Also, no file is written, and no core dump left.
MEMORY_BYTES = 2 << 30  # of address space; what torch takes for itself is not counted
CPU_S = 60  # for a file, and one more for each `BYTES_PER_CPU_S` of it
BYTES_PER_CPU_S = 4_000_000  # the slowest decoder takes 20 million in a second
OPEN_FILES = 64
SILENCE_S = 60.0  # between two messages
ALONE_S = 90  # until a silent one ends by itself: nobody is left who would have ended it before
PIECE_BYTES = 1 << 28  # of an answer
BLOCK_BYTES = 1 << 20  # what a processor's own cache holds
NUM_BLOCKS = 2  # one is filled while the other is copied


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that started this one
    connection = Connection(os.dup(0))
    os.dup2(2, 1)  # what libraries print is no answer
    setup = json.loads(connection.recv_bytes())
    sys.path[:] = setup["path"]
    script = setup["script"] and runpy.run_path(setup["script"])
    requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    working = threading.Event()

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                requests.put(connection.recv_bytes())
        requests.put(None)
        if working.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    blocks = Blocks(setup["blocks"], connection, requests) if script else None
    while (request := requests.get()) is not None:
        working.set()
        if blocks is None:
            connection.send_bytes(answer_call(connection, request))
        elif not answer_with_data(blocks, script, json.loads(request)):
            return
        working.clear()


def answer_call(connection: Connection, request: bytes) -> bytes:
    """The result, or the error, also one of unpacking the request; as text where an error cannot be packed."""
    try:
        function, arguments, takes_notes = pickle.loads(request)
        if takes_notes:
            arguments = (*arguments, lambda value: connection.send_bytes(pickle.dumps(("note", value))))
        return pickle.dumps(("result", function(*arguments)))
    except Exception as error:
        error.add_note(f"in a process of its own:\n{traceback.format_exc()}")
        try:
            answer = pickle.dumps(("error", error))
            pickle.loads(answer)  # an error whose constructor takes other arguments cannot be made again
        except Exception:
            answer = pickle.dumps(("error", RuntimeError(traceback.format_exc())))
        return answer


class Blocks:
    """Values on their way to the process that asks: they go through memory that both have, block by block, in turns."""

    def __init__(self, descriptor: int, connection: Connection, answers: queue.SimpleQueue[bytes | None]) -> None:
        self._memory = memoryview(mmap.mmap(descriptor, NUM_BLOCKS * BLOCK_BYTES))
        os.close(descriptor)
        self._connection, self._answers = connection, answers
        self._block = self._used = self._uncopied = 0

    def say(self, **document: Any) -> None:
        signal.alarm(0)  # who asked may take its time
        self._connection.send_bytes(json.dumps(document).encode())
        signal.alarm(ALONE_S)

    def send(self, columns: dict[str, Any]) -> None:
        """Arrays, or (dtype, shape, parts) of one whose values come as arrays one after the other.

        Instead of parts: a list of the places in the file where the values lie.
        """
        whole = {
            name: values if isinstance(values, tuple) else (values.dtype, values.shape, (values,))
            for name, values in columns.items()
        }
        places = {name: parts for name, (_, _, parts) in whole.items() if isinstance(parts, list)}
        self.say(columns=[[name, dtype.str, shape, places.get(name)] for name, (dtype, shape, _) in whole.items()])
        for name, (dtype, shape, parts) in whole.items():
            if name in places:
                continue
            left = math.prod(shape) * dtype.itemsize
            for part in parts:
                left -= part.nbytes
                if left < 0 or part.dtype != dtype:
                    raise ValueError(f"{name}: other values than announced")
                self._write(memoryview(part.reshape(-1).view("B")))
            if left:
                raise ValueError(f"{name}: {left} bytes less than announced")
        if self._used:
            self._hand_over()

    def wait(self, most: int = 0) -> None:
        """Until at most so many blocks are not copied yet."""
        signal.alarm(0)  # who asked may take its time
        while self._uncopied > most:
            if self._answers.get() is None:
                raise EOFError
            self._uncopied -= 1
        signal.alarm(ALONE_S)

    def drop(self) -> None:
        """What is in a block that was not handed over."""
        self._used = 0
        self.wait()

    def _write(self, data: memoryview) -> None:
        while data:
            if not self._used:
                self.wait(NUM_BLOCKS - 1)
            start = self._block * BLOCK_BYTES + self._used
            count = min(len(data), BLOCK_BYTES - self._used)
            self._memory[start : start + count] = data[:count]
            self._used += count
            data = data[count:]
            if self._used == BLOCK_BYTES:
                self._hand_over()

    def _hand_over(self) -> None:
        self.say(full=True)
        self._uncopied += 1
        self._block, self._used = (self._block + 1) % NUM_BLOCKS, 0


def answer_with_data(blocks: Blocks, script: dict[str, Any], request: dict[str, Any]) -> bool:
    """Whether another request may come."""
    try:
        refused = send_file(blocks, script, request)
        if refused is not None:  # the file is closed by now: it may be replaced as soon as this is known
            problem, is_last = refused
            blocks.drop()
            blocks.say(error=problem, ends=is_last)
            return not is_last
    finally:
        signal.alarm(0)
    return True


def send_file(blocks: Blocks, script: dict[str, Any], request: dict[str, Any]) -> tuple[str, bool] | None:
    """None when all of it was sent; else why not, and whether this process is to end."""
    try:
        reader = request.pop("reader")
        set_limits(script["LIBRARIES"].get(reader), Path(request["path"]).stat().st_size)
        signal.alarm(ALONE_S)  # `listen` cannot end one that hangs in a library which lets no other thread run
        facts, pieces = script["READERS"][reader](**request)
        blocks.say(facts=facts)
        for columns in pieces:
            blocks.send(columns)
        blocks.wait()
        blocks.say(done=True)
    except BaseException as error:  # a panic of Rust code is no Exception
        is_last = isinstance(error, MemoryError) or not isinstance(error, Exception)
        return f"{type(error).__name__}: {error}"[:2000], is_last
    return None


def set_limits(library: str | None, num_bytes: int) -> None:
    """For a file of so many bytes; SIGXCPU ends what needs more time. library: a large one that its reader needs."""
    usage, statm, memory = resource.getrusage(resource.RUSAGE_SELF), Path("/proc/self/statm"), MEMORY_BYTES
    if library is not None and statm.exists():
        resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
        import_module(library)
        memory += int(statm.read_text().split()[0]) * resource.getpagesize()
    seconds = int(usage.ru_utime + usage.ru_stime) + CPU_S + num_bytes // BYTES_PER_CPU_S
    bounds = {resource.RLIMIT_AS: memory, resource.RLIMIT_CPU: seconds, resource.RLIMIT_NOFILE: OPEN_FILES}
    for kind, bound in {**bounds, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}.items():
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set already, or there is none of these
            resource.setrlimit(kind, (bound, resource.getrlimit(kind)[1]))


if __name__ == "__main__":
    main()
