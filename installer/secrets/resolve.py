"""Secrets for a plan: all references at once, each value hidden from the moment it is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from installer.core.errors import HostNotReadyError, Problem
from installer.host import syscalls
from installer.host.context import Context
from installer.secrets.references import Reference
from installer.secrets.registry import STORES
from installer.secrets.store import Outcome, Secret, StoreError
from installer.shared.secrecy.index import SHORTEST

MOST = 1000
"""References of a run."""
_NAMED = 3
"""References that a problem of several of them names."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of references.

    Attributes:
        secrets: Those that were found.
        unresolved: Why each other one was not.
        notes: What to warn of.
        faults: What is wrong with stores as a whole, in detail.
    """

    secrets: Mapping[Reference, Secret]
    unresolved: Mapping[Reference, Problem]
    notes: tuple[str, ...] = field(default=())
    faults: tuple[Problem, ...] = field(default=())

    def problems(self) -> list[Problem]:
        """Return the problems, one for references that have the same one."""
        groups: dict[Problem, list[Reference]] = {}
        for reference, problem in self.unresolved.items():
            groups.setdefault(problem, []).append(reference)
        return [
            *(_described(problem, references) for problem, references in groups.items()),
            *self.faults,
        ]


def examine(context: Context, references: Iterable[Reference]) -> Resolution:
    """Resolve references as far as possible.

    The values are among the secrets of the context before this returns.

    Args:
        context: The host, the product, and what is hidden.
        references: References of any stores, in any order.

    Raises:
        HostNotReadyError: There are too many, or what was found could not be kept secret.
    """
    wanted = sorted(set(references))
    if not wanted:
        return Resolution({}, {})
    if len(wanted) > MOST:
        what = f"the values refer to {len(wanted)} secrets, more than the {MOST} of one release"
        raise HostNotReadyError(
            what, hint="put secrets that belong together under one path, or into one file"
        )
    _forbid_dumps()
    outcomes: dict[Reference, Outcome] = {}
    faults: list[Problem] = []
    for name in STORES:
        if own := [each for each in wanted if each.store == name]:
            outcomes |= _ask(name, context, own, faults)
    secrets = {each: found for each in wanted if isinstance(found := outcomes[each], Secret)}
    unresolved = {each: found for each in wanted if isinstance(found := outcomes[each], Problem)}
    _require_hidden(context, secrets)
    return Resolution(secrets, unresolved, tuple(_short(secrets)), tuple(faults))


def _ask(
    name: str, context: Context, references: list[Reference], faults: list[Problem]
) -> Mapping[Reference, Outcome]:
    try:
        return STORES[name](context).resolve(references)
    except StoreError as error:
        faults += error.faults
        return dict.fromkeys(references, error.problem)


def _forbid_dumps() -> None:
    # Here, before the first value is in memory: what handles none keeps its dumps, for those who debug it.
    try:
        syscalls.forbid_dumps()
    except OSError as error:
        what = f"this process could leave its memory in a core dump, secrets included: {error.strerror}"
        hint = "allow prctl(PR_SET_DUMPABLE) in the security profile that this process runs under"
        raise HostNotReadyError(what, hint=hint) from error


def _require_hidden(context: Context, secrets: Mapping[Reference, Secret]) -> None:
    # There is a limit to what can be searched for in every text. Beyond it nothing is shown, not even a plan.
    if secrets and (why := context.secrets.why_withheld()):
        what = f"the secrets of this host cannot be hidden in messages and logs: {why}"
        raise HostNotReadyError(what, hint="use fewer secrets")


def _short(secrets: Mapping[Reference, Secret]) -> Iterable[str]:
    for reference, secret in secrets.items():
        if len(secret.reveal().strip()) < SHORTEST:
            yield (
                f"{reference} is shorter than {SHORTEST} characters: it is hidden only where its name "
                "stands, not in the output of scripts"
            )


def _described(problem: Problem, references: list[Reference]) -> Problem:
    names = ", ".join(map(str, references[:_NAMED]))
    more = f" and {len(references) - _NAMED} more" if len(references) > _NAMED else ""
    # The path of a file belongs to what is wrong: the reference is where the operator looks first.
    what = f"{problem.where}: {problem.what}" if problem.where else problem.what
    return replace(problem, where=f"{names}{more}", what=what)
