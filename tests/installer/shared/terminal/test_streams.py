"""Standard streams that are closed, full or without a reader: the program goes on and keeps its exit code."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from installer.shared.terminal import streams

Done = subprocess.CompletedProcess[bytes]
TOP = Path(__file__).resolve().parents[4]
BEGIN = "import os, sys\nfrom installer.shared.terminal import streams\nstreams.protect()\n"
TELL = """
import json
open(sys.argv[1], "w").write(json.dumps([str(streams.failure(each)) for each in (sys.stdout, sys.stderr)]))
sys.exit(7)
"""


def python(script: str, *words: str | Path, shell: str = "", **options: Any) -> Done:
    """Run a script with protected streams; `shell` is what a shell does to them."""
    command = [sys.executable, "-c", BEGIN + script, *map(str, words)]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    options.setdefault("env", os.environ | {"PYTHONPATH": str(TOP)})
    return subprocess.run(command, check=False, **options)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("shell", [">&- 2>&-", ">/dev/full 2>/dev/full"], ids=["closed", "full"])
def test_what_cannot_be_written_is_known_and_changes_nothing(tmp_path: Path, stream: str, shell: str) -> None:
    script = f"print('x' * 100_000, file=sys.{stream}, flush=True)"
    assert python(script + TELL, tmp_path / "told", shell=shell).returncode == 7
    failures = (tmp_path / "told").read_text()
    assert ("No space left" if "full" in shell else "Bad file descriptor") in failures
    assert failures.count("None") == 1


def test_a_reader_that_went_away_does_not_end_the_program(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = python("print('x')" + TELL, tmp_path / "told", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (7, b"")
    assert "Broken pipe" in (tmp_path / "told").read_text()


def test_an_interpreter_that_does_not_ignore_sigpipe_is_protected_too(tmp_path: Path) -> None:
    """As a frozen one; also a size limit is an error of the write, and children get the default actions."""
    script = """
import resource, signal, subprocess
assert signal.getsignal(signal.SIGPIPE) == signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    open(sys.argv[1], "wb", buffering=0).write(bytes(2000))
    open(sys.argv[1], "ab", buffering=0).write(bytes(2000))
except OSError as error:
    print(error.strerror)
shown = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True).stdout.split()[1]
print(int(shown, 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1))
"""
    default = "import signal\nfor n in (signal.SIGPIPE, signal.SIGXFSZ): signal.signal(n, signal.SIG_DFL)\n"
    command = [sys.executable, "-c", default + BEGIN + script, str(tmp_path / "file")]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(TOP)}, capture_output=True, check=False
    )
    assert done.stdout.decode().splitlines() == ["File too large", "0"], done.stderr.decode()


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    script = f"""
descriptor = os.open({str(tmp_path / "journal")!r}, os.O_WRONLY | os.O_CREAT)
print("a log line", file=sys.stderr)
print("a result")
sys.exit(descriptor)
"""
    code = python(script, shell="<&- >&- 2>&-").returncode
    assert code > 2
    assert (tmp_path / "journal").read_bytes() == b""


def test_a_closed_input_is_empty() -> None:
    done = python("print(repr(sys.stdin.read()), sys.stdin.isatty())", shell="<&-", stdout=subprocess.PIPE)
    assert done.stdout == b"'' False\n"


def test_a_character_that_the_encoding_lacks_is_escaped() -> None:
    done = python("print('1.0 \\u2192 2.0')", stdout=subprocess.PIPE, shell="")
    assert done.stdout.decode() == "1.0 → 2.0\n"
    latin = os.environ | {"PYTHONPATH": str(TOP), "PYTHONIOENCODING": "latin-1:strict"}
    done = python("print('1.0 \\u2192 2.0')", stdout=subprocess.PIPE, env=latin)
    assert done.stdout == b"1.0 \\u2192 2.0\n"


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    """Whoever shares a terminal or pipe with us may have set O_NONBLOCK on it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    env = os.environ | {"PYTHONPATH": str(TOP)}
    command = [sys.executable, "-c", BEGIN + "print('x' * 100_000)"]
    with subprocess.Popen(command, stdout=writer, env=env) as child, open(reader, "rb") as read:
        os.close(writer)
        assert read.read() == b"x" * 100_000 + b"\n"
    assert child.returncode == 0


def test_a_document_ends_where_it_could_not_be_written_and_a_log_goes_on(tmp_path: Path) -> None:
    """A document with a hole is worse than one that ends early; log lines are independent of each other."""
    script = """
def full(stream, on):
    place, flags = ("/dev/full", os.O_WRONLY) if on else (sys.argv[1], os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(place, flags), stream.fileno())
for stream in (sys.stdout, sys.stderr):
    for turn in (False, True, False):
        full(stream, turn)
        print(stream is sys.stdout and "result" or "log", turn, file=stream, flush=True)
"""
    told = tmp_path / "told"
    told.touch()
    assert python(script, told).returncode == 0
    assert told.read_text().splitlines() == ["result False", "log False", "log False"]


def test_a_stream_that_is_not_protected_is_written_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert streams.write(sys.stdout, "text") is None
    assert capsys.readouterr().out == "text"
    assert "closed" in str(streams.write(None, "text"))
    with open(os.devnull, "w") as closed:
        pass
    assert "closed" in str(streams.write(closed, "text"))
    assert streams.failure(closed) is None
