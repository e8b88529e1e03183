"""Two hundred secrets of a real server on their way from references into one rendered file."""

from __future__ import annotations

import stat
from collections import Counter

import pytest

from tests.rig.bench import Bench
from tests.rig.configured import configured, layer
from tests.rig.openbao import OpenBao
from tests.rig.vaulthosts import APPROLE, configure, put

pytestmark = pytest.mark.needs("bao")
COUNT = 100
TEMPLATE = "{% for name, value in secrets.items() %}{{ name }}={{ value }}\n{% endfor %}"
KEYS = ("one", "other")


@pytest.fixture
def site(bench: Bench, bao: OpenBao) -> Bench:
    """A host whose values refer to two hundred secrets on a hundred paths."""
    place = bench.host / "etc"
    put(place / "ca.crt", (bao.home / "ca.crt").read_text(), 0o644)
    put(place / "role_id", bao.role_id())
    put(place / "secret_id", f"{bao.secret_id()}\n")
    configure(place, bao, APPROLE)
    for number in range(COUNT):
        bao.put(f"app/all/{number}", {key: f"first-{key}-{number}" for key in KEYS})
    lines = [
        f"  {key}_{number}: secret://vault/secret/app/all/{number}#{key}\n"
        for number in range(COUNT)
        for key in KEYS
    ]
    layer(bench, "values.yaml", f"secrets:\n{''.join(lines)}")
    return bench


def bundle(bench: Bench) -> str:
    return str(bench.bundle(configured(defaults="secrets: {}\n", schema=None, template=TEMPLATE, mode=0o644)))


def test_an_installation_takes_one_login_and_one_request_a_path(site: Bench, bao: OpenBao) -> None:
    path, before = bundle(site), len(bao.requests())
    code, said = site.text("apply", path, "--yes")
    assert code == 0, said
    seen = Counter(bao.requests()[before:])
    assert set(seen.values()) == {1}
    assert seen["update", "auth/approle/login"] == 1
    assert len([each for _, each in seen if each.startswith("secret/data/app/all/")]) == COUNT
    place = site.host / "etc/chat.conf"
    assert sorted(place.read_text().splitlines()) == sorted(
        f"{key}_{number}=first-{key}-{number}" for number in range(COUNT) for key in KEYS
    )
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert "first-" not in said


def test_a_plan_that_rebuilds_a_record_takes_no_second_login(site: Bench, bao: OpenBao) -> None:
    path = bundle(site)
    assert site.run("apply", path, "--yes")[0] == 0
    next(site.host.glob("var/lib/waybill/lan-chat/rendered/*/record.json")).write_text("damaged")
    before = len(bao.requests())
    code, document, _ = site.run("apply", path, "--yes")
    assert (code, document["changed"]) == (0, True)
    assert set(Counter(bao.requests()[before:]).values()) == {1}


def test_a_rotation_on_the_server_is_seen_and_installed(site: Bench, bao: OpenBao) -> None:
    path = bundle(site)
    assert site.run("apply", path, "--yes")[0] == 0
    bao.put("app/all/7", {"one": "second-one-7", "other": "first-other-7"})
    code, document, said = site.run("status", "--check")
    assert (code, document["products"][0]["secrets_changed"]) == (3, ["secrets.one_7"])
    assert "second-one-7" not in f"{document}{said}"
    assert site.run("apply", path, "--yes")[0] == 0
    assert "one_7=second-one-7\n" in (site.host / "etc/chat.conf").read_text()
    assert site.run("status", "--check")[0] == 0
