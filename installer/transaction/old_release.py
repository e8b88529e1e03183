"""The old release after a rollback: whether it answers again, before a command says that it runs."""

from __future__ import annotations

from dataclasses import replace

from installer.core.errors import Problem, WaybillError
from installer.deploy.health.needs import selected
from installer.deploy.health.watch import watch
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.state.release import open_release
from installer.state.state import Entry
from installer.transaction.failures import reason_in_full
from installer.transaction.journal import Journal

LONGEST = 60
"""Most seconds to wait for the old release: it ran before, and somebody waits for the command."""


def watch_old_release(context: Context, journal: Journal, old: Entry | None) -> Problem | None:
    """Wait until the old release passes its health checks again; whatever comes of it, the undo has ended.

    Args:
        context: The host.
        journal: The journal of the transaction that was undone.
        old: The release that is installed again; None for none.

    Returns:
        Why it is not known to be healthy; None where it is, has no health checks, or was never stopped.
    """
    # Before STAGED nothing that runs was touched.
    if old is None or not journal.has("STAGED"):
        return None
    try:
        release = open_release(context.system, context.layout, old)
        checks = selected(release.health, old.methods, live=context.live)
        # Its time to stay OK is for a release that is new: this one has shown that it does.
        checks = [
            replace(each, within=min(each.start_period + each.within, LONGEST), stable=0, start_period=0)
            for each in checks
        ]
        if checks and journal.records[0].fields.get("boot") != context.system.boot_id():
            # After a reboot its services may wait for this very command: at boot it comes before them.
            context.progress.warn(f"{old.version} is installed again; its health was not checked")
            return None
        watch(context, checks)
    except StepError as error:
        why = reason_in_full(error).removeprefix("the release is not healthy; ")
        what = f"was started again, but is not healthy: {why}"
        problem = Problem(old.version, what, "see `install status`")
    except (OSError, WaybillError) as error:
        what = f"was started again; its health could not be checked: {reason_in_full(error)}"
        problem = Problem(old.version, what, "see `install status`")
    else:
        return None
    context.progress.warn(f"{problem.where} {problem.what}")
    return problem
