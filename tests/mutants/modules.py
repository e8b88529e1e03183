"""What is changed, and which tests are to notice it: quick ones, in process, close to the module."""

from __future__ import annotations

_TRUST = ("tests/core/test_trust", "tests/core/test_policy.py", "tests/core/test_approval_statement.py")
_SIGNED = ("tests/core/test_signatures", "tests/core/test_trust.py")
_HOST = tuple(
    f"tests/installer/test_{name}.py"
    for name in (
        "apply", "bad_places", "clearing", "decide", "drift", "held", "history", "hosttrust_update",
        "journal", "mend", "plan", "regain", "remove", "stage", "state",
    )
)  # fmt: skip
_FAULTS = tuple(f"tests/faults/test_faults_{name}.py" for name in ("kills", "errors", "stage"))

VERIFICATION = {
    "installer/core/verification.py": ("tests/core/test_trust_steps.py", "tests/core/test_verification.py"),
    "installer/core/trust.py": _TRUST,
    "installer/core/evidence.py": _TRUST,
    "installer/core/judged.py": _TRUST,
    "installer/core/policy.py": _TRUST,
    "installer/core/owners.py": _TRUST,
    "installer/core/approval.py": (*_TRUST, "tests/core/test_signatures_fuzz.py"),
    "installer/core/rotation.py": ("tests/core/test_trust_rotation.py",),
    "installer/core/signatures.py": _SIGNED,
    "installer/core/cosign.py": _SIGNED,
    "installer/core/gpgv.py": _SIGNED,
    "installer/core/sums.py": ("tests/core/test_archive",),
    "installer/core/payload.py": ("tests/core/test_payload.py", "tests/attacks/test_two_faced_medium.py"),
}
RECOVERY = {
    "installer/recover.py": (*_HOST, *_FAULTS),
    "installer/transaction.py": (*_HOST, *_FAULTS),
    "installer/journal.py": (*_HOST, *_FAULTS),
    "installer/mend.py": (*_HOST, *_FAULTS),
    "installer/housekeeping.py": (*_HOST, *_FAULTS),
    "installer/state.py": (*_HOST, *_FAULTS),
}
MODULES: dict[str, tuple[str, ...]] = VERIFICATION | RECOVERY
"""Module to the beginnings of the names of the test modules that are run against it."""
_SLOW = ("sync_that_failed", "every_step_of_clearing", "twenty_thousand")
PASSED_OVER = " and ".join(f"not {name}" for name in _SLOW)
"""Tests in them that take longer than they find: minutes, or a second for each step."""
