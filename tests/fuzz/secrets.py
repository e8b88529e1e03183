"""Targets of secret stores: references in values, and the settings of a Vault."""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from tempfile import mkdtemp

from installer.core.errors import Problem
from installer.host.system import System
from installer.secrets.references import LONGEST, has_reference
from installer.secrets.registry import STORES, parse
from installer.secrets.store import StoreError
from installer.secrets.vault.settings import SETTINGS, read_settings
from tests.fuzz.target import Target, same

APPROLE = """\
address: https://vault.lan:8200
ca_file: /etc/ca.crt
auth: {method: approle, role_id_file: /r, secret_id_file: /s}
"""
GOOD = (
    APPROLE,
    "address: http://127.0.0.1:8200\nmounts: {secret: 2}\nauth: {method: token_file, token_file: /t}\n",
    "address: https://v\nproxy: http://p:1\nnamespace: a/b\nauth: {method: kubernetes, role: app}\n",
    "address: https://[::1]:1\ntimeout: 5\nauth: {method: cert, cert_file: /c, key_file: /k}\n",
)


def check_reference(data: bytes) -> None:
    """A value is a reference that is written back to the same, or there is a reason and a remedy."""
    text = data.decode("utf-8", "replace")
    if not has_reference(text):
        return
    found = parse(text)
    if isinstance(found, Problem):
        if not found.what or not found.hint:
            raise AssertionError(f"a problem without a reason or a remedy: {found}")
        return
    same(str(found), text)
    same(unicodedata.normalize("NFC", text), text)
    parts = found.path.split("/")
    # A key is looked up among the keys of an answer; it is no part of a path.
    long = len(text) > LONGEST or any(len(part.encode()) > 255 for part in (*parts, found.key))
    if long or {"", ".", ".."} & set(parts):
        raise AssertionError(f"leads elsewhere: {found}")


@functools.cache
def host() -> System:
    """Gives a host of this process."""
    root = Path(mkdtemp(prefix="waybill-fuzz-"))
    (root / "etc/waybill").mkdir(parents=True)
    return System(root)


def check_settings(data: bytes) -> None:
    """Settings are read, with paths and an address that count, or what is wrong is said."""
    system = host()
    Path(system.root + SETTINGS).write_bytes(data)
    try:
        found = read_settings(system)
    except StoreError as error:
        if not error.problem.what.startswith(SETTINGS):
            raise AssertionError(f"refused without a reason: {error.problem}") from error
        return
    if "@" in found.address + found.proxy or not 1 <= found.timeout <= 120:
        raise AssertionError(f"not as the schema says: {found}")
    for path in filter(None, (*found.auth.files.values(), found.ca_file)):
        if not path.startswith("/") or {"..", "."} & set(path.split("/")):
            raise AssertionError(f"a path that leads elsewhere: {path}")


TARGETS = (
    Target(
        "secret-references",
        check_reference,
        lambda: [
            *(store.form.example.encode() for store in STORES.values()),
            b"x secret://file/a",
            b"secret://file/../a",
            b"secret://vault/a/b#c#d",
            "secret://file/gro\u0308sse".encode(),
        ],
        most=1200,
        words=(b"secret://", b"file/", b"vault/", b"systemd-credential/", b"/", b"#", b"..", b"%2e", b"{{"),
    ),
    Target(
        "vault-settings",
        check_settings,
        lambda: [text.encode() for text in GOOD],
        runs=1000,
        most=1024,
        words=(
            b"address: ",
            b"https://",
            b"http://",
            b"@",
            b"auth: {method: ",
            b"_file: /",
            b"..",
            b"mounts: {",
        ),
    ),
)
