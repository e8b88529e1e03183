"""Child processes: no pipe that somebody holds, and no key at the terminal, decides how they end."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from installer.shared.child import process
from installer.shared.terminal import interrupts
from tests.rig.hang import ends
from tests.rig.process import children_of_this_process

TOP = Path(__file__).resolve().parents[4]
RUN = (
    "import sys; from installer.shared.child import process; "
    "process.run(['sh', '-c', sys.argv[1]], timeout=60, cwd=sys.argv[2])"
)


def gone(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_daemon_that_goes_on_writing_is_not_waited_for() -> None:
    with ends(within=60):
        ended = process.run(["sh", "-c", "yes & echo $! >&2"], timeout=600)
    gone(int(ended.stderr))
    assert ended.ok
    assert len(ended.stdout) <= process.OUTPUT_LIMIT


def test_a_daemon_that_holds_the_pipes_in_a_session_of_its_own_is_not_waited_for() -> None:
    with ends(within=60):
        ended = process.run(["sh", "-c", "setsid sleep 600 & echo $!"], timeout=600)
    gone(int(ended.stdout))
    assert ended.ok


def test_a_child_that_closes_its_pipes_is_waited_for() -> None:
    ended = process.run(["sh", "-c", "echo before; exec >&- 2>&-; sleep 0.2; exit 7"], timeout=60)
    assert (ended.status, ended.stdout) == (7, b"before\n")


def test_the_end_of_a_child_that_writes_much_and_ends_is_kept() -> None:
    ended = process.run(["sh", "-c", "yes | head -c 3000000; echo the end"], timeout=60)
    assert ended.stdout.endswith(b"the end\n")
    assert ended.shortened
    assert not process.run(["head", "-c", str(process.OUTPUT_LIMIT), "/dev/zero"], timeout=60).shortened


def test_a_child_that_ends_without_reading_its_input_has_its_own_status() -> None:
    assert process.run(["sh", "-c", "exit 3"], timeout=60, stdin=b"x" * 1_000_000).status == 3
    assert process.run(["cat"], timeout=60, stdin=b"x" * 300_000).stdout == b"x" * 300_000


@pytest.mark.parametrize(
    "script", ["sleep 600", "exec >&- 2>&-; sleep 600"], ids=["pipes open", "pipes closed"]
)
@pytest.mark.parametrize("part", [interrupts.deferred, interrupts.waiting], ids=lambda part: part.__name__)
def test_the_wait_for_a_child_is_stopped_at_once_and_the_child_is_killed(
    tmp_path: Path, script: str, part: type[interrupts.deferred] | type[interrupts.waiting]
) -> None:
    asks = f"echo $$ > {tmp_path}/pid; kill -TERM $PPID; {script}"
    with (
        ends(within=60),
        interrupts.handled(),
        part(),
        pytest.raises(interrupts.Interrupted, match="SIGTERM"),
    ):
        process.run(["sh", "-c", asks], timeout=600)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_an_undo_waits_for_its_child_whatever_is_sent() -> None:
    with interrupts.handled(), interrupts.deferred() as undo:
        undo.shield()
        ended = process.run(["sh", "-c", "kill -TERM $PPID; sleep 0.3; echo whole"], timeout=60)
        interrupts.finish()
    assert ended.stdout == b"whole\n"


PARENT = """
import sys
from installer.shared.child import process
from installer.shared.terminal import interrupts
script = 'trap "echo child heard it; exit 9" INT; echo started > ' + sys.argv[1]
script += '; sleep 1; sleep 1; echo whole'
with interrupts.handled(), interrupts.deferred() as undo:
    undo.shield()
    print(process.run(["bash", "-c", script], timeout=60).stdout.decode(), flush=True)
    interrupts.finish()
"""


def test_ctrl_c_at_the_terminal_does_not_reach_the_child(tmp_path: Path) -> None:
    """A real terminal: the key is sent to the whole foreground process group."""
    ours, theirs = pty.openpty()
    started = tmp_path / "started"
    os.mkfifo(started)
    parent = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", PARENT, str(started)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"PYTHONPATH": str(TOP)},
    )  # fmt: skip
    os.close(theirs)
    assert started.read_text() == "started\n"
    os.write(ours, b"\x03")
    shown = bytearray()
    reader = threading.Thread(target=_drain, args=(ours, shown))
    reader.start()
    assert parent.wait(60) == 0
    reader.join()
    os.close(ours)
    assert b"whole" in shown
    assert b"child heard it" not in shown


def _drain(fd: int, into: bytearray) -> None:
    try:
        while chunk := os.read(fd, 4096):
            into += chunk
    except OSError:
        return  # how a pseudo-terminal reports that nobody holds its other end


def test_a_program_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    made, script = tmp_path / "made", "echo started; read line < fifo; echo late > made"
    os.mkfifo(tmp_path / "fifo")
    waiting = subprocess.Popen([sys.executable, "-c", RUN, script, tmp_path], cwd=TOP)
    # The script opens the fifo once it runs.
    with ends():
        fifo = os.open(tmp_path / "fifo", os.O_WRONLY)
    waiting.kill()
    waiting.wait()
    # Nobody has it open any more once the script has ended.
    with ends(within=60), suppress(BrokenPipeError):
        while os.write(fifo, b" "):
            time.sleep(0.01)
    os.close(fifo)
    assert not made.exists()


def test_what_a_script_leaves_running_goes_on_when_this_process_is_killed(tmp_path: Path) -> None:
    script = "(while test ! -e go; do sleep 0.05; done; echo yes > made) &"
    words = [sys.executable, "-c", f"{RUN}; import os; os.kill(os.getpid(), 9)", script, tmp_path]
    assert subprocess.run(words, cwd=TOP, check=False).returncode == -signal.SIGKILL
    (tmp_path / "go").touch()
    with ends(within=60):
        while not (tmp_path / "made").exists():
            time.sleep(0.05)


def test_a_child_reads_pieces_as_it_asks_for_them() -> None:
    asked = []

    def pieces() -> Iterator[bytes]:
        for number in range(50):
            asked.append(number)
            yield b"" if number % 2 else b"x" * 100_000

    assert process.run(["wc", "-c"], timeout=60, stdin=pieces()).stdout.strip() == b"2500000"
    assert len(asked) == 50
    asked.clear()
    assert process.run(["true"], timeout=60, stdin=pieces()).ok
    assert len(asked) < 50


def test_an_error_of_the_pieces_kills_the_child_and_passes_through() -> None:
    before = children_of_this_process()

    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        process.run(["sleep", "100"], timeout=60, stdin=pieces())
    assert children_of_this_process() <= before
