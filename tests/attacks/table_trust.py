"""Rows of the table of hostile input that are about trust: the attacks that TUF names."""

from __future__ import annotations

from tests.attacks.rows import TRUST, Row, approvals, bundles, roots

COMMANDS = "tests/installer/commands"

ROWS = (
    Row(
        "arbitrary software",
        "a threshold of pinned keys",
        bundles(
            "no signature",
            "a stranger's signature",
            "the signature of another bundle",
            "a signature that is noise",
            "a signature that is empty",
            "a Sigstore bundle of an attestation",
        )
        + approvals("an approval that nobody signed", "an approval by a stranger under the name of ops"),
    ),
    Row(
        "rollback and fast-forward",
        "a signed sequence against the host's high-water mark, a security floor, a cap on the leap",
        (
            "test_attack_bundles::LATER[an older release]",
            "test_attack_bundles::LATER[a sequence that leaps]",
            "test_attack_bundles::ATTACKS[a first release that no later one could follow]",
            "test_attack_bundles::LATER[a jump that it says it cannot make]",
            "test_attack_bundles::test_a_release_below_the_security_floor_is_refused",
            f"{COMMANDS}/test_rollback_rules::test_a_rollback_below_the_security_floor_is_refused",
            f"{COMMANDS}/test_rollback_rules::test_what_does_not_count_opens_nothing",
            f"{TRUST}::UPDATES[it is older]",
            f"{TRUST}::UPDATES[it skips one]",
        ),
    ),
    Row(
        "freeze",
        "a bundle expires, approvals sooner; a clock set back is noticed",
        bundles(
            "a bundle that is expired",
        )
        + approvals(
            "an approval that is expired",
        )
        + (
            f"{TRUST}::UPDATES[it is expired]",
            "tests/installer/core/trust/test_policy_bounds::test_two_clocks_may_differ_by_minutes",
            f"{COMMANDS}/test_known_time::test_an_approval_that_expires_while_somebody_thinks_is_refused",
            f"{COMMANDS}/test_known_time::test_a_bundle_that_is_revoked_meanwhile_is_refused",
            f"{COMMANDS}/test_known_time::test_a_clock_that_jumps_to_2039_at_the_prompt_is_refused_and_not_kept",
        ),
    ),
    Row(
        "mix and match, extraneous members",
        "one signed list covers every byte; what is not listed is refused",
        bundles(
            "swapped payloads",
            "the signature of another bundle",
        )
        + approvals(
            "an approval of another bundle",
        )
        + ("test_flips_and_cuts::test_every_pair_of_blocks_exchanged_is_refused",),
    ),
    Row(
        "the host's own trust",
        "nobody else can write to it; the fingerprint is compared every time; the environment is recorded",
        (
            f"{TRUST}::test_trust_that_others_can_change_is_refused",
            f"{TRUST}::test_a_wrong_fingerprint_is_refused_whatever_the_host_has",
            f"{COMMANDS}/test_trust_protected::test_nothing_is_verified_or_installed",
            "tests/installer/host/test_ownership::test_where_a_link_leads_counts_as_well",
            f"{COMMANDS}/test_trust_ensure::test_a_wrong_fingerprint_is_refused_whatever_the_host_trusts",
            f"{COMMANDS}/test_trust_ensure::test_another_root_is_refused_by_its_fingerprint",
            f"{COMMANDS}/test_known_time::test_a_host_without_an_environment_refuses_every_bundle",
        ),
    ),
    Row(
        "endless roots",
        "one version at a time, regular files only, bounds before reading",
        (
            f"{TRUST}::UPDATES[a pipe is in its place]",
            f"{TRUST}::UPDATES[a link is in its place]",
            f"{TRUST}::UPDATES[a thousand of them are without end]",
            f"{TRUST}::UPDATES[a thousand signatures are next to it]",
            f"{COMMANDS}/test_trust_update::test_one_version_is_read_at_a_time_and_nothing_behind_a_bad_one",
            f"{COMMANDS}/test_trust_update::test_a_pipe_does_not_hang_it",
            f"{COMMANDS}/test_trust_update::test_a_directory_without_end_is_refused",
        ),
    ),
    Row(
        "wrong software",
        "product, platform, environment and targets are signed",
        bundles(
            "a bundle for another platform",
        )
        + approvals("an approval for another environment", "an approval for another host"),
    ),
    Row(
        "key compromise",
        "roles, thresholds, rotation, revocation",
        (
            f"{TRUST}::UPDATES[nobody has signed]",
            f"{TRUST}::UPDATES[a stranger has signed]",
            f"{TRUST}::UPDATES[a releaser has signed]",
            f"{TRUST}::UPDATES[it hands over to whom has not signed]",
            f"{TRUST}::UPDATES[its signature is of other bytes]",
            "test_attack_bundles::test_a_revoked_bundle_is_refused_whoever_signed_it",
            *roots(
                "a key under the id of another",
                "a key of a weak kind",
                "a threshold that nobody can meet",
                "a threshold of nobody",
                "a threshold of all the world",
                "a policy of an unknown role",
                "a role that names nobody",
                "a secret key",
            ),
        ),
    ),
)
