"""Child processes: limited in time and output, in a session of their own, with a built environment."""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from installer.shared.child.environment import built_environment
from installer.shared.secrecy.known import Secrets
from installer.shared.terminal import interrupts

OUTPUT_LIMIT = 1024 * 1024
_REASON = 400
"""Characters of the last line of its output."""
_PR_SET_PDEATHSIG = 1
_FIRST_TO_GO = "1000"
"""See oom_score_adj in proc(5)."""
_TURN = 0.05
"""Seconds after which a wait looks for a signal and for the end of the child."""


Heard = Callable[[bytes], None]
Told = Callable[[Sequence[bytes]], None]
_TOO_LONG = b"(a line of more than 1 MiB; not shown)"


@dataclass(frozen=True, slots=True)
class Completed:
    """The result of a child process.

    Attributes:
        argv: The program and its arguments.
        status: Its exit status; negative for a signal; 127 if it could not be started.
        stdout: The last mebibyte of its standard output, in whole lines.
        stderr: The last mebibyte of its standard error, in whole lines.
        timed_out: Whether it was killed because of its time-out.
        shortened: Whether its standard output was longer than what is kept.
    """

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    shortened: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with status 0."""
        return self.status == 0 and not self.timed_out

    def reason(self, secrets: Secrets) -> str:
        """Return in one line why it failed: the time-out, or the last line of its output.

        Args:
            secrets: What a child may know, and must not tell.
        """
        if self.timed_out:
            return "timed out and was killed"
        text = (self.stderr.strip() or self.stdout.strip()).decode("utf-8", "replace")
        last = secrets.last_lines(text, 1, _REASON)[0] if text else "no output"
        how = f"killed by signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
        return f"{how}: {last}"


def environment(extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return the environment of a child; it is built, not inherited.

    Args:
        extra: Additional variables; None for one that the child must not have.
    """
    found = {**built_environment(), **(extra or {})}
    return {name: value for name, value in found.items() if value is not None}


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str | None] | None = None,
    stdin: bytes | Iterable[bytes] = b"",
    cwd: str | None = None,
    inherited: Sequence[int] = (),
    memory: int = 0,
    heard: Heard | None = None,
    told: Told | None = None,
) -> Completed:
    """Run a child and wait for it. If this process is killed meanwhile, so is the child.

    Args:
        argv: The program and its arguments; no shell is involved.
        timeout: Seconds after which it and its children are killed.
        env: Variables in addition to the built environment; None for one that the child must not have.
        stdin: Its standard input. Pieces are asked for when the child reads; an error that they raise kills
            it, and passes through.
        cwd: Its working directory.
        inherited: Descriptors that it keeps open, and all that it starts: held locks, for example.
        memory: Bytes that it, and each process that it starts, may write to; where the host is short of
            memory they are ended before any other. 0: no limit, for programs that leave services running.
        heard: Is given each line of its standard output when it is complete, without its end. An error that
            it raises kills the child, and passes through.
        told: Is given the lines of its standard output and its errors, as they come, without their ends.

    Returns:
        The result; a program that cannot be started has status 127 and raises nothing.
    """
    # From the start of the child to the `try`, a signal would leave it running: it is heard in `_talk`.
    with interrupts.deferred():
        try:
            # A session of its own: Ctrl-C at the terminal must not kill the child that an undo needs.
            # What the child does before exec takes no lock: threads, such as one that waits for a Vault, may
            # hold any.
            child = subprocess.Popen(
                list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environment(env), cwd=cwd, start_new_session=True, pass_fds=inherited,
                preexec_fn=_prepared(memory),  # noqa: PLW1509
            )  # fmt: skip
        except OSError as error:
            # As a shell reports it; callers treat a missing program like a failing one.
            return Completed(tuple(argv), 127, b"", f"{argv[0]}: {error.strerror}".encode())
        with child:
            try:
                pipes, timed_out = _talk(child, stdin, time.monotonic() + timeout, heard, told)
            except BaseException:
                _kill(child)
                raise
    return Completed(tuple(argv), child.returncode, *pipes.kept(), timed_out, pipes.shortened)


def _prepared(memory: int) -> Callable[[], None]:
    """Return what the child does before it becomes the program."""
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def prepare() -> None:
        # If this process is killed, recovery begins: what a program then still did would come after the undo.
        # Its own children go on, so that a script may leave a service running.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # Killed before that: the signal would not come any more.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        if memory:
            # A host without /proc, or without the right to lower a limit, gets a result all the same.
            with suppress(OSError, ValueError):
                Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
                resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

    return prepare


def _talk(
    child: subprocess.Popen[bytes],
    stdin: bytes | Iterable[bytes],
    deadline: float,
    heard: Heard | None,
    told: Told | None,
) -> tuple[_Pipes, bool]:
    with _Pipes(child, stdin, heard, told) as pipes:
        while child.poll() is None:
            # A safe point: the child is killed, and the caller decides what that means.
            interrupts.check()
            left = deadline - time.monotonic()
            if left <= 0:
                _kill(child)
                return pipes, True
            if pipes.open:
                pipes.turn(min(left, _TURN))
            else:
                # It has closed its pipes: only its end is left to wait for.
                with suppress(subprocess.TimeoutExpired):
                    child.wait(min(left, _TURN))
        # A daemon that a script leaves running may hold the pipes open, and write to them for ever: the end
        # of the child itself counts, and no more is read than a pipe could hold by then.
        drained = 0
        while pipes.open and drained < OUTPUT_LIMIT and (count := pipes.turn(0)) is not None:
            drained += count
        return pipes, False


class _Pipes:
    """The pipes to and from a child; of what it writes, the end is kept."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        stdin: bytes | Iterable[bytes],
        heard: Heard | None,
        told: Told | None,
    ) -> None:
        assert child.stdin and child.stdout and child.stderr  # noqa: S101, PT018
        pieces = [stdin] if isinstance(stdin, bytes) else stdin
        self._pieces = (memoryview(each) for each in pieces if each)
        self._stdin, self._unsent = child.stdin, next(self._pieces, memoryview(b""))
        self._out, self._err = child.stdout, child.stderr
        self._cut = set[int]()
        self._heard, self._begun = heard, bytearray()
        self._told, self._rests = told, {child.stdout.fileno(): b"", child.stderr.fileno(): b""}
        self._buffers = {child.stdout.fileno(): bytearray(), child.stderr.fileno(): bytearray()}
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        for pipe in (self._out, self._err):
            self._selector.register(pipe, selectors.EVENT_READ)
        if self._unsent:
            # A child that does not read its input must not block the time-out.
            os.set_blocking(self._stdin.fileno(), False)
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        else:
            self._stdin.close()
        return self

    def __exit__(self, *_error: object) -> None:
        self._selector.close()
        # What ends without a line break is a line, too; after an error nobody listens.
        if self._told is not None and _error[0] is None:
            self._told([_whole_line(rest) for rest in self._rests.values() if rest])

    @property
    def open(self) -> bool:
        """Whether the child may still read or write."""
        return bool(self._selector.get_map())

    @property
    def shortened(self) -> bool:
        """Whether only the end of its output is kept."""
        return next(iter(self._buffers)) in self._cut

    def kept(self) -> tuple[bytes, bytes]:
        """Return the end of its output and of its errors."""
        output, errors = (self._whole(fd) for fd in self._buffers)
        return output, errors

    def _whole(self, fd: int) -> bytes:
        """Return what is kept without a line whose beginning is not: half of a secret is not recognised."""
        if fd not in self._cut:
            return bytes(self._buffers[fd])
        return bytes(self._buffers[fd].partition(b"\n")[2]) or _TOO_LONG

    def turn(self, seconds: float) -> int | None:
        """Wait for the child to read or write; return the number of bytes read, None if nothing was ready."""
        ready, count = self._selector.select(seconds), 0
        for key, _ in ready:
            if key.fileobj is self._stdin:
                self._send()
            else:
                count += self._receive(key.fd, key.fileobj)
        return count if ready else None

    def _receive(self, fd: int, pipe: object) -> int:
        chunk = os.read(fd, 65536)
        if not chunk:
            self._selector.unregister(pipe)  # type: ignore[arg-type]
            return 0
        buffer = self._buffers[fd]
        buffer += chunk
        if self._heard is not None and pipe is self._out:
            self._tell(self._heard, chunk)
        if self._told is not None:
            *lines, rest = (self._rests[fd] + chunk).split(b"\n")
            # Cut, so that it does not fill the memory; `_whole_line` tells.
            self._rests[fd] = rest[: OUTPUT_LIMIT + 1]
            if lines:
                self._told([_whole_line(line) for line in lines])
        # The last bytes: the reason of a failure is at the end of a log.
        if len(buffer) > OUTPUT_LIMIT:
            self._cut.add(fd)
            del buffer[:-OUTPUT_LIMIT]
        return len(chunk)

    def _tell(self, heard: Heard, chunk: bytes) -> None:
        *lines, rest = (bytes(self._begun) + chunk).split(b"\n")
        # A line without an end must not fill the memory: without its middle it is no event, whatever it was.
        self._begun = bytearray(rest[:OUTPUT_LIMIT])
        for line in lines:
            heard(line)

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._stdin.fileno(), self._unsent[:65536]) :]
            self._unsent = self._unsent or next(self._pieces, memoryview(b""))
        # The child may end without reading all of its input; its status counts.
        except BrokenPipeError:
            self._unsent = self._unsent[:0]
        if not self._unsent:
            self._selector.unregister(self._stdin)
            self._stdin.close()


def _whole_line(line: bytes) -> bytes:
    # Half of a secret is not recognised.
    return line if len(line) <= OUTPUT_LIMIT else _TOO_LONG


def _kill(child: subprocess.Popen[bytes]) -> None:
    # The whole process group: a shell script must not leave its children running.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
