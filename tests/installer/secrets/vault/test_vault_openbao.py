"""The store `vault` with a real OpenBao server: what it gives, what is missing or forbidden."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from installer.host.context import Context
from installer.secrets.references import Reference
from installer.secrets.resolve import examine
from tests.rig.openbao import OpenBao, RefusedError
from tests.rig.releases import root
from tests.rig.vaulthosts import APPROLE, DB, TOKEN, configure, put, told, value, vault


@pytest.mark.parametrize("mount", ["secret", "kv1"])
def test_both_versions_are_told_apart_by_the_server(host: Context, known: Path, mount: str) -> None:
    wanted = {"secret": "of-version-two", "kv1": "of-version-one"}[mount]
    assert value(host, vault(f"{mount}/app/db")) == wanted


@pytest.mark.parametrize("mount", ["secret", "kv1"])
def test_both_versions_can_be_set(host: Context, known: Path, bao: OpenBao, mount: str) -> None:
    configure(known, bao, APPROLE, "mounts: {secret: 2, kv1: 1}\n")
    before = len(bao.requests())
    assert value(host, vault(f"{mount}/app/db")).startswith("of-version")
    assert not any("internal" in path for _, path in bao.requests()[before:])


def test_a_version_that_was_set_wrongly_is_told(host: Context, known: Path, bao: OpenBao) -> None:
    put(known / "token", bao.root)
    configure(known, bao, TOKEN, "mounts: {secret: 1}\n")
    found = told(host, DB)
    assert found.what == "the mount secret is of version 2 of the key-value engine, not 1"


def test_a_mount_with_several_parts_is_found(host: Context, known: Path, bao: OpenBao) -> None:
    with contextlib.suppress(RefusedError):
        bao.api("POST", "sys/mounts/team/a/kv", {"type": "kv", "options": {"version": "1"}})
    bao.api("POST", "team/a/kv/app/db", {"password": "of-team-a-22"})
    put(known / "token", bao.root)
    configure(known, bao, TOKEN)
    assert value(host, vault("team/a/kv/app/db")) == "of-team-a-22"


def test_two_hundred_secrets_take_one_login_and_one_request_a_path(
    host: Context, known: Path, bao: OpenBao
) -> None:
    for number in range(100):
        bao.put(f"app/many/{number}", {"one": f"value-one-{number}", "other": f"value-other-{number}"})
    wanted = [vault(f"secret/app/many/{number}", key) for number in range(100) for key in ("one", "other")]
    before = len(bao.requests())
    found = examine(host, wanted)
    assert len(found.secrets) == 200
    assert found.secrets[wanted[-1]].reveal() == "value-other-99"
    seen = Counter(bao.requests()[before:])
    assert set(seen.values()) == {1}
    assert len([path for _, path in seen if path.startswith("secret/data/app/many/")]) == 100
    others = {each for each in seen if not each[1].startswith("secret/data/")}
    assert others == {
        ("update", "auth/approle/login"),
        ("read", "sys/internal/ui/mounts/secret/app/many/0"),
        ("update", "auth/token/revoke-self"),
    }


@pytest.mark.parametrize(
    ("reference", "what", "hint"),
    [
        (
            vault("secret/other/db"),
            "policy does not allow to read secret/data/other/db",
            "the capability read",
        ),
        (
            vault("nosuch/app/db"),
            "there is no mount 'nosuch', or policy allows this login nothing in it",
            "policy",
        ),
        (vault("secret/app/nothing"), "there is nothing at this path", "check its spelling"),
        (vault("kv1/app/nothing"), "there is nothing at this path", "check its spelling"),
        (vault("secret/app/db", "pasword"), "has no key 'pasword' there", "did you mean #password?"),
        (vault("secret/app/db", "zzz"), "has no key 'zzz' there", "bao kv get"),
        (vault("secret/app/db", "port"), "is a number, not text", "a number in quotes"),
    ],
)
def test_what_is_not_there_or_not_allowed_is_told(
    host: Context, known: Path, reference: Reference, what: str, hint: str
) -> None:
    found = told(host, reference)
    assert found.what == what
    assert hint in found.hint


def test_a_mount_that_is_missing_is_told_to_who_may_see_all(host: Context, known: Path, bao: OpenBao) -> None:
    put(known / "token", bao.root)
    configure(known, bao, TOKEN, "mounts: {nosuch: 2}\n")
    assert told(host, vault("nosuch/app/db")).what == "there is no mount 'nosuch'"


def test_an_engine_of_another_type_is_told(host: Context, known: Path, bao: OpenBao) -> None:
    put(known / "token", bao.root)
    configure(known, bao, TOKEN)
    assert (
        told(host, vault("cubbyhole/app/db")).what == "the mount cubbyhole is of the type 'cubbyhole', not kv"
    )


def test_a_deleted_and_a_destroyed_version_are_told_apart(host: Context, known: Path, bao: OpenBao) -> None:
    bao.put("app/gone", {"password": "of-version-gone"})
    bao.api("DELETE", "secret/data/app/gone")
    found = told(host, vault("secret/app/gone"))
    assert found.what == "was deleted: version 1"
    assert "bao kv undelete" in found.hint
    bao.api("PUT", "secret/destroy/app/gone", {"versions": [1]})
    found = told(host, vault("secret/app/gone"))
    assert found.what == "was destroyed: version 1 is gone for good"


def test_good_and_bad_references_do_not_harm_each_other(host: Context, known: Path) -> None:
    wanted = [DB, vault("secret/other/db"), vault("secret/app/db", "user"), vault("kv1/app/nothing")]
    found = examine(host, wanted)
    assert set(found.secrets) == {DB, vault("secret/app/db", "user")}
    assert set(found.unresolved) == {vault("secret/other/db"), vault("kv1/app/nothing")}


def test_a_namespace_is_entered(host: Context, known: Path, bao: OpenBao) -> None:
    bao.api("POST", "sys/namespaces/plants", {})
    bao.api("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}}, namespace="plants")
    bao.api("POST", "kv/app/db", {"password": "of-the-team-22"}, namespace="plants")
    put(known / "token", bao.root)
    configure(known, bao, TOKEN, "namespace: plants\n")
    assert value(host, vault("kv/app/db")) == "of-the-team-22"


@pytest.mark.parametrize("auth", [APPROLE, TOKEN])
def test_a_namespace_that_does_not_exist_is_told(host: Context, known: Path, bao: OpenBao, auth: str) -> None:
    put(known / "token", bao.root)
    configure(known, bao, auth, "namespace: nosuch\n")
    found = told(host, DB)
    assert found.what == "the Vault does not know the namespace"
    assert found.hint == "check namespace in /etc/waybill/vault.yaml"


def test_a_server_that_is_sealed_is_told(host: Context, known: Path, bao: OpenBao) -> None:
    bao.seal()
    try:
        found = told(host, DB)
    finally:
        bao.unseal()
    assert found.what == f"the Vault {bao.address} is sealed"
    assert found.hint == "unseal it: bao operator unseal, or vault operator unseal"


def test_a_server_that_is_not_initialised_is_told(host: Context, tmp_path: Path) -> None:
    empty = OpenBao.launch(ready=False, tls=False)
    try:
        etc = root(host) / "etc"
        put(etc / "token", "s.none")
        put(etc / "waybill/vault.yaml", f"address: {empty.address}\n{TOKEN}", 0o644)
        found = told(host, DB)
    finally:
        empty.stop()
    assert found.what == f"the Vault {empty.address} is not initialised"


def test_nothing_of_it_is_in_what_the_server_writes_down(host: Context, known: Path, bao: OpenBao) -> None:
    value(host, DB)
    written = (bao.home / "audit.log").read_text() + (bao.home / "log").read_text()
    assert "of-version-two" not in written
    assert (known / "secret_id").read_text().strip() not in written
