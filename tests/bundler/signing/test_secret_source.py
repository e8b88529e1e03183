"""Keys and passwords come from files, variables, descriptors and standard input, never from arguments."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundler.cli.defaults import take_defaults
from bundler.cli.main import app
from bundler.commands.keygen import generate_key_pair
from bundler.signing.cosign import CosignSigner, generate
from bundler.signing.secret_source import PASSWORD_BYTES, read_password, read_secret, require_separate
from installer.core.errors import UsageError
from installer.shared.command_tree.defaults import Rules, apply_defaults
from installer.shared.terminal.invocation import command_of

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


def started(*words: str, data: bytes = b"", keep: Sequence[int] = ()) -> subprocess.CompletedProcess[bytes]:
    """Runs `bundle` in a process of its own, without a password in the environment."""
    call = f"import sys; sys.path.insert(0, {str(TOP)!r}); from bundler.cli.main import main; main()"
    env = {name: value for name, value in os.environ.items() if name != "COSIGN_PASSWORD"}
    argv = [sys.executable, "-c", call, *words]
    return subprocess.run(argv, input=data, capture_output=True, env=env, pass_fds=keep, check=False)


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


FORMS = {
    "as it is": KEY.decode(),
    "behind a line break": "\n" + KEY.decode(),
    "behind a blank": "  " + KEY.decode(),
    "on one line": KEY.decode().replace("\n", " "),
    "in base64": base64.b64encode(KEY).decode(),
    "without its first line": KEY.decode().partition("\n")[2],
}


def repeats(said: str) -> bool:
    """Whether a message repeats something of the key."""
    body = KEY.decode().splitlines()[1]
    return any(part in said for part in (body[:16], base64.b64encode(KEY).decode()[40:56]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("read", [CosignSigner.load, read_password])
def test_a_key_in_place_of_its_source_is_refused_and_not_repeated(
    form: str, read: Callable[[str], object]
) -> None:
    with pytest.raises(UsageError) as caught:
        read(FORMS[form])
    assert caught.value.what == "the secret itself is given where its source is expected"
    assert not repeats(str(caught.value))


@pytest.mark.parametrize(
    "words",
    [
        ("sign", "b.tar", "--key", KEY.decode()),
        ("sign", "b.tar", f"--key={FORMS['behind a line break']}"),
        # Without quotes the shell makes many words of it.
        ("sign", "b.tar", "--key", *KEY.decode().split()),
        ("sign", "b.tar", "--gpg-key", FORMS["as it is"]),
        ("verify", "b.tar", "--key", FORMS["behind a line break"]),
        ("approve", "b.tar", "--attach", "SIG", "--public", FORMS["behind a line break"]),
        ("trust", "add-key", "root.json", FORMS["in base64"], "--role", "ops"),
        ("trust", "rotate", "root.json", "--replace", f"1a2b3c4d={FORMS['as it is']}"),
        (FORMS["as it is"],),
    ],
    ids=lambda words: " ".join(words[:3])[:40].replace("\n", " "),
)
def test_no_message_repeats_a_key_that_is_on_the_command_line(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from bundler.cli.main import app, without_keys
    from bundler.cli.options import console
    from installer.shared.command.command_line import run_app

    assert run_app(console, app, list(words), without_keys) == 2
    said = capsys.readouterr()
    assert "the command line contains a key" in said.err
    assert not repeats(said.err + said.out)


def test_the_program_looks_for_keys_before_anything_else() -> None:
    done = started("sign", "b.tar", "--key", *KEY.decode().split())
    assert done.returncode == 2
    assert b"the command line contains a key" in done.stderr
    assert not repeats(done.stderr.decode())


@pytest.mark.parametrize(
    "text",
    [
        "key: |\n" + "".join(f"  {line}\n" for line in KEY.decode().splitlines()),
        f"key: {FORMS['in base64']}\n",
    ],
    ids=["as it is", "in base64"],
)
def test_a_key_in_a_file_of_defaults_is_refused_and_not_repeated(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "waybill.yaml").write_text(text)
    (tmp_path / "waybill.yaml").chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="contains a key, but only says where a key is") as caught:
        take_defaults(command_of(app), ())
    assert not repeats(str(caught.value))


def test_several_lines_in_a_file_of_defaults_are_not_repeated() -> None:
    text = "key: |\n" + "".join(f"  {line}\n" for line in KEY.decode().splitlines()[1:])
    with pytest.raises(UsageError, match="one line is needed here") as caught:
        apply_defaults(command_of(app), text.encode(), Rules("d.yaml", ("key",)))
    assert not repeats(str(caught.value))


def test_a_password_in_place_of_its_source_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        read_password("hunter2/hunter3")
    assert str(caught.value).startswith("the file of the password cannot be read: No such file or directory")
    assert "hunter" not in str(caught.value)


def test_a_path_of_a_password_is_named_where_it_cannot_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{tmp_path}/none: cannot be read"):
        read_password(str(tmp_path / "none"))


@pytest.mark.parametrize("read", [lambda source: read_secret(source, 100), read_password])
def test_an_empty_source_is_refused(
    read: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").touch()
    monkeypatch.setenv("SECRET", "")
    with descriptor(b"") as stream:
        for source in (str(tmp_path / "p"), "env:SECRET", stream):
            with pytest.raises(UsageError) as caught:
                read(source)
            assert (caught.value.where, caught.value.what) == (source, "is empty")


def test_a_password_that_is_a_line_break_only_is_empty() -> None:
    with descriptor(b"\n") as source, pytest.raises(UsageError, match="is empty"):
        read_password(source)


def test_what_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"x" * (PASSWORD_BYTES + 1))
    with pytest.raises(UsageError, match="has more than 4096 bytes"):
        read_password(str(tmp_path / "p"))
    with descriptor(b"x" * (PASSWORD_BYTES + 1)) as source, pytest.raises(UsageError, match="has more than"):
        read_password(source)
    with pytest.raises(UsageError, match="has more than"):
        read_password("/dev/zero")


def separate(*sources: str) -> None:
    names = ("--key", "--password-from", "--provenance-key", "--provenance-password-from")
    require_separate(dict(zip(names, sources, strict=False)))


@pytest.mark.parametrize("sources", [("-", "-"), ("-", "", "fd:0"), ("k.key", "-", "p.key", "/dev/stdin")])
def test_standard_input_is_read_once(sources: Sequence[str], tmp_path: Path) -> None:
    read, write = os.pipe()
    kept = os.dup(0)
    os.dup2(read, 0)
    try:
        with pytest.raises(UsageError, match="can be read only once"):
            separate(*sources)
    finally:
        os.dup2(kept, 0)
        for number in (kept, read, write):
            os.close(number)


def test_one_descriptor_is_read_once() -> None:
    with descriptor(b"x") as source:
        number = int(source.removeprefix("fd:"))
        with pytest.raises(
            UsageError, match=f"--key and --password-from are both {source}, which can be read"
        ):
            separate(source, source)
        copy = os.dup(number)
        try:
            with pytest.raises(UsageError, match=f"are {source} and fd:{copy}, the same stream"):
                separate(source, f"fd:{copy}")
        finally:
            os.close(copy)


def test_a_pipe_with_a_name_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="can be read only once"):
        separate("k.key", str(tmp_path / "pipe"), "", str(tmp_path / "pipe"))


def test_a_file_behind_a_descriptor_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "k.key").write_bytes(KEY)
    with (tmp_path / "k.key").open("rb") as file, pytest.raises(UsageError, match="can be read only once"):
        separate(f"fd:{file.fileno()}", "", f"fd:{file.fileno()}")


def test_files_and_variables_are_read_as_often_as_needed(tmp_path: Path) -> None:
    (tmp_path / "k.key").write_bytes(KEY)
    path = str(tmp_path / "k.key")
    separate(path, "env:PW", path, "env:PW")
    with descriptor(b"x") as one, descriptor(b"x") as other:
        separate(one, other)


def test_create_and_sign_refuse_one_stream_for_two_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bundler.cli.options import console
    from installer.shared.command.command_line import run_app

    with descriptor(KEY) as source:
        for words in (
            ("create", "v1", "--key", source, "--provenance-key", source),
            ("sign", str(tmp_path / "b.tar"), "--key", source, "--password-from", source),
        ):
            assert run_app(console, app, words) == 2
            assert f"are both {source}, which can be read only once" in capsys.readouterr().err


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
    root = tmp_path / "root.json"
    public = tmp_path / "k.pub"
    public.write_text(CosignSigner.load(_written(tmp_path), password=b"pass word").public)
    made = started("trust", "init", str(root), "--release-key", str(public), "--root-key", str(public),
                  "--owner", "team")  # fmt: skip
    assert made.returncode == 0, made.stderr
    with descriptor(b"pass word\n") as source:
        number = int(source.partition(":")[2])
        os.set_inheritable(number, True)
        words = ("trust", "sign", str(root), "--key", "-", "--password-from", source)
        signed = started(*words, data=KEY, keep=(number,))
    assert signed.returncode == 0, signed.stderr
    without = started("trust", "sign", str(root), "--key", str(tmp_path / "k.key"))
    assert without.returncode == 2
    assert b"--password-from SOURCE" in without.stderr


def _written(directory: Path) -> Path:
    (directory / "k.key").write_bytes(KEY)
    return directory / "k.key"
