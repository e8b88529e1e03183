"""Keys and passwords come from files, variables, descriptors and standard input, never from arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundler.cli.options import given_password
from bundler.commands.keygen import generate_key_pair
from bundler.signing.cosign import CosignSigner, generate
from bundler.signing.secret_source import PASSWORD_BYTES, read_password, read_secret
from installer.core.errors import UsageError

KEY = generate(b"pass word")[0]
TOP = Path(__file__).resolve().parents[3]


@contextmanager
def descriptor(data: bytes) -> Iterator[str]:
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    try:
        yield f"fd:{read}"
    finally:
        os.close(read)


def test_a_key_from_each_source_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "k.key").write_bytes(KEY)
    monkeypatch.setenv("RELEASE_KEY", KEY.decode())
    found = {CosignSigner.load(str(tmp_path / "k.key"), password=b"pass word").keyid}
    found.add(CosignSigner.load("env:RELEASE_KEY", password=b"pass word").keyid)
    with descriptor(KEY) as source:
        found.add(CosignSigner.load(source, password=b"pass word").keyid)
    assert len(found) == 1


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_password_from_a_file_or_stream_has_no_line_break(tmp_path: Path, end: bytes) -> None:
    (tmp_path / "p").write_bytes(b"pass word" + end)
    assert read_password(str(tmp_path / "p")) == b"pass word"
    with descriptor(b"pass word" + end) as source:
        assert read_password(source) == b"pass word"


def test_a_variable_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "pass word\n")
    assert read_password("env:SECRET") == b"pass word\n"


def test_a_file_named_like_a_variable_is_given_with_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("env:SECRET").write_text("from the file")
    assert read_password("./env:SECRET") == b"from the file"
    with pytest.raises(UsageError, match="env:SECRET: the variable is not set"):
        read_password("env:SECRET")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("env:NOT_SET_HERE", "env:NOT_SET_HERE: the variable is not set"),
        ("fd:999", "fd:999: cannot be read: Bad file descriptor"),
        ("none.key", "none.key: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_read_is_named(source: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_secret(source, 100, "a hint")
    assert what in str(caught.value)


def test_a_key_on_the_command_line_is_refused_and_not_repeated() -> None:
    text = KEY.decode()
    with pytest.raises(UsageError, match="is not given on the command line") as caught:
        read_secret(text, 100)
    assert text.splitlines()[1] not in str(caught.value)


def test_what_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"x" * (PASSWORD_BYTES + 1))
    with pytest.raises(UsageError, match="has more than 4096 bytes"):
        read_password(str(tmp_path / "p"))
    with descriptor(b"x" * (PASSWORD_BYTES + 1)) as source, pytest.raises(UsageError, match="has more than"):
        read_password(source)
    with pytest.raises(UsageError, match="has more than"):
        read_password("/dev/zero")


def test_one_stream_cannot_be_both_key_and_password() -> None:
    with pytest.raises(UsageError, match="--key and --password-from are both -"):
        given_password("-", "-")
    assert given_password("") is None


def test_a_terminal_is_not_read() -> None:
    parent, child = os.openpty()
    try:
        with pytest.raises(UsageError, match="is a terminal, which would show the secret"):
            read_secret(f"fd:{child}", 100)
    finally:
        os.close(parent)
        os.close(child)


def test_keygen_takes_the_password_from_elsewhere(tmp_path: Path) -> None:
    pair = generate_key_pair(tmp_path / "k", password=b"other")
    assert CosignSigner.load(pair.private, password=b"other").keyid == pair.keyid


def test_the_commands_take_keys_and_passwords_from_streams(tmp_path: Path) -> None:
    """Key from standard input and password from a descriptor, in a process as a pipeline starts it."""
    call = f"import sys; sys.path.insert(0, {str(TOP)!r}); from bundler.cli.main import main; main()"
    root = tmp_path / "root.json"
    public = tmp_path / "k.pub"
    public.write_text(CosignSigner.load(_written(tmp_path), password=b"pass word").public)
    env = {name: value for name, value in os.environ.items() if name != "COSIGN_PASSWORD"}

    def bundle(
        *words: str, data: bytes = b"", keep: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-c", call, *words]
        return subprocess.run(argv, input=data, capture_output=True, env=env, pass_fds=keep, check=False)

    made = bundle("trust", "init", str(root), "--release-key", str(public), "--root-key", str(public),
                  "--owner", "team")  # fmt: skip
    assert made.returncode == 0, made.stderr
    with descriptor(b"pass word\n") as source:
        number = int(source.partition(":")[2])
        os.set_inheritable(number, True)
        words = ("trust", "sign", str(root), "--key", "-", "--password-from", source)
        signed = bundle(*words, data=KEY, keep=(number,))
    assert signed.returncode == 0, signed.stderr
    without = bundle("trust", "sign", str(root), "--key", str(tmp_path / "k.key"))
    assert without.returncode == 2
    assert b"--password-from SOURCE" in without.stderr


def _written(directory: Path) -> Path:
    (directory / "k.key").write_bytes(KEY)
    return directory / "k.key"
