"""The store `file`: a private file for each secret, below the product's own directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from installer.core.errors import Problem
from installer.host.context import Context
from installer.secrets.file import FileStore
from installer.secrets.references import Reference
from installer.secrets.store import Secret
from tests.rig.needs import needs
from tests.rig.releases import root

DB = Reference("file", "db")


@pytest.fixture
def secrets(host: Context) -> Path:
    """The directory of the product's secrets."""
    place = root(host) / "etc/waybill/lan-chat/secrets"
    place.mkdir(parents=True)
    return place


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def found(host: Context) -> str:
    outcome = FileStore(host).resolve([DB])[DB]
    assert isinstance(outcome, Secret), outcome
    return outcome.reveal()


def problem(host: Context) -> Problem:
    outcome = FileStore(host).resolve([DB])[DB]
    assert isinstance(outcome, Problem)
    return outcome


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"hunter22", "hunter22"),
        (b"hunter22\n", "hunter22"),
        (b"hunter22\r\n", "hunter22"),
        (b"hunter22\n\n", "hunter22\n"),
        (b" hunter22 ", " hunter22 "),
        ("größe22".encode(), "größe22"),
    ],
)
def test_the_value_is_the_content_without_one_line_break_at_its_end(
    host: Context, secrets: Path, data: bytes, value: str
) -> None:
    write(secrets / "db", data)
    assert found(host) == value


def test_the_value_is_hidden_from_then_on(host: Context, secrets: Path) -> None:
    write(secrets / "db", b"hunter22\n")
    found(host)
    assert host.secrets.hide("password hunter22") == "password ***"


def test_a_missing_file_is_told_with_the_command_that_puts_it_there(host: Context, secrets: Path) -> None:
    told = problem(host)
    assert (told.where, told.what) == ("/etc/waybill/lan-chat/secrets/db", "does not exist")
    assert told.hint == "put it there, then run `chmod 0600 /etc/waybill/lan-chat/secrets/db`"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666, 0o601])
def test_a_file_that_others_can_use_is_refused(host: Context, secrets: Path, mode: int) -> None:
    write(secrets / "db", b"hunter22", mode)
    told = problem(host)
    assert told.what.startswith(("can be read or changed by others (mode", "is not safe: "))
    assert told.hint.startswith("run `chmod ")
    assert told.hint.endswith("/etc/waybill/lan-chat/secrets/db`")


@pytest.mark.needs("root")
def test_a_file_of_another_user_is_refused(host: Context, secrets: Path) -> None:
    os.chown(write(secrets / "db", b"hunter22"), 12345, 0)
    told = problem(host)
    assert "belongs to user 12345" in told.what
    assert told.hint.startswith("run `chown root ")


def test_a_directory_that_others_can_write_to_is_refused(host: Context, secrets: Path) -> None:
    write(secrets / "db", b"hunter22")
    secrets.chmod(0o777)
    told = problem(host)
    assert "secrets can be written by everybody (mode 0777)" in told.what
    assert told.hint.startswith("run `chmod go-w ")


def test_a_link_inside_of_the_directory_is_followed(host: Context, secrets: Path) -> None:
    (secrets / "..data").mkdir()
    write(secrets / "..data/db", b"hunter22\n")
    (secrets / "db").symlink_to("..data/db")
    assert found(host) == "hunter22"


@pytest.mark.parametrize("target", ["/etc/shadow", "../other", "../secrets2/db"])
def test_a_link_out_of_the_directory_is_refused(host: Context, secrets: Path, target: str) -> None:
    (secrets.parent / "secrets2").mkdir()
    for path in (root(host) / "etc/shadow", secrets.parent / "other", secrets.parent / "secrets2/db"):
        write(path, b"hunter22")
    (secrets / "db").symlink_to(target)
    told = problem(host)
    assert told.what == "is a link that leads out of /etc/waybill/lan-chat/secrets"


def test_a_dangling_link_is_told(host: Context, secrets: Path) -> None:
    (secrets / "db").symlink_to("gone")
    assert problem(host).what == "is a link to a file that does not exist"


def test_a_pipe_is_not_waited_for(host: Context, secrets: Path) -> None:
    os.mkfifo(secrets / "db", 0o600)
    assert problem(host).what == "is a device, socket or pipe, not a file"


def test_a_directory_is_no_secret(host: Context, secrets: Path) -> None:
    (secrets / "db").mkdir(mode=0o700)
    assert problem(host).what == "is a directory, not a file"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"x" * (64 * 1024 + 1), "is larger than the 64 KiB"),
        (b"\xff\xfe\xfa", "is UTF-16 text"),
        (b"caf\xe9-cafe", "is not text in UTF-8"),
        (b"ab\0cd", "is not text in UTF-8"),
        (b"\xef\xbb\xbfhunter22", "begins with a byte order mark"),
        (b"secret://file/hunter22\n", "is a reference to a secret, not a secret"),
        (b" Secret://vault/a/hunter22#k\n\n", "is a reference to a secret, not a secret"),
    ],
)
def test_what_is_no_usable_text_is_refused_and_not_shown(
    host: Context, secrets: Path, data: bytes, what: str
) -> None:
    write(secrets / "db", data)
    told = problem(host)
    assert what in told.what
    assert told.hint
    assert "hunter22" not in f"{told}"


def test_a_secret_in_which_the_word_stands_somewhere_is_one(host: Context, secrets: Path) -> None:
    write(secrets / "db", b"# see secret://file/other\nhunter22\n")
    assert found(host) == "# see secret://file/other\nhunter22"


def test_the_largest_secret_is_taken(host: Context, secrets: Path) -> None:
    write(secrets / "db", b"x" * 64 * 1024)
    assert len(found(host)) == 64 * 1024


def test_a_file_that_may_not_be_read_is_told_with_the_remedy(host: Context, secrets: Path) -> None:
    needs("root")
    write(secrets / "db", b"hunter22")
    # As a user who is not root: by another user id for a moment.
    secrets.chmod(0o700)
    for place in [*secrets.parents]:
        if place.is_relative_to(root(host)):
            place.chmod(0o755)
    os.seteuid(12345)
    try:
        told = problem(host)
    finally:
        os.seteuid(0)
    assert told.what.startswith("cannot be read: Permission denied")
    assert "run as root" in told.hint
