"""SIGINT, SIGTERM and SIGHUP: the program stops where that is safe, and nowhere else.

The commands install handlers once (`install`). A handler sets a flag. What becomes of it depends on what the
program is doing:

    open       verification, reading, planning      stops at once, like Ctrl-C in any Python program
    deferred   a change of the host                 stops at the next `check` or wait
    waiting    sleep, prompt, child, media, upload  stops at once, also inside `deferred`
    shielded   an undo, what follows a commit       does not stop

After the first signal has stopped the program, later ones do not interrupt the cleanup. A signal that was
ignored when the program started stays ignored: that is what `nohup` and `&` in a script ask for.

Without handlers everything here does nothing: a program that uses Waybill as a library keeps its own.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OPEN, _DEFERRED, _WAITING, _SHIELDED = range(4)


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to stop; the text of the exception is the name of the signal."""


class TimeLimitPassed(Interrupted):
    """The time limit of the command has passed; the text of the exception says which."""


class _State:
    """What the handler knows. Each attribute is assigned in one step, so that a signal finds it whole."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.thread = 0  # the thread that Python runs handlers in; 0 while there are no handlers
        self.mode = _OPEN
        self.pending = ""
        self.limit = "none"  # what `pending` is once the time limit has passed
        self.stopped = False
        self.finished = False


_state = _State()


def _handle(number: int, frame: FrameType | None) -> None:
    del frame
    if _state.finished:
        return
    _state.pending = signal.Signals(number).name
    if _stops_at_once():
        _stop()


def _stops_at_once() -> bool:
    # In the open only the first time: a second Ctrl-C must not cut the cleanup after the first one short.
    return _state.mode == _WAITING or (_state.mode == _OPEN and not _state.stopped)


def _stop() -> None:
    name, _state.pending, _state.stopped = _state.pending, "", True
    raise (TimeLimitPassed if name == _state.limit else Interrupted)(name)


def _here() -> bool:
    # Handlers run in the main thread only; a worker has nothing to defer.
    return _state.thread == threading.get_ident()


def check() -> None:
    """Stop here if a signal has asked for it: a safe point.

    Raises:
        Interrupted: A signal came, and the program is not in a shielded part.
    """
    if _state.pending and _here() and _state.mode in (_DEFERRED, _WAITING):
        _stop()


def heard() -> str:
    """Return the signal that is kept until the part that runs has ended; empty if there is none."""
    return _state.pending


class deferred:  # noqa: N801 - used like a function, as `contextlib.suppress`
    """A part that changes something: signals are kept until `check`, a wait, or the end of the part."""

    def __enter__(self) -> Self:
        self._before = _state.mode
        if _here() and self._before != _SHIELDED:
            _state.mode = _DEFERRED
        return self

    def shield(self) -> None:
        """Do not stop in the rest of this part; a signal is kept until its end."""
        if _here():
            _state.mode = _SHIELDED

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not _here():
            return
        _state.mode = self._before
        # Not while another error is on its way: that one says what happened.
        if kind is None and _state.pending and _stops_at_once():
            _stop()


class waiting:  # noqa: N801 - used like a function
    """A wait in which nothing is half done: a signal ends it at once.

    Raises:
        Interrupted: A signal came before or during the wait, outside of a shielded part.
    """

    def __enter__(self) -> None:
        self._before = _state.mode
        if not _here() or self._before == _SHIELDED:
            return
        # After a first signal, only one that comes during this wait ends it.
        if _state.stopped:
            _state.pending = ""
        _state.mode = _WAITING
        try:
            check()
        except Interrupted:
            _state.mode = self._before
            raise

    def __exit__(self, *_error: object) -> None:
        if _here():
            _state.mode = self._before


def pieces(data: Iterable[T]) -> Iterator[T]:
    """Yield what `data` yields; a signal ends the wait for the next piece, inside `deferred` too."""
    rest, end = iter(data), object()
    while True:
        with waiting():
            piece: Any = next(rest, end)
        if piece is end:
            return
        yield piece


def finish() -> None:
    """Let no signal interrupt the rest of the program: the result is decided and only has to be told.

    Without it, a signal after a commit would end a successful command with the exit code 130, which says that
    nothing was changed.
    """
    if _here():
        _state.finished, _state.pending = True, ""


def _handle_alarm(number: int, frame: FrameType | None) -> None:
    del number, frame
    # A person who pressed Ctrl-C before is told that this was heard.
    if _state.finished or _state.pending:
        return
    _state.pending = _state.limit
    if _stops_at_once():
        _stop()


@contextmanager
def time_limit(seconds: float, text: str) -> Iterator[None]:
    """Stop what is inside once it takes too long, where a signal would stop it.

    Args:
        seconds: The limit; 0 for none.
        text: What the exception says.

    Raises:
        TimeLimitPassed: It took longer.
    """
    # Without handlers of ours the program belongs to somebody else, and so does its only alarm clock.
    if not seconds or not _here():
        yield
        return
    _state.limit = text
    before = signal.signal(signal.SIGALRM, _handle_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def install() -> dict[int, Any]:
    """Install the handlers, for a command that owns its process; signals that are ignored stay ignored.

    Returns:
        The handlers that were replaced, by signal; empty if ours were installed before.
    """
    # Only the main thread can have signal handlers.
    if _state.thread or threading.current_thread() is not threading.main_thread():
        return {}
    _state.thread = threading.get_ident()
    # None: a handler that was not installed from Python, and that nobody could restore.
    return {
        number: signal.signal(number, _handle)
        for number in STOPPING
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }


@contextmanager
def handled() -> Iterator[None]:
    """Install the handlers for the time of one command, and restore those that were there before."""
    outermost = not _state.thread
    before = install()
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
        if outermost:
            _state.reset()


def ignore() -> None:
    """Ignore the signals until the process has ended: its exit code is decided.

    Python restores the default actions before it ends, so that the handlers alone would not be enough.
    """
    finish()
    if _here():
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
