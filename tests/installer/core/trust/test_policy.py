"""What an environment asks for: distinct people, one change, a way back; what is missing; break-glass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from installer.core import errors
from installer.core.jsonio import dumps
from installer.core.trust.approval_sidecar import Sidecars
from installer.core.trust.policy import HostFacts
from installer.core.trust.provenance import PREDICATE as PROVENANCE
from installer.core.trust.quorum import assign_owners
from installer.core.trust.root import PRODUCTION, Policy, Role
from tests.rig import bundlebuild as build
from tests.rig.policies import BROKEN, GLASS, missing, refused, with_holders, with_policy
from tests.rig.trustworld import APPROVALS, FILES, MADE, NOW, TEAM, Said, World, person, root


class TestMissing:
    def test_everything_is_listed_at_once_with_who_could_give_it(self) -> None:
        world = replace(World(), approvals=(), plan=build.plan(FILES, room=512))
        found = missing(world)
        assert list(found) == [
            "missing: 1 approval in role provenance",
            "missing: 1 approval in role security",
            "missing: 1 approval in role ops",
            "missing: a change id in an approval",
            "missing: a rollback plan in the bundle",
            "missing: the version to roll back to, in an approval",
        ]
        assert f"Sec (cosign {person('Sec').key.keyid8})" in found["missing: 1 approval in role security"]
        assert (
            "bundle approve BUNDLE --role security --env production"
            in found["missing: 1 approval in role security"]
        )
        assert "security can be given by " in found["missing: 1 approval in role security"]
        assert "bundle.yaml" in found["missing: a rollback plan in the bundle"]

    def test_what_is_there_and_does_not_count_is_named_with_the_reason(self) -> None:
        late = Said("ops", fields={"expires": NOW - timedelta(days=1), "not_before": MADE})
        text = str(refused(replace(World(), approvals=(*APPROVALS[:2], late))))
        assert "does not count: Ops: expired on" in text

    def test_only_what_is_missing_is_listed(self) -> None:
        assert list(missing(replace(World(), approvals=APPROVALS[1:]))) == [
            "missing: 1 approval in role provenance"
        ]

    def test_a_revoked_holder_is_not_proposed(self) -> None:
        sec = person("Sec").key.keyid
        world = replace(World(), root=root(revoked_keys=frozenset({sec})))
        found = missing(world)
        assert "nobody: the root has no other owner" in found["missing: 1 approval in role security"]
        assert any("was revoked" in text for text in found.values())

    @pytest.mark.parametrize(
        ("field", "named"), [("change_id", "change ids"), ("rollback_to", "versions to roll back to")]
    )
    def test_approvals_that_differ_name_none_and_all_are_shown(self, field: str, named: str) -> None:
        other = Said("ops", fields={field: "9.9.9"})
        found = missing(replace(World(), approvals=(*APPROVALS[:2], other)))
        first = next(iter(found.values()))
        assert first.startswith(f"the approvals name different {named}: ")
        assert "9.9.9" in first

    @pytest.mark.parametrize("field", ["change_id", "rollback_to"])
    def test_the_remedy_for_different_ones_is_to_withdraw_one(self, field: str) -> None:
        other = Said("ops", fields={field: "9.9.9"})
        text = next(iter(missing(replace(World(), approvals=(*APPROVALS[:2], other))).values()))
        assert "`bundle approve BUNDLE --withdraw --key KEY`" in text
        assert "--change-id" not in text
        assert "--rollback-to" not in text

    def test_one_approval_that_names_the_host_is_enough(self) -> None:
        bare = {"change_id": "", "rollback_to": ""}
        World(
            approvals=(Said("provenance", fields=bare), Said("security", fields=bare), Said("ops"))
        ).verify()

    def test_a_first_installation_says_that_there_is_nothing_to_go_back_to(self) -> None:
        none = tuple(replace(each, fields={"rollback_to": "none"}) for each in APPROVALS)
        assert World(approvals=none, host=HostFacts("production")).verify()[1].rollback_to == "none"


REJECTED: dict[str, tuple[Mapping[str, Any], str]] = {
    "another bundle": ({"identity": "b" * 64}, "is about another bundle"),
    "another product": ({"product": "other"}, "is for other 1.4.0"),
    "another version": ({"version": "1.4.1"}, "is for lan-chat 1.4.1"),
    "another environment": ({"environment": "staging"}, "is for the environment staging"),
    "another role": ({"role": "security"}, "was given in the role security, not ops"),
    "from tomorrow on": ({"not_before": NOW + timedelta(days=1)}, "is not valid before"),
    "expired": ({"expires": NOW}, "expired on"),
}


class TestRejected:
    @pytest.mark.parametrize("fault", REJECTED)
    def test_an_approval_that_does_not_fit(self, fault: str) -> None:
        fields, reason = REJECTED[fault]
        text = str(refused(World(approvals=(*APPROVALS[:2], Said("ops", fields=fields)))))
        assert f"Ops: {reason}" in text

    def test_a_stranger_s_does_not_count_and_does_no_harm(self) -> None:
        eve = Said("ops", by="Eve")
        assert "missing: 1 approval in role ops" in missing(World(approvals=(*APPROVALS[:2], eve)))
        _, decision = World(approvals=(*APPROVALS, eve)).verify()
        assert "not trusted here for the role ops" in decision.rejected[0][1]

    def test_a_key_of_another_role_does_not_count(self) -> None:
        assert "missing: 1 approval in role ops" in missing(
            World(approvals=(*APPROVALS[:2], Said("ops", by="Sec")))
        )

    def test_garbage_under_a_stranger_s_name_is_not_even_parsed(self) -> None:
        eve = Said("ops", by="Eve", data=b"\xff" * 100)
        assert World(approvals=(*APPROVALS, eve)).verify()[1].rejected

    def test_what_one_of_ours_signed_and_nobody_can_read_does_not_count(self) -> None:
        odd = Said("ops", data=b'{"_type":"https://in-toto.io/Statement/v2"}\n')
        assert "cannot be read" in str(refused(World(approvals=(*APPROVALS[:2], odd))))

    def test_an_approval_without_its_signature_does_not_count(self) -> None:
        from installer.core.verify import check_approvals, open_trusted

        world = World(approvals=APPROVALS[:2])
        files = {name: data for name, data in world.files((Said("ops"),)).items() if name.endswith("8.json")}
        name = f"approvals/ops-{person('Ops').key.keyid8}.json"
        files = {name: world.files((Said("ops"),))[name]}
        trust = world.trust()
        opened = open_trusted(build.BytesMedium(world.tar()), trust, lambda _m: world.host)
        with pytest.raises(errors.NotApprovedError, match="is not signed"):
            check_approvals(opened, trust, Sidecars((("beside", files),)))

    def test_an_approval_that_was_moved_from_the_name_of_another_role_does_not_count(self) -> None:
        both = with_holders(root(), security=("Sec", "Ops"))
        moved = Said("ops", name=f"approvals/security-{person('Ops').key.keyid8}.json")
        text = str(refused(World(root=both, approvals=(APPROVALS[0], moved, APPROVALS[2]))))
        assert "was given in the role ops, not security" in text

    @pytest.mark.parametrize(("days", "fine"), [(2, True), (1, False)])
    def test_an_approval_older_than_the_policy_allows_does_not_count(self, days: int, fine: bool) -> None:
        world = World(root=with_policy(replace(PRODUCTION, max_age_days=days)))
        if fine:
            world.verify()
        else:
            assert f"is older than this environment allows ({days} day" in str(refused(world))

    def test_an_approval_of_a_clock_that_is_minutes_ahead_counts(self) -> None:
        ahead = Said("ops", fields={"not_before": NOW + timedelta(seconds=600)})
        World(approvals=(*APPROVALS[:2], ahead)).verify()
        ahead = Said("ops", fields={"not_before": NOW + timedelta(seconds=601)})
        assert "is not valid before" in str(refused(World(approvals=(*APPROVALS[:2], ahead))))

    def test_a_key_past_its_not_after_does_not_count(self) -> None:
        base = root()
        key = replace(person("Ops").key, not_after=NOW - timedelta(days=1))
        world = World(root=replace(base, keys={**base.keys, key.keyid: key}))
        assert "expired on" in missing(world)[f"approvals/ops-{key.keyid8}.json"]


class TestOwners:
    def test_one_person_with_two_keys_counts_once(self) -> None:
        base = with_policy(replace(PRODUCTION, requires={**PRODUCTION.requires, "security": 2}))
        two = replace(person("Sec2").key, owner="SEC")
        keys = {**base.keys, two.keyid: two}
        security = Role((person("Sec").key.keyid, two.keyid), 1)
        doubled = replace(base, keys=keys, roles={**base.roles, "security": security})
        found = missing(World(root=doubled, approvals=(*APPROVALS, Said("security", by="Sec2"))))
        assert "(2 required, given by Sec)" in found["missing: 1 approval in role security"]

    def test_the_owner_who_released_a_bundle_does_not_approve_it(self) -> None:
        base = with_holders(root(), security=("Rea", "Sec"))
        own = World(root=base, approvals=(APPROVALS[0], Said("security", by="Rea"), APPROVALS[2]))
        found = missing(own)
        assert "an owner counts for one role only" in found["missing: 1 approval in role security"]
        assert "can be given by Sec" in found["missing: 1 approval in role security"]

    def test_one_person_fills_one_role_of_two(self) -> None:
        base = with_holders(root(), security=("Ops", "Sec"), ops=("Ops",))
        world = World(root=base, approvals=(APPROVALS[0], Said("security", by="Ops"), APPROVALS[2]))
        assert list(missing(world)) == ["missing: 1 approval in role security"]

    def test_people_with_several_roles_are_put_where_they_are_needed(self) -> None:
        base = with_holders(root(), security=("Ann", "Ben"), ops=("Ann",))
        said = (APPROVALS[0], Said("security", by="Ann"), Said("security", by="Ben"), Said("ops", by="Ann"))
        _, decision = World(root=base, approvals=said).verify()
        assert (decision.filled["security"], decision.filled["ops"]) == (("Ben",), ("Ann",))

    def test_an_environment_may_ask_for_two_releasers(self) -> None:
        base = with_holders(
            with_policy(replace(PRODUCTION, requires={**PRODUCTION.requires, "release": 2})),
            release=("Rea", "Rob"),
        )
        assert "bundle sign" in missing(World(root=base))["missing: 1 release signature in role release"]
        World(root=base, signers=("Rea", "Rob")).verify()

    def test_the_same_approval_in_the_bundle_and_beside_it_counts_once(self) -> None:
        assert len(World(beside=APPROVALS).verify()[1].counted) == 3

    def test_the_same_words_by_two_people_are_two(self) -> None:
        base = with_holders(
            with_policy(replace(PRODUCTION, requires={**PRODUCTION.requires, "security": 2})),
            security=("Sec", "Sam"),
        )
        _, decision = World(root=base, approvals=(*APPROVALS, Said("security", by="Sam"))).verify()
        assert decision.filled["security"] == ("Sam", "Sec")

    def test_an_owner_of_several_roles_leaves_a_role_to_one_who_has_no_other(self) -> None:
        signed = {"a": frozenset("uv"), "b": frozenset("u"), "c": frozenset("vw")}
        assert assign_owners({"a": 1, "c": 1, "b": 1}, signed) == {"a": ("v",), "c": ("w",), "b": ("u",)}

    @settings(max_examples=150, deadline=None)
    @given(
        st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), min_size=1),
        st.dictionaries(st.sampled_from("abc"), st.frozensets(st.sampled_from("uvwxy"))),
    )
    def test_no_owner_is_assigned_twice_and_no_better_assignment_exists(
        self, needs: dict[str, int], signed: dict[str, frozenset[str]]
    ) -> None:
        filled = assign_owners(needs, signed)
        people = [owner for owners in filled.values() for owner in owners]
        assert len(people) == len(set(people))
        assert all(set(filled[role]) <= signed.get(role, frozenset()) for role in needs)
        assert all(len(filled[role]) <= needs[role] for role in needs)
        assert len(people) == best(list(needs.items()), signed, frozenset())


def best(needs: list[tuple[str, int]], signed: Mapping[str, frozenset[str]], used: frozenset[str]) -> int:
    """Tries everything."""
    from itertools import combinations

    if not needs:
        return 0
    (role, number), *rest = needs
    free = signed.get(role, frozenset()) - used
    return max(
        count + best(rest, signed, used | set(chosen))
        for count in range(min(number, len(free)) + 1)
        for chosen in combinations(sorted(free), count)
    )


class TestGlass:
    def test_break_glass_replaces_missing_approvals_and_names_them(self) -> None:
        _, decision = World(root=with_policy(GLASS), approvals=BROKEN).verify()
        assert decision.broken
        assert decision.filled == {"release": ("Rea",), "break-glass": ("Boss",)}
        assert list(decision.broken) == [
            "1 approval in role provenance",
            "1 approval in role security",
            "1 approval in role ops",
        ]
        assert "BREAK-GLASS used in production" in decision.warning()
        assert "Boss: plant stands still, INC-4" in decision.warning()
        assert ("BREAK-GLASS", f"replaces: {decision.broken[0]}") in decision.rows()
        assert json.dumps(decision.as_json()["break_glass"])

    def test_break_glass_is_not_used_where_nothing_is_missing(self) -> None:
        _, decision = World(root=with_policy(GLASS), approvals=(*APPROVALS, *BROKEN)).verify()
        assert not decision.broken
        assert decision.warning() == ""

    def test_break_glass_counts_for_nothing_where_the_policy_does_not_allow_it(self) -> None:
        assert "missing: 1 approval in role security" in missing(World(approvals=BROKEN))

    def test_break_glass_counts_for_nothing_where_the_root_names_nobody_for_it(self) -> None:
        base = with_policy(GLASS)
        nobody = replace(
            base, roles={name: role for name, role in base.roles.items() if name != "break-glass"}
        )
        assert "missing: 1 approval in role security" in missing(World(root=nobody, approvals=BROKEN))

    def test_break_glass_needs_a_reason(self) -> None:
        text = str(refused(World(root=with_policy(GLASS), approvals=(Said("break-glass"),))))
        assert "has no reason" in text

    def test_break_glass_has_a_threshold(self) -> None:
        base = with_holders(with_policy(GLASS), **{"break-glass": ("Boss", "Bob")})
        base = replace(
            base, roles={**base.roles, "break-glass": replace(base.roles["break-glass"], threshold=2)}
        )
        refused(World(root=base, approvals=BROKEN))
        second = Said("break-glass", by="Bob", fields={"notes": "agreed"})
        assert World(root=base, approvals=(*BROKEN, second)).verify()[1].broken

    def test_the_owner_who_released_a_bundle_does_not_break_the_glass_alone(self) -> None:
        base = with_holders(with_policy(GLASS), **{"break-glass": ("Rea",)})
        refused(World(root=base, approvals=(replace(BROKEN[0], by="Rea"),)))

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            ({"signers": ("Eve",)}, errors.UntrustedError),
            ({"host": replace(World().host, highest=2**40)}, errors.DowngradeError),
            ({"now": MADE + timedelta(days=181)}, errors.ExpiredError),
            ({"known": NOW + timedelta(days=1)}, errors.ClockError),
        ],
    )
    def test_break_glass_replaces_approvals_only(
        self, change: Mapping[str, Any], kind: type[errors.WaybillError]
    ) -> None:
        forever = {"expires": MADE + timedelta(days=900)}
        base = with_policy(GLASS, **forever)
        fields = {"notes": "now", **forever}
        refused(World(**{"root": base, "approvals": (Said("break-glass", fields=fields),), **change}), kind)


class TestBuilders:
    CI = "https://ci.example/lan-chat"

    def provenance(self, builder: str) -> Said:
        document = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "SHA256SUMS", "digest": {"sha256": World().identity}}],
            "predicateType": PROVENANCE,
            "predicate": {"runDetails": {"builder": {"id": builder}}},
        }
        return Said("provenance", data=dumps(document))

    def test_only_the_designated_pipeline_counts(self) -> None:
        base = with_policy(replace(PRODUCTION, builders=(self.CI,)))
        _, decision = World(root=base, approvals=(self.provenance(self.CI), *APPROVALS[1:])).verify()
        assert decision.builder == self.CI
        other = World(root=base, approvals=(self.provenance("https://laptop"), *APPROVALS[1:]))
        assert "was built by https://laptop" in str(refused(other))

    def test_a_mere_approval_names_no_builder(self) -> None:
        base = with_policy(replace(PRODUCTION, builders=(self.CI,)))
        assert "names no builder" in str(refused(World(root=base)))

    def test_any_provenance_counts_without_a_list_of_builders(self) -> None:
        World(approvals=(self.provenance("https://laptop"), *APPROVALS[1:])).verify()

    def test_provenance_counts_in_no_other_role(self) -> None:
        lent = replace(self.provenance(self.CI), role="ops", by="Ops")
        assert "is provenance, but was given in the role ops" in str(
            refused(World(approvals=(*APPROVALS[:2], lent)))
        )


def test_a_decision_names_each_approver_with_expiry_hosts_and_reason() -> None:
    from installer.core.timestamps import format_time

    notes = {"notes": "looked at by two", "targets": ("chat01",)}
    provenance = TestBuilders().provenance("https://ci.example/1")
    _, decision = World(approvals=(provenance, APPROVALS[1], Said("ops", fields=notes))).verify()
    told = sorted(text for label, text in decision.rows() if label == "counted")
    keys = {role: person(TEAM[role]).key.keyid8 for role in ("ops", "provenance", "security")}
    end = format_time(MADE + timedelta(days=14))
    assert told == [
        f"ops by Ops (cosign {keys['ops']}) until {end}, only for chat01: looked at by two",
        f"provenance by Ci (cosign {keys['provenance']})",
        f"security by Sec (cosign {keys['security']}) until {end}",
    ]


class TestEnvironment:
    def test_a_host_whose_environment_nobody_named_is_refused(self) -> None:
        error = refused(World(host=HostFacts()), errors.UsageError)
        assert "--env" in error.hint

    def test_a_root_without_policies_leaves_it_to_the_release(self) -> None:
        for name in ("", "lab"):
            _, decision = World(root=root(environments={}), approvals=(), host=HostFacts(name)).verify()
            assert (decision.needed, decision.environment) == ({}, name)
            said = f"{name}; no approvals are required" if name else "none; the root has no policies"
            assert ("environment", said) in decision.rows()

    def test_production_is_never_left_to_the_release_alone(self) -> None:
        error = refused(World(root=root(environments={})))
        assert "no policy for the environment production" in error.what

    def test_an_empty_policy_asks_for_the_release_alone(self) -> None:
        World(root=with_policy(Policy({})), approvals=()).verify()


def test_the_team_is_six_people() -> None:
    assert len(set(TEAM.values())) == len(TEAM)
