"""A real server for all tests of the store, and a host for one that lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from installer.host.context import Context
from tests.rig.hang import ends
from tests.rig.lyingvault import LyingVault
from tests.rig.openbao import OpenBao
from tests.rig.releases import root
from tests.rig.vaulthosts import APPROLE, LIAR, configure, outcome, put


@pytest.fixture(scope="session")
def bao() -> Iterator[OpenBao]:
    """A real server with a few secrets."""
    server = OpenBao.launch()
    try:
        server.put("app/db", {"password": "of-version-two", "user": "chat-user", "port": 5432})
        server.api("POST", "kv1/app/db", {"password": "of-version-one"})
        server.put("other/db", {"password": "of-another-team"})
        yield server
    finally:
        server.stop()


@pytest.fixture
def known(host: Context, bao: OpenBao) -> Path:
    """`/etc` of a host that knows the real server, and logs in by AppRole."""
    place = root(host) / "etc"
    put(place / "ca.crt", (bao.home / "ca.crt").read_text(), 0o644)
    put(place / "role_id", bao.role_id())
    put(place / "secret_id", f"{bao.secret_id()}\n")
    configure(place, bao, APPROLE)
    return place


@pytest.fixture
def etc(host: Context) -> Path:
    """`/etc` of a host that logs in by AppRole, to a server that lies."""
    place = root(host) / "etc"
    for name in ("role_id", "secret_id"):
        put(place / name, f"{name.replace('_', '-')}-22\n")
    (place / "waybill").mkdir()
    return place


@pytest.fixture
def ask(host: Context, etc: Path) -> Callable[..., Any]:
    """Serve a Vault that is spoiled as given, and return what becomes of a reference."""

    def asked(spoil: dict[str, Any] | None = None, *, settings: str = LIAR, **given: Any) -> Any:
        vault = LyingVault(spoil or {})
        asked.vault = vault  # type: ignore[attr-defined]
        with vault.serve(etc, **given), ends():
            (etc / "waybill/vault.yaml").write_text(settings.format(address=vault.address))
            return outcome(host)

    return asked
