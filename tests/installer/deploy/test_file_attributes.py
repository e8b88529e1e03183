"""ACLs and attributes of the site stay on files that are replaced; capabilities are those of the release."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.status import product_status
from installer.core.format.entries.capabilities import xattr
from installer.core.format.manifest import DirectoryEntry
from installer.deploy.operation import Json, StepError
from installer.host.context import Context
from installer.host.system import System
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.fileentries import CHANGE, Split, args, entry, make, on, put
from tests.rig.inodes import ACL, CAPABILITY, acl, attributes, give
from tests.rig.releases import Member, ReleaseSpec, context, install, plan_for, roll_back, root

CONF, DATA = "/etc/demo/app.conf", "/srv/demo/data"
BIND, RAW = "cap_net_bind_service=ep", "cap_net_raw=ep"


def release(number: int, mode: int = 0o644, directory: int = 0o750) -> ReleaseSpec:
    members = {"docs/conf": Member(b"v=%d" % number, CONF, mode)}
    directories = (DirectoryEntry("trees/t/data", directory, DATA),)
    return ReleaseSpec(f"{number}.0.0", number, members, directories=directories)


@pytest.fixture
def host(tmp_path: Path) -> Context:
    (tmp_path / "host").mkdir()
    made = context(System(tmp_path / "host"))
    install(made, release(1))
    return made


def at(host: Context, path: str) -> Path:
    return root(host) / path[1:]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_acl_and_attributes_stay_through_upgrade_and_rollback(host: Context) -> None:
    give(at(host, CONF), acl=acl(), origin=b"site")
    before = attributes(at(host, CONF))
    assert product_status(host).drift == ()
    install(host, release(2))
    assert at(host, CONF).read_bytes() == b"v=2"
    assert attributes(at(host, CONF)) == before
    roll_back(host)
    assert at(host, CONF).read_bytes() == b"v=1"
    assert attributes(at(host, CONF)) == before


@pytest.mark.parametrize("kind", [FaultySystem, Split])
@pytest.mark.parametrize("fault", ["kill after", "EIO", ""])
def test_an_undo_gives_back_the_very_attributes(tmp_path: Path, kind: type[FaultySystem], fault: str) -> None:
    number, done = 0, False
    while not done:
        number += 1
        base = make(tmp_path / f"{number}")
        put(base, "old", "/srv/a/x")
        give(base / "srv/a/x", acl=acl(named=6, mask=6), origin=b"site")
        put(base, "closed", "/srv/a/d")
        # The mask takes from the group what the group's own entry gives it.
        give(base / "srv/a/d", acl=acl(7, 7, 7, 4, 0), default=acl(7, 5, 5, 5, 0), origin=b"site")
        paths = [base / "srv/a/x", base / "srv/a/d"]
        before = [(attributes(path), mode(path)) for path in paths]
        words = args(entry("new", "/srv/a/x"), entry("dir", "/srv/a/d"))
        preimage = CHANGE.observe(on(base), words)
        try:
            CHANGE.do(on(base, kind(base, number if fault else 0, fault)), words, preimage)
            done = True
            assert [(attributes(path), mode(path)) for path in paths] != before
        except (Killed, OSError):
            assert fault
        CHANGE.undo(on(base), words, preimage)
        assert [(attributes(path), mode(path)) for path in paths] == before
    assert number > 10 or not fault


def test_what_an_acl_grants_by_name_is_no_drift_and_what_it_grants_the_group_is(host: Context) -> None:
    # stat(2) shows the mask, 0664; the group has what the release says.
    give(at(host, CONF), acl=acl(named=6, mask=6))
    assert mode(at(host, CONF)) == 0o664
    assert product_status(host).drift == ()
    give(at(host, CONF), acl=acl(group=6, mask=6))
    (problem,) = product_status(host).drift
    assert problem.what == "has mode 0664, not 0644"


def test_a_new_mode_counts_and_who_is_named_keeps_its_rights(host: Context) -> None:
    give(at(host, CONF), acl=acl(named=6, group=4, mask=6))
    install(host, release(2, 0o640))
    assert attributes(at(host, CONF))[ACL] == acl(named=6, group=4, mask=6, other=0)
    assert product_status(host).drift == ()


def test_a_directory_with_an_acl_gets_the_mode_that_is_declared(host: Context) -> None:
    give(at(host, DATA), acl=acl(7, 7, 5, 7, 0))
    assert product_status(host).drift == ()
    install(host, release(2, directory=0o700))
    assert attributes(at(host, DATA))[ACL] == acl(7, 7, 0, 7, 0)
    assert product_status(host).drift == ()
    assert not install(host, release(2, directory=0o700)).changed


def test_a_new_file_below_a_default_acl_has_its_mode(tmp_path: Path) -> None:
    (tmp_path / "host/etc/demo").mkdir(parents=True)
    give(tmp_path / "host/etc/demo", default=acl(7, 7, 5, 7, 5))
    made = context(System(tmp_path / "host"))
    install(made, release(1))
    assert product_status(made).drift == ()
    assert mode(at(made, CONF)) == 0o644


def test_a_file_without_an_acl_stays_without_below_a_default_acl(host: Context) -> None:
    give(at(host, "/etc/demo"), default=acl(7, 7, 5, 7, 5))
    install(host, release(2))
    assert attributes(at(host, CONF)) == {}
    assert product_status(host).drift == ()


def test_a_change_of_attributes_after_the_plan_is_noticed(host: Context) -> None:
    operations = plan_for(host, release(2)).operations
    give(at(host, CONF), origin=b"late")
    (words,) = [op.args for op in operations if CONF in [each["path"] for each in op.args.get("entries", ())]]
    with pytest.raises(StepError, match="was changed after the plan was made"):
        CHANGE.require_unchanged(replace(host, transaction="000009"), words)


@pytest.mark.needs("root")
class TestCapabilities:
    def words(self, base: Path) -> Json:
        """A file without, one with another, and one with the capability that is declared; and a new one."""
        for name in "bcd":
            put(base, "old", f"/srv/a/{name}")
        give(base / "srv/a/b", capability=xattr(RAW), origin=b"site", acl=acl())
        give(base / "srv/a/c", capability=xattr(BIND))
        give(base / "srv/a/d", capability=xattr(RAW))
        wanted = [entry("new", f"/srv/a/{name}", capabilities=BIND) for name in "abc"]
        return args(*wanted, entry("new", "/srv/a/d"))

    def test_what_is_declared_is_set_and_nothing_else(self, tmp_path: Path) -> None:
        base = make(tmp_path / "host")
        words = self.words(base)
        CHANGE.do(on(base), words, CHANGE.observe(on(base), words))
        assert [attributes(base / f"srv/a/{name}").get(CAPABILITY) for name in "abc"] == [xattr(BIND)] * 3
        assert attributes(base / "srv/a/b")["user.origin"] == b"site"
        # What the site granted was granted to the old content.
        assert CAPABILITY not in attributes(base / "srv/a/d")

    def test_attributes_are_on_the_disk_before_a_file_is_in_place(self, tmp_path: Path) -> None:
        system = FaultySystem(make(tmp_path / "host"))
        words = self.words(tmp_path / "host")
        CHANGE.do(on(tmp_path / "host", system), words, CHANGE.observe(on(tmp_path / "host"), words))
        steps = [each.partition(" ")[0] for each in system.trace]
        last = max(number for number, name in enumerate(steps) if name == "set_attributes")
        first = steps.index("rename")
        # A power cut after the rename must not show a program without its capability.
        assert set(steps[last + 1 : first]) & {"fsync", "sync_fs"}

    @pytest.mark.parametrize("kind", [FaultySystem, Split])
    @pytest.mark.parametrize("fault", ["kill after", "EIO"])
    def test_a_declared_capability_is_undone_exactly_after_a_fault_at_any_effect(
        self, tmp_path: Path, kind: type[FaultySystem], fault: str
    ) -> None:
        golden = kind(make(tmp_path / "golden"))
        words = self.words(tmp_path / "golden")
        CHANGE.do(on(tmp_path / "golden", golden), words, CHANGE.observe(on(tmp_path / "golden"), words))
        assert [name for name in golden.trace if name.startswith("set_attributes")]
        for number in range(1, len(golden.trace) + 1):
            base = make(tmp_path / f"{number}")
            words = self.words(base)
            before = {name: attributes(base / f"srv/a/{name}") for name in "bcd"}
            preimage = CHANGE.observe(on(base), words)
            with pytest.raises((Killed, OSError)):
                CHANGE.do(on(base, kind(base, number, fault)), words, preimage)
            CHANGE.undo(on(base), words, preimage)
            assert {name: attributes(base / f"srv/a/{name}") for name in "bcd"} == before
            assert sorted(each.name for each in (base / "srv/a").iterdir()) == ["b", "c", "d"]

    @staticmethod
    def server(number: int, capabilities: str) -> ReleaseSpec:
        member = Member(b"\x7fELF %d" % number, "/opt/demo/srv", 0o755, capabilities=capabilities)
        return ReleaseSpec(f"{number}.0.0", number, {"bin/linux-amd64/srv": member})

    def test_the_releases_decide_through_upgrade_and_rollback(self, host: Context) -> None:
        srv = at(host, "/opt/demo/srv")
        for number, text in ((2, BIND), (3, RAW), (4, "")):
            install(host, self.server(number, text))
            assert attributes(srv) == ({CAPABILITY: xattr(text)} if text else {})
            assert product_status(host).drift == ()
        roll_back(host)
        assert attributes(srv) == {CAPABILITY: xattr(RAW)}

    def test_a_lost_capability_is_drift_and_one_that_the_site_added_is_not(self, host: Context) -> None:
        install(host, self.server(2, BIND))
        os.removexattr(at(host, "/opt/demo/srv"), CAPABILITY)
        (problem,) = product_status(host).drift
        assert problem.what == f"has no capabilities, not {BIND}"
        (refused,) = plan_for(host, self.server(2, BIND)).problems
        assert f"setcap '{BIND}' /opt/demo/srv" in refused.hint
        give(at(host, "/opt/demo/srv"), capability=xattr(BIND))
        assert product_status(host).drift == ()
        install(host, self.server(3, ""))
        give(at(host, "/opt/demo/srv"), capability=xattr(RAW))
        assert product_status(host).drift == ()

    def test_the_plan_says_loudly_what_a_file_gets(self, host: Context) -> None:
        plan = plan_for(host, self.server(2, BIND))
        (risk,) = plan.review.risks
        assert risk.kind == "root"
        assert risk.what == f"/opt/demo/srv gets a capability: every user who runs it has {BIND}"

    def test_what_the_site_granted_to_the_old_content_is_not_passed_on_in_silence(
        self, host: Context
    ) -> None:
        install(host, self.server(2, ""))
        give(at(host, "/opt/demo/srv"), capability=xattr(RAW))
        plan = plan_for(host, self.server(3, ""))
        assert [note for note in plan.notes if RAW in note and "/opt/demo/srv" in note]
        install(host, self.server(3, ""))
        assert CAPABILITY not in attributes(at(host, "/opt/demo/srv"))

    def test_what_the_old_release_declared_itself_is_no_news(self, host: Context) -> None:
        install(host, self.server(2, BIND))
        assert [note for note in plan_for(host, self.server(3, "")).notes if "loses" in note] == []

    def test_a_file_without_capabilities_loses_none(self, host: Context) -> None:
        install(host, self.server(2, ""))
        assert [note for note in plan_for(host, self.server(3, "")).notes if "loses" in note] == []

    def test_a_capability_of_a_file_that_no_release_installed_is_said_too(self, host: Context) -> None:
        place = at(host, "/opt/demo/srv")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"theirs")
        give(place, capability=xattr(RAW))
        plan = plan_for(host, self.server(2, ""))
        assert [note for note in plan.notes if RAW in note and "/opt/demo/srv" in note]


def test_a_directory_gets_its_owner_and_special_bits(host: Context) -> None:
    row = DirectoryEntry("trees/t/shared", 0o2770, "/srv/demo/shared", "root:adm")
    (root(host) / "etc/group").write_text("root:x:0:\nadm:x:4:\n")
    spec = replace(release(2), directories=(row, DirectoryEntry("trees/t/drop", 0o1777, "/srv/demo/drop")))
    install(host, spec)
    assert mode(at(host, "/srv/demo/shared")) == 0o2770
    assert mode(at(host, "/srv/demo/drop")) == 0o1777
    if os.geteuid() == 0:
        assert at(host, "/srv/demo/shared").stat().st_gid == 4
    assert product_status(host).drift == ()
    at(host, "/srv/demo/shared").chmod(0o770)
    (problem,) = product_status(host).drift
    assert problem.what == "has mode 0770, not 2770"
