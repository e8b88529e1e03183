"""What is changed, and which tests are to notice it: quick ones, in process, close to the module."""

from __future__ import annotations

_CORE = "tests/installer/core"
_TRUST = (
    *(f"{_CORE}/trust/test_{name}" for name in ("verifier", "policy", "approval", "steps.py")),
    f"{_CORE}/test_verify.py",
)
_SIGNED = (f"{_CORE}/trust/test_signatures", f"{_CORE}/trust/test_verifier.py")


def _host(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/installer/{name.replace('/', '/test_')}.py" for name in names)


VERIFICATION = {
    "installer/core/verify.py": (
        f"{_CORE}/trust/test_steps.py",
        f"{_CORE}/trust/test_approval_sidecar.py",
        f"{_CORE}/test_verify.py",
        f"{_CORE}/oci/test_section.py",
    ),
    "installer/core/trust/verifier.py": _TRUST,
    "installer/core/trust/policy.py": _TRUST,
    "installer/core/trust/approval.py": (*_TRUST, f"{_CORE}/trust/test_signatures_fuzz.py"),
    "installer/core/trust/signature_check.py": _TRUST,
    "installer/core/trust/approval_check.py": (*_TRUST, "tests/installer/commands/test_known_time.py"),
    "installer/core/trust/quorum.py": _TRUST,
    "installer/core/trust/rotation.py": (f"{_CORE}/trust/test_rotation.py",),
    "installer/core/trust/signatures.py": (*_SIGNED, f"{_CORE}/test_document_file.py"),
    "installer/core/trust/gpgv.py": _SIGNED,
    "installer/core/trust/cosign.py": _SIGNED,
    "installer/core/format/checksums.py": (f"{_CORE}/format/test_archive",),
    "installer/core/format/payload.py": (
        f"{_CORE}/format/test_payload.py",
        f"{_CORE}/format/test_archive_members.py",
    ),
}
RECOVERY = {
    "installer/commands/common/recovery.py": _host(
        "commands/recover", "commands/recover_words", "commands/recover_roll_forward",
        "commands/obstructed_paths", "transaction/state_repair", "transaction/old_release", "commands/apply",
        "commands/unattended", "commands/ordinary_user", "state/place",
    ),
    "installer/transaction/execute.py": _host(
        "transaction/execute", "transaction/execute_signals", "transaction/interrupted_append",
        "transaction/reported_steps", "deploy/script", "planning/irreversible",
        "transaction/old_release", "commands/recover_roll_forward", "commands/apply", "commands/unattended",
        "commands/secrets_hidden", "commands/history",
    ),
    "installer/transaction/failures.py": _host(
        "transaction/failures", "transaction/execute", "planning/irreversible", "commands/unattended"
    ),
    "installer/transaction/journal.py": _host("transaction/journal"),
    "installer/transaction/state_repair.py": _host(
        "transaction/state_repair", "commands/status_unfinished", "state/place", "commands/ordinary_user"
    ),
    "installer/planning/irreversible.py": _host("planning/irreversible", "planning/irreversible_plan"),
    "installer/transaction/finalize.py": _host(
        "transaction/finalize", "images/prune", "images/images_in_registry", "commands/history",
        "commands/remove", "planning/irreversible", "commands/recover", "commands/apply",
        "transaction/leftovers", "transaction/cleanup", "transaction/reported_steps",
        "transaction/failed_release",
        "commands/ordinary_user", "commands/unattended",
    ),
    "installer/state/state.py": _host(
        "state/state", "state/retained_releases", "planning/irreversible", "transaction/state_repair",
        "staging/shared_blobs", "commands/ordinary_user",
    ),
    "installer/state/release.py": _host(
        "state/state", "state/retained_releases", "planning/irreversible", "transaction/state_repair",
        "staging/shared_blobs", "deploy/release_files",
    ),
}  # fmt: skip
HOST = {
    "installer/host/lock.py": _host("host/lock", "host/lock_file"),
    "installer/host/ownership.py": _host("host/ownership"),
    "installer/host/resolved.py": _host("host/resolved", "planning/own_places"),
    "installer/state/trust_store.py": (
        *_host(
            "state/trust_store",
            "state/typed_fingerprint",
            "commands/trust_ensure",
            "commands/trust_update",
        ),
        "tests/installer/commands/common/test_bundle_verifier.py",
    ),
    "installer/audit/log.py": (
        *_host("audit/audit_log", "audit/audit_head", "audit/audit_segments"),
        "tests/faults/test_faults_audit.py",
    ),
    "installer/audit/floor.py": _host("audit/floor"),
    "installer/staging/stage.py": (
        *_host(
            "staging/stage",
            "staging/resume",
            "staging/work_dir",
            "staging/shared_blobs",
            "staging/shared_blobs_again",
        ),
        "tests/faults/test_faults_stage.py",
    ),
    "installer/staging/shared_blobs.py": (
        *_host("staging/shared_blobs", "staging/shared_blobs_again", "commands/shared_blobs_status"),
        "tests/faults/test_faults_shared_blobs.py",
    ),
    "installer/planning/file_changes.py": _host(
        "planning/file_changes",
        "planning/file_changes_directories",
        "planning/file_changes_kept",
        "planning/other_products",
        "planning/found_directories",
        "deploy/file_attributes",
    ),
    "installer/planning/directory_changes.py": _host("planning/found_directories"),
    "installer/deploy/file_checks.py": _host(
        "deploy/file_operations",
        "deploy/file_operations_others",
        "deploy/file_checks",
        "deploy/file_attributes",
    ),
    "installer/deploy/file_operations.py": _host(
        "deploy/file_operations",
        "deploy/file_operations_others",
        "deploy/file_operations_cut",
        "deploy/files",
        "deploy/file_attributes",
        "deploy/file_checks",
    ),
    "installer/commands/setup.py": _host("commands/setup"),
}
MODULES: dict[str, tuple[str, ...]] = VERIFICATION | RECOVERY | HOST
"""Module to the beginnings of the names of the test modules that are run against it."""
_SLOW = (
    "killed_anywhere",
    "any_effect_the_log_says",
    "each_effect_the_host",
    "change_of_any_byte",
    "two_processes",
    "the_first_was_killed",
    "removal_was_cut_short",
    "second_time_leave_the_old_one",
    "every_step_of_clearing",
    "foreign_names_among",
    "hundreds_of_files",
    "twenty_thousand",
    "bind_mount",
)
_BYTE_CODES = ("wherever_an_append_is_interrupted", "after_a_known_record_ends_what")
PASSED_OVER = " and ".join(f"not {name}" for name in (*_SLOW, *_BYTE_CODES))
"""Tests in them that take longer than they find: minutes, or a second for each step. And what runs in another
process, where what is changed cannot be imported; and what counts the byte codes of a function, which is
behind a switch between its mutants there."""
