"""`install secrets check`: which references cannot be resolved and why, and never what a secret is."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.core.format.manifest_rules import section_rank
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench
from tests.rig.trustworld import APPROVALS, FILES, World

VALUES = """\
db:
  host: db.lan
  password: secret://file/db
keys: [secret://file/gone, plain]
"""


def put(bench: Bench, path: str, text: str, mode: int = 0o600) -> Path:
    place = bench.host / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)
    return place


@pytest.fixture
def site(bench: Bench) -> Bench:
    """A host with values of one product, of which one of two secrets is there."""
    put(bench, "etc/waybill/lan-chat/values.yaml", VALUES)
    put(bench, "etc/waybill/lan-chat/secrets/db", "hunter22-of-db\n")
    return bench


def test_a_host_without_references_has_nothing_to_resolve(bench: Bench) -> None:
    assert bench.text("secrets", "check") == (0, "no value of this host refers to a secret\n")
    put(bench, "etc/waybill/lan-chat/values.yaml", "db: {password: plain-22}\n")
    code, document, _ = bench.run("secrets", "check")
    assert (code, document["secrets"], document["changed"]) == (0, [], False)


def test_what_can_be_resolved_is_told_without_the_value(site: Bench) -> None:
    put(site, "etc/waybill/lan-chat/secrets/gone", "hunter33-of-gone")
    code, said = site.text("secrets", "check")
    assert code == 0
    assert said.splitlines() == [
        "2 of 2 references to secrets can be resolved",
        "  ok      lan-chat  db.password  secret://file/db",
        "  ok      lan-chat  keys[0]  secret://file/gone",
    ]


def test_what_cannot_be_resolved_is_told_with_cause_and_remedy(site: Bench) -> None:
    code, said = site.text("secrets", "check")
    assert code == 15
    assert "  FAILED  lan-chat  keys[0]  secret://file/gone" in said
    assert "- secret://file/gone: /etc/waybill/lan-chat/secrets/gone: does not exist" in said
    assert "hint: put it there, then run `chmod 0600 " in said
    assert "hunter22" not in said


def test_the_document_of_the_check_has_every_reference_and_no_value(site: Bench) -> None:
    code, document, said = site.run("secrets", "check")
    assert (code, document["code"], document["changed"]) == (15, "host-not-ready", False)
    good, bad = document["secrets"]
    file = "/etc/waybill/lan-chat/values.yaml"
    assert good == {
        "product": "lan-chat", "key": "db.password", "where": f"{file}:3", "reference": "secret://file/db",
        "store": "file", "resolved": True, "what": None, "hint": None,
    }  # fmt: skip
    assert (bad["key"], bad["where"], bad["resolved"], bad["what"]) == (
        "keys[0]", f"{file}:4", False, "does not exist",
    )  # fmt: skip
    assert "hunter22" not in f"{document}{said}"


def test_faulty_references_and_files_are_told(site: Bench) -> None:
    put(site, "etc/waybill/lan-chat/values.yaml", "a: x-secret://file/db\nb: secret://nosuch/db\n")
    code, said = site.text("secrets", "check")
    assert code == 15
    assert "/etc/waybill/lan-chat/values.yaml:1: a has text before the reference" in said
    assert "/etc/waybill/lan-chat/values.yaml:2: b names the store 'nosuch'" in said
    put(site, "etc/waybill/lan-chat/values.yaml", "a: [\n")
    code, said = site.text("secrets", "check")
    assert code == 15
    assert "is not YAML" in said


def test_a_faulty_reference_is_not_called_none(site: Bench) -> None:
    put(site, "etc/waybill/lan-chat/values.yaml", "a: x-secret://file/db\n")
    code, said = site.text("secrets", "check")
    assert (code, said.startswith("error: secrets of this host cannot be resolved")) == (15, True)
    assert "no value of this host refers to a secret" not in said


def test_each_product_has_secrets_of_its_own(site: Bench) -> None:
    put(site, "etc/waybill/shop/values.yaml", "key: secret://file/db\n")
    put(site, "etc/waybill/lan-chat/secrets/gone", "hunter33-of-gone")
    code, document, _ = site.run("secrets", "check")
    assert code == 15
    assert [(each["product"], each["resolved"]) for each in document["secrets"]] == [
        ("lan-chat", True), ("lan-chat", True), ("shop", False),
    ]  # fmt: skip
    assert site.run("secrets", "check", "--product", "lan-chat")[0] == 0
    assert site.run("secrets", "check", "--product", "shop")[0] == 15
    code, document, _ = site.run("secrets", "check", "--product", "other")
    assert (code, document["problems"][0]["what"]) == (2, "other has no values on this host")
    assert document["problems"][0]["hint"] == "products with values here: lan-chat, shop"


def test_values_of_the_command_line_decide(site: Bench, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("keys: [plain]\n")
    assert site.run("secrets", "check", "--values", str(more))[0] == 0
    put(site, "etc/waybill/shop/values.yaml", "key: plain\n")
    assert site.run("secrets", "check", "--values", str(more))[0] == 2
    assert site.run("secrets", "check", "--values", str(more), "--product", "lan-chat")[0] == 0


def test_every_layer_of_the_host_and_of_the_command_counts(site: Bench) -> None:
    put(site, "etc/waybill/environment", "production\n", 0o644)
    put(site, "etc/waybill/cluster", "plant-3\n", 0o644)
    put(site, "etc/waybill/lan-chat/environments/production.yaml", "licence: secret://file/licence\n")
    put(site, "etc/waybill/lan-chat/clusters/plant-3.yaml", "licence: secret://file/of-plant\n")
    put(site, "etc/waybill/lan-chat/clusters/plant-4.yaml", "other: secret://file/other\n")
    put(site, "etc/waybill/shop/environments/production.yaml", "key: secret://file/key\n")
    code, document, _ = site.run("secrets", "check")
    assert code == 15
    found = {
        (each["product"], each["key"]): (each["reference"], each["where"]) for each in document["secrets"]
    }
    plant = "/etc/waybill/lan-chat/clusters/plant-3.yaml:1"
    assert found["lan-chat", "licence"] == ("secret://file/of-plant", plant)
    assert found["shop", "key"][0] == "secret://file/key"
    assert ("lan-chat", "other") not in found
    words = ("--product", "lan-chat", "--set", "keys=[]", "--set", "licence=secret://file/db")
    code, document, _ = site.run("secrets", "check", *words)
    assert code == 0
    assert [each["where"] for each in document["secrets"] if each["key"] == "licence"] == ["--set licence"]


def bundle(bench: Bench, defaults: str) -> str:
    every = {"config/values.yaml": defaults.encode(), **FILES}
    files = {path: every[path] for path in sorted(every, key=lambda path: (section_rank(path), path))}
    entries = {"config/values.yaml": {"kind": "values"}}
    plan = build.plan(
        files, room=512, entries=entries, values="config/values.yaml", rollback="docs/ROLLBACK.md"
    )
    return str(bench.bundle(World(plan=plan, approvals=APPROVALS)))


def test_the_defaults_of_a_bundle_count_where_the_site_has_no_other(site: Bench) -> None:
    path = bundle(site, "db: {password: secret://file/nowhere}\nlicence: secret://file/licence\nkeys: []\n")
    code, document, _ = site.run("secrets", "check", path)
    assert code == 15, document["problems"]
    assert [(each["key"], each["reference"], each["resolved"]) for each in document["secrets"]] == [
        ("db.password", "secret://file/db", True),
        ("licence", "secret://file/licence", False),
        ("keys[0]", "secret://file/gone", False),
    ]
    assert document["secrets"][1]["where"] == "config/values.yaml:2"


def test_a_bundle_of_another_product_is_no_answer(site: Bench) -> None:
    code, document, _ = site.run("secrets", "check", bundle(site, "a: 1\n"), "--product", "shop")
    assert code == 2
    assert document["problems"][0]["what"] == "the bundle is one of lan-chat, not of shop"


def test_a_bundle_that_nobody_signed_is_refused_before_anything_is_resolved(
    site: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("installer.commands.secrets.examine", lambda *_: pytest.fail("not verified"))
    path = Path(bundle(site, "a: secret://file/db\n"))
    path.write_bytes(path.read_bytes().replace(b"1.4.0", b"1.4.1", 1))
    assert site.run("secrets", "check", str(path))[0] in (10, 11)


def test_a_bundle_may_be_given_before_the_options(site: Bench) -> None:
    assert site.text("secrets", "check", "--help")[0] == 0
    assert site.text("secrets")[0] == 2


def test_each_fault_of_the_settings_of_the_vault_is_a_problem_of_its_own(site: Bench) -> None:
    put(site, "etc/waybill/lan-chat/values.yaml", "a: secret://vault/kv/a#x\nb: secret://vault/kv/b#x\n")
    put(site, "etc/waybill/vault.yaml", "address: https://v\ntimeout: x\nauth: {method: aprole}\n", 0o644)
    code, document, _ = site.run("secrets", "check")
    told = [(each["where"], each["what"], each["hint"]) for each in document["problems"][1:]]
    assert (code, len(told)) == (15, 3), told
    assert "vault.yaml is not valid: 2 problems" in told[0][1]
    assert told[1][0].endswith("vault.yaml:2")
    assert told[2][1:] == ("auth.method is 'aprole'", "did you mean approle?")
