"""The standard streams of the commands: closed, full or without a reader, they never stop what is being done.

A write to them never raises. What could not be written is kept as `failure`, so that a command can report it.
Without this a closed pipe (SIGPIPE), a full disk or a closed terminal would end a transaction half way, and
Python would end a successful command with the exit code 120.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from installer.shared.terminal import interrupts

AT_QUESTION = "no answer; nothing was changed"
"""What is known where a question was not answered."""


class _Output(io.FileIO):
    """A descriptor that takes everything, whether or not it can be written.

    Attributes:
        failure: Why something could not be written; None as long as everything was.
    """

    def __init__(self, fd: int, *, give_up: bool) -> None:
        super().__init__(fd, "wb", closefd=False)
        self._give_up = give_up
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        # A document with a hole is worse than one that ends early: after a failure nothing more is written.
        if self.failure is None or not self._give_up:
            try:
                self._write_all(view)
            except OSError as error:
                self.failure = error
        return len(view)

    def _write_all(self, view: memoryview) -> None:
        # A reader that has stopped reading must not keep a signal from being heard.
        with interrupts.waiting():
            while view:
                try:
                    view = view[os.write(self.fileno(), view) :]
                except BlockingIOError:
                    # Another process that shares the terminal or pipe has set O_NONBLOCK on it.
                    select.select((), (self.fileno(),), ())


def protect() -> None:
    """Make the standard streams safe to use, whatever they are; called once, before anything is opened.

    SIGPIPE and SIGXFSZ are ignored: a reader that went away and a size limit (`ulimit -f`) become errors of
    the write. Children get the default actions back.
    """
    # Python does this itself, except in a frozen program.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for fd in range(3):
        _occupy(fd)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, "rb", closefd=False), "utf-8", "replace")
    sys.stdout = _protected(sys.stdout, 1, give_up=True)
    # Log lines are independent of each other: a disk that is full now may have space later.
    sys.stderr = _protected(sys.stderr, 2, give_up=False)


def _occupy(fd: int) -> None:
    """Open something as a standard stream that is closed, so that no file of a host gets its number."""
    try:
        os.fstat(fd)
    except OSError:
        # For reading only: a write fails, as on the closed stream. "/" where there is no /dev.
        for path in (os.devnull, "/"):
            try:
                os.open(path, os.O_RDONLY)
            except OSError:
                continue
            return


def _protected(stream: TextIO | None, fd: int, *, give_up: bool) -> TextIO:
    if isinstance(getattr(getattr(stream, "buffer", None), "raw", None), _Output):
        assert stream is not None  # noqa: S101 - for mypy
        return stream
    raw = _Output(fd, give_up=give_up)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream is not None else "utf-8",
        # A character that the terminal cannot show must not end the command either.
        errors="backslashreplace",
        line_buffering=True,
    )


def write(stream: TextIO | None, text: str) -> OSError | None:
    """Write to a standard stream; return why that failed, or None.

    Args:
        stream: `sys.stdout` or `sys.stderr`, protected or not; None if the process started without it.
        text: The text.
    """
    if stream is None:
        return OSError("the stream is closed")
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        return error
    except ValueError as error:  # a stream that was closed in this process
        return OSError(str(error))
    return failure(stream)


@contextmanager
def question() -> Iterator[None]:
    """End the line of a question if it is interrupted: the message that follows starts a line of its own.

    The exception has the note `AT_QUESTION`: who was asked has to know what became of it.
    """
    try:
        yield
    except KeyboardInterrupt as stopped:
        write(sys.stderr, "\n")
        stopped.add_note(AT_QUESTION)
        raise


def failure(stream: TextIO | None) -> OSError | None:
    """Return why something could not be written to a protected stream; None if everything was."""
    found = getattr(getattr(getattr(stream, "buffer", None), "raw", None), "failure", None)
    return found if isinstance(found, OSError) else None
