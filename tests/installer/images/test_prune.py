"""Which releases' images are given up, and when; how that is done is tried with a real engine elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from installer.commands.common.recovery import exclusive
from installer.core.format.manifest import Manifest
from installer.host.context import Context
from installer.planning.plan import Options
from installer.state.state import Entry, State, load, save
from installer.transaction import finalize
from tests.rig.chatd import ONE, THREE, TWO
from tests.rig.faulty import kill_at
from tests.rig.releases import STATE, install, root

pytestmark = pytest.mark.host(ONE, TWO)
ENGINE = ("images", "compose")
Swept = list[tuple[list[str], list[str], bool]]


def versions(manifests: list[Manifest]) -> list[str]:
    return [manifest.version for manifest in manifests]


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> Swept:
    """Of what went and what stays, the versions; and whether something was undone."""
    seen: Swept = []

    def sweep(_context: Context, gone: list[Manifest], kept: list[Manifest], *, undone: bool) -> None:
        seen.append((versions(gone), versions(kept), undone))

    monkeypatch.setattr(finalize, "sweep", sweep)
    return seen


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Of what stays when the engine's marks of the rest are removed, the versions."""
    seen: list[list[str]] = []
    monkeypatch.setattr(finalize, "forget", lambda _context, kept: seen.append(versions(kept)))
    return seen


@pytest.fixture(autouse=True)
def in_engine(swept: Swept, forgotten: list[list[str]], host: Context) -> None:
    """The images of both releases are in an engine, as far as the host knows; none is asked."""
    driven(host, lambda _entry: ENGINE)
    swept.clear()
    forgotten.clear()


def driven(within: Context, methods: Callable[[Entry], tuple[str, ...]]) -> State:
    state = load(within.system, within.layout)
    kept = tuple(replace(entry, methods=methods(entry)) for entry in state.retained)
    changed = replace(state, current=kept[0], retained=kept)
    save(within.system, within.layout, changed)
    return changed


def test_what_goes_is_given_up_and_forgotten_and_what_stays_is_not(
    host: Context, swept: Swept, forgotten: list[list[str]]
) -> None:
    install(host, THREE, Options(keep=2))
    assert swept == [(["1.0.0"], ["2.0.0"], False)]
    assert forgotten == [["2.0.0"]]


def test_what_goes_is_given_up_while_the_state_still_knows_it(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[tuple[str, int]]()

    def note(what: str) -> Callable[..., None]:
        return lambda *_args, **_more: seen.append((what, load(host.system, host.layout).transaction))

    monkeypatch.setattr(finalize, "sweep", note("sweep"))
    monkeypatch.setattr(finalize, "forget", note("forget"))
    install(host, THREE, Options(keep=2))
    assert seen == [("sweep", 2), ("forget", 3)]


def test_where_all_stays_the_engine_is_left_in_peace(
    host: Context, swept: Swept, forgotten: list[list[str]]
) -> None:
    install(host, THREE)
    assert swept == forgotten == []


def test_what_was_undone_is_given_up(host: Context, swept: Swept, forgotten: list[list[str]]) -> None:
    kill_at(host, THREE, "rename /opt/.waybill")
    with exclusive(host):
        pass
    assert swept == [([], ["2.0.0", "1.0.0"], True)]
    assert forgotten == []


@pytest.mark.parametrize(
    "methods", [("images",), ("compose",), ()], ids=["no engine", "no images", "neither"]
)
def test_a_release_without_images_in_an_engine_has_none_to_give_up(
    host: Context, swept: Swept, forgotten: list[list[str]], methods: tuple[str, ...]
) -> None:
    driven(host, lambda _entry: methods)
    install(host, THREE, Options(keep=2))
    assert swept == [([], [], False)]
    assert forgotten == []


@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_release_whose_manifest_is_not_what_it_was_is_passed_over(
    host: Context, swept: Swept, damage: str
) -> None:
    state = load(host.system, host.layout)
    manifest = root(host) / STATE / "releases" / state.retained[1].name / "bundle.json"
    manifest.chmod(0o600)
    manifest.unlink() if damage == "removed" else manifest.write_bytes(b"{")
    install(host, THREE, Options(keep=2))
    assert swept == [([], ["2.0.0"], False)]


def test_a_removal_that_was_undone_gives_up_nothing(host: Context, swept: Swept) -> None:
    state = load(host.system, host.layout)
    finalize._sweep(host, (), state, undone=True)
    assert swept == []
