"""What steps render into the directory of their release: planned, compared, shown, without an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.format.manifest import Deployment
from installer.host.context import Context
from installer.host.host import Host as Files
from installer.planning import plan_text
from installer.planning.changes import Changes
from installer.planning.plan import Options
from installer.planning.step_files.comparison import compare, split
from installer.shared.values import Layer
from installer.state.release import Installed
from tests.rig.releases import Member, ReleaseSpec, plan_for, root

ENV = "deploy/compose.env.j2"
ONLY = frozenset(("files", "compose"))
RELEASE = ReleaseSpec(
    "1.0.0",
    1,
    {
        ENV: Member(b"PORT={{ port }}\nPASSWORD={{ password }}\n", kind="template"),
        "deploy/compose.yaml": Member(
            b"services: {web: {image: 'x:1', privileged: '${PORT}'}}\n", kind="compose"
        ),
        "config/values.yaml": Member(b"port: 80\npassword: wrong-horse\n", kind="values"),
    },
    deploy=(Deployment("compose", {"file": "deploy/compose.yaml", "env": ENV, "project": "web"}),),
    values="config/values.yaml",
)


def options(text: str = "", only: frozenset[str] = ONLY) -> Options:
    return Options(values=(Layer("site.yaml", text.encode()),) if text else (), only=only)


def test_the_file_is_part_of_the_release_with_the_variables_of_waybill(host: Context) -> None:
    plan = plan_for(host, RELEASE, options())
    assert plan.release
    directory = plan.release.directory
    (item,) = [each for each in plan.changes.installed if each.path.startswith(directory)]
    assert (item.path, item.origin, item.mode) == (f"{directory}/deploy/.env", ENV, 0o600)
    text = plan.release.rendered[item.path].decode()
    assert text.splitlines() == [
        "PORT=80",
        "PASSWORD=wrong-horse",
        "# Set by Waybill:",
        "WAYBILL_PRODUCT='lan-chat'",
        "WAYBILL_VERSION='1.0.0'",
        f"WAYBILL_ROOT='{root(host)}'",
        f"WAYBILL_RELEASE='{root(host)}{directory}'",
        "COMPOSE_PROJECT_NAME='web'",
    ]
    assert [each.path for each in plan.changes.changes] == [item.path]
    shown = plan_text.plan_text(plan)
    assert "+PORT=80" in shown
    assert "wrong-horse" not in shown + str(plan.as_json())


def test_where_the_method_is_not_used_nothing_is_rendered(host: Context) -> None:
    plan = plan_for(host, RELEASE, options(only=frozenset(("files",))))
    assert plan.changes.installed == []
    assert plan.rendered == {}


def test_without_secrets_everybody_may_read_the_file(host: Context) -> None:
    members = {**RELEASE.members, ENV: Member(b"PORT={{ port }}\n", kind="template")}
    plan = plan_for(host, replace(RELEASE, members=members), options())
    assert [each.mode for each in plan.changes.installed] == [0o644]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('port: "80\\nx"\n', "line 2 of what is rendered sets no variable"),
        ("port: '$HOME'\n", "has a `$`"),
        ("prt: 1\n", "prt is not a value of this release"),
    ],
)
def test_values_that_cannot_be_written_are_refused(host: Context, text: str, what: str) -> None:
    found = plan_for(host, RELEASE, options(text)).problems
    assert any(what in problem.what for problem in found), found


def test_a_template_that_cannot_be_rendered_is_one_problem(host: Context) -> None:
    members = {**RELEASE.members, ENV: Member(b"PORT={{ nothing }}\n", kind="template")}
    found = plan_for(host, replace(RELEASE, members=members), options()).problems
    assert [each.where for each in found if each.where.startswith("deploy/")] == [f"{ENV}:1"]


def test_the_plan_shows_what_the_values_open(host: Context) -> None:
    def risks(text: str) -> list[str]:
        return [each.what for each in plan_for(host, RELEASE, options(text)).review.risks]

    assert not any("privileged" in each for each in risks("port: 'false'\n"))
    assert any("privileged" in each for each in risks("port: 'true'\n"))


ALLOWING = replace(
    RELEASE,
    deploy=(replace(RELEASE.deploy[0], options={**RELEASE.deploy[0].options, "override": "more.yaml"}),),
)


def site_file(host: Context, text: str) -> Path:
    path = root(host) / "etc/waybill/lan-chat/more.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_override_of_the_site_is_in_the_plan_with_what_it_opens(host: Context) -> None:
    site_file(host, "services: {web: {ports: ['${PORT}:1'], environment: {PASSWORD: wrong-horse}}}\n")
    assert "more.yaml" not in plan_text.plan_text(plan_for(host, RELEASE, options()))
    plan = plan_for(host, ALLOWING, options())
    assert plan.release
    (item,) = [each for each in plan.changes.installed if each.path.endswith(".yaml")]
    assert item.path == f"{plan.release.directory}/deploy/compose.override.yaml"
    assert (item.origin, item.mode) == ("/etc/waybill/lan-chat/more.yaml", 0o600)
    found = [each for each in plan.review.risks if each.where.startswith("more.yaml of the site")]
    assert [each.kind for each in found] == ["port"]
    assert "80" in found[0].what
    shown = plan_text.plan_text(plan)
    assert "compose.override.yaml" in shown
    assert "wrong-horse" not in shown


def test_without_an_override_nothing_is_said_of_it(host: Context) -> None:
    plan = plan_for(host, ALLOWING, options())
    assert not [each for each in plan.changes.installed if each.path.endswith(".yaml")]
    assert not [each for each in plan.review.risks if "more.yaml" in each.where]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("services: [", "is not YAML (line 2)"),
        ("- a\n", "is not a mapping"),
        ("a: 1\na: 2\n", "twice"),
        ("#" * 1024 * 1024 + "\n", "is larger than 1024 KiB"),
    ],
)
def test_an_override_that_cannot_be_read_is_refused(host: Context, text: str, what: str) -> None:
    site_file(host, text)
    found = [
        each for each in plan_for(host, ALLOWING, options()).problems if each.where.endswith("/more.yaml")
    ]
    assert [what in each.what for each in found] == [True], found


def test_an_override_that_others_can_change_is_refused(host: Context) -> None:
    site_file(host, "services: {}\n").chmod(0o666)
    found = [each for each in plan_for(host, ALLOWING, options()).problems if "more.yaml" in each.where]
    assert ["can be written by everybody" in each.what for each in found] == [True]
    assert "chmod go-w" in found[0].hint


def item(path: str, sha256: str = "a" * 64) -> Installed:
    return Installed(path, "file", sha256, 1, 0o644, -1, -1, source="/x", origin=ENV)


def test_places_in_releases_are_told_from_all_others(host: Context) -> None:
    inside = item(f"{host.layout.releases}/1-aa/deploy/.env")
    outside = item(f"{host.layout.releases}-x/.env")
    assert split(host.layout, [outside, inside]) == ([inside], [outside])


def test_a_directory_that_is_placed_gets_its_file_again_and_one_that_stays_is_compared(
    tmp_path: Path,
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/.env").write_bytes(b"A=1\n")
    system = Files(tmp_path)
    here = replace(item("/r/.env"), sha256=system.observe("/r/.env").sha256)

    def changes(wanted: Installed, *, placed: bool, old: tuple[Installed, ...] = (here,)) -> Changes:
        result = Changes()
        compare(system, result, old, [wanted], placed=placed)
        assert result.installed == [wanted]
        return result

    again = changes(here, placed=True)
    assert ([entry["saw"] for entry in again.entries], again.changes) == (["cleared"], [])
    assert changes(here, placed=False).entries == []
    edited = changes(item("/r/.env"), placed=False)
    assert [each.verb for each in edited.changes] == ["replace"]
    assert edited.entries[0]["saw"] != "cleared"
    gone = changes(replace(here, path="/r/x"), placed=False, old=(replace(here, path="/r/x"),))
    assert [each.verb for each in gone.changes] == ["restore"]
    later = changes(replace(here, path="/s/r/.env"), placed=True)
    assert [each.verb for each in later.changes] == ["add"]
    assert later.instead_of == {"/s/r/.env": "/r/.env"}
    # Another step with the same template is no earlier version of this one.
    other = changes(replace(here, path="/s/b/.env"), placed=True)
    assert other.instead_of == {"/s/b/.env": "/s/b/.env"}
