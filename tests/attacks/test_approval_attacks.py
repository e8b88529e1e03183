"""Attacks on approvals and on what stands behind the payload, each named by its fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from installer.core import errors
from installer.core.errors import WaybillError
from installer.core.format.tar_header import BLOCK, END
from installer.core.limits import LIMITS
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Part
from tests.rig.trustworld import APPROVALS, Said, World, person


def outcome(world: World, data: bytes) -> object:
    try:
        return world.verify(BytesMedium(data))[1]
    except WaybillError as error:
        return type(error)


def start(data: bytes) -> int:
    return data.index(b"approvals/")


def test_a_flipped_bit_behind_the_payload_is_refused_or_without_effect() -> None:
    world = replace(World(), approvals=(*APPROVALS[:2], Said("ops", fields={"notes": "x"})))
    good = world.tar()
    accepted = world.verify()[1]
    harmless = 0
    for at in range(start(good), len(good), 3):
        bad = bytearray(good)
        bad[at] ^= 1 << (at % 8)
        found = outcome(world, bytes(bad))
        assert found == accepted or found in (errors.TamperedError, errors.NotApprovedError), at
        harmless += found == accepted
    # the hint of a Sigstore bundle names a key that nobody believes
    assert harmless < 80


def test_a_cut_behind_the_payload_is_refused() -> None:
    world = World()
    good = world.tar()
    for size in range(start(good), len(good), 5):
        assert isinstance(outcome(world, good[:size]), type)


def cut_after(data: bytes, count: int) -> bytes:
    """Takes away the last `count` files behind the payload, and closes the archive again."""
    bundle = build.read(data)
    names = list(bundle.read_tail())
    place = data.index(names[-count].encode())
    return data[:place] + END


def other_bundle(world: World) -> World:
    """All approvals of another release, word for word."""
    other = replace(world, plan=build.plan({"docs/ROLLBACK.md": b"x"}, room=512, rollback="docs/ROLLBACK.md"))
    return replace(world, approvals=tuple(moved(other, said) for said in world.approvals))


def moved(world: World, said: Said) -> Said:
    files = said.files(world.identity, world.plan.manifest)
    return replace(said, data=next(iter(files.values())))


def role_of_the_name(world: World) -> World:
    """The security officer's approval under the name of ops."""
    name = f"approvals/ops-{person('Sec').key.keyid8}.json"
    return replace(world, approvals=(*APPROVALS[:2], Said("security", name=name)))


ATTACKS: dict[str, tuple[Callable[[World], World], type[WaybillError]]] = {
    "replayed from another bundle": (other_bundle, errors.NotApprovedError),
    "for another role by its name": (role_of_the_name, errors.NotApprovedError),
    "signed by the attacker with the right words": (
        lambda w: replace(w, approvals=tuple(replace(said, by="Eve") for said in APPROVALS)),
        errors.NotApprovedError,
    ),
    "signed by the attacker under the officer's name": (
        lambda w: replace(
            w,
            approvals=(
                *APPROVALS[:2],
                Said("ops", by="Eve", name=f"approvals/ops-{person('Ops').key.keyid8}.json"),
            ),
        ),
        errors.NotApprovedError,
    ),
    "one officer in two roles": (
        lambda w: replace(w, approvals=(*APPROVALS[:2], Said("ops", by="Sec"))),
        errors.NotApprovedError,
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_approval_with_a_fault_is_refused(name: str) -> None:
    change, kind = ATTACKS[name]
    world = change(World())
    with pytest.raises(WaybillError) as caught:
        world.verify()
    assert type(caught.value) in (kind, errors.TamperedError)


def test_taking_an_approval_away_only_ever_takes_away() -> None:
    world = World()
    for count in (3, 6, 9):
        assert outcome(world, cut_after(world.tar(), count)) == errors.NotApprovedError


@pytest.mark.parametrize(
    "parts",
    [
        [Part("approvals/ops-00000000.json", b"\xff" * 100)],
        [Part(f"approvals/ops-{number:08x}.json", b"{}") for number in range(LIMITS.approvals - 3)],
    ],
    ids=["garbage", "as many of strangers as may be"],
)
def test_what_strangers_append_is_never_parsed_and_does_no_harm(parts: list[Part]) -> None:
    world = World()
    data = world.tar()[: -len(END)] + b"".join(part.tar() for part in parts) + END
    assert len(world.verify(BytesMedium(data))[1].counted) == 3


@pytest.mark.parametrize(
    "parts",
    [
        [Part("approvals/ops-00000000.json", b"x" * (LIMITS.approval_bytes + 1))],
        [Part(f"approvals/ops-{number:08x}.json", b"") for number in range(LIMITS.approvals - 2)],
        [Part(f"approvals/ops-{number:08x}.json", b"") for number in range(4 * LIMITS.approvals)],
        [Part("approvals/a/b", b"")],
        [Part("approvals/INSTALL.sh", b"#!/bin/sh\n")],
        [Part("approvals/ops-00000000.json.sig", b"AAAA")],
        [Part("SHA256SUMS.run.sh", b"#!/bin/sh\n")],
        [Part("SHA256SUMS.0a1b2c3d.sig", b"AAAA")],
        [Part("bin/evil", b"")],
    ],
    ids=[
        "too large",
        "one too many",
        "too many",
        "deeper",
        "a script",
        "a signature of nothing",
        "named like a signature",
        "a signature of the list",
        "no approval",
    ],
)
def test_what_is_behind_the_payload_is_bounded(parts: list[Part]) -> None:
    world = World()
    data = world.tar()[: -len(END)] + b"".join(part.tar() for part in parts) + END
    assert outcome(world, data) == errors.TamperedError


def test_a_second_archive_behind_the_end_is_refused_or_never_read() -> None:
    world = World()
    good, evil = world.tar(), Part("bin/evil", b"x" * 600, mode=0o755).tar() + END
    assert outcome(world, good + evil) == errors.TamperedError
    assert outcome(world, good[:-BLOCK] + evil) == errors.TamperedError
    hidden = good[:-BLOCK] + b'{"_type":"https://in-toto.io/Statement/v1","'.ljust(BLOCK, b" ") + evil
    verified, decision = world.verify(BytesMedium(hidden))
    assert verified.notes
    assert len(decision.counted) == 3
