"""A project of several files with values, profiles and an override of the site: all of them together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.host.system import Completed
from installer.planning.plan import Options
from installer.shared.values import Layer
from tests.rig.composed import composed, drift, same, services
from tests.rig.engine import Engine
from tests.rig.faulty import Killed
from tests.rig.livedir import LiveDir
from tests.rig.releases import (
    PRODUCT,
    Member,
    ReleaseSpec,
    install,
    plan_for,
    recovered,
    remove,
    roll_back,
    root,
)

pytestmark = pytest.mark.needs("docker", "compose", "busybox")
BOX = "image: rig/box:1, network_mode: none, stop_grace_period: 0s"
FILES = {
    "compose.yaml": f"""\
include: [base/data.yaml]
services:
  web:
    image: rig/box:1
    network_mode: none
    stop_grace_period: 0s
    environment: {{GREETING: "${{GREETING}}", PRICE: "$$5", VERSION: "{{version}}"}}
    volumes: ["/srv:/srv:ro"]
    expose: ["80"]
    depends_on: [db]
  debug: {{{BOX}, profiles: [debug]}}
""",
    "production.yaml": "services: {web: {environment: {MODE: production}}}\n",
    "base/data.yaml": f'services:\n  db: {{{BOX}, env_file: db.env, environment: {{LEVEL: "${{LEVEL}}"}}}}\n',
    "base/db.env": "NAME=shop\n",
}
ENV = b"""GREETING={{ greeting | env("compose") }}
{% if level %}
LEVEL={{ level }}
{% endif %}
COMPOSE_PROFILES={{ profiles }}
"""
VALUES = b"greeting: it's $HOME\nlevel: 1\nprofiles: ''\n"
OVERRIDE = "services: {web: {labels: {site: plant-$LEVEL}, volumes: ['/mnt:/mnt:ro'], expose: ['81']}}\n"
SICK = (HealthCheck("command", "", command=("/bin/false",), within=0),)


def release(number: int, *, plain: bool = False, changed: Mapping[str, str] = FILES) -> ReleaseSpec:
    """Give a release; `plain` is what it is without the second file, and with nothing that it includes."""
    version = f"{number}.0.0"
    texts = {name: text.replace("{version}", version) for name, text in {**FILES, **changed}.items()}
    files: str | list[str] = ["deploy/compose.yaml", "deploy/production.yaml"]
    if plain:
        included = texts["base/data.yaml"].partition("\n")[2].replace(", env_file: db.env", "")
        texts = {"compose.yaml": texts["compose.yaml"].partition("\n")[2].rstrip() + f"\n{included}"}
        files = "deploy/compose.yaml"
    members = {f"deploy/{name}": Member(text.encode(), kind="compose") for name, text in texts.items()}
    members["deploy/shop.env.j2"] = Member(ENV, kind="template")
    members["config/values.yaml"] = Member(VALUES, kind="values")
    step = Deployment("compose", {"file": files, "env": "deploy/shop.env.j2", "override": "site.yaml"})
    return ReleaseSpec(version, number, members, deploy=(step,), values="config/values.yaml")


def values(text: str) -> Options:
    """The site's values of one command."""
    return Options(values=(Layer("site.yaml", text.encode()),))


DEBUG = values("profiles: debug\n")


BOTH = pytest.mark.parametrize("engine", ["docker_engine", "docker28"], indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(getattr(request, "param", "docker_engine"))
    return found


@pytest.fixture
def live(engine: Engine, tmp_path: Path) -> Iterator[Context]:
    with composed(engine, tmp_path) as host:
        site = root(host) / f"etc/waybill/{PRODUCT}/site.yaml"
        site.parent.mkdir(parents=True)
        site.write_text(OVERRIDE)
        yield host


def inspected(engine: Engine, service: str) -> dict[str, Any]:
    (found,) = json.loads(engine.text("inspect", f"{PRODUCT}-{service}-1"))
    return dict(found)


def lines(live: Context, spec: ReleaseSpec, options: Options | None = None) -> list[str]:
    return [line for each in plan_for(live, spec, options).methods for line in each.lines]


@BOTH
def test_files_values_and_override_come_together_once(live: Context, engine: Engine) -> None:
    assert lines(live, release(1))[0].endswith(
        f"deploy/compose.yaml, deploy/production.yaml, /etc/waybill/{PRODUCT}/site.yaml of the site"
    )
    install(live, release(1))
    first, web, db = services(engine), inspected(engine, "web"), inspected(engine, "db")
    assert {"GREETING=it's $HOME", "PRICE=$5", "MODE=production"} <= set(web["Config"]["Env"])
    assert {"LEVEL=1", "NAME=shop"} <= set(db["Config"]["Env"])
    assert sorted(each["Destination"] for each in web["Mounts"]) == ["/mnt", "/srv"]
    assert sorted(web["Config"]["ExposedPorts"]) == ["80/tcp", "81/tcp"]
    assert web["Config"]["Labels"]["site"] == "plant-1"
    assert drift(live) == []
    # Only `web` has another model in the next release; a failure and a rollback leave the rest alone.
    with pytest.raises(RolledBackError):
        install(live, replace(release(2), health=SICK))
    undone = services(engine)
    assert same(first, undone) == {"db"}
    assert drift(live) == []
    # To one plain file, and back.
    install(live, release(3, plain=True))
    assert drift(live) == []
    assert not any("MODE" in each for each in inspected(engine, "web")["Config"]["Env"])
    roll_back(live)
    assert "MODE=production" in inspected(engine, "web")["Config"]["Env"]
    assert drift(live) == []
    remove(live)
    assert services(engine) == {}


@BOTH
@pytest.mark.parametrize("plain", [False, True], ids=["several files", "one file"])
def test_a_profile_that_the_site_chooses_comes_and_goes(live: Context, engine: Engine, plain: bool) -> None:
    install(live, release(1, plain=plain))
    before = services(engine)
    assert set(before) == {"web", "db"}
    with pytest.raises(RolledBackError):
        install(live, replace(release(2, plain=plain), health=SICK), DEBUG)
    assert set(services(engine)) == {"web", "db"}
    assert "start service debug (image rig/box:1)" in lines(live, release(1, plain=plain), DEBUG)
    install(live, release(1, plain=plain), DEBUG)
    chosen = services(engine)
    assert set(chosen) == {"web", "db", "debug"}
    assert drift(live) == []
    with pytest.raises(RolledBackError):
        install(live, replace(release(2, plain=plain), health=SICK))
    assert same(chosen, services(engine)) >= {"db"}
    assert set(services(engine)) == {"web", "db", "debug"}
    assert "remove service debug" in lines(live, release(1, plain=plain))
    install(live, release(1, plain=plain))
    assert set(services(engine)) == {"web", "db"}
    assert drift(live) == []


@pytest.mark.parametrize(
    ("word", "when", "begins", "goes"),
    [("stop", "before", DEBUG, None), ("rm", "after", DEBUG, None), ("stop", "after", None, DEBUG)],
    ids=["a change, before its stop", "a change, after its removal", "an undo, after its stop"],
)
def test_a_kill_while_a_service_is_removed_leaves_those_of_one_release(
    live: Context,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    when: str,
    begins: Options | None,
    goes: Options | None,
) -> None:
    install(live, release(1), begins)
    before = set(services(engine))
    assert isinstance(live.system, LiveDir)
    host, run = live.system, live.system.run

    def dying(argv: Sequence[str], **options: Any) -> Completed:
        if host.dead or list(argv[:2]) != ["docker", word]:
            return run(argv, **options)
        if when == "after":
            run(argv, **options)
        host.dead = True
        raise Killed

    monkeypatch.setattr(host, "run", dying)
    with pytest.raises(Killed):
        install(live, replace(release(2), health=SICK if goes else ()), goes)
    monkeypatch.undo()
    host.dead = False
    assert recovered(live)
    assert set(services(engine)) == before
    assert drift(live) == []


@pytest.mark.parametrize(("how", "plain"), [("stop", True), ("rm", False)])
def test_what_an_operator_had_stopped_or_removed_does_not_run_after_a_failed_upgrade(
    live: Context, engine: Engine, how: str, plain: bool
) -> None:
    install(live, release(1, plain=plain))
    ids = list(services(engine).values())
    engine.docker(how, *(["-f"] if how == "rm" else []), *ids)
    with pytest.raises(RolledBackError):
        install(live, replace(release(2, plain=plain), health=SICK))
    assert engine.text("ps", "-q", "--filter", f"label=com.docker.compose.project={PRODUCT}").strip() == ""
    assert set(services(engine)) == (set() if how == "rm" else {"web", "db"})


def test_a_variable_of_an_included_file_has_to_have_a_value(live: Context, engine: Engine) -> None:
    (site,) = (root(live) / "etc/waybill").rglob("site.yaml")
    site.unlink()
    plan = plan_for(live, release(1), values("level: 0\n"))
    what = "uses $LEVEL, which has no value and no default"
    assert [(each.where, each.what) for each in plan.problems] == [("deploy/base/data.yaml:2", what)]


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("enviroment: {A: '1'}", "services.web.enviroment", "this site's"),
        (
            "env_file: [x.env]",
            "env_file of service web refers to x.env, which is not a file",
            "absolute path",
        ),
        ("volumes: ['./data:/data']", "service web mounts ./data for writing", "named volume"),
    ],
)
def test_a_mistake_in_the_override_is_told_as_one_of_the_site(
    live: Context, engine: Engine, text: str, what: str, hint: str
) -> None:
    (site,) = (root(live) / "etc/waybill").rglob("site.yaml")
    site.write_text(f"services: {{web: {{{text}}}}}\n")
    for plain in (False, True):
        problems = plan_for(live, release(1, plain=plain)).problems
        assert {each.where for each in problems} == {f"/etc/waybill/{PRODUCT}/site.yaml"}
        assert what in problems[0].what
        assert hint in problems[0].hint
        assert not any(".run-" in each.what for each in problems)


def test_a_failure_is_told_without_the_progress_of_compose(live: Context, engine: Engine) -> None:
    command = "[/bin/busybox, sh, -c, 'echo no db; exit 4']"
    fails = {"production.yaml": f"services: {{web: {{command: {command}}}}}\n"}
    with pytest.raises(RolledBackError) as caught:
        install(live, release(1, changed=fails))
    said = [f"{each.where} {each.what}" for each in caught.value.problems]
    assert "service web no db" in said
    assert not any(word in each for each in said for word in ("Waiting", "Healthy", "Started"))
