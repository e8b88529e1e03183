"""The two commands' way through the steps: what is known at each turn, also where the bundle is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core import errors
from installer.core.format.tar_header import BLOCK
from installer.core.trust.policy import HostFacts
from installer.core.verify import (
    PARTIAL_APPEND,
    check_approvals,
    open_trusted,
    payload_extent,
    report,
    summary,
    verify_payload,
)
from installer.core.vsa import VerificationTrace
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.trustworld import APPROVALS, World, person, root


def test_nothing_of_a_host_is_checked_away_from_one() -> None:
    world = replace(World(), host=replace(World().host, platform="linux/arm64"))
    assert open_trusted(BytesMedium(world.tar()), world.trust()).destination == HostFacts()


def test_the_trail_says_all_that_was_found_of_a_good_bundle() -> None:
    world, trail = World(), VerificationTrace()
    opened = open_trusted(BytesMedium(world.tar()), world.trust(), lambda _manifest: world.host, trail)
    assert (trail.identity, trail.manifest, trail.host) == (world.identity, world.plan.manifest, world.host)
    assert trail.released == opened.evidence
    assert trail.decision is None
    decision = check_approvals(opened, world.trust(), trail=trail)
    assert trail.decision == decision
    assert [found.role for found in trail.approvals] == ["ops", "provenance", "security"]


def test_the_trail_of_a_refused_bundle_says_what_was_known_until_then() -> None:
    trail, world = VerificationTrace(), World(signers=("Eve",))
    with pytest.raises(errors.UntrustedError):
        open_trusted(BytesMedium(world.tar()), world.trust(), lambda _manifest: world.host, trail)
    assert trail.identity == world.identity
    assert (trail.released, trail.manifest) == (None, None)

    trail, world = VerificationTrace(), replace(World(), host=replace(World().host, platform="linux/arm64"))
    with pytest.raises(errors.WrongPlatformError):
        open_trusted(BytesMedium(world.tar()), world.trust(), lambda _manifest: world.host, trail)
    assert (trail.manifest, trail.host) == (world.plan.manifest, world.host)

    trail, world = VerificationTrace(), World(approvals=APPROVALS[:2])
    opened = open_trusted(BytesMedium(world.tar()), world.trust(), lambda _manifest: world.host)
    with pytest.raises(errors.NotApprovedError):
        check_approvals(opened, world.trust(), trail=trail)
    assert [found.role for found in trail.approvals] == ["provenance", "security"]
    assert trail.approval_check is not None
    assert [item.role for item in trail.approval_check.counted] == ["provenance", "security"]
    assert trail.decision is None


def test_progress_is_told_beforehand_how_much_there_is() -> None:
    opened = open_trusted(BytesMedium(World().tar()), World().trust())
    counts: list[int] = []
    verify_payload(opened, counts.append)
    assert payload_extent(opened) == sum(counts) > 0
    assert payload_extent(opened, frozenset({"docs/a"})) < payload_extent(opened)


def test_the_approvals_are_named_without_their_signatures() -> None:
    verified, _ = World().verify()
    roles = ("ops", "provenance", "security")
    people = ("Ops", "Ci", "Sec")
    pairs = zip(roles, people, strict=True)
    names = [f"approvals/{role}-{person(who).key.keyid8}.json" for role, who in pairs]
    assert sorted(verified.approvals) == names
    assert verified.notes == ()


def test_an_approval_that_was_cut_short_is_noted_and_does_no_harm() -> None:
    tar = World().tar()
    at = tar.index(b"approvals/ops-")  # its header is written last
    torn = tar[:at] + bytes(BLOCK) + tar[at + BLOCK : at + 2 * BLOCK]
    verified = verify_payload(open_trusted(BytesMedium(torn), World().trust()))
    assert verified.notes == (PARTIAL_APPEND,)
    assert len(verified.approvals) == len(APPROVALS) - 1


@pytest.mark.parametrize("as_stream", [False, True])
def test_what_the_reader_refuses_has_its_step(as_stream: bool) -> None:
    tar = World().tar() + b"x"
    medium = build.stream(tar) if as_stream else BytesMedium(tar)
    with pytest.raises(errors.TamperedError) as caught:
        verify_payload(open_trusted(medium, World().trust()))
    assert caught.value.step == 19


def test_the_report_names_sensitive_destinations() -> None:
    world = World(plan=build.plan(entries={"docs/CHANGELOG.md": {"install": "/etc/sudoers.d/chat"}}))
    opened = open_trusted(BytesMedium(world.tar()), world.trust(), lambda _manifest: world.host)
    verified = verify_payload(opened)
    assert "SENSITIVE    /etc/sudoers.d/chat: who may act as root" in report(verified)
    assert [each["path"] for each in verified.as_json()["sensitive"]] == ["/etc/sudoers.d/chat"]


def test_one_line_says_who_released_and_who_approved() -> None:
    key = person("Rea").key.keyid8
    world = World()
    opened = open_trusted(BytesMedium(world.tar()), world.trust(), lambda _manifest: world.host)
    verified, decision = verify_payload(opened), check_approvals(opened, world.trust())
    assert summary(verified, decision) == (
        f"verified: released by Rea (cosign key {key}); "
        "approved for production by Ops (ops), Ci (provenance), Sec (security)"
    )
    free = World(root=root(environments={}), approvals=(), host=HostFacts("lab"))
    opened = open_trusted(BytesMedium(free.tar()), free.trust(), lambda _manifest: free.host)
    verified, decision = verify_payload(opened), check_approvals(opened, free.trust())
    assert (
        summary(verified, decision)
        == f"verified: released by Rea (cosign key {key}); no approvals are required"
    )
