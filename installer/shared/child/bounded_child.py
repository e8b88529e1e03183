"""Work on what a bundle or a site wrote, in a child process with little time, memory and output.

Expressions of templates and patterns of schemas can take any time and memory, inside of one operation of a
library where nothing can be counted. So a copy of this process does the work: the kernel ends it, not this
program. It is a fork without exec: nothing has to be found or started, and what is imported is there already.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from installer.core.limits import LIMITS, MIB
from installer.shared.terminal import interrupts

_LENGTH = struct.Struct("!Q")
_FAILED = 0
_DONE = 1
_WAIT_FACTOR = 60
"""Seconds of waiting for each second of processor time: many processes may share one processor."""
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FEW_FILES = 1024
"""Highest descriptor that is closed where there is no /proc."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the child may take.

    Attributes:
        seconds: Processor time of one job.
        total: Processor time of all jobs together, in seconds.
        memory: Bytes in addition to those of this process.
        output: Bytes of one result.
        wait: Seconds by the clock that one result may take; 0 for many times its processor time.
    """

    seconds: int = 20
    total: int = 120
    memory: int = 512 * MIB
    output: int = 2 * LIMITS.document_bytes
    wait: float = 0.0


class ExceededError(Exception):
    """A job took more than it may; `str` of it says what, in words that follow a subject."""


def run_bounded(jobs: Sequence[Callable[[], bytes]], bounds: Bounds) -> Iterator[bytes]:
    """Run jobs one after the other in one child, and yield their results in order.

    Args:
        jobs: What they change is lost with the child; only their results come back. They must not raise.
        bounds: For the child.

    Raises:
        ExceededError: The job whose result would be next took too much, or raised.
    """
    reader, writer = os.pipe()
    child = 0
    status: int | None = None
    try:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            # A signal that stopped this process before the child has its number would leave it running.
            with interrupts.deferred():
                try:
                    child = os.fork()
                    if child == 0:
                        _work(jobs, bounds, writer)
                finally:
                    os.close(writer)
            for _ in jobs:
                deadline = time.monotonic() + (bounds.wait or bounds.seconds * _WAIT_FACTOR)
                head = _read(pipe.fileno(), 1 + _LENGTH.size, deadline)
                # The child may be in the hands of what it works on: nothing that it says goes unchecked.
                if len(head) < 1 + _LENGTH.size or head[0] not in (_FAILED, _DONE):
                    status = _end(child)
                    raise ExceededError(_reason(status, bounds))
                (length,) = _LENGTH.unpack(head[1:])
                if length > bounds.output:
                    raise ExceededError(f"produces more than {bounds.output // MIB} MiB")
                data = _read(pipe.fileno(), length, deadline)
                if len(data) < length:
                    status = _end(child)
                    raise ExceededError(_reason(status, bounds))
                if head[0] == _FAILED:
                    raise ExceededError(data.decode("utf-8", "replace"))
                yield data
    finally:
        # Also when the caller stops early or is interrupted: no child outlives the command.
        if child and status is None:
            _end(child)


def _end(child: int) -> int:
    """Return how the child ended; kill it where it has not."""
    with suppress(ProcessLookupError):
        # One that has ended is a zombie until it is waited for: the signal changes nothing of its status.
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _reason(status: int, bounds: Bounds) -> str:
    if status == -signal.SIGXCPU:
        return f"needs more than {bounds.seconds} seconds of processor time"
    if status == -signal.SIGKILL:
        return "does not end, or needs more memory than this host has"
    return f"crashes the program that processes it (status {status})"


def _read(fd: int, count: int, deadline: float) -> bytes:
    """Read up to `count` bytes; fewer where the child ended or the time is over."""
    parts: list[bytes] = []
    # Not select(2): it knows no descriptor above 1023, and a plan may hold many directories open.
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while count > 0:
        ready = poll.poll(max(0, int(1000 * (deadline - time.monotonic()))))
        chunk = os.read(fd, min(count, MIB)) if ready else b""
        if not chunk:
            break
        parts.append(chunk)
        count -= len(chunk)
    return b"".join(parts)


def _work(jobs: Sequence[Callable[[], bytes]], bounds: Bounds, writer: int) -> None:
    """Do the jobs, and end this process. It never returns."""
    try:
        # The parent decides what an interruption means; it ends this process.
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(writer)
        _limit(bounds)
        for job in jobs:
            used = time.process_time()
            # A whole second more: the kernel counts in seconds.
            soft = min(int(used) + 1 + bounds.seconds, bounds.total)
            _set(resource.RLIMIT_CPU, soft, bounds.total + 1)
            try:
                kind, data = _DONE, job()
            except MemoryError:
                kind, data = _FAILED, _memory(bounds)
            except RecursionError:
                kind, data = _FAILED, b"is nested too deeply"
            except BaseException as error:
                kind, data = _FAILED, f"fails: {type(error).__name__}: {error}".encode("utf-8", "replace")
            _write(writer, bytes((kind,)) + _LENGTH.pack(len(data)) + data)
    finally:
        # Without the clean-up of Python: buffers and locks are copies of the parent's.
        os._exit(0)


def _memory(bounds: Bounds) -> bytes:
    return f"needs more than {bounds.memory // MIB} MiB of memory".encode()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _close_all_but(kept: int) -> None:
    """Close what the parent has open: locks, the journal, the media, the terminal."""
    try:
        numbers = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    except OSError:
        numbers = list(range(_FEW_FILES))
    for number in numbers:
        if number not in (kept, 0, 1, 2):
            with suppress(OSError):
                os.close(number)
    # A crash of the interpreter writes to stderr; a new descriptor must not get the number of a stream.
    with suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)


def _limit(bounds: Bounds) -> None:
    _set(resource.RLIMIT_CORE, 0, 0)
    # Nothing is written: not even a compiled module.
    _set(resource.RLIMIT_FSIZE, 0, 0)
    try:
        own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        own = bounds.memory  # what a process of this size has at most
    _set(resource.RLIMIT_AS, own + bounds.memory, own + bounds.memory)


def _set(what: int, soft: int, hard: int) -> None:
    """Set a limit, as far as the limits of this process allow it."""
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (soft, hard))
