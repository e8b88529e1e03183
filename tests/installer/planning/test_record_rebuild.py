"""A damaged record of a release: the advice that every command gives is true, and others are not blocked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands import status
from installer.commands.carry_out import apply
from installer.commands.recover import exclusive
from installer.commands.rollback import plan_rollback
from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.host.context import Context
from installer.host.system import System
from installer.planning.drift import Policy
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from tests.faults.faulty import snapshot
from tests.rig.bench import Bench, release
from tests.rig.releases import Member, Notes, ReleaseSpec, context, install, planned

MEMBERS = {
    "bin/linux-amd64/d": Member(b"one", "/opt/chat/bin/d", 0o755),
    "config/c": Member(b"port: {{ port }}", "/etc/chat/c", 0o640, "template"),
    "config/v.yaml": Member(b"port: 1\n", kind="values"),
}
ONE = ReleaseSpec("1.0.0", 1, MEMBERS, values="config/v.yaml")
TWO = replace(
    ONE, version="2.0.0", sequence=2, members={**MEMBERS, "docs/new": Member(b"new", "/opt/chat/new")}
)
STATE = "var/lib/waybill/lan-chat"
Spoil = Callable[[Path], object]


def edited(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1", b"2"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


SPOILS: list[Spoil] = [Path.unlink, edited, cut]


@pytest.fixture
def here(tmp_path: Path) -> Context:
    for name in ("etc", "opt"):
        (tmp_path / name).mkdir()
    within = context(System(tmp_path))
    install(within, ONE)
    install(within, TWO)
    return within


def on(here: Context, path: str) -> Path:
    return Path(here.system.root, path)


def record(here: Context, number: str = "000002") -> Path:
    return on(here, f"{STATE}/rendered/{number}/record.json")


def manifest(here: Context, sequence: int = 2) -> Path:
    (found,) = on(here, f"{STATE}/releases").glob(f"{sequence}-*/bundle.json")
    return found


def remove(here: Context) -> None:
    with exclusive(here) as (state, _):
        apply(here, plan_remove(here, state))


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("which", [record, manifest])
def test_the_same_release_installed_again_mends_it_and_all_is_known_as_before(
    here: Context, which: Callable[[Context], Path], spoil: Spoil
) -> None:
    before = snapshot(on(here, ""), besides=("var",))
    spoil(which(here))
    (problem,) = status.status(here).drift
    assert "Install lan-chat 2.0.0 again from its bundle" in problem.hint
    with pytest.raises(NotUndoneError, match=r"was changed since it was installed|cannot be read") as raised:
        remove(here)
    assert raised.value.hint == problem.hint
    assert install(here, TWO).changed
    assert snapshot(on(here, ""), besides=("var",)) == before
    assert status.status(here).drift == ()
    assert not install(here, TWO).changed
    remove(here)
    assert sorted(path.name for path in on(here, "").iterdir()) == ["etc", "opt", "var"]
    assert not list(on(here, "opt").iterdir()) + list(on(here, "etc").iterdir())


def test_another_release_does_not_mend_it_and_says_which_one_does(here: Context) -> None:
    record(here).unlink()
    with pytest.raises(NotUndoneError) as raised:
        install(here, replace(TWO, version="3.0.0", sequence=3))
    assert "Install lan-chat 2.0.0 again" in raised.value.hint


def test_configuration_that_was_rendered_with_other_values_is_still_known(here: Context) -> None:
    values = on(here, "etc/waybill/lan-chat/values.yaml")
    values.parent.mkdir(parents=True)
    values.write_text("port: 2\n")
    record(here).unlink()
    install(here, TWO)
    assert on(here, "etc/chat/c").read_text() == "port: 2"
    assert not list(on(here, f"{STATE}").glob("kept/*"))


def test_a_file_that_was_edited_is_not_known_any_more_left_alone_and_named(here: Context) -> None:
    on(here, "etc/chat/c").write_text("port: 3 # mine")
    record(here).unlink()
    with pytest.raises(HostNotReadyError) as raised:
        install(here, TWO)
    (problem,) = raised.value.problems
    assert (problem.where, problem.what) == ("/etc/chat/c", "is there already and is not ours")
    assert on(here, "etc/chat/c").read_text() == "port: 3 # mine"
    install(here, TWO, Options(drift=Policy.parse(["replace"])))
    (copy,) = on(here, f"{STATE}/kept").glob("*/etc/chat/c")
    assert copy.read_text() == "port: 3 # mine"


def test_the_plan_says_that_the_record_is_derived_again(here: Context) -> None:
    record(here).unlink()
    with planned(here, TWO) as plan:
        assert any("the record of what runs was damaged" in note for note in plan.notes)
        assert not plan.nothing


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_damaged_kept_release_stands_in_the_way_of_nothing_but_itself(here: Context, spoil: Spoil) -> None:
    spoil(record(here, "000001"))
    with exclusive(here) as (state, _), pytest.raises(NotUndoneError) as raised:
        plan_rollback(here, state, "1.0.0", Options())
    assert "go to another one" in raised.value.hint
    assert status.status(here).drift == ()
    spoil(manifest(here, 1))
    for number in (3, 4):
        install(here, replace(TWO, version=f"{number}.0.0", sequence=number))
    assert [entry.version for entry in status.status(here).kept] == ["4.0.0", "3.0.0", "2.0.0"]
    assert isinstance(here.progress, Notes)
    remove(here)
    assert not list(on(here, "opt").iterdir())


def test_by_command_line_the_advice_leads_out(bench: Bench) -> None:
    bundle = str(bench.bundle(release()))
    assert bench.run(bundle, "--yes")[0] == 0
    (path,) = (bench.host / STATE / "rendered").glob("*/record.json")
    path.write_text("{}")
    code, said = bench.text("remove", "lan-chat", "--yes")
    assert (code, "was changed since it was installed" in said) == (21, True)
    assert "Install lan-chat 1.4.0 again from its bundle" in said
    assert "DRIFT" in bench.text("status")[1]
    code, said = bench.text(bundle, "--yes")
    assert (code, "the record of what runs was damaged" in said) == (0, True)
    assert "drift      none" in bench.text("status")[1]
    assert bench.run("remove", "lan-chat", "--yes")[0] == 0
    assert not (bench.host / "opt").exists()


@pytest.mark.parametrize("name", ["docs/a", "bundle.json", "SHA256SUMS"])
@pytest.mark.parametrize("spoil", SPOILS)
def test_by_command_line_a_damaged_kept_release_is_refused_with_a_way_out(
    bench: Bench, name: str, spoil: Spoil
) -> None:
    for sequence, version in ((1, "1.4.0"), (2, "1.5.0")):
        bundle = str(bench.bundle(release(version, 100_040_000_999 + sequence)))
        assert bench.run(bundle, "--yes")[0] == 0
    (directory,) = (bench.host / STATE / "releases").glob("100040001000-*")
    if (spoil, name) == (edited, "docs/a"):
        (directory / name).write_text("other")
    else:
        spoil(directory / name)
    code, document, _ = bench.run("rollback", "--yes")
    assert code in (10, 11)
    assert "have this version made again with a higher `sequence`" in document["hint"]
    assert bench.run("status")[1]["products"][0]["drift"] == []
