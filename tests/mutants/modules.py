"""What is changed, and which tests are to notice it: quick ones, in process, close to the module."""

from __future__ import annotations

_TRUST = tuple(
    f"tests/core/test_{name}" for name in ("trust", "policy", "approval_statement.py", "verification.py")
)
_SIGNED = ("tests/core/test_signatures", "tests/core/test_trust.py")


def _host(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/installer/test_{name}.py" for name in names)


VERIFICATION = {
    "installer/core/verify.py": ("tests/core/test_trust_steps.py", "tests/core/test_verification.py"),
    "installer/core/trust/verifier.py": _TRUST,
    "installer/core/trust/policy.py": _TRUST,
    "installer/core/trust/approval.py": (*_TRUST, "tests/core/test_signatures_fuzz.py"),
    "installer/core/trust/signature_check.py": _TRUST,
    "installer/core/trust/approval_check.py": _TRUST,
    "installer/core/trust/quorum.py": _TRUST,
    "installer/core/trust/rotation.py": ("tests/core/test_trust_rotation.py",),
    "installer/core/trust/signatures.py": _SIGNED,
    "installer/core/trust/gpgv.py": _SIGNED,
    "installer/core/trust/cosign.py": _SIGNED,
    "installer/core/format/checksums.py": ("tests/core/test_archive",),
    "installer/core/format/payload.py": ("tests/core/test_payload.py", "tests/core/test_archive_members.py"),
}
RECOVERY = {
    "installer/commands/recover.py": _host("recover", "going_on", "bad_places", "mend", "apply"),
    "installer/transaction/execute.py": _host(
        "transaction", "deploy_script", "irreversible", "going_on", "apply"
    ),
    "installer/transaction/journal.py": _host("journal"),
    "installer/transaction/state_repair.py": _host("mend", "standing"),
    "installer/planning/irreversible.py": _host("irreversible", "irreversible_plan"),
    "installer/transaction/finalize.py": _host(
        "housekeeping", "images_swept", "history", "remove", "irreversible", "recover", "apply"
    ),
    "installer/state/state.py": _host("state", "kept", "irreversible", "mend"),
}
MODULES: dict[str, tuple[str, ...]] = VERIFICATION | RECOVERY
"""Module to the beginnings of the names of the test modules that are run against it."""
_SLOW = ("every_step_of_clearing", "foreign_names_among", "hundreds_of_files", "twenty_thousand")
PASSED_OVER = " and ".join(f"not {name}" for name in _SLOW)
"""Tests in them that take longer than they find: minutes, or a second for each step."""
