"""A secret that was rotated in its store is seen by `status`, `config` and a rollback, and shown by none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.secrets import rotation
from installer.secrets.references import Reference
from installer.secrets.resolve import Resolution
from installer.state.known_secrets import known_secrets
from tests.rig.bench import Bench
from tests.rig.configured import CONFIG, layer
from tests.rig.storesecrets import NEW, OLD, VALUES, bundle, install, places, secret

CHANGED = "secret db.password has changed since it was installed"


@pytest.fixture
def site(bench: Bench) -> Bench:
    """A host with a release that was rendered with a secret."""
    layer(bench, "values.yaml", VALUES)
    secret(bench, OLD)
    install(bench, bundle(bench))
    return bench


def private(bench: Bench, name: str, text: str) -> None:
    path = bench.host / "etc/waybill" / name
    path.write_text(text)
    path.chmod(0o600)


def newer(bench: Bench) -> str:
    return bundle(bench, version="1.5.0", sequence=100_050_000_999)


def test_a_secret_that_is_as_it_was_is_no_drift(site: Bench) -> None:
    code, document, _ = site.run("status", "--check")
    assert code == 0
    assert document["products"][0]["secrets_changed"] == []


def test_a_rotated_secret_is_drift(site: Bench) -> None:
    secret(site, NEW)
    code, document, _ = site.run("status", "--check")
    (product,) = document["products"]
    assert code == 3
    assert product["secrets_changed"] == ["db.password"]
    (row,) = product["drift"]
    assert (row["where"], row["what"]) == ("secret db.password", "has changed since it was installed")
    code, said = site.text("status")
    assert code == 0
    assert CHANGED in said
    assert not {OLD, NEW} & set(said.split())
    install(site, bundle(site))
    assert site.run("status", "--check")[0] == 0


def test_a_secret_that_moved_to_another_reference_is_the_same(site: Bench) -> None:
    secret(site, OLD, "other")
    layer(site, "values.yaml", "db:\n  password: secret://file/other\n")
    assert "already installed; nothing to do" in install(site, bundle(site))


def test_a_store_that_has_lost_a_secret_is_a_warning(site: Bench) -> None:
    (site.host / CONFIG / "secrets/db").unlink()
    code, document, said = site.run("status", "--check")
    assert code == 0
    assert f"{rotation.UNKNOWN}: secret://file/db" in f"{document}{said}"
    assert "does not exist" in f"{document}{said}"


def test_a_store_that_never_answers_is_a_warning_after_a_bounded_time(
    site: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "WAIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        auth = "auth: {method: token_file, token_file: /etc/waybill/token}"
        private(site, "token", "a-token-of-rig")
        private(site, "vault.yaml", f"address: {address}\ntimeout: 60\n{auth}\n")
        record = next(site.host.glob("var/lib/waybill/lan-chat/rendered/*/values.json"))
        record.write_text(record.read_text().replace("secret://file/db", "secret://vault/a/b#c"))
        code, document, said = site.run("status", "--check")
    assert code == 0
    assert f"{rotation.UNKNOWN}: the stores did not answer within 0.5 s" in f"{document}{said}"


def test_metrics_and_support_ask_no_store(
    site: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rotation, "run_bounded", lambda *_: pytest.fail("a store was asked"))
    (site.host / "var/metrics").mkdir()
    private(site, "metrics-directory", "/var/metrics\n")
    assert site.run("metrics")[0] == 0
    assert site.run("support", str(tmp_path / "s.tar"))[0] == 0


def test_whoever_cannot_read_the_record_asks_no_store(site: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "run_bounded", lambda *_: pytest.fail("a store was asked"))
    record = next(site.host.glob("var/lib/waybill/lan-chat/rendered/*/values.json"))
    record.write_text("not JSON")
    assert site.run("status", "--check")[0] == 0


def test_status_never_has_the_secrets_itself(site: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    own, real = os.getpid(), rotation.examine

    def examined(context: Context, references: Iterable[Reference]) -> Resolution:
        if os.getpid() == own:
            pytest.fail("resolved in the process of the command")
        return real(context, references)

    monkeypatch.setattr(rotation, "examine", examined)
    secret(site, NEW)
    assert CHANGED in site.text("status")[1]


def test_the_old_secret_stays_hidden_after_it_was_rotated(site: Bench, tmp_path: Path) -> None:
    secret(site, NEW)
    (site.host / "etc/chat.conf").write_text(f"# {OLD} was here\n")
    said = site.text("status")[1] + site.text("plan", newer(site), "--on-drift", "replace")[1]
    assert "-# *** was here" in said
    assert OLD not in said


def test_a_rollback_brings_back_the_old_secret_and_names_the_key(site: Bench) -> None:
    secret(site, NEW)
    install(site, newer(site))
    assert (site.host / "etc/chat.conf").read_text().endswith(f"{NEW}\n")
    code, said = site.text("rollback", "--yes")
    assert code == 0
    assert "  ~ db.password" in said
    assert not {OLD, NEW} & set(said.replace("+", " ").replace("-requirepass", " ").split())
    assert (site.host / "etc/chat.conf").read_text().endswith(f"{OLD}\n")
    # The store has another one now.
    code, said = site.text("status", "--check")
    assert code == 3
    assert CHANGED in said


def test_a_secret_that_came_back_is_known_by_the_record_of_the_rollback_alone(bench: Bench) -> None:
    layer(bench, "values.yaml", VALUES)
    template = "no notation {{ db.password }}\n"
    for value, version, sequence in ((OLD, "1.4.0", 100_040_000_999), (NEW, "1.5.0", 100_050_000_999)):
        secret(bench, value)
        install(bench, bundle(bench, template, version=version, sequence=sequence))
    assert bench.run("rollback", "--yes")[0] == 0
    first, *_, last = sorted(bench.host.glob("var/lib/waybill/lan-chat/rendered/*/values.json"))
    assert first.parent != last.parent
    first.unlink()
    assert OLD in known_secrets(System(bench.host), Layout("lan-chat"))
    last.unlink()
    assert OLD not in known_secrets(System(bench.host), Layout("lan-chat"))


def test_a_rollback_without_a_rotation_changes_no_secret(site: Bench) -> None:
    install(site, newer(site))
    code, document, _ = site.run("rollback", "--yes")
    assert code == 0
    assert document["plan"]["values"] == []
    assert site.run("status", "--check")[0] == 0


def test_config_show_has_the_reference_and_asks_no_store(
    site: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.host / CONFIG / "secrets/db").unlink()
    code, document, _ = site.run("config", "show")
    (row,) = [each for each in document["values"] if each["key"] == "db.password"]
    assert (code, row["value"], row["secret"], row["applied"]) == (0, "secret://file/db", False, None)


def test_config_validate_resolves_and_shows_nothing(site: Bench) -> None:
    code, said = site.text("config", "validate")
    assert code == 0
    assert OLD not in said
    (site.host / CONFIG / "secrets/db").unlink()
    code, said = site.text("config", "validate")
    assert code == 15
    assert f"/{CONFIG}/values.yaml:2: db.password is secret://file/db, which cannot be resolved" in said


def test_config_diff_says_that_a_secret_changes_and_not_how(site: Bench) -> None:
    path = newer(site)
    assert site.run("config", "diff", path)[1]["changes"] == []
    secret(site, NEW)
    code, document, said = site.run("config", "diff", path)
    (row,) = document["changes"]
    assert (code, row["key"], row["change"], row["before"]) == (0, "db.password", "changed", None)
    assert row["after"]["value"] == "secret://file/db"
    assert not any(each in f"{document}{said}" for each in (OLD, NEW))


def test_the_key_of_digests_is_lost_and_every_secret_counts_as_changed_once(site: Bench) -> None:
    (site.host / "var/lib/waybill/secret-digest.key").unlink()
    assert CHANGED in site.text("status")[1]
    install(site, bundle(site))
    assert site.run("status", "--check")[0] == 0


def test_what_is_recorded_tells_where_secrets_stand_and_not_what_they_are(site: Bench) -> None:
    (place,) = [each for each in places(site.host, "waybill/values/v1") if each.endswith("values.json")]
    text = (site.host / place).read_text()
    assert "secret://file/db" in text
    assert OLD not in text
