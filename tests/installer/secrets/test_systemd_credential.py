"""The store `systemd-credential`: found where systemd finds it, decrypted by systemd's own program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from installer.core.errors import Problem
from installer.host.context import Context
from installer.secrets.references import Reference
from installer.secrets.store import Secret
from installer.secrets.systemd_credential import SystemdCredentialStore
from tests.rig.needs import needs
from tests.rig.releases import root

DB = Reference("systemd-credential", "db")


def put(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def found(host: Context) -> str:
    outcome = SystemdCredentialStore(host).resolve([DB])[DB]
    assert isinstance(outcome, Secret), outcome
    return outcome.reveal()


def problem(host: Context) -> Problem:
    outcome = SystemdCredentialStore(host).resolve([DB])[DB]
    assert isinstance(outcome, Problem)
    return outcome


@pytest.fixture
def live(host: Context, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The directory as if it were the running host: `systemd-creds` belongs to that."""
    monkeypatch.setattr(host.system, "live", True)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return host


def encrypt(host: Context, value: bytes, *, name: str = "db") -> Path:
    """Encrypt a credential with the key that every machine without a TPM has."""
    program = needs("systemd-creds")
    command = [program, "encrypt", "--with-key=tpm2-absent", f"--name={name}", "-", "-"]
    sealed = subprocess.run(command, input=value, capture_output=True, check=True).stdout
    return put(root(host) / "etc/credstore.encrypted/db", sealed, 0o644)


def test_a_plain_one_of_the_host_is_read_as_it_is(host: Context) -> None:
    put(root(host) / "etc/credstore/db", b"hunter22\n")
    assert found(host) == "hunter22\n"


def test_etc_comes_before_run(host: Context) -> None:
    put(root(host) / "run/credstore/db", b"of-run-22")
    assert found(host) == "of-run-22"
    put(root(host) / "etc/credstore/db", b"of-etc-22")
    assert found(host) == "of-etc-22"


def test_that_of_this_service_comes_first(live: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root(live) / "etc/credstore/db", b"of-etc-22")
    put(root(live) / "run/credentials/waybill.service/db", b"of-unit-22", 0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/waybill.service")
    assert found(live) == "of-unit-22"


def test_that_of_this_service_means_nothing_below_a_root(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root(host) / "etc/credstore/db", b"of-etc-22")
    put(root(host) / "creds/db", b"of-unit-22")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/creds")
    assert found(host) == "of-etc-22"


def test_a_relative_directory_of_credentials_means_nothing(
    live: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "creds")
    assert "is in none of" in problem(live).what


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_plain_one_that_others_can_read_is_refused(host: Context, mode: int) -> None:
    put(root(host) / "etc/credstore/db", b"hunter22", mode)
    told = problem(host)
    assert told.what == f"can be read or changed by others (mode {mode:04o})"
    assert told.hint == "run `chmod 0600 /etc/credstore/db`"


def test_one_of_a_service_that_everybody_can_read_is_refused(
    live: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root(live) / "creds/db", b"hunter22", 0o444)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/creds")
    assert problem(live).what == "can be read or changed by others (mode 0444)"


def test_a_missing_one_is_told_with_the_places_and_the_command(host: Context) -> None:
    told = problem(host)
    assert told.what == "is in none of $CREDENTIALS_DIRECTORY, /etc/credstore.encrypted and /etc/credstore"
    assert told.hint == "systemd-creds encrypt --name=db FILE /etc/credstore.encrypted/db"


def test_an_encrypted_one_is_decrypted_and_comes_before_a_plain_one(live: Context) -> None:
    put(root(live) / "etc/credstore/db", b"of-etc-22")
    encrypt(live, b"sealed-22\n")
    assert found(live) == "sealed-22\n"
    assert live.secrets.hide("sealed-22") == "***"


def test_an_encrypted_one_of_another_name_is_refused(live: Context) -> None:
    encrypt(live, b"sealed-22", name="other")
    told = problem(live)
    assert told.where == "/etc/credstore.encrypted/db"
    assert "cannot be decrypted: Embedded credential name 'other' does not match" in told.what
    assert told.hint.startswith("encrypt it again on this host: systemd-creds encrypt --name=db FILE")


def test_a_damaged_one_is_refused(live: Context) -> None:
    needs("systemd-creds")
    put(root(live) / "etc/credstore.encrypted/db", b"bm90IGEgY3JlZGVudGlhbA==\n")
    assert problem(live).what.startswith("cannot be decrypted: ")


def test_an_encrypted_one_that_others_can_change_is_refused(live: Context) -> None:
    put(root(live) / "etc/credstore.encrypted/db", b"x", 0o666)
    assert "can be written by everybody" in problem(live).what


def test_a_value_that_is_too_large_is_refused_after_decryption(live: Context) -> None:
    encrypt(live, b"x" * (64 * 1024 + 1))
    assert problem(live).what == "is larger than the 64 KiB that a secret may have"


def test_without_the_program_the_other_ways_are_named(live: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root(live) / "etc/credstore.encrypted/db", b"x")
    monkeypatch.setattr(live.system, "which", lambda tool: None)
    told = problem(live)
    assert told.what == "is encrypted, and this host has no systemd-creds (systemd 250 or later)"
    assert told.hint == "put it into /etc/credstore, mode 0600, or use secret://file/NAME"


def test_a_directory_has_no_key_to_decrypt_with(host: Context) -> None:
    put(root(host) / "etc/credstore.encrypted/db", b"x")
    told = problem(host)
    assert told.what == "is encrypted with the key of a host, which a directory does not have"
