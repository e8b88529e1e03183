"""Hosts that refer to secrets in a Vault: a real OpenBao server, or one that lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from installer.core.errors import Problem
from installer.host.context import Context
from installer.secrets.references import Reference
from installer.secrets.resolve import examine
from installer.secrets.store import Outcome, Secret, StoreError
from installer.secrets.vault.store import VaultStore
from tests.rig.openbao import OpenBao

APPROLE = "auth: {method: approle, role_id_file: /etc/role_id, secret_id_file: /etc/secret_id}\n"
TOKEN = "auth: {method: token_file, token_file: /etc/token}\n"
LIAR = """\
address: {address}
ca_file: /etc/ca.crt
timeout: 2
auth: {{method: approle, role_id_file: /etc/role_id, secret_id_file: /etc/secret_id}}
"""
"""Settings for a server that lies."""
SENT = ("role-id-22", "secret-id-22", "s.of-the-liar", "of-the-liar")
"""What is sent to it, and what it answers."""


def vault(path: str, key: str = "password") -> Reference:
    """Give a reference."""
    return Reference("vault", path, key)


DB = vault("secret/app/db")


def put(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file with a mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def configure(etc: Path, bao: OpenBao, auth: str, more: str = "") -> None:
    """Write the settings of a host for a real server."""
    put(etc / "waybill/vault.yaml", f"address: {bao.address}\nca_file: /etc/ca.crt\n{more}{auth}", 0o644)


def value(host: Context, reference: Reference) -> str:
    """Resolve a reference."""
    found = _outcome(host, reference)
    assert isinstance(found, Secret), found
    return found.reveal()


def told(host: Context, reference: Reference) -> Problem:
    """Give why a reference cannot be resolved; it has a remedy, and shows nothing of the server's secrets."""
    found = _outcome(host, reference)
    assert isinstance(found, Problem)
    assert found.hint
    for secret in ("of-version", "of-another-team"):
        assert secret not in str(found)
    return found


def _outcome(host: Context, reference: Reference) -> Outcome:
    found = examine(host, [reference])
    return found.secrets.get(reference) or found.unresolved[reference]


def outcome(host: Context) -> Outcome | StoreError:
    """Ask the server that lies for a secret."""
    try:
        return VaultStore(host).resolve([DB])[DB]
    except StoreError as error:
        return error


def told_by_liar(found: Any) -> Problem:
    """Give the problem that was found, which shows no secret, nor does what it is made of."""
    assert not isinstance(found, Secret)
    problem: Problem = found.problem if isinstance(found, StoreError) else found
    assert problem.hint
    shown = [str(problem), repr(found)]
    while isinstance(found, BaseException):
        shown.append(repr(found.__dict__))
        found = found.__cause__ or found.__context__
    assert not any(secret in text for secret in SENT for text in shown), shown
    return problem
