"""Every byte of a small bundle changed, every length cut: refused, or provably without effect."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from installer.core.errors import TamperedError, UntrustedError, WaybillError
from installer.core.format.archive import RESERVED_SPACE
from installer.core.format.manifest import SUMS
from installer.core.format.tar_header import BLOCK, END
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Plan, stream, verified

SMALL = {"docs/a": b"alpha\n", "trees/t/b": b"beta" * 150}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build.signed(build.plan(SMALL, room=512, links=()))


def places(plan: Plan, name: str) -> range:
    """The payload bytes of a member, padding not counted."""
    start = plan.offset(name) + BLOCK
    return range(start, start + len(next(part.data for part in plan.parts if part.name == name)))


def idle(plan: Plan) -> set[int]:
    """Bytes that mean nothing to us: the room, and the name that a Sigstore bundle gives its key.

    cosign writes that name, other tools look at it, and nobody may trust it: the host's pinned key decides.
    """
    (document,) = [part for part in plan.head if part.name.endswith(".sigstore.json")]
    hint = document.data.index(b'{"hint":') + 1
    start = places(plan, document.name)[0]
    return {*places(plan, RESERVED_SPACE), *range(start + hint, start + document.data.index(b"}", hint))}


def test_the_bundle_is_good_to_begin_with(plan: Plan) -> None:
    assert verified(BytesMedium(plan.tar())).identity == verified(stream(plan.tar())).identity


def test_one_bit_turned_at_any_byte_is_refused_and_in_an_idle_one_has_no_effect(plan: Plan) -> None:
    tar = plan.tar()
    good = verified(BytesMedium(tar))
    without_effect = idle(plan)
    assert len(without_effect) < 600
    pick = random.Random(1)
    for place in range(len(tar)):
        data = bytearray(tar)
        data[place] ^= 1 << pick.randrange(8)
        try:
            bundle = verified(BytesMedium(bytes(data)))
        except WaybillError as error:
            refused = error
        else:
            assert place in without_effect
            assert (bundle.identity, bundle.manifest) == (good.identity, good.manifest)
            continue
        assert place not in places(plan, RESERVED_SPACE)
        assert refused.exit_code in (10, 11), place
        assert refused.where, place


def test_one_bit_turned_in_a_pipe_is_refused_too(plan: Plan) -> None:
    tar = plan.tar()
    for place in sorted(set(range(0, len(tar), 3)) - idle(plan)):
        data = bytearray(tar)
        data[place] ^= 0x20
        with pytest.raises((TamperedError, UntrustedError)):
            verified(stream(bytes(data)))


def test_a_flip_without_a_signature_check_is_refused_everywhere_but_in_what_only_the_signature_covers(
    plan: Plan,
) -> None:
    """The reader alone, as `inspect` uses it: only signature files and the room can differ unseen."""
    tar = plan.tar()
    unseen = {RESERVED_SPACE, *(part.name for part in plan.head[1:3])}
    allowed = {place for name in unseen for place in places(plan, name)}
    for place in range(len(tar)):
        data = bytearray(tar)
        data[place] ^= 1
        if place in allowed:
            continue
        with pytest.raises(TamperedError) as caught:
            build.read(bytes(data))
        assert caught.value.where, place


def test_every_shorter_length_is_refused(plan: Plan) -> None:
    tar = plan.tar()
    for length in range(len(tar)):
        with pytest.raises(TamperedError) as caught:
            verified(BytesMedium(tar[:length]))
        assert caught.value.what == f"ends at byte {length}, but the bundle is longer"
        assert "copy the bundle again" in caught.value.hint


def test_every_shorter_length_of_a_pipe_is_refused(plan: Plan) -> None:
    tar = plan.tar()
    for length in range(0, len(tar), 3):
        with pytest.raises(TamperedError, match=f"ends at byte {length}, but the bundle is longer"):
            verified(stream(tar[:length]))


@pytest.mark.parametrize("more", [b"\0", b"x", b"\0" * 512, END, b"\0" * 8192])
def test_every_longer_length_is_refused(plan: Plan, more: bytes) -> None:
    for medium in (BytesMedium(plan.tar() + more), stream(plan.tar() + more)):
        with pytest.raises(TamperedError, match=r"archive is followed by|zero bytes follow it"):
            verified(medium)


def test_every_pair_of_blocks_exchanged_is_refused(plan: Plan) -> None:
    tar = plan.tar()
    blocks = [tar[begin : begin + BLOCK] for begin in range(0, len(tar), BLOCK)]
    for one in range(len(blocks)):
        for two in range(one):
            if blocks[one] == blocks[two]:
                continue
            changed = list(blocks)
            changed[one], changed[two] = changed[two], changed[one]
            with pytest.raises((TamperedError, UntrustedError)):
                verified(BytesMedium(b"".join(changed)))


def test_every_block_left_out_or_doubled_is_refused(plan: Plan) -> None:
    tar = plan.tar()
    room = places(plan, RESERVED_SPACE)
    for begin in range(0, len(tar), BLOCK):
        for data in (tar[:begin] + tar[begin + BLOCK :], tar[: begin + BLOCK] + tar[begin:]):
            with pytest.raises((TamperedError, UntrustedError)):
                verified(BytesMedium(data))
    assert len(room) == BLOCK


def test_every_order_of_two_members_is_refused(plan: Plan) -> None:
    """Whole members change places: only those of signatures among themselves may."""
    parts = plan.parts
    signatures = {part.name for part in plan.head[1:3]}
    for one in range(len(parts)):
        for two in range(one):
            if {parts[one].name, parts[two].name} <= signatures:
                continue
            changed = list(parts)
            changed[one], changed[two] = changed[two], changed[one]
            with pytest.raises((TamperedError, UntrustedError)):
                verified(BytesMedium(b"".join(part.tar() for part in changed) + END))


def test_every_member_left_out_or_doubled_is_refused(plan: Plan) -> None:
    for part in plan.parts:
        twice = [each for each in plan.parts for _ in range(2 if each is part else 1)]
        with pytest.raises((TamperedError, UntrustedError)):
            verified(BytesMedium(b"".join(each.tar() for each in twice) + END))
        if part.name == RESERVED_SPACE or part.name.startswith(f"{SUMS}."):
            continue
        with pytest.raises((TamperedError, UntrustedError)):
            verified(BytesMedium(plan.without(part.name).tar()))


def test_all_signatures_stripped_is_untrusted(plan: Plan) -> None:
    bare = replace(plan, head=(plan.head[0], *plan.head[3:]))
    with pytest.raises(UntrustedError, match="has no signature"):
        verified(BytesMedium(bare.tar()))


def test_the_signature_of_another_bundle_is_refused(plan: Plan) -> None:
    other = build.signed(build.plan(SMALL, version="1.3.9", room=512))
    stolen = replace(plan, head=(plan.head[0], *other.head[1:3], *plan.head[3:]))
    with pytest.raises(TamperedError):
        verified(BytesMedium(stolen.tar()))
