"""A damaged record of a release: the advice that every command gives is true, and others are not blocked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands import status
from installer.commands.common.recovery import exclusive
from installer.commands.rollback import plan_rollback
from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.host.context import Context
from installer.planning.drift import Policy
from installer.planning.plan import Options
from tests.rig.bench import Bench, release
from tests.rig.faulty import snapshot
from tests.rig.releases import STATE, Member, Notes, ReleaseSpec, install, planned, remove

MEMBERS = {
    "bin/linux-amd64/d": Member(b"one", "/opt/chat/bin/d", 0o755),
    "config/c": Member(b"port: {{ port }}", "/etc/chat/c", 0o640, "template"),
    "config/v.yaml": Member(b"port: 1\n", kind="values"),
}
ONE = ReleaseSpec("1.0.0", 1, MEMBERS, values="config/v.yaml")
TWO = replace(
    ONE, version="2.0.0", sequence=2, members={**MEMBERS, "docs/new": Member(b"new", "/opt/chat/new")}
)
Spoil = Callable[[Path], object]


def edited(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1", b"2"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


pytestmark = pytest.mark.host(ONE, TWO, directories=("etc", "opt"))
SPOILS: list[Spoil] = [Path.unlink, edited, cut]


def on(host: Context, path: str) -> Path:
    return Path(host.system.root, path)


def record(host: Context, number: str = "000002") -> Path:
    return on(host, f"{STATE}/rendered/{number}/record.json")


def manifest(host: Context, sequence: int = 2) -> Path:
    (found,) = on(host, f"{STATE}/releases").glob(f"{sequence}-*/bundle.json")
    return found


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("which", [record, manifest])
def test_the_same_release_installed_again_mends_it_and_all_is_known_as_before(
    host: Context, which: Callable[[Context], Path], spoil: Spoil
) -> None:
    before = snapshot(on(host, ""), besides=("var",))
    spoil(which(host))
    (problem,) = status.product_status(host).drift
    assert "Install lan-chat 2.0.0 again from its bundle" in problem.hint
    with pytest.raises(NotUndoneError, match=r"was changed since it was installed|cannot be read") as raised:
        remove(host)
    assert raised.value.hint == problem.hint
    assert install(host, TWO).changed
    assert snapshot(on(host, ""), besides=("var",)) == before
    assert status.product_status(host).drift == ()
    assert not install(host, TWO).changed
    remove(host)
    assert sorted(path.name for path in on(host, "").iterdir()) == ["etc", "opt", "var"]
    assert not list(on(host, "opt").iterdir()) + list(on(host, "etc").iterdir())


def test_another_release_does_not_mend_it_and_says_which_one_does(host: Context) -> None:
    record(host).unlink()
    with pytest.raises(NotUndoneError) as raised:
        install(host, replace(TWO, version="3.0.0", sequence=3))
    assert "Install lan-chat 2.0.0 again" in raised.value.hint


def test_configuration_that_was_rendered_with_other_values_is_still_known(host: Context) -> None:
    values = on(host, "etc/waybill/lan-chat/values.yaml")
    values.parent.mkdir(parents=True)
    values.write_text("port: 2\n")
    record(host).unlink()
    install(host, TWO)
    assert on(host, "etc/chat/c").read_text() == "port: 2"
    assert not list(on(host, f"{STATE}").glob("kept/*"))


def test_a_file_that_was_edited_is_not_known_any_more_left_alone_and_named(host: Context) -> None:
    on(host, "etc/chat/c").write_text("port: 3 # mine")
    record(host).unlink()
    with pytest.raises(HostNotReadyError) as raised:
        install(host, TWO)
    (problem,) = raised.value.problems
    assert (problem.where, problem.what) == ("/etc/chat/c", "already exists and was not installed by Waybill")
    assert on(host, "etc/chat/c").read_text() == "port: 3 # mine"
    install(host, TWO, Options(drift=Policy.parse(["replace"])))
    (copy,) = on(host, f"{STATE}/kept").glob("*/etc/chat/c")
    assert copy.read_text() == "port: 3 # mine"


def test_the_plan_says_that_the_record_is_derived_again(host: Context) -> None:
    record(host).unlink()
    with planned(host, TWO) as plan:
        assert any("the record of the installed release is damaged" in note for note in plan.notes)
        assert not plan.nothing


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_damaged_kept_release_stands_in_the_way_of_nothing_but_itself(host: Context, spoil: Spoil) -> None:
    spoil(record(host, "000001"))
    with exclusive(host) as (state, _), pytest.raises(NotUndoneError) as raised:
        plan_rollback(host, state, "1.0.0", Options())
    assert "roll back to another release" in raised.value.hint
    assert status.product_status(host).drift == ()
    spoil(manifest(host, 1))
    for number in (3, 4):
        install(host, replace(TWO, version=f"{number}.0.0", sequence=number))
    assert [entry.version for entry in status.product_status(host).kept] == ["4.0.0", "3.0.0", "2.0.0"]
    assert isinstance(host.progress, Notes)
    remove(host)
    assert not list(on(host, "opt").iterdir())


def test_the_advice_of_the_command_line_repairs_the_record(bench: Bench) -> None:
    bundle = str(bench.bundle(release()))
    assert bench.run(bundle, "--yes")[0] == 0
    (path,) = (bench.host / STATE / "rendered").glob("*/record.json")
    path.write_text("{}")
    code, said = bench.text("remove", "lan-chat", "--yes")
    assert (code, "was changed since it was installed" in said) == (21, True)
    assert "Install lan-chat 1.4.0 again from its bundle" in said
    assert "DRIFT" in bench.text("status")[1]
    code, said = bench.text(bundle, "--yes")
    assert (code, "the record of the installed release is damaged" in said) == (0, True)
    assert "drift      none" in bench.text("status")[1]
    assert bench.run("remove", "lan-chat", "--yes")[0] == 0
    assert not (bench.host / "opt").exists()


@pytest.mark.parametrize("name", ["docs/a", "bundle.json", "SHA256SUMS"])
@pytest.mark.parametrize("spoil", SPOILS)
def test_the_command_line_refuses_a_damaged_retained_release_with_a_remedy(
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
    assert "create a new bundle of this version with a higher `sequence`" in document.hint
    assert bench.run("status")[1]["products"][0]["drift"] == []
