"""Every error that a command can end with, and its exit code.

    WaybillError                    exit   meaning
    ├── InternalError               1      a fault of Waybill itself
    ├── UsageError                  2      wrong usage
    ├── UntrustedError              10     no trust set up, or no trusted signature
    │   └── CheckFailedError        10     a signature could not be checked
    ├── TamperedError               11     tampered or malformed
    ├── ExpiredError                12     expired
    │   ├── RevokedError            12     the host's root revoked the bundle
    │   └── ClockError              12     the host's clock is behind
    ├── RefusedError                13     refused by a rule of the host
    │   ├── DowngradeError          13     older than what the host had
    │   ├── FloorError              13     below the security floor
    │   ├── JumpError               13     an upgrade that is not supported
    │   ├── WrongProductError       13     a product that the environment does not admit
    │   ├── WrongPlatformError      13     another platform
    │   └── WrongTargetError        13     approved for other hosts
    ├── NotApprovedError            14     an approval is missing
    ├── HostNotReadyError           15     the host is not ready: all reasons listed
    │   └── FailedBeforeError       15     this release failed on this host before
    ├── BusyError                   16     another install is running
    ├── DeclinedError               17     declined at the prompt
    ├── MediaError                  18     the media failed or a part is missing
    ├── NeedsNewerError             19     a bundle that needs a newer version of Waybill
    ├── RolledBackError             20     failed and rolled back
    ├── NotUndoneError              21     failed and not fully undone
    │   └── IncompleteError         21     committed, but a step failed past the point of no return
    ├── UnfitInputError             30     `bundle`: the input cannot be bundled
    ├── OutputError                 4      `bundle`: done, but its output could not be written
    └── StoppedError                130    interrupted before anything was changed

A bad signature (`TamperedError`, `UntrustedError`) and one that could not be checked (`CheckFailedError`) are
different errors with different remedies. Each class has a `code` of its own, which `--json` prints.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Cause = Literal["health", "script", "engine", "timeout", "interrupted", "io"]
"""What made a transaction fail. `engine` is what runs the release: a container engine, or systemd."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of an input.

    Attributes:
        where: The file, member or field, with `:line` or `@offset` where known.
        what: What is wrong, in one sentence without a full stop.
        hint: What to do about it; may be empty.
        code: The name of a warning, for scripts that decide about it; problems have the code of their error.
    """

    where: str
    what: str
    hint: str = ""
    code: str = ""

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  hint: {self.hint}" if self.hint else head


class WaybillError(Exception):
    """The root of all errors that are not internal errors.

    Args:
        what: What is wrong, in one sentence without a full stop.
        where: The file, member or field, with `:line` or `@offset` where there is one.
        hint: What the reader can do about it; empty for the remedy of this class of errors.
        problems: Further problems of the same input; all of them are shown.
    """

    code = "error"
    exit_code = 1
    remedy = ""
    """The hint of an error that has none of its own."""
    output: tuple[str, ...] = ()
    """The last lines of the program that failed, such as a script."""
    step = 0
    """The step of the verification that refused; 0 outside of a verification. See `steps`."""
    cause: Cause | Literal[""] = ""
    """What kind of thing failed in a transaction, for scripts; empty for every other error."""

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
        """Return the error as a JSON object, as the evidence of a refusal has it."""
        return {
            "error": self.code,
            "exit": self.exit_code,
            "what": self.what,
            "where": self.where,
            "hint": self.hint,
            "problems": [{"where": p.where, "what": p.what, "hint": p.hint} for p in self.problems],
            **({"step": self.step} if self.step else {}),
        }


class InternalError(WaybillError):
    """A fault of Waybill itself, which no other class describes."""

    code, exit_code = "internal", 1


class UsageError(WaybillError):
    """The command was called with wrong arguments."""

    code, exit_code = "usage", 2


class UntrustedError(WaybillError):
    """No trust is set up, or no signature is from a trusted key."""

    code, exit_code = "untrusted", 10


class CheckFailedError(UntrustedError):
    """A signature could not be checked at all, which is not the same as a bad signature."""

    code = "check-failed"


class TamperedError(WaybillError):
    """Bytes are not what was signed, or not in the one form that the format allows."""

    code, exit_code = "tampered", 11
    remedy = "the file was changed or is damaged: copy it again from its source"


class ExpiredError(WaybillError):
    """The bundle, the key or the trust is expired or revoked."""

    code, exit_code = "expired", 12


class RevokedError(ExpiredError):
    """The host's root has revoked the bundle."""

    code = "revoked"


class ClockError(ExpiredError):
    """The host's clock is behind a time that is known to have passed: no expiry can be checked."""

    code = "clock-set-back"


class RefusedError(WaybillError):
    """A rule of the host refuses the bundle: see the subclasses."""

    code, exit_code = "refused", 13


class DowngradeError(RefusedError):
    """The release is older than one that was installed on the host."""

    code = "downgrade"


class FloorError(RefusedError):
    """The release is below the security floor of the host's root."""

    code = "below-floor"


class JumpError(RefusedError):
    """The release does not upgrade the running one, or its sequence number is too far ahead."""

    code = "unsupported-jump"


class WrongProductError(RefusedError):
    """The policy of the environment does not admit this product."""

    code = "wrong-product"


class WrongPlatformError(RefusedError):
    """The bundle was not created for the platform of this host."""

    code = "wrong-platform"


class WrongTargetError(RefusedError):
    """The approvals are for other hosts."""

    code = "wrong-target"


class NotApprovedError(WaybillError):
    """An approval that the policy requires is missing."""

    code, exit_code = "not-approved", 14


class HostNotReadyError(WaybillError):
    """The release cannot be applied on this host as it is; `problems` lists all reasons."""

    code, exit_code = "host-not-ready", 15


class FailedBeforeError(HostNotReadyError):
    """The release failed on this host before, and nobody has asked to try it again."""

    code = "failed-before"


class BusyError(WaybillError):
    """Another install is running."""

    code, exit_code = "busy", 16


class DeclinedError(WaybillError):
    """The operator declined."""

    code, exit_code = "declined", 17


class MediaError(WaybillError):
    """Reading the bundle source failed, or a part of the bundle is missing."""

    code, exit_code = "medium", 18
    remedy = "the media was removed or is damaged: insert it again, or copy the bundle again"


class NeedsNewerError(WaybillError):
    """A bundle, validly signed or not asked about, uses something that this version does not know."""

    code, exit_code = "needs-newer", 19


class RolledBackError(WaybillError):
    """The operation failed; the host runs the old release again."""

    code, exit_code = "rolled-back", 20


class NotUndoneError(WaybillError):
    """The operation failed and is not fully undone; the message says what to do."""

    code, exit_code = "not-undone", 21


class IncompleteError(NotUndoneError):
    """A step failed past the point of no return: the new release is committed, but INCOMPLETE."""

    code = "incomplete"


class UnfitInputError(WaybillError):
    """An input of `bundle` cannot be bundled; `problems` lists everything that was found."""

    code, exit_code = "unfit-input", 30


class OutputError(WaybillError):
    """The command did what it was asked to do, but its output could not be written to standard output."""

    code, exit_code = "output", 4
    remedy = "what the command did stands; give it a standard output that can be written, and run it again"


class StoppedError(WaybillError):
    """A signal ended the command before anything was changed."""

    code, exit_code = "interrupted", 130


LIMITS_OF_THE_SYSTEM = {
    errno.EMFILE: "this process may not open more files: raise the limit (`ulimit -n 1024`), then try again",
    errno.ENFILE: "this host has too many open files: close programs, or raise fs.file-max (sysctl)",
    errno.ENOMEM: "this host has too little free memory: stop other programs, then try again",
}
"""What to do about failures for which the place does not matter, by their numbers."""


@contextmanager
def os_errors_as(
    kind: type[WaybillError],
    what: str,
    where: object = "",
    hint: str | Callable[[OSError], str] = "",
    *,
    default: str = "",
) -> Iterator[None]:
    """Raise an OSError as an error of the given class: "WHAT: REASON". Also a decorator.

    Args:
        kind: The class.
        what: What cannot be done.
        where: The path for the message; empty: the path that the OSError names.
        hint: What to do about it, or what returns that: `remedies.remedy`, which knows the true reason.
        default: The path for an OSError that names none.
    """
    try:
        yield
    except OSError as error:
        path = str(where or error.filename or default)
        remedy = hint if isinstance(hint, str) else hint(error)
        # Whatever was being done: it failed for want of descriptors or memory, not of space or rights.
        remedy = LIMITS_OF_THE_SYSTEM.get(error.errno or 0, remedy)
        raise kind(f"{what}: {error.strerror}", where=path, hint=remedy) from error
