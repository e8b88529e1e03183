"""What a removal left of the units of a step."""

from __future__ import annotations

from collections.abc import Iterator

from installer.deploy.inventory import Residue
from installer.deploy.operation import StepError
from installer.deploy.systemctl import RUNNING, show
from installer.deploy.systemd.operations import UNITS
from installer.host.context import Context


def residue(context: Context, unit: str) -> Iterator[Residue]:
    """Ask systemd for a unit, and look for what would start it at boot."""
    state = {"ActiveState": "", "FragmentPath": ""}
    if "@." not in unit:
        try:
            state = show(context, unit, *state)
        except StepError as error:
            yield Residue("left", "unit", unit, error.what, f"see `systemctl status {unit}`")
            return
    if state["ActiveState"] in RUNNING:
        yield Residue("left", "unit", unit, "is still running", f"run `systemctl stop {unit}`")
    elif state["FragmentPath"]:
        yield Residue("stays", "unit", unit, f"another unit has the same name: {state['FragmentPath']}")
    # A link of `systemctl enable` can outlive the file of the unit.
    for name in context.system.names(UNITS):
        link = f"{UNITS}/{name}/{unit}"
        if (
            name.endswith((".wants", ".requires"))
            and context.system.observe(link, digest=False).kind == "link"
        ):
            yield Residue("left", "unit", unit, f"{link} is still there", f"run `systemctl disable {unit}`")
    if names := context.system.names(f"{UNITS}/{unit}.d"):
        yield Residue("stays", "unit", f"{UNITS}/{unit}.d", f"contains {names[0]}, not installed by Waybill")
