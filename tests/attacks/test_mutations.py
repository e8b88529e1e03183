"""Any mutation of what crosses the gap, or of what a host keeps, is refused or provably has no effect."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from installer.core.errors import NotApprovedError, RefusedError, TamperedError, UntrustedError
from installer.core.trust.approval_sidecar import Sidecars, read_sidecar
from installer.core.trust.root import Root
from installer.core.trust.rotation import check_successor
from installer.core.trust.signatures import Signature
from installer.core.verify import check_approvals
from tests.fuzz.catalogue import TARGETS
from tests.fuzz.trust import bare, opened
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, stream, verified
from tests.rig.trustworld import NOW, World, headed, person

FEW = settings(max_examples=200, deadline=None)


def mutate(data: st.DataObject, content: bytes, first: int = 0) -> bytes:
    """Overwrites, removes or puts in up to four pieces, from the byte `first` on."""
    made = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(min(first, len(made)), len(made)))
        length = data.draw(st.integers(0, 600))
        new = data.draw(st.binary(max_size=40) | st.just(bytes(length)) | st.just(bytes(made[:length])))
        made[begin : begin + (len(new) if data.draw(st.booleans()) else length)] = new
    return bytes(made)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_bundle_is_refused_or_read_as_the_good_one(data: st.DataObject) -> None:
    tar = _bundle()
    good = verified(tar)
    bad = mutate(data, tar)
    for medium in (BytesMedium(bad), stream(bad)):
        try:
            bundle = verified(medium)
        except (TamperedError, UntrustedError):
            continue
        assert (bundle.identity, bundle.manifest) == (good.identity, good.manifest)


@functools.cache
def _bundle() -> bytes:
    files = {"docs/a": b"alpha\n", "trees/t/b": b"beta" * 150}
    return build.signed(build.plan(files, room=512)).tar()


@FEW
@given(st.data())
def test_a_mutated_root_or_signature_is_refused_or_has_no_effect(data: st.DataObject) -> None:
    old, new, files = _update()
    name = data.draw(st.sampled_from(sorted(files)))
    bad = files | {name: mutate(data, files[name])}
    try:
        signatures = [
            Signature.parse(each, content, "root.json")
            for each, content in bad.items()
            if each != "root.json"
        ]
        found = check_successor(old, bad["root.json"], signatures, "root.json", NOW)
    except (TamperedError, UntrustedError, RefusedError):
        return
    assert found.document() == new.document()


@functools.cache
def _update() -> tuple[Root, Root, dict[str, bytes]]:
    """A root, its successor, and the files of that: both its owners have to sign."""
    old, new = (headed(version, "Ann", "Ben", threshold=2) for version in (1, 2))
    text = json.dumps(new.document()).encode()
    files = {"root.json": text}
    for name in ("Ann", "Ben"):
        signer = person(name).signer
        made = signer.sign(text).items()
        files |= {f"root.json.{signer.keyid8}.{form}": content for form, content in made}
    return old, new, files


@FEW
@given(st.data())
def test_mutated_approvals_behind_the_payload_are_refused_or_have_no_effect(data: st.DataObject) -> None:
    world, tar, good = _approved()
    try:
        _, decision = world.verify(BytesMedium(mutate(data, tar, tar.index(b"approvals/"))))
    except (TamperedError, NotApprovedError):
        return
    assert decision == good


@functools.cache
def _approved() -> tuple[World, bytes, object]:
    world = World()
    return world, world.tar(), world.verify()[1]


@FEW
@given(st.data())
def test_mutated_approvals_beside_the_bundle_are_refused_or_have_no_effect(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    world, _, files, good = opened()
    folder = tmp_path_factory.mktemp("sidecar")
    for path, content in files.items():
        (folder / Path(path).name).write_bytes(content)
    chosen = folder / Path(data.draw(st.sampled_from(sorted(files)))).name
    way: Callable[[], object] = data.draw(
        st.sampled_from(
            [
                lambda: chosen.write_bytes(mutate(data, chosen.read_bytes())),
                lambda: chosen.rename(folder / f"{chosen.name[:-1]}{data.draw(st.sampled_from('0afz.'))}"),
                chosen.unlink,
            ]
        )
    )
    way()
    try:
        decision = check_approvals(bare(), world.trust(), Sidecars(((str(folder), read_sidecar(folder)),)))
    except (TamperedError, NotApprovedError):
        return
    assert (decision.filled, decision.rollback_to, decision.change_id) == (
        good.filled,
        good.rollback_to,
        good.change_id,
    )


KEPT = {target.name: target for target in TARGETS}


@pytest.mark.parametrize("name", ["root", "trusted-time", "state", "journal", "history", "evidence"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_mutated_record_of_a_host_is_refused_or_read_as_what_it_says(
    name: str, data: st.DataObject
) -> None:
    """Refused, or read as what it says; the oracles are those of the fuzz targets."""
    target = KEPT[name]
    target.check(mutate(data, data.draw(st.sampled_from(target.seeds())))[: target.most])
