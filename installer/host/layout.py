"""Paths on a host, per product. Every path here is a host path."""

from __future__ import annotations

from dataclasses import dataclass

STATE = "/var/lib/waybill"
CONFIG = "/etc/waybill"
TRUST = f"{CONFIG}/trust"


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories of one product.

    Attributes:
        product: Its name.
        state: The directory of all products' state.
    """

    product: str
    state: str = STATE

    @property
    def base(self) -> str:
        """Everything of this product."""
        return f"{self.state}/{self.product}"

    @property
    def releases(self) -> str:
        """Holds one directory per retained release."""
        return f"{self.base}/releases"

    @property
    def current(self) -> str:
        """The link to the release that runs."""
        return f"{self.base}/current"

    @property
    def staging(self) -> str:
        """Holds what is being verified; the next run of the same bundle continues there, others clear it."""
        return f"{self.base}/staging"

    @property
    def rendered(self) -> str:
        """Holds, per transaction, the record of what it installs and the configuration as it was rendered."""
        return f"{self.base}/rendered"

    @property
    def transactions(self) -> str:
        """Holds the journals and, while one is open, its backups."""
        return f"{self.base}/txn"

    @property
    def preserved(self) -> str:
        """Holds files not installed by Waybill that were replaced on request or moved out of the way."""
        return f"{self.base}/kept"

    @property
    def state_file(self) -> str:
        """What runs and what is retained."""
        return f"{self.base}/state.json"

    @property
    def history(self) -> str:
        """One line per transaction."""
        return f"{self.base}/history.jsonl"

    @property
    def lock(self) -> str:
        """Held while something is changed."""
        return f"{self.base}/lock"

    @property
    def site_values(self) -> str:
        """The values of this site."""
        return f"{CONFIG}/{self.product}/values.yaml"

    def stage(self, identity: str) -> str:
        """Return the staging directory of the bundle with this identity."""
        return f"{self.staging}/{identity[:12]}"

    def work_link(self, identity: str) -> str:
        """Return the link to the directory outside of the state where parts of this bundle are staged."""
        return f"{self.stage(identity)}.work"

    def release(self, name: str) -> str:
        """Return the directory of the release `<sequence>-<id12>`."""
        return f"{self.releases}/{name}"

    def journal(self, transaction: str) -> str:
        """Return the journal of a transaction."""
        return f"{self.transactions}/{transaction}.log"

    def backup(self, transaction: str) -> str:
        """Return the directory of backups of a transaction."""
        return f"{self.transactions}/{transaction}.backup"

    def record(self, transaction: str) -> str:
        """Return the directory of the record of a transaction."""
        return f"{self.rendered}/{transaction}"


def release_name(sequence: int, identity: str) -> str:
    """Return the name of a release's directory."""
    return f"{sequence}-{identity[:12]}"
