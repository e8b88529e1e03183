"""What happens because configuration files change, decided from two manifests and a list of changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.format.entries.config_file import NOTHING, OnChange
from installer.core.format.manifest import Deployment, FileEntry, Image, LinkEntry, Manifest
from installer.deploy.configuration.reactions import FileChanges, Reactions, Side, reactions

RELOAD, RESTART = OnChange(reload="web.service"), OnChange(restart="web.service")
WEB, MAIL = "/etc/web.conf", "/etc/mail.conf"
UNITS = {
    "web.service": "[Service]\nExecStart=/opt/bin/web --config /etc/web.conf\nExecReload=/bin/true\n",
    "mail.service": "[Service]\nExecStart=/opt/bin/mail\nWorkingDirectory=/opt/share\n",
}
CURRENT = "/var/lib/waybill/p/current"


def file(
    path: str, install: str = "", kind: Any = "template", sha: str = "a", on: OnChange = NOTHING
) -> FileEntry:
    return FileEntry(path, 1, sha * 64, 0o644, kind, install, on_change=on)


def side(*files: FileEntry, units: tuple[str, ...] = ("web.service", "mail.service"), **fields: Any) -> Side:
    """Return a release with two services, their programs and some more files."""
    carried = tuple(file(f"deploy/{unit}", kind="unit") for unit in units)
    deploy = (Deployment("systemd", {"units": [each.path for each in carried]}),) if carried else ()
    methods = fields.pop("methods", frozenset({"files", "systemd"}))
    manifest = Manifest("p", "1.0.0", 1, 0, 1, ("linux/amd64",), (*files, *carried), deploy=deploy)
    return Side(replace(manifest, **fields), "linux/amd64", methods, CURRENT, UNITS)


def react(old: Side | None, new: Side | None, written: Iterable[str], gone: Iterable[str]) -> Reactions:
    return reactions(old, new, FileChanges(replaced=frozenset(written), gone=frozenset(gone)))


def texts(found: Reactions) -> list[str]:
    return [act.text() for act in found.acts]


CONFIGURED = side(file("config/web.conf", WEB, on=RELOAD))


def test_a_file_that_changes_reloads_its_unit_which_goes_on_running() -> None:
    found = react(CONFIGURED, CONFIGURED, [WEB], [])
    assert texts(found) == ["reload web.service"]
    assert found.acts[0].because == (WEB,)
    assert found.acts[0].own
    assert found.spared == ("web.service",)


@pytest.mark.parametrize("on", [RELOAD, RESTART])
def test_a_file_that_does_not_change_does_nothing_and_its_unit_goes_on_running(on: OnChange) -> None:
    release = side(file("config/web.conf", WEB, on=on))
    assert react(release, release, [], []) == Reactions(spared=("web.service",))


def test_a_file_that_changes_and_asks_for_a_restart_spares_its_own_unit_no_longer() -> None:
    mail = file("config/mail.conf", MAIL, on=OnChange(restart="mail.service"))
    release = side(file("config/web.conf", WEB, on=RESTART), mail)
    # Its own step restarts it, as in every upgrade.
    assert react(release, release, [WEB], []) == Reactions(spared=("mail.service",))


def test_a_release_without_on_change_spares_no_unit() -> None:
    plain = side(file("config/web.conf", WEB))
    assert react(plain, plain, [WEB], []) == Reactions()


def test_several_files_with_one_unit_reload_it_once() -> None:
    both = side(file("config/web.conf", WEB, on=RELOAD), file("config/mail.conf", MAIL, on=RELOAD))
    (act,) = react(both, both, [WEB, MAIL], []).acts
    assert act.because == (WEB, MAIL)


@pytest.mark.parametrize("order", [(RELOAD, RESTART), (RESTART, RELOAD)])
def test_restart_wins_over_reload(order: tuple[OnChange, OnChange]) -> None:
    both = side(file("config/web.conf", WEB, on=order[0]), file("config/mail.conf", MAIL, on=order[1]))
    found = react(both, both, [WEB, MAIL], [])
    # Its own step restarts it, as in every upgrade.
    assert found == Reactions()
    host = side(*both.manifest.files[:2], units=())
    assert texts(react(host, host, [WEB, MAIL], [])) == ["restart web.service"]


def test_a_unit_that_is_new_is_started_by_its_step() -> None:
    for old in (None, side(units=("mail.service",))):
        assert react(old, CONFIGURED, [WEB], []) == Reactions()


CHANGES = {
    "its unit file": ("/etc/systemd/system/web.service", {"web.service"}),
    "a file that adds to its unit file": ("/etc/systemd/system/web.service.d/x.conf", {"web.service"}),
    "its program": ("/opt/bin/web", {"web.service"}),
    "a file that no unit names": ("/opt/lib/libweb.so", {"web.service", "mail.service"}),
    "a file below a directory that a unit names": ("/opt/share/x", {"web.service", "mail.service"}),
    "a configuration file that says nothing": ("/etc/plain.conf", {"web.service", "mail.service"}),
    "the program of the other service": ("/opt/bin/mail", {"mail.service"}),
    "the unit file of the other service": ("/etc/systemd/system/mail.service", {"mail.service"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_unit_is_restarted_if_something_changes_that_it_may_use(what: str) -> None:
    path, affected = CHANGES[what]
    mail = file("config/mail.conf", MAIL, on=OnChange(reload="mail.service"))
    both = side(*CONFIGURED.manifest.files[:1], mail)
    for written, gone in (([WEB, MAIL, path], []), ([WEB, MAIL], [path])):
        found = react(both, both, written, gone)
        assert set(found.spared) == {"web.service", "mail.service"} - affected
        assert {act.unit for act in found.acts} == set(found.spared)


def kept(sha: str, kind: str) -> Side:
    return side(*CONFIGURED.manifest.files[:1], file("bin/web", kind=kind, sha=sha))


@pytest.mark.parametrize(("kind", "is_spared"), [("binary", False), ("tree", False), ("doc", True)])
def test_a_file_in_the_directory_of_the_release_counts_if_services_may_use_it(
    kind: str, is_spared: bool
) -> None:
    found = react(kept("a", kind), kept("b", kind), [WEB], [])
    assert bool(found.spared) == is_spared


def test_a_link_in_the_directory_of_the_release_counts() -> None:
    one, two = (side(*CONFIGURED.manifest.files[:1], links=(LinkEntry("trees/a", to),)) for to in ("b", "c"))
    assert react(one, two, [WEB], []).spared == ()


def test_a_unit_that_runs_from_the_directory_of_the_release_is_restarted_with_each_new_one() -> None:
    text = f"[Service]\nExecStart=/bin/sh run\nWorkingDirectory={CURRENT}\nExecReload=/bin/true\n"
    within = replace(CONFIGURED, units={**UNITS, "web.service": text})
    later = replace(within, manifest=replace(within.manifest, version="2.0.0"))
    assert react(within, within, [WEB], []).spared == ("web.service",)
    assert react(within, later, [WEB], []).spared == ()


def test_an_instance_of_a_template_of_the_release_need_not_be_known_to_the_host() -> None:
    many = side(file("config/web.conf", WEB, on=OnChange(reload="web@1.service")), units=("web@.service",))
    (act,) = react(None, many, [WEB], []).acts
    assert (act.own, act.comes) == (False, True)


def test_a_unit_whose_step_is_not_run_is_not_told_and_that_is_said() -> None:
    without = replace(CONFIGURED, methods=frozenset({"files"}))
    found = react(without, without, [WEB], [])
    assert found.acts == ()
    assert [act.text() for act in found.skipped] == ["reload web.service"]


HOST = side(file("config/web.conf", WEB, on=OnChange(reload="nginx.service")), units=())
COMMAND = side(file("config/web.conf", WEB, on=OnChange(command=("sync", "all"))), units=())


@pytest.mark.parametrize(("release", "text"), [(HOST, "reload nginx.service"), (COMMAND, "run sync all")])
def test_the_host_is_told_of_files_that_come_change_and_go(release: Side, text: str) -> None:
    assert texts(react(None, release, [WEB], [])) == [text]
    assert texts(react(release, release, [WEB], [])) == [text]
    assert texts(react(release, side(units=()), [], [WEB])) == [text]
    assert texts(react(release, None, [], [WEB])) == [text]
    assert react(release, release, [], []) == Reactions()


def test_a_unit_that_goes_with_the_release_is_not_told() -> None:
    assert react(CONFIGURED, None, [], [WEB]) == Reactions()


def test_a_file_that_only_the_old_release_speaks_of_and_that_stays_does_nothing() -> None:
    assert react(COMMAND, side(file("config/web.conf", WEB), units=()), [WEB], []) == Reactions()


def test_a_command_of_several_files_is_run_once_and_commands_come_first() -> None:
    command = OnChange(command=("sync",))
    many = side(
        file("config/web.conf", WEB, on=OnChange(reload="nginx.service")),
        file("config/mail.conf", MAIL, on=command),
        file("config/x.conf", "/etc/x", on=command),
        units=(),
    )
    assert texts(react(many, many, [WEB, MAIL, "/etc/x"], [])) == ["run sync", "reload nginx.service"]


def test_a_command_is_told_whether_any_of_its_files_was_or_stays_there() -> None:
    def facts(*changes: frozenset[str]) -> tuple[bool, bool]:
        (act,) = reactions(COMMAND, COMMAND if WEB not in changes[2] else None, FileChanges(*changes)).acts
        return act.fresh, act.ended

    web, none = frozenset({WEB}), frozenset[str]()
    assert facts(web, none, none) == (True, False)
    assert facts(none, web, none) == (False, False)
    assert facts(none, none, web) == (False, True)


def test_a_file_of_another_platform_does_nothing() -> None:
    other = replace(file("config/web.conf", WEB, on=RELOAD), platform="linux/arm64")
    assert react(None, side(other), [WEB], []) == Reactions()


UNIT_ACTS = [OnChange(**{does: unit}) for does in ("reload", "restart") for unit in UNITS]
ACTS = st.sampled_from(
    [NOTHING, *UNIT_ACTS, OnChange(command=("sync",)), OnChange(reload="nginx.service")],
)
PATHS = ["/etc/a", "/etc/b", "/etc/c", "/opt/bin/web", "/opt/bin/mail", "/opt/x"]


@given(
    st.lists(ACTS, min_size=3, max_size=3), st.sets(st.sampled_from(PATHS)), st.sets(st.sampled_from(PATHS))
)
def test_each_unit_is_told_once_and_never_both_spared_and_restarted(
    on: list[OnChange], written: set[str], gone: set[str]
) -> None:
    files = [file(f"config/{path[5:]}", path, on=act) for path, act in zip(PATHS[:3], on, strict=True)]
    release = side(*files)
    found = react(release, release, written - gone, gone)
    assert len({(act.unit, act.command) for act in found.acts}) == len(found.acts)
    named = {act.unit for act in on}
    assert set(found.spared) <= named & set(UNITS)
    for act in found.acts:
        assert set(act.because) <= written | gone
        assert not act.own or (act.does == "reload" and act.unit in found.spared)
    restarts = {act.restart for path, act in zip(PATHS[:3], on, strict=True) if path in written | gone}
    assert not restarts & set(found.spared)


def with_step(**options: list[str]) -> Side:
    """Return a release whose step has further options."""
    base = side(file("config/web.conf", WEB, on=RELOAD))
    kinds = {path: key if key != "units" else "unit" for key, paths in options.items() for path in paths}
    files = tuple(file(path, kind=kind) for path, kind in kinds.items())
    units = [*base.manifest.deploy[0].options["units"], *options.pop("units", [])]
    deploy = (Deployment("systemd", {"units": units, **options}),)
    manifest = replace(base.manifest, files=(*base.manifest.files, *files), deploy=deploy)
    return replace(base, manifest=manifest)


def test_a_drop_in_of_the_step_restarts_its_unit_and_no_other() -> None:
    release = with_step(units=["deploy/web.service.d/x.conf"])
    assert react(release, release, [], []).spared == ("web.service",)
    assert react(release, release, ["/etc/systemd/system/web.service.d/x.conf"], []).spared == ()
    other = with_step(units=["deploy/mail.service.d/x.conf"])
    assert react(other, other, ["/etc/systemd/system/mail.service.d/x.conf"], []).spared == ("web.service",)


@pytest.mark.parametrize(
    ("option", "place"),
    [
        ("sysusers", "/etc/sysusers.d/x.conf"),
        ("tmpfiles", "/etc/tmpfiles.d/x.conf"),
        ("modules", "/etc/modules-load.d/x.conf"),
        ("sysctl", "/etc/sysctl.d/x.conf"),
    ],
)
def test_a_file_that_sets_up_the_host_restarts_no_service(option: str, place: str) -> None:
    release = with_step(**{option: ["deploy/x.conf"]})
    assert react(release, release, [place], []).spared == ("web.service",)


def with_quadlet(on: OnChange) -> Side:
    """Return a release that also has a container, of which Podman makes `shop.service`."""
    base = side(file("config/web.conf", WEB, on=on), methods=frozenset({"files", "systemd", "quadlet"}))
    step = Deployment("quadlet", {"files": ["deploy/shop.container"]})
    files = (*base.manifest.files, file("deploy/shop.container", kind="podman"))
    return replace(base, manifest=replace(base.manifest, files=files, deploy=(*base.manifest.deploy, step)))


@pytest.mark.parametrize("on", [OnChange(restart="shop.service"), OnChange(reload="shop.service")])
def test_a_service_that_podman_makes_is_restarted_by_its_own_step_alone(on: OnChange) -> None:
    release = with_quadlet(on)
    assert texts(react(release, release, [WEB], [])) == []
    assert texts(react(None, release, [WEB], [])) == []
    assert texts(react(release, None, [], [WEB])) == []


def test_a_service_that_podman_makes_is_not_told_where_its_step_is_not_run_and_that_is_said() -> None:
    without = replace(with_quadlet(OnChange(restart="shop.service")), methods=frozenset({"files", "systemd"}))
    found = react(without, without, [WEB], [])
    assert found.acts == ()
    assert [act.text() for act in found.skipped] == ["restart shop.service"]


def test_a_container_that_changes_restarts_no_unit() -> None:
    release = with_quadlet(RELOAD)
    assert react(release, release, ["/etc/containers/systemd/shop.container"], []).spared == ("web.service",)


def test_an_instance_is_restarted_when_its_template_changes_and_spared_otherwise() -> None:
    on = OnChange(reload="work@1.service")
    base = side(file("config/web.conf", WEB, on=on), units=("work@.service",))
    deploy = (Deployment("systemd", {"units": ["deploy/work@.service"], "instances": ["work@1.service"]}),)
    release = replace(base, manifest=replace(base.manifest, deploy=deploy))
    release = replace(release, units={"work@.service": "[Service]\nExecStart=/opt/bin/work %i\n"})
    assert react(release, release, [WEB], []).spared == ("work@1.service",)
    for path in ("work@.service", "work@.service.d/x.conf", "work@1.service.d/x.conf"):
        assert react(release, release, [f"/etc/systemd/system/{path}"], []).spared == ()
    assert react(release, release, ["/opt/bin/work"], []).spared == ()
    assert react(release, release, ["/opt/lib/any.so"], []).spared == ()


@pytest.mark.parametrize(("loads", "spared"), [("images", ()), ("systemd", ("web.service",))])
def test_new_images_restart_a_unit_only_where_they_are_loaded(loads: str, spared: tuple[str, ...]) -> None:
    methods = frozenset({"files", "systemd", loads})
    old, new = (
        side(
            file("config/web.conf", WEB, on=RELOAD),
            methods=methods,
            images=(Image(f"web:{version}", "linux/amd64", f"sha256:{version * 64}", "sha256:0", ()),),
        )
        for version in "12"
    )
    assert react(old, new, [WEB], []).spared == spared
