"""What a killed program left running: found by its mark, in any session, with all that it started."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from installer.shared.child import process
from installer.shared.child.marked_processes import MARK, end_marked


@contextmanager
def started(mark: str, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a script with a mark, and wait until it has written a line."""
    words, env = ["sh", "-c", script], {**os.environ, MARK: mark}
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout
        assert child.stdout.readline()
        try:
            yield child
        finally:
            child.kill()


def runs(pid: int) -> bool:
    """Return whether a process has memory: one that is ending has none, and does nothing any more."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def test_processes_with_the_mark_are_ended_in_every_session_and_no_others() -> None:
    mark, other = secrets.token_hex(8), secrets.token_hex(8)
    script = "setsid sh -c 'echo $$; exec sleep 1000' & wait"
    with started(mark, script) as ours, started(other, "echo x; exec sleep 1000") as theirs:
        children = children_of(ours.pid)
        assert end_marked(mark)
        assert ours.wait() == -signal.SIGKILL
        assert not any(map(runs, children))
        assert runs(theirs.pid)


def test_a_child_without_the_mark_ends_with_its_parent_that_has_it() -> None:
    mark = secrets.token_hex(8)
    # As sudo does: another environment for what it starts.
    with started(mark, "env -i sh -c 'echo $$; exec sleep 1000' & wait") as ours:
        children = children_of(ours.pid)
        assert end_marked(mark)
        assert not any(map(runs, children))


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert found
    return [int(each) for each in found]


def test_nothing_is_ended_where_nothing_has_the_mark() -> None:
    assert end_marked(secrets.token_hex(8))


def test_lines_are_heard_while_the_program_runs() -> None:
    heard = list[bytes]()
    ended = process.run(
        ["sh", "-c", "echo one; echo two; printf three; echo no >&2"], timeout=60, heard=heard.append
    )
    assert heard == [b"one", b"two"]  # the third has no end
    assert ended.stdout == b"one\ntwo\nthree"


def test_a_program_whose_line_cannot_be_taken_is_ended() -> None:
    class NotWantedError(Exception):
        pass

    def refuse(line: bytes) -> None:
        os.kill(int(line), 0)
        raise NotWantedError(line.decode())

    with pytest.raises(NotWantedError) as caught:
        process.run(["sh", "-c", "echo $$; exec sleep 1000"], timeout=600, heard=refuse)
    assert not runs(int(str(caught.value)))
