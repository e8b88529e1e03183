"""Every byte of a small bundle changed, every length cut: refused, or provably without effect."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from installer.core.archive import ROOM, Bundle, open_bundle
from installer.core.errors import TamperedError, UntrustedError, WaybillError
from installer.core.manifest import SUMS
from installer.core.medium import Medium, StreamMedium
from installer.core.payload import check_payload
from installer.core.signatures import Signature
from installer.core.tarheader import BLOCK, END
from installer.core.trust import pinned_key_trust
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Plan

SMALL = {"docs/a": b"alpha\n", "trees/t/b": b"beta" * 150}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build.signed(build.plan(SMALL, room=512, links=()))


def verify(medium: Medium) -> Bundle:
    """What every command does, signature and all."""
    trust = pinned_key_trust(build.key()[1])

    def decide(sums: bytes, files: Mapping[str, bytes]) -> None:
        trust.check_release(sums, [Signature.parse(name, data) for name, data in files.items()])

    bundle = open_bundle(medium, decide)
    check_payload(bundle, workers=1)
    return bundle


def pipe(data: bytes) -> StreamMedium:
    return StreamMedium(io.BufferedReader(io.BytesIO(data)), "-")  # type: ignore[arg-type]


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
    return {*places(plan, ROOM), *range(start + hint, start + document.data.index(b"}", hint))}


def test_the_bundle_is_good_to_begin_with(plan: Plan) -> None:
    assert verify(BytesMedium(plan.tar())).identity == verify(pipe(plan.tar())).identity


def test_one_bit_turned_at_any_byte_is_refused_and_in_an_idle_one_has_no_effect(plan: Plan) -> None:
    tar = plan.tar()
    good = verify(BytesMedium(tar))
    without_effect = idle(plan)
    assert len(without_effect) < 600
    pick = random.Random(1)
    for place in range(len(tar)):
        data = bytearray(tar)
        data[place] ^= 1 << pick.randrange(8)
        try:
            bundle = verify(BytesMedium(bytes(data)))
        except WaybillError as error:
            refused = error
        else:
            assert place in without_effect
            assert (bundle.identity, bundle.manifest) == (good.identity, good.manifest)
            continue
        assert place not in places(plan, ROOM)
        assert refused.exit_code in (10, 11), place
        assert refused.where, place


def test_one_bit_turned_in_a_pipe_is_refused_too(plan: Plan) -> None:
    tar = plan.tar()
    for place in sorted(set(range(0, len(tar), 3)) - idle(plan)):
        data = bytearray(tar)
        data[place] ^= 0x20
        with pytest.raises((TamperedError, UntrustedError)):
            verify(pipe(bytes(data)))


def test_a_flip_without_a_signature_check_is_refused_everywhere_but_in_what_only_the_signature_covers(
    plan: Plan,
) -> None:
    """The reader alone, as `inspect` uses it: only signature files and the room can differ unseen."""
    tar = plan.tar()
    unseen = {ROOM, *(part.name for part in plan.head[1:3])}
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
            verify(BytesMedium(tar[:length]))
        assert caught.value.what == f"ends at byte {length}, before the bundle does"
        assert "copy the bundle again" in caught.value.hint


def test_every_shorter_length_of_a_pipe_is_refused(plan: Plan) -> None:
    tar = plan.tar()
    for length in range(0, len(tar), 3):
        with pytest.raises(TamperedError, match=f"ends at byte {length}, before"):
            verify(pipe(tar[:length]))


@pytest.mark.parametrize("more", [b"\0", b"x", b"\0" * 512, END, b"\0" * 8192])
def test_every_longer_length_is_refused(plan: Plan, more: bytes) -> None:
    for medium in (BytesMedium(plan.tar() + more), pipe(plan.tar() + more)):
        with pytest.raises(TamperedError, match="something follows the end"):
            verify(medium)


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
                verify(BytesMedium(b"".join(changed)))


def test_every_block_left_out_or_doubled_is_refused(plan: Plan) -> None:
    tar = plan.tar()
    room = places(plan, ROOM)
    for begin in range(0, len(tar), BLOCK):
        for data in (tar[:begin] + tar[begin + BLOCK :], tar[: begin + BLOCK] + tar[begin:]):
            with pytest.raises((TamperedError, UntrustedError)):
                verify(BytesMedium(data))
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
                verify(BytesMedium(b"".join(part.tar() for part in changed) + END))


def test_every_member_left_out_or_doubled_is_refused(plan: Plan) -> None:
    for part in plan.parts:
        twice = [each for each in plan.parts for _ in range(2 if each is part else 1)]
        with pytest.raises((TamperedError, UntrustedError)):
            verify(BytesMedium(b"".join(each.tar() for each in twice) + END))
        if part.name == ROOM or part.name.startswith(f"{SUMS}."):
            continue
        with pytest.raises((TamperedError, UntrustedError)):
            verify(BytesMedium(plan.without(part.name).tar()))


def test_all_signatures_stripped_is_untrusted(plan: Plan) -> None:
    bare = replace(plan, head=(plan.head[0], *plan.head[3:]))
    with pytest.raises(UntrustedError, match="carries no signature"):
        verify(BytesMedium(bare.tar()))


def test_the_signature_of_another_bundle_is_refused(plan: Plan) -> None:
    other = build.signed(build.plan(SMALL, version="1.3.9", room=512))
    stolen = replace(plan, head=(plan.head[0], *other.head[1:3], *plan.head[3:]))
    with pytest.raises(TamperedError):
        verify(BytesMedium(stolen.tar()))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_mutation_is_refused_or_without_effect(data: st.DataObject) -> None:
    plan = build.signed(build.plan(SMALL, room=512))
    tar = bytearray(plan.tar())
    good = verify(BytesMedium(bytes(tar)))
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(tar)))
        length = data.draw(st.integers(0, 600))
        new = data.draw(st.binary(max_size=40) | st.just(bytes(length)) | st.just(bytes(tar[:length])))
        if data.draw(st.booleans()):
            tar[begin : begin + len(new)] = new
        else:
            tar[begin : begin + length] = new
    for medium in (BytesMedium(bytes(tar)), pipe(bytes(tar))):
        try:
            bundle = verify(medium)
        except (TamperedError, UntrustedError):
            continue
        assert (bundle.identity, bundle.manifest) == (good.identity, good.manifest)
