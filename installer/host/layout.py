"""Paths on a host, per product. Every path here is a host path."""

from __future__ import annotations

from dataclasses import dataclass

STATE = "/var/lib/waybill"
CONFIG = "/etc/waybill"
TRUST = f"{CONFIG}/trust"
RECORD_FILE = "record.json"
VALUES_FILE = "values.json"
MEMBERS_FILE = "cluster.json"
RECORD_FILES = (RECORD_FILE, VALUES_FILE, MEMBERS_FILE)
"""What has a name in the directory of a record; rendered files have numbers."""


class _Below:
    """A path in the directory of a product."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, layout: Layout, _kind: type[Layout]) -> str:
        return f"{layout.base}/{self._name}"


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

    releases = _Below("releases")
    """Holds one directory per retained release."""
    current = _Below("current")
    """The link to the release that runs."""
    staging = _Below("staging")
    """Holds what is being verified; the next run of the same bundle continues there, others clear it."""
    rendered = _Below("rendered")
    """Holds, per transaction, the record of what it installs and the configuration as it was rendered."""
    transactions = _Below("txn")
    """Holds the journals and, while one is open, its backups."""
    preserved = _Below("kept")
    """Holds files not installed by Waybill that were replaced on request or moved out of the way."""
    state_file = _Below("state.json")
    """What runs and what is retained."""
    public = _Below("public.json")
    """What every user may read of state and history."""
    history = _Below("history.jsonl")
    """One line per transaction."""
    audit_mark = _Below("audit.mark")
    """Up to where in the audit log all transactions have an end; only saves time."""
    lock = _Below("lock")
    """Held while something is changed."""

    @property
    def config(self) -> str:
        """What the operator sets for this product."""
        return f"{CONFIG}/{self.product}"

    @property
    def site_values(self) -> str:
        """The values of this host."""
        return f"{self.config}/values.yaml"

    @property
    def environments(self) -> str:
        """Holds the values of each environment, `NAME.yaml`."""
        return f"{self.config}/environments"

    @property
    def clusters(self) -> str:
        """Holds the values of each cluster, `NAME.yaml`."""
        return f"{self.config}/clusters"

    @property
    def secrets(self) -> str:
        """Holds the secrets that the values of this host refer to, a file for each."""
        return f"{self.config}/secrets"

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
