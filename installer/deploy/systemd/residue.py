"""What a removal left of the units of a step."""

from __future__ import annotations

from collections.abc import Iterator

from installer.deploy.inventory import Residue
from installer.deploy.operation import StepError
from installer.deploy.systemctl import RUNNING, show
from installer.deploy.user_manager import is_up, links, shown
from installer.host.context import Context


def residue(context: Context, unit: str) -> Iterator[Residue]:
    """Ask systemd for a unit, and look for what would start it at boot."""
    state = {"ActiveState": "", "FragmentPath": ""}
    # Without a manager nothing of the user runs.
    if "@." not in unit and is_up(context):
        try:
            state = show(context, unit, *state)
        except StepError as error:
            # The last one that lingered has just ended it.
            if is_up(context):
                yield Residue("left", "unit", unit, error.what, f"see `{shown(context, 'status', unit)}`")
                return
    if state["ActiveState"] in RUNNING:
        hint = f"run `{shown(context, 'stop', unit)}`"
        yield Residue("left", "unit", unit, "is still running", hint)
    elif state["FragmentPath"]:
        yield Residue("stays", "unit", unit, f"another unit has the same name: {state['FragmentPath']}")
    # A link of `systemctl enable` can outlive the file of the unit.
    place = links(context)
    for name in context.system.names(place):
        link = f"{place}/{name}/{unit}"
        if (
            name.endswith((".wants", ".requires"))
            and context.system.observe(link, digest=False).kind == "link"
        ):
            hint = f"run `{shown(context, 'disable', unit)}`"
            yield Residue("left", "unit", unit, f"{link} is still there", hint)
    drop_ins = f"/etc/systemd/{'user' if context.user else 'system'}/{unit}.d"
    if names := context.system.names(drop_ins):
        yield Residue("stays", "unit", drop_ins, f"contains {names[0]}, not installed by Waybill")
