"""`install config diff`: which values change from the installed release to a bundle or a retained release."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rig.answers import Document
from tests.rig.bench import Bench, environment
from tests.rig.configured import DEFAULTS, configured, layer

NEWER = DEFAULTS.replace("client: 4222", "client: 4333").replace("peers: [a]\n", "motd: hello\n")
OLDER, YOUNGER = "1.4.0", "1.5.0"


@pytest.fixture
def host(bench: Bench) -> Bench:
    """A host that runs 1.4.0."""
    environment(bench.host, "production\n")
    layer(bench, "values.yaml", "log: debug\n")
    assert bench.run(str(bench.bundle(configured())), "--yes")[0] == 0
    return bench


def newer(bench: Bench) -> str:
    template = "listen {{ ports.client }}\n{{ motd }}\n{{ log }}\n"
    return str(bench.bundle(configured(YOUNGER, 100_050_000_999, NEWER, template=template), "newer.tar"))


def changed(found: Document) -> dict[str, tuple[Any, Any]]:
    def side(value: dict[str, Any] | None) -> tuple[Any, str, int | None] | None:
        return value and (value["value"], value["file"], value["line"])

    return {each["key"]: (side(each["before"]), side(each["after"])) for each in found["changes"]}


def test_values_of_a_bundle_are_compared_with_those_of_the_installed_release(host: Bench) -> None:
    code, found, _ = host.run("config", "diff", newer(host), "--set", "log=info")
    assert (code, found["rollback"]) == (0, False)
    assert (found["from"]["version"], found["to"]["version"]) == (OLDER, YOUNGER)
    defaults = "config/values.yaml"
    assert changed(found) == {
        "ports.client": ((4222, defaults, 2), (4333, defaults, 2)),
        "log": (("debug", "/etc/waybill/lan-chat/values.yaml", 1), ("info", "--set log", None)),
        "peers": ((["a"], defaults, 5), None),
        "motd": (None, ("hello", defaults, 5)),
    }


def test_people_see_both_values_with_their_origins(host: Bench) -> None:
    code, said = host.text("config", "diff", newer(host))
    assert code == 0
    assert "lan-chat 1.4.0 → lan-chat 1.5.0: 3 values change" in said
    line = "~ ports.client: 4222 (config/values.yaml:2 of 1.4.0) → 4333 (config/values.yaml:2 of 1.5.0)"
    assert line in said.splitlines()
    assert '+ motd: "hello" (config/values.yaml:5 of 1.5.0)' in said.splitlines()
    assert '- peers: ["a"] (config/values.yaml:5 of 1.4.0)' in said.splitlines()


def test_the_same_release_with_the_same_layers_changes_nothing(host: Bench) -> None:
    assert "no value changes" in host.text("config", "diff", str(host.stick / "b.tar"))[1]


def test_a_layer_that_was_edited_since_is_a_change_of_the_very_same_release(host: Bench) -> None:
    layer(host, "values.yaml", "log: info\n")
    found = host.run("config", "diff", str(host.stick / "b.tar"))[1]
    # What it was is known by its digest only.
    assert changed(found) == {"log": (None, ("info", "/etc/waybill/lan-chat/values.yaml", 1))}
    assert "~ log: (not recorded) → " in host.text("config", "diff", str(host.stick / "b.tar"))[1]


def test_a_retained_release_comes_back_with_the_values_that_it_had_then(host: Bench) -> None:
    layer(host, "values.yaml", "log: info\n")
    assert host.run(newer(host), "--yes")[0] == 0
    code, found, _ = host.run("config", "diff", "--release", OLDER)
    assert (code, found["rollback"], found["to"]["version"]) == (0, True, OLDER)
    rows = changed(found)
    assert rows["ports.client"] == ((4333, "config/values.yaml", 2), (4222, "config/values.yaml", 2))
    # It had `debug` then, which no file has any more.
    assert rows["log"] == (("info", "/etc/waybill/lan-chat/values.yaml", 1), None)
    # The plan of the rollback names the same values.
    code, done, _ = host.run("rollback", "--yes")
    assert code == 0
    assert {each["key"] for each in done["plan"]["values"]} == rows.keys()


def test_a_secret_that_changes_is_named_and_not_shown(host: Bench) -> None:
    layer(host, "environments/production.yaml", "db: {password: tr0ub4dor-new}\n")
    path = newer(host)
    found = host.run("config", "diff", path)[1]
    (row,) = [each for each in found["changes"] if each["key"] == "db.password"]
    assert (row["after"]["value"], row["after"]["secret"]) == ("***", True)
    assert "tr0ub4dor" not in json.dumps(found) + host.text("config", "diff", path)[1]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "give a bundle or --release VERSION"),
        (("b.tar", "--release", "1.4.0"), "give a bundle or --release VERSION, not both"),
        (("--release", "9.9.9"), "lan-chat 9.9.9 is not a retained release of this host"),
        (("--release", "1.4.0", "--set", "a=1"), "--values and --set do not change a rollback"),
    ],
)
def test_what_cannot_be_compared_is_wrong_usage(host: Bench, words: tuple[str, ...], what: str) -> None:
    code, found, _ = host.run("config", "diff", *words)
    assert (code, what in found.what) == (2, True)
    assert found.hint


def test_values_that_are_not_valid_for_the_bundle_are_told_instead(host: Bench) -> None:
    layer(host, "values.yaml", "log: loud\n")
    assert host.run("config", "diff", newer(host))[0] == 15
