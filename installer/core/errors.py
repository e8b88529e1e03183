"""Every error that a person can meet, with its exit code.

    WaybillError                    exit   meaning
    ├── UsageError                  2      wrong usage
    ├── UntrustedError              10     no trust set up, or no trusted signature
    ├── TamperedError               11     tampered or malformed
    ├── ExpiredError                12     expired or revoked
    ├── RefusedError                13     downgrade, wrong product or target, unsupported jump
    ├── NotApprovedError            14     an approval is missing
    ├── HostNotReadyError           15     preflight: all reasons listed
    ├── BusyError                   16     another install runs
    ├── DeclinedError               17     declined at the prompt
    ├── MediaError                 18     the medium failed or a part is missing
    ├── RolledBackError             20     apply failed, the host is back on the old release
    ├── NotUndoneError              21     apply failed and is not fully undone
    └── UnfitInputError             30     `bundle`: the input is not fit to ship

"The signature is bad" (`UntrustedError`, `TamperedError`) and "it could not be checked" (`CheckFailedError`,
exit 10 too: what cannot be checked is not trusted) are different errors. So are the refusals of a policy:
`ClockError` and `RevokedError` (12), `DowngradeError`, `FloorError`, `JumpError`, `WrongProductError`,
`WrongPlatformError` and `WrongTargetError` (13) have codes of their own. `IncompleteError` (21) is a failure
past a step that cannot be undone: the new release stands, and something of it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        where: The file, member or field, with `:line` or `@offset` where there is one.
        what: What is wrong, in one sentence without a full stop.
        hint: What to do about it; may be empty.
    """

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  hint: {self.hint}" if self.hint else head


class WaybillError(Exception):
    """The root of all errors that are not faults of ours.

    Args:
        what: What is wrong, in one sentence without a full stop.
        where: The file, member or field, with `:line` or `@offset` where there is one.
        hint: What the reader can do about it; where it is empty, the remedy of the kind of error.
        problems: Further problems of the same input; all are shown.
    """

    code = "error"
    exit_code = 1
    remedy = ""
    """What the reader can do where nothing better is known."""
    step = 0
    """The step of the verification that refused; 0 outside of one. See `steps`."""
    document: Mapping[str, object] = MappingProxyType({})
    """What else is known, for the one document that `--json` prints."""

    def __init__(
        self, what: str, *, where: str = "", hint: str = "", problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint or self.remedy
        self.problems = tuple(problems)

    def __str__(self) -> str:
        lines = [str(Problem(self.where, self.what, self.hint))]
        lines += [f"- {problem}" for problem in self.problems]
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """Return the error as the JSON object that `--json` prints."""
        return {
            **self.document,
            "error": self.code,
            "exit": self.exit_code,
            "what": self.what,
            "where": self.where,
            "hint": self.hint,
            "problems": [{"where": p.where, "what": p.what, "hint": p.hint} for p in self.problems],
            **({"step": self.step} if self.step else {}),
        }


class UsageError(WaybillError):
    """The command was called in a way that makes no sense."""

    code, exit_code = "usage", 2


class UntrustedError(WaybillError):
    """No trust is set up, or no signature is from a trusted key."""

    code, exit_code = "untrusted", 10


class CheckFailedError(UntrustedError):
    """A signature could not be checked at all, which is not the same as a bad one."""

    code = "check-failed"


class TamperedError(WaybillError):
    """Bytes are not what was signed, or are not in the one form the format allows."""

    code, exit_code = "tampered", 11
    remedy = "it was changed after it was made, or is damaged: get it again from where it was made"


class ExpiredError(WaybillError):
    """The bundle, the key or the trust is expired or revoked."""

    code, exit_code = "expired", 12


class RevokedError(ExpiredError):
    """The host's root has revoked the bundle."""

    code = "revoked"


class ClockError(ExpiredError):
    """The host's clock is behind a time that is known to have passed: no expiry can be judged."""

    code = "clock-set-back"


class RefusedError(WaybillError):
    """A downgrade, a wrong product, platform or target, or an unsupported jump."""

    code, exit_code = "refused", 13


class DowngradeError(RefusedError):
    """The release is older than what the host has had."""

    code = "downgrade"


class FloorError(RefusedError):
    """The release is below the security floor of the host's root."""

    code = "below-floor"


class JumpError(RefusedError):
    """The release cannot be reached from the one that runs, or its sequence number leaps too far."""

    code = "unsupported-jump"


class WrongProductError(RefusedError):
    """The environment's policy does not let this product in."""

    code = "wrong-product"


class WrongPlatformError(RefusedError):
    """The release is not made for this host's platform."""

    code = "wrong-platform"


class WrongTargetError(RefusedError):
    """The approvals are for other hosts."""

    code = "wrong-target"


class NotApprovedError(WaybillError):
    """An approval that the policy asks for is missing."""

    code, exit_code = "not-approved", 14


class HostNotReadyError(WaybillError):
    """Preflight found reasons why the release cannot be applied here; `problems` lists all of them."""

    code, exit_code = "host-not-ready", 15


class BusyError(WaybillError):
    """Another install runs."""

    code, exit_code = "busy", 16


class DeclinedError(WaybillError):
    """The person said no."""

    code, exit_code = "declined", 17


class MediaError(WaybillError):
    """The medium failed, ended early or lacks a part."""

    code, exit_code = "medium", 18
    remedy = "the medium was removed or is damaged: put it back, or copy its content again"


class RolledBackError(WaybillError):
    """The apply failed; the host is back on the old release."""

    code, exit_code = "rolled-back", 20


class NotUndoneError(WaybillError):
    """The apply failed and is not fully undone; the message says what to do."""

    code, exit_code = "not-undone", 21


class IncompleteError(NotUndoneError):
    """Something failed where there was no way back any more: the new release stands, but not whole."""

    code = "incomplete"


class UnfitInputError(WaybillError):
    """An input of `bundle` is not fit to ship; `problems` lists everything found at once."""

    code, exit_code = "unfit-input", 30
