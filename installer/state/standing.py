"""Which releases of a host the root of today would no longer admit: revoked, below the floor, not allowed.

Nothing is stopped for it: what runs keeps running, and people are told. The signatures themselves are looked
at when a release is used; here the record of its verification says who made them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from installer.core.errors import WaybillError
from installer.core.trust.quorum import fold_owner
from installer.core.trust.root import ProductRule, Root
from installer.host.layout import STATE, Layout
from installer.host.system import System
from installer.state.host_identity import recorded_environment
from installer.state.state import Entry, State, load


@dataclass(frozen=True, slots=True)
class Fallen:
    """A release on this host that the root of today would not admit.

    Attributes:
        product: Its product.
        version: Its version.
        running: Whether it is the one that runs.
        revoked: Whether the root revokes the bundle itself.
        why: The reason, after "it".
    """

    product: str
    version: str
    running: bool
    revoked: bool
    why: str

    def text(self) -> str:
        """Return it for people, with what to do."""
        if self.running:
            return (
                f"{self.product} {self.version} is installed on this host and {self.why}: "
                "install the release that replaces it"
            )
        return f"{self.product} {self.version} is retained on this host and {self.why}: no rollback to it"


def fallen(root: Root, environment: str, product: str, state: State) -> tuple[Fallen, ...]:
    """Return the releases of one product that the root would no longer admit, the running one first.

    Args:
        root: The root of the host.
        environment: The environment of the host; empty where it is not set.
        product: The product.
        state: Its state.
    """
    rows = []
    for entry in state.retained:
        if why := _why(root, environment or entry.evidence.environment, product, entry):
            running = state.current is not None and entry.name == state.current.name
            revoked = entry.identity in root.revoked_bundles
            rows.append(Fallen(product, entry.version, running, revoked, why))
    return tuple(rows)


def _why(root: Root, environment: str, product: str, entry: Entry) -> str:
    if entry.identity in root.revoked_bundles:
        return "is now revoked"
    floor = root.products.get(product, ProductRule()).floor
    if entry.sequence < floor:
        return f"is now below the security floor of the root (sequence {floor})"
    policy = root.environments.get(environment)
    if policy and policy.products and product not in policy.products:
        return f"is no longer allowed in the environment {environment}"
    signed = entry.evidence.released_by
    role = root.roles["release"]
    keys = {keyid for keyid in role.keys if keyid not in root.revoked_keys}
    owners = {fold_owner(row["owner"]) for row in signed if row["keyid"] in keys}
    # Hosts of old versions have no record of the signers: nothing can be said about those.
    if signed and len(owners) < role.threshold:
        return "is signed with keys that are now revoked, or no longer in the root"
    return ""


def fallen_on_host(system: System, root: Root) -> tuple[Fallen, ...]:
    """Return the same for all products of a host; what cannot be read is left to `status`."""
    found: list[Fallen] = []
    environment = ""
    with suppress(WaybillError):
        environment = recorded_environment(system)
    with suppress(OSError):
        for product in system.names(STATE):
            # Only what has a lock was ever a product; files of Waybill itself have a dot in their names.
            if system.observe(Layout(product).lock, digest=False).kind != "file":
                continue
            with suppress(OSError, WaybillError):
                found += fallen(root, environment, product, load(system, Layout(product)))
    return tuple(found)
