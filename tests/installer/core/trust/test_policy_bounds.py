"""For which host, in which order of releases, until when: the bounds of what an environment lets in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from installer.core import errors
from installer.core.limits import LIMITS
from installer.core.trust.policy import HostFacts
from installer.core.trust.root import PRODUCTION, ProductRule
from tests.rig import bundlebuild as build
from tests.rig.policies import BROKEN, GLASS, missing, refused, with_policy
from tests.rig.trustworld import APPROVALS, FILES, MADE, NOW, Said, World, person, root


class TestOtherHosts:
    """Approvals for other hosts: a refusal of its own only where they are what is missing here."""

    AWAY = Said(
        "ops", fields={"targets": ("chat02",)}, name=f"approvals/ops-{person('Ops').key.keyid8}.2.json"
    )

    def test_approvals_for_other_hosts_beside_good_ones_do_no_harm(self) -> None:
        _, decision = World(approvals=(*APPROVALS, self.AWAY)).verify()
        assert len(decision.counted) == len(APPROVALS)
        assert decision.rejected == ((self.AWAY.name, "Ops: is for other hosts"),)

    def test_the_hosts_of_approvals_that_would_be_missing_are_named(self) -> None:
        error = refused(World(approvals=(*APPROVALS[:2], self.AWAY)), errors.WrongTargetError)
        assert error.what == "is for chat02, but this host is chat01.plant.example"

    def test_what_is_missing_is_listed_where_approvals_for_other_hosts_would_not_do_either(self) -> None:
        assert {f"missing: 1 approval in role {role}" for role in ("security", "ops")} <= missing(
            World(approvals=(APPROVALS[0], self.AWAY))
        ).keys()

    def test_approvals_for_other_hosts_do_not_prevent_break_glass(self) -> None:
        world = World(root=with_policy(GLASS), approvals=(*APPROVALS[:2], self.AWAY, *BROKEN))
        assert [text.split(":")[0] for text in world.verify()[1].broken] == ["1 approval in role ops"]

    def test_approvals_for_other_hosts_are_only_not_counted_where_none_are_required(self) -> None:
        host = replace(World().host, environment="")
        _, decision = World(root=root(environments={}), host=host, approvals=(*APPROVALS, self.AWAY)).verify()
        assert [item.role for item in decision.counted] == ["ops", "provenance", "security"]
        assert decision.rejected == ((self.AWAY.name, "Ops: is for other hosts"),)


class TestSequence:
    def test_what_runs_may_be_applied_again_however_old(self) -> None:
        World(host=HostFacts("production", highest=2**40, running=100_040_000_999, version="1.4.0")).verify()

    def test_only_the_retained_one_of_two_releases_with_one_sequence_number_may_be_applied(self) -> None:
        number, world = 100_040_000_999, World()
        for highest in (number, 2**40):
            runs = replace(world.host, highest=highest, running=number, version="1.4.0")
            replace(world, host=replace(runs, retained=((number, world.identity),))).verify()
            other = replace(world, host=replace(runs, retained=((number, "f" * 64),)))
            error = refused(other, errors.DowngradeError)
            assert "has the same sequence number as another release on this host (ffffffffffff)" in error.what
            assert "higher `sequence`" in error.hint
            forgets = root(products={"lan-chat": ProductRule(reset=1)})
            replace(other, root=forgets).verify()

    @pytest.mark.parametrize(
        ("sequence", "identity", "twin"),
        [(1, "a", ""), (1, "b", "a"), (2, "c", ""), (2, "d", "b"), (3, "a", ""), (1, "", "")],
        ids=[
            "kept",
            "another",
            "the second kept",
            "a third",
            "a new number",
            "an identity that is not known",
        ],
    )
    def test_a_twin_has_the_same_number_and_is_not_kept_itself(
        self, sequence: int, identity: str, twin: str
    ) -> None:
        assert HostFacts(retained=((1, "a"), (2, "b"), (2, "c"))).same_sequence(sequence, identity) == twin

    def test_a_reset_lets_the_host_forget_once(self) -> None:
        high = replace(World().host, highest=2**50)
        refused(World(host=high), errors.DowngradeError)
        base = root(products={"lan-chat": ProductRule(reset=1)})
        assert World(root=base, host=high).verify()[1].reset == 1
        refused(World(root=base, host=replace(high, reset=1)), errors.DowngradeError)

    @pytest.mark.parametrize(
        ("retained", "hint"),
        [
            (((7, "a" * 64), (8, "b" * 64)), "run `install rollback VERSION`"),
            (((8, "b" * 64),), "this host retains no release that it could roll back to"),
            ((), "this host retains no release that it could roll back to"),
        ],
        ids=["an older release is retained", "only the running release is retained", "everything is removed"],
    )
    def test_a_refused_downgrade_names_a_rollback_only_where_one_is_possible(
        self, retained: tuple[tuple[int, str], ...], hint: str
    ) -> None:
        running = 8 if retained else -1
        host = replace(World().host, highest=2**50, running=running, retained=retained)
        assert hint in refused(World(host=host), errors.DowngradeError).hint

    def test_a_leap_that_nothing_could_follow(self) -> None:
        plan = build.plan(FILES, room=512, rollback="docs/ROLLBACK.md", sequence=2**53)
        error = refused(World(plan=plan), errors.JumpError)
        assert "set-product" in error.hint

    def test_the_first_one_may_come_from_nowhere(self) -> None:
        World(host=HostFacts("production")).verify()

    @pytest.mark.parametrize("above", [0, 1, 2**53 - LIMITS.first_sequence])
    def test_the_first_one_leaves_room_for_those_after_it(self, above: int) -> None:
        """Also after a reset by the root, and at the desk, which knows no host."""
        fields = {"sequence": LIMITS.first_sequence + above, "rollback": "docs/ROLLBACK.md"}
        plan = build.plan(FILES, room=512, **fields)
        reset = root(products={"lan-chat": ProductRule(reset=1)})
        worlds = [
            World(plan=plan, host=HostFacts("production")),
            World(plan=plan, root=reset, host=replace(World().host, highest=2**52)),
        ]
        for world in worlds:
            if above == 0:
                world.verify()
                continue
            error = refused(world, errors.JumpError)
            assert "is too high for the first release on a host: at most 2000000000000000" in error.what
            assert "lower `sequence` in bundle.yaml" in error.hint

    def test_a_host_that_has_a_higher_one_goes_on(self) -> None:
        fields = {"sequence": 2**52 + 1, "rollback": "docs/ROLLBACK.md"}
        world = World(plan=build.plan(FILES, room=512, **fields), host=replace(World().host, highest=2**52))
        world.verify()

    def test_the_bounds_themselves_are_within(self) -> None:
        sequence = World().plan.manifest.sequence
        host = replace(World().host, highest=sequence)
        World(host=host).verify()
        refused(World(host=replace(host, highest=sequence + 1)), errors.DowngradeError)
        World(root=root(products={"lan-chat": ProductRule(floor=sequence)})).verify()
        refused(World(root=root(products={"lan-chat": ProductRule(floor=sequence + 1)})), errors.FloorError)
        World(host=replace(World().host, version="1.2.0")).verify()

    @pytest.mark.parametrize("highest", [0, 7])
    def test_a_leap_is_measured_from_what_the_host_has_had(self, highest: int) -> None:
        host = replace(World().host, highest=highest, running=-1)
        farthest = {"sequence": highest + LIMITS.sequence_jump, "rollback": "docs/ROLLBACK.md"}
        World(host=host, plan=build.plan(FILES, room=512, **farthest)).verify()
        farthest["sequence"] += 1
        refused(World(host=host, plan=build.plan(FILES, room=512, **farthest)), errors.JumpError)

    def test_a_host_that_has_had_the_number_zero_is_no_host_without_a_release(self) -> None:
        host = replace(World().host, highest=0, running=-1)
        fields = {"sequence": LIMITS.first_sequence + 1, "rollback": "docs/ROLLBACK.md"}
        error = refused(World(host=host, plan=build.plan(FILES, room=512, **fields)), errors.JumpError)
        assert "is too far above the highest that this host has had (0)" in error.what

    def test_the_message_names_where_to_stop_in_between(self) -> None:
        error = refused(World(host=replace(World().host, version="1.1.9")), errors.JumpError)
        assert error.hint == "install 1.2.0 first"


def test_a_bundle_expires_with_the_second_that_it_names() -> None:
    end = MADE + timedelta(days=180)
    later = {"expires": end + timedelta(days=9)}
    world = World(
        root=root(**later), approvals=tuple(replace(said, fields=later) for said in APPROVALS), now=end
    )
    assert world.plan.manifest.expires == end.timestamp()
    refused(world, errors.ExpiredError)
    replace(world, now=end - timedelta(seconds=1)).verify()


def test_a_product_that_the_environment_takes_is_let_in() -> None:
    World(root=with_policy(replace(PRODUCTION, products=("other", "lan-chat")))).verify()


def test_a_target_is_one_of_several_and_a_host_without_a_name_is_any_of_them() -> None:
    here = HostFacts(name="chat01.plant.example")
    assert here.is_target(())
    assert here.is_target(("chat02", "chat01"))
    assert not here.is_target(("chat02", "chat03"))
    assert HostFacts().is_target(("chat02",))


def test_two_clocks_may_differ_by_minutes() -> None:
    World(known=NOW + timedelta(minutes=10)).verify()
    refused(World(known=NOW + timedelta(minutes=10, seconds=1)), errors.ClockError)
