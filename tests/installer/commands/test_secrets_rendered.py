"""Secrets of stores on their way from a reference into a rendered file, and into nothing else."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from tests.rig.bench import Bench
from tests.rig.configured import CONFIG, layer
from tests.rig.storesecrets import NEW, OLD, VALUES, bundle, install, places, secret

MODES = [(0o644, 0o600), (0o640, 0o640), (0o600, 0o600), (0o664, 0o660)]


def described(rule: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"db": {"properties": {"host": {}, "pin": {}, "password": rule}}}}


@pytest.fixture
def site(bench: Bench) -> Bench:
    """A host whose values refer to a secret in a file."""
    layer(bench, "values.yaml", VALUES)
    secret(bench, OLD)
    return bench


def test_a_template_gets_the_secret(site: Bench) -> None:
    install(site, bundle(site))
    assert (site.host / "etc/chat.conf").read_text() == f"host db.lan\nrequirepass {OLD}\n"


def test_the_secret_is_in_the_rendered_file_and_its_copy_and_nowhere_else(site: Bench) -> None:
    path = bundle(site)
    said = [site.text("plan", path)[1], install(site, path), site.text("status")[1]]
    said += [str(site.run(*words)[1]) for words in (("plan", path), ("status",), ("history",))]
    said += [site.text(*words)[1] for words in (("config", "show"), ("config", "validate"))]
    assert OLD not in "".join(said)
    found = places(site.host, OLD)
    assert found.pop(0) == "etc/chat.conf"
    (copy,) = found
    assert copy.startswith("var/lib/waybill/lan-chat/rendered/")
    place = site.host / copy
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_a_plan_shows_that_there_is_a_secret_and_not_which(site: Bench) -> None:
    code, said = site.text("plan", bundle(site))
    assert code == 0
    assert "+requirepass ***" in said


def test_a_plan_warns_of_a_secret_that_is_too_short_to_be_hidden_everywhere(site: Bench) -> None:
    secret(site, "709")
    code, document, _ = site.run("plan", bundle(site))
    assert code == 0
    (note,) = [each for each in document["notes"] if "shorter" in each]
    assert note.startswith("secret://file/db is shorter than 4 characters: it is hidden only where its name")


def test_a_reference_that_cannot_be_resolved_prevents_the_plan_at_its_line(site: Bench) -> None:
    layer(site, "values.yaml", "db:\n  password: secret://file/gone\n")
    code, document, _ = site.run("apply", bundle(site), "--yes")
    assert code == 15
    _, problem = document["problems"]
    assert problem["where"] == f"/{CONFIG}/values.yaml:2"
    assert problem["what"].startswith("db.password is secret://file/gone, which cannot be resolved: ")
    assert problem["what"].endswith("/secrets/gone: does not exist")
    assert problem["hint"].startswith("put it there, then run `chmod 0600 ")
    assert not (site.host / "etc/chat.conf").exists()


def test_a_secret_that_is_a_reference_again_prevents_the_plan_at_its_line(site: Bench) -> None:
    secret(site, "secret://file/db")
    code, document, _ = site.run("apply", bundle(site), "--yes")
    assert code == 15
    _, problem = document["problems"]
    assert problem["where"] == f"/{CONFIG}/values.yaml:2"
    assert problem["what"] == (
        "db.password is secret://file/db, which cannot be resolved: is a reference to a secret, not a "
        "secret: references are not followed"
    )
    assert not (site.host / "etc/chat.conf").exists()


def test_references_with_the_same_trouble_are_one_problem(site: Bench) -> None:
    layer(site, "values.yaml", "db:\n  password: secret://vault/a/b#c\n  host: secret://vault/a/d#e\n")
    code, document, _ = site.run("plan", bundle(site))
    assert code == 15
    _, problem = document["problems"]
    assert problem["what"].startswith("db.host is secret://vault/a/d#e (and 1 more values)") or problem[
        "what"
    ].startswith("db.password is secret://vault/a/b#c (and 1 more values)")


def test_a_faulty_reference_prevents_the_plan_without_being_quoted(site: Bench) -> None:
    layer(site, "values.yaml", "db:\n  password: x-secret://file/db\n")
    code, document, _ = site.run("plan", bundle(site))
    assert code == 15
    assert document["problems"][1]["where"] == f"/{CONFIG}/values.yaml:2"
    assert "has text before the reference" in document["problems"][1]["what"]


@pytest.mark.parametrize(
    ("rule", "value", "what"),
    [
        ({"minLength": 20}, OLD, "db.password is too short"),
        (
            {"pattern": "^[a-z]+$"},
            OLD,
            "is <secret://file/db>, which is not in the required form",
        ),
        ({"enum": ["a-first-one", "a-second-one"]}, OLD, "db.password is <secret://file/db>"),
        ({"type": "integer"}, "123456", "must be a whole number, but is <secret://file/db>"),
        (
            {"pattern": "^[a-z]+$"},
            "7",
            "is <secret://file/db>, which is not in the required form",
        ),
    ],
)
def test_the_schema_counts_for_the_secret_and_the_error_does_not_show_it(
    site: Bench, rule: dict[str, Any], value: str, what: str
) -> None:
    secret(site, value)
    path = bundle(site, schema=described(rule))
    code, document, said = site.run("plan", path)
    assert code == 15, document
    _, problem = document["problems"]
    assert what in problem["what"]
    assert problem["where"] == f"/{CONFIG}/values.yaml:2"
    assert OLD not in f"{document}{said}"


def test_a_secret_that_fits_the_schema_is_accepted_although_its_reference_would_not(site: Bench) -> None:
    rule = {"pattern": "^[a-z0-9-]+$", "maxLength": len(OLD), "not": {"const": "x"}}
    path = bundle(site, schema=described(rule))
    # What does not ask the store cannot say that it is wrong.
    assert site.run("config", "show", "--bundle", path)[0] == 0
    install(site, path)


@pytest.mark.parametrize(
    "template",
    [
        "login {{ db.password | upper }}\n",
        "begins with {{ db.password[0] }}\n",
        "{% for each in db.values() %}{{ each | string | length }}{% endfor %}\n",
        "{% if db.password.endswith('3') %}a{% else %}b{% endif %}\n",
    ],
)
def test_a_secret_that_shows_in_no_text_of_its_own_makes_the_file_private_all_the_same(
    site: Bench, template: str
) -> None:
    install(site, bundle(site, template=template, mode=0o644))
    assert stat.S_IMODE((site.host / "etc/chat.conf").stat().st_mode) == 0o600


@pytest.mark.parametrize(("declared", "mode"), MODES)
def test_a_file_with_a_secret_is_not_for_others(site: Bench, declared: int, mode: int) -> None:
    said = install(site, bundle(site, mode=declared))
    assert stat.S_IMODE((site.host / "etc/chat.conf").stat().st_mode) == mode
    assert ("not readable by other users, since secrets of stores are in it" in said) == (declared != mode)
    assert site.run("status", "--check")[0] == 0


def test_a_file_without_a_secret_keeps_its_mode(site: Bench) -> None:
    install(site, bundle(site, template="host {{ db.host }}\n", mode=0o644))
    assert stat.S_IMODE((site.host / "etc/chat.conf").stat().st_mode) == 0o644


def test_a_plan_creates_no_key_for_digests(site: Bench) -> None:
    key = site.host / "var/lib/waybill/secret-digest.key"
    assert site.run("plan", bundle(site))[0] == 0
    assert not key.exists()
    install(site, bundle(site))
    assert key.exists()


def test_nothing_is_recorded_by_which_a_secret_could_be_guessed(site: Bench) -> None:
    from installer.core import jsonio
    from installer.core.digest import sha256_hex

    install(site, bundle(site))
    plain = sha256_hex(jsonio.dumps({"key": "db.password", "value": OLD}))
    assert not places(site.host, plain)
    assert not places(site.host, sha256_hex(OLD.encode()))


def test_a_rotated_secret_is_a_change_of_the_plan_and_neither_value_is_shown(site: Bench) -> None:
    path = bundle(site)
    install(site, path)
    assert "already installed; nothing to do" in install(site, path)
    secret(site, NEW)
    code, said = site.text("plan", path)
    assert code == 0
    assert "secret db.password has changed since 1.4.0 was installed" in said
    assert "-requirepass ***\n+requirepass ***" in said
    said += install(site, path)
    assert OLD not in said
    assert NEW not in said
    assert "already installed; nothing to do" in install(site, path)


def test_a_rotated_secret_that_no_template_uses_is_recorded_once(site: Bench) -> None:
    path = bundle(site, template="host {{ db.host }}\n")
    install(site, path)
    secret(site, NEW)
    assert "secret db.password has changed" in install(site, path)
    assert "already installed; nothing to do" in install(site, path)
