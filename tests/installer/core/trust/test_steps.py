"""Every numbered step of the verification refuses by itself, and the documentation has the same numbers.

For each step there is a world in which only that step refuses: with the step taken away, everything else lets
the bundle pass. What cannot be taken away (a head that is none cannot be read on) is only looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from installer.core import errors, verify
from installer.core.errors import WaybillError
from installer.core.format.tar_header import END
from installer.core.trust import steps, verifier
from installer.core.trust.approval import Approval
from installer.core.trust.policy import HostFacts
from installer.core.trust.root import PRODUCTION, ProductRule, Role
from installer.core.trust.steps import STEPS, verification_step
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium, Plan
from tests.rig.imagebuild import Built, layer
from tests.rig.imageplan import section
from tests.rig.trustworld import APPROVALS, FILES, HOST, MADE, NOW, Said, World, person, root

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "verification.md"


def manifest(**fields: object) -> Plan:
    return build.plan(FILES, room=512, **{"rollback": "docs/ROLLBACK.md", **fields})


def bad_signature(base: World) -> World:
    """A second release key signs other bytes beside the good one."""
    sam = person("Sam")
    keys = {**base.root.keys, sam.key.keyid: sam.key}
    release = Role((*base.root.roles["release"].keys, sam.key.keyid), 1)
    name = f"SHA256SUMS.{sam.signer.keyid8}.sig"
    return replace(
        base,
        root=replace(base.root, keys=keys, roles={**base.root.roles, "release": release}),
        signers=("Rea", "Sam"),
        edits={name: sam.signer.sign(b"other")["sig"]},
    )


def bad_approval(base: World) -> World:
    """One of the approvals, the last that is looked at, was given a note afterwards."""
    name = f"approvals/security-{person('Sec').signer.keyid8}.json"
    good = Said("security", name=name.replace(".json", ".2.json"))
    data = base.files((Said("security"),))[name]
    return replace(base, approvals=(*APPROVALS, good), edits={name: data.replace(b"CHG-7", b"CHG-8")})


def elsewhere(base: World) -> World:
    others = {"targets": ("chat02.plant.example",)}
    return replace(base, approvals=(*APPROVALS[:2], Said("ops", fields=others)))


def other_images(base: World) -> World:
    """The layout names an image that the manifest does not list."""
    made = section([Built("chat/app:1", [layer("app")])])
    made.files["images/index.json"] = made.files["images/index.json"].replace(b"chat/app:1", b"chat/app:2")
    return replace(base, plan=made.plan(FILES, room=512, rollback="docs/ROLLBACK.md"))


ONLY: dict[int, tuple[type[WaybillError], Callable[[World], World]]] = {
    2: (errors.ExpiredError, lambda w: replace(w, root=root(expires=NOW - timedelta(seconds=1)))),
    3: (errors.ClockError, lambda w: replace(w, known=NOW + timedelta(hours=1))),
    4: (errors.RevokedError, lambda w: replace(w, root=root(revoked_bundles=frozenset({w.identity})))),
    5: (errors.TamperedError, bad_signature),
    6: (
        errors.UntrustedError,
        lambda w: replace(w, signers=("Eve",), host=HostFacts(), root=root(environments={})),
    ),
    8: (
        errors.ClockError,
        lambda w: replace(
            w,
            known=None,
            now=MADE - timedelta(hours=1),
            approvals=tuple(replace(s, fields={"not_before": MADE - timedelta(days=1)}) for s in APPROVALS),
        ),
    ),
    9: (
        errors.ExpiredError,
        lambda w: replace(
            w,
            now=MADE + timedelta(days=181),
            root=root(expires=MADE + timedelta(days=900)),
            approvals=tuple(replace(s, fields={"expires": MADE + timedelta(days=900)}) for s in APPROVALS),
        ),
    ),
    10: (
        errors.WrongProductError,
        lambda w: replace(
            w, root=root(environments={"production": replace(PRODUCTION, products=("other",))})
        ),
    ),
    11: (errors.WrongPlatformError, lambda w: replace(w, host=replace(w.host, platform="linux/arm64"))),
    12: (errors.DowngradeError, lambda w: replace(w, host=replace(w.host, highest=100_050_000_999))),
    13: (
        errors.FloorError,
        lambda w: replace(w, root=root(products={"lan-chat": ProductRule(floor=100_040_001_000)})),
    ),
    14: (errors.JumpError, lambda w: replace(w, host=replace(w.host, version="1.1.9"))),
    15: (
        errors.NotApprovedError,
        lambda w: replace(w, host=replace(w.host, environment="staging")),
    ),
    16: (errors.TamperedError, bad_approval),
    17: (errors.WrongTargetError, elsewhere),
    18: (errors.NotApprovedError, lambda w: replace(w, approvals=APPROVALS[:2])),
    20: (errors.TamperedError, other_images),
}


@contextmanager
def without(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Takes one step away: whatever it refuses, it goes on."""

    @contextmanager
    def lenient(step: int) -> Iterator[None]:
        try:
            with verification_step(step):
                yield
        except WaybillError:
            if step != number:
                raise

    with monkeypatch.context() as patch:
        patch.setattr(verifier, "verification_step", lenient)
        patch.setattr(verify, "verification_step", lenient)
        yield


def test_a_good_world_passes_as_a_file_and_as_a_stream() -> None:
    world = World()
    verified, decision = world.verify()
    assert (verified.identity, decision.change_id, decision.rollback_to) == (world.identity, "CHG-7", "1.3.0")
    assert decision.filled == {
        "release": ("Rea",),
        "provenance": ("Ci",),
        "security": ("Sec",),
        "ops": ("Ops",),
    }
    assert world.verify(build.stream(world.tar()))[1] == decision


@pytest.mark.parametrize("number", ONLY)
def test_only_this_step_refuses(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, change = ONLY[number]
    world = change(World())
    for medium in (BytesMedium(world.tar()), build.stream(world.tar())):
        with pytest.raises(kind) as caught:
            world.verify(medium)
        assert (type(caught.value), caught.value.step) == (kind, number)
        assert caught.value.as_json()["step"] == number
    with without(number, monkeypatch):
        world.verify()


def cut(data: bytes) -> bytes:
    return data[:600]


def flipped(data: bytes) -> bytes:
    at = data.rindex(b"betabeta")
    return data[:at] + b"B" + data[at + 1 :]


def relisted(world: World) -> bytes:
    """SHA256SUMS is signed and lists what is not there."""
    plan = world.plan.changed("SHA256SUMS", data=world.sums.replace(b"docs/a", b"docs/b"))
    return replace(world, plan=plan).tar()


@pytest.mark.parametrize(
    ("number", "tar"),
    [
        (1, lambda world: cut(world.tar())),
        (1, lambda world: b"x" + world.tar()[1:]),
        (7, relisted),
        (19, lambda world: flipped(world.tar())),
        (19, lambda world: world.tar() + b"x"),
        (19, lambda world: world.tar()[: -len(END)] + b"x" * len(END)),
    ],
    ids=["head cut", "no bundle", "list of others", "payload flipped", "one byte more", "no end"],
)
def test_each_step_of_the_reader_refuses_by_its_number(number: int, tar: Callable[[World], bytes]) -> None:
    world = World()
    with pytest.raises(errors.TamperedError) as caught:
        world.verify(BytesMedium(tar(world)))
    assert caught.value.step == number


def test_every_step_has_its_test() -> None:
    assert {*ONLY, 1, 7, 19} == set(STEPS) == set(range(1, len(STEPS) + 1))


def test_the_documentation_lists_the_same_steps() -> None:
    listed = re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {int(number): words.strip() for number, words in listed} == STEPS


def test_an_approval_of_a_stream_is_seen_before_anything_is_kept_for_good() -> None:
    world = replace(World(), approvals=())
    with pytest.raises(errors.NotApprovedError):
        world.verify(build.stream(world.tar()))


def test_the_host_name_may_be_short_in_a_target() -> None:
    for target in (HOST, "chat01"):
        world = replace(World(), approvals=(*APPROVALS[:2], Said("ops", fields={"targets": (target,)})))
        world.verify()


def test_a_step_inside_another_keeps_its_number() -> None:
    with pytest.raises(WaybillError) as caught, steps.verification_step(2), steps.verification_step(1):
        raise WaybillError("x")
    assert caught.value.step == 1


def test_statement_bytes_are_stable() -> None:
    said = Approval("a" * 64, "p", "1.0.0", "ops", "e", MADE, NOW)
    assert said.to_bytes() == said.to_bytes()
    assert said.to_bytes().startswith(b'{"_type":"https://in-toto.io/Statement/v1","')
