"""Child processes: limited in time and output, in a session of their own, with a built environment."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from installer.shared.child_env import built_environment

OUTPUT_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Completed:
    """The result of a child process.

    Attributes:
        argv: The program and its arguments.
        status: Its exit status; negative for a signal; 127 if it could not be started.
        stdout: The last mebibyte of its standard output.
        stderr: The last mebibyte of its standard error.
        timed_out: Whether it was killed because of its time-out.
    """

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with status 0."""
        return self.status == 0 and not self.timed_out

    def reason(self) -> str:
        """Return in one line why it failed: the time-out, or the last line of its output."""
        if self.timed_out:
            return "timed out and was killed"
        text = (self.stderr.strip() or self.stdout.strip()).decode("utf-8", "replace")
        last = text.splitlines()[-1][:400] if text else "no output"
        how = f"killed by signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
        return f"{how}: {last}"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child; it is built, not inherited.

    Args:
        extra: Additional variables.
    """
    return built_environment() | dict(extra or {})


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    cwd: str | None = None,
) -> Completed:
    """Run a child and wait for it.

    Args:
        argv: The program and its arguments; no shell is involved.
        timeout: Seconds after which it and its children are killed.
        env: Variables in addition to the built environment.
        stdin: Its standard input.
        cwd: Its working directory.

    Returns:
        The result; a program that cannot be started has status 127 and raises nothing.
    """
    held = _DelayedSignals()
    try:
        # A session of its own: Ctrl-C at the terminal must not kill the child that an undo needs.
        child = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(env), cwd=cwd, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        held.release()
        # As a shell reports it; callers treat a missing program like a failing one.
        return Completed(tuple(argv), 127, b"", f"{argv[0]}: {error.strerror}".encode())
    except BaseException:
        held.release()
        raise
    with child:
        try:
            held.release()
            out, err, timed_out = _talk(child, stdin, time.monotonic() + timeout)
        except BaseException:
            _kill(child)
            raise
    return Completed(tuple(argv), child.returncode, out, err, timed_out)


class _DelayedSignals:
    """Delays signals while a child starts: one between its start and the `try` would leave it running."""

    def __init__(self) -> None:
        self._received: list[int] = []
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if callable(signal.getsignal(number)):
                    self._before[number] = signal.signal(number, lambda came, _: self._received.append(came))

    def release(self) -> None:
        """Restore the handlers, and raise the signals that came meanwhile."""
        for number, action in self._before.items():
            signal.signal(number, action)
        for number in self._received:
            signal.raise_signal(number)


def _talk(child: subprocess.Popen[bytes], stdin: bytes, deadline: float) -> tuple[bytes, bytes, bool]:
    assert child.stdin and child.stdout and child.stderr  # noqa: S101, PT018
    kept = {child.stdout: bytearray(), child.stderr: bytearray()}
    unsent = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            selector.register(pipe, selectors.EVENT_READ)
        if stdin:
            # A child that does not read its input must not block the time-out.
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)
        else:
            child.stdin.close()
        # A daemon that a script leaves running may hold the pipes open: the end of the child itself counts.
        while selector.get_map() and (child.poll() is None or selector.select(0)):
            if time.monotonic() > deadline:
                _kill(child)
                return bytes(kept[child.stdout]), bytes(kept[child.stderr]), True
            for key, _ in selector.select(0.05):
                if key.fileobj is child.stdin:
                    unsent = _send(child, unsent, selector)
                    continue
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                    continue
                buffer = kept[key.fileobj]  # type: ignore[index]
                buffer += chunk
                # The last bytes: the reason of a failure is at the end of a log.
                del buffer[: max(0, len(buffer) - OUTPUT_LIMIT)]
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _kill(child)
        return bytes(kept[child.stdout]), bytes(kept[child.stderr]), True
    return bytes(kept[child.stdout]), bytes(kept[child.stderr]), False


def _send(child: subprocess.Popen[bytes], unsent: memoryview, selector: selectors.BaseSelector) -> memoryview:
    assert child.stdin  # noqa: S101
    try:
        unsent = unsent[os.write(child.stdin.fileno(), unsent[:65536]) :]
    # The child may end without reading all of its input; its status counts.
    except BrokenPipeError:
        unsent = unsent[:0]
    if not unsent:
        selector.unregister(child.stdin)
        child.stdin.close()
    return unsent


def _kill(child: subprocess.Popen[bytes]) -> None:
    # The whole process group: a shell script must not leave its children running.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
