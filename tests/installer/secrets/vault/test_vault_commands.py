"""A Vault that fails between two releases: the second is refused, nothing changes, no secret is shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rig.bench import Bench
from tests.rig.configured import layer
from tests.rig.hang import ends
from tests.rig.lyingvault import LyingVault, dribble
from tests.rig.storesecrets import bundle, install
from tests.rig.vaulthosts import LIAR, SENT, put

READ, HEALTH, LOOKUP = r"/v1/secret/data/app/db$", r"/v1/sys/health", r"/v1/auth/token/lookup-self$"
SEALED = {READ: (503, {}), HEALTH: (503, {"initialized": True, "sealed": True})}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "sealed": (SEALED, "the Vault {address} is sealed"),
    "slow": ({}, "the Vault {address} did not answer within 2 s"),
    "lying": ({READ: b"[]"}, "what {address} answers is not a JSON object"),
    "out of lease": (
        {READ: (403, {}), LOOKUP: (403, {})},
        "the Vault {address} does not accept the token any",
    ),
    "forbidden": ({READ: (403, {})}, "policy does not allow to read secret/data/app/db"),
}


@pytest.fixture
def vault(bench: Bench) -> Iterator[LyingVault]:
    """A server that still tells the truth, and a host that has got its secret from there."""
    made, etc = LyingVault(), bench.host / "etc"
    for name in ("role_id", "secret_id"):
        put(etc / name, f"{name.replace('_', '-')}-22\n")
    layer(bench, "values.yaml", "db:\n  password: secret://vault/secret/app/db#password\n")
    with made.serve(etc), ends():
        put(etc / "waybill/vault.yaml", LIAR.format(address=made.address), 0o644)
        install(bench, bundle(bench))
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_a_vault_that_gives_no_secret_stops_a_release_before_anything_changes(
    bench: Bench, vault: LyingVault, fault: str
) -> None:
    before = (bench.host / "etc/chat.conf").read_text()
    assert before.endswith("requirepass of-the-liar\n")
    spoil, told = FAULTS[fault]
    pause = threading.Event()
    vault.spoil.update({READ: dribble(b" ", pause)} if fault == "slow" else spoil)
    path = bundle(bench, "changed {{ db.password }}\n", version="1.5.0", sequence=100_050_000_999)
    code, document, said = bench.run("apply", path, "--yes")
    pause.set()
    (problem,) = document["problems"][1:]
    assert (code, problem["where"]) == (15, "/etc/waybill/lan-chat/values.yaml:2")
    assert told.format(address=vault.address) in problem["what"]
    assert problem["hint"]
    assert (bench.host / "etc/chat.conf").read_text() == before
    assert bench.run("status")[1]["products"][0]["installed"]["version"] == "1.4.0"
    said += f"{document}" + "".join(bench.text(word)[1] for word in ("history", "audit"))
    assert [each for each in SENT if each in said] == []
