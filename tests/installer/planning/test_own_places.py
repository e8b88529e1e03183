"""What is Waybill's own, the kernel's or a running program's is not for a release, wherever a path leads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import DirectoryEntry, LinkEntry
from installer.host.context import Context
from installer.planning import plan_text
from installer.planning.drift import Policy
from installer.planning.plan import Options, Plan
from tests.rig.faulty import FaultySystem, snapshot
from tests.rig.needs import needs
from tests.rig.releases import Member, ReleaseSpec, context, install, plan_for, planned, remove, root

pytestmark = pytest.mark.host(system=FaultySystem)
HOLDING = ("/etc", "/var", "/var/lib", "/opt", "/usr/local/bin", "/etc/systemd/system")
REPLACE = Options(drift=Policy("replace"))


def to(*places: str, **fields: object) -> ReleaseSpec:
    members = {f"docs/{n}": Member(b"evil %d" % n, place) for n, place in enumerate(places)}
    return ReleaseSpec("1.0.0", 1, members or {"docs/x": Member(b"x")}, **fields)  # type: ignore[arg-type]


def whats(plan: Plan) -> list[tuple[str, str]]:
    return [(problem.where, problem.what) for problem in plan.problems]


@pytest.fixture
def trusted(host: Context) -> Context:
    """A host with trust, and links of its administrator."""
    top = root(host)
    (top / "etc/waybill/trust").mkdir(parents=True)
    (top / "etc/waybill/trust/root.json").write_text("the root of trust")
    (top / "proc/1").mkdir(parents=True)
    (top / "proc/1/root").symlink_to("/")
    (top / "srv").mkdir()
    (top / "srv/settings").symlink_to("/etc/waybill")
    (top / "srv/up").symlink_to("../etc/waybill/trust")
    return host


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/srv/settings/trust/root.json", "/etc/waybill/trust/root.json"),
        ("/srv/settings/environment", "/etc/waybill/environment"),
        ("/srv/up/root.json", "/etc/waybill/trust/root.json"),
        ("/srv/settings/new/deep/file", "/etc/waybill/new/deep/file"),
        ("/srv/settings/other/values.yaml", "/etc/waybill/other/values.yaml"),
    ],
)
def test_a_link_to_what_is_waybills_own_is_seen_through(trusted: Context, path: str, place: str) -> None:
    plan = plan_for(trusted, to(path), REPLACE)
    assert whats(plan) == [(path, f"leads to {place}, which is reserved for Waybill")]
    with pytest.raises(HostNotReadyError) as raised:
        plan.require_ready()
    assert raised.value.exit_code == 15
    assert "another destination in bundle.yaml" in raised.value.problems[0].hint


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/proc/1/root/etc/waybill/trust/root.json", "is on a file system of the kernel"),
        ("/proc/self/root/etc/x", "is on a file system of the kernel"),
        ("/sys/kernel/x", "is on a file system of the kernel"),
        ("/dev/shm/x", "is on a file system of the kernel"),
        ("/run/systemd/system/x.service", "belongs to running programs; only /run/lan-chat is allowed"),
        ("/var/run/docker.sock", "belongs to running programs; only /run/lan-chat is allowed"),
        ("/run/lan-chat-2/x", "belongs to running programs; only /run/lan-chat is allowed"),
        ("/usr/local/bin/waybill-install", "is reserved for Waybill"),
        ("/etc/systemd/system/waybill-recover.service", "is reserved for Waybill"),
        ("/usr/lib/systemd/system/waybill-recover.service", "is reserved for Waybill"),
        ("/etc/systemd/system/waybill-recover.service.d/x.conf", "is reserved for Waybill"),
        ("/etc/systemd/system/multi-user.target.wants/waybill-recover.service", "is reserved for Waybill"),
    ],
)
def test_places_that_no_release_may_have_are_refused(trusted: Context, path: str, what: str) -> None:
    before = snapshot(root(trusted), besides=("var",))
    plan = plan_for(trusted, to(path), REPLACE)
    assert whats(plan) == [(path, what)]
    assert snapshot(root(trusted), besides=("var",)) == before


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/usr/local/bin/waybill-install", "is reserved for Waybill"),
        ("/etc/systemd/system/waybill-recover.service", "is reserved for Waybill"),
        ("/proc/1/root/etc/x", "is on a file system of the kernel"),
        ("/run/other/x", "belongs to running programs; only /run/lan-chat is allowed"),
        ("/srv/settings/new", "leads to /etc/waybill/new, which is reserved for Waybill"),
    ],
)
@pytest.mark.parametrize("kind", ["links", "directories"])
def test_links_and_directories_of_a_release_are_refused_there_too(
    trusted: Context, kind: str, path: str, what: str
) -> None:
    entries = {
        "links": (LinkEntry("trees/t/x", "y", path),),
        "directories": (DirectoryEntry("trees/t/x", 0o755, path),),
    }
    assert whats(plan_for(trusted, to(**{kind: entries[kind]}), REPLACE)) == [(path, what)]


def test_a_product_may_have_its_own_runtime_directory(host: Context) -> None:
    assert plan_for(host, to("/run/lan-chat/socket.d/x")).problems == ()


@pytest.mark.parametrize("path", ["/srv/settings/trust", "/srv/settings"])
def test_a_directory_of_waybill_is_not_changed_by_any_way(trusted: Context, path: str) -> None:
    spec = to(directories=(DirectoryEntry("trees/t/d", 0o777, path),))
    plan = plan_for(trusted, spec, REPLACE)
    assert [problem.where for problem in plan.problems] == [path]
    assert plan.operations == () or not plan.changes.entries


@pytest.mark.parametrize(
    "path", ["/etc", "/var", "/var/lib", "/opt", "/usr/local/bin", "/etc/systemd/system"]
)
def test_a_directory_that_holds_waybills_own_keeps_its_mode(host: Context, path: str) -> None:
    (root(host) / path[1:]).mkdir(parents=True, exist_ok=True)
    plan = plan_for(host, to(directories=(DirectoryEntry("trees/t/d", 0o777, path),)), REPLACE)
    (problem,) = plan.problems
    assert problem.where == path
    assert problem.what.startswith(
        "holds files of Waybill, so no release changes its mode or owner (0755 now"
    )


def test_a_link_of_a_release_leads_there_no_more_than_one_of_the_host(trusted: Context) -> None:
    link = LinkEntry("trees/t/settings", "waybill", "/etc/settings")
    install(trusted, to("/etc/other", links=(link,)))
    assert (root(trusted) / "etc/settings").resolve() == root(trusted) / "etc/waybill"
    plan = plan_for(trusted, ReleaseSpec("2.0.0", 2, {"docs/x": Member(b"x", "/etc/settings/environment")}))
    # The link of the old release goes, and a directory comes in its place.
    assert plan.problems == ()
    other = ReleaseSpec("1.0.0", 1, {"docs/x": Member(b"x", "/etc/settings/environment")}, product="other")
    plan = plan_for(context(trusted.system, "other"), other)
    assert [problem.where for problem in plan.problems] == ["/etc/settings/environment"]


def test_what_an_earlier_version_has_put_there_is_not_removed(host: Context) -> None:
    top = root(host)
    (top / "srv").mkdir()
    (top / "etc").mkdir()
    install(host, to("/srv/settings/environment"))
    # As if the link had been there at the install, and nobody had looked where it leads.
    (top / "srv/settings").rename(top / "etc/waybill")
    (top / "srv/settings").symlink_to("/etc/waybill")
    done = remove(host)
    assert (top / "etc/waybill/environment").exists()
    assert done.removal is not None
    what = "leads to /etc/waybill/environment, which is reserved for Waybill"
    assert f"stays  /srv/settings/environment: {what}" in done.removal.text()


def test_two_destinations_that_lead_to_one_place_are_refused(host: Context) -> None:
    (root(host) / "data").mkdir()
    (root(host) / "srv").symlink_to("data")
    plan = plan_for(host, to("/data/x", "/srv/x"))
    assert whats(plan) == [("/srv/x", "leads to the same place as /data/x, /data/x")]


def test_a_link_that_is_made_after_the_plan_is_refused_at_the_effect(trusted: Context) -> None:
    top = root(trusted)
    (top / "data").mkdir()
    (top / "opt").symlink_to("data")
    with planned(trusted, to("/opt/environment")) as plan:
        assert plan.problems == ()
        (top / "opt").unlink()
        (top / "opt").symlink_to("etc/waybill")
        with pytest.raises(RolledBackError) as raised:
            execute_plan(trusted, plan)
    assert "leads to /etc/waybill/environment, which is reserved for Waybill" in str(raised.value)
    assert not (top / "etc/waybill/environment").exists()


BOUND = """
import sys
from pathlib import Path
from installer.host.system import System
from tests.rig.releases import Member, ReleaseSpec, context, plan_for
spec = ReleaseSpec("1.0.0", 1, {f"docs/{n}": Member(b"x", place) for n, place in enumerate(sys.argv[2:])})
for problem in plan_for(context(System(sys.argv[1])), spec).problems:
    print(problem.where, problem.what)
"""


def test_a_bind_mount_hides_nothing(trusted: Context) -> None:
    """Neither of the directory itself, nor of one below it, nor of the whole host."""
    needs("unshare")
    top = root(trusted)
    for name in ("mnt/config", "mnt/trust", "mnt/all"):
        (top / name).mkdir(parents=True)
    mounts = f"cd {top} && mount --bind etc/waybill mnt/config && mount --bind etc/waybill/trust mnt/trust"
    mounts += ' && mount --bind . mnt/all && exec "$@"'
    places = [
        "/mnt/config/environment",
        "/mnt/trust/root.json",
        "/mnt/all/etc/waybill/environment",
        "/mnt/fine",
    ]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounts, "sh", sys.executable, "-c", BOUND, str(top), *places],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        f"{place} leads to {place}, which is reserved for Waybill" for place in places[:-1]
    ]


def test_sensitive_places_are_named_loudly(host: Context) -> None:
    (root(host) / "srv").mkdir()
    (root(host) / "srv/rules").symlink_to("/etc/sudoers.d")
    (root(host) / "etc/sudoers.d").mkdir(parents=True)
    spec = to(
        "/etc/shadow", "/srv/rules/chat", "/etc/ld.so.preload", "/opt/chat/fine", "/root/.ssh/authorized_keys"
    )
    plan = plan_for(host, spec)
    assert [each["path"] for each in plan.as_json()["sensitive"]] == [
        "/etc/ld.so.preload",
        "/etc/shadow",
        "/root/.ssh/authorized_keys",
        "/srv/rules/chat",
    ]
    text = plan_text.plan_text(plan)
    assert (
        "SENSITIVE: what this release puts there decides over this host itself:\n  /etc/ld.so.preload:"
        in text
    )
    assert "  /etc/shadow: the accounts and passwords of this host\n" in text
    install(host, spec)
    remove(host)
    assert plan_for(host, to("/opt/chat/fine")).as_json()["sensitive"] == []
