"""What the verification of a release found, as state, journal and history store it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from installer.core.trust.policy import Decision
    from installer.core.verify import VerifiedBundle

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """The record of one verification: its host path, and the SHA-256 of its bytes in hex."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Who released a bundle, who approved it and by which policy: stored JSON, read through typed properties.

    The document is kept as it was read, so that fields of another version survive when it is written again.
    A property whose field is absent or of another type has its empty value: old hosts lack some, and what a
    disk made of the evidence must not keep a host from being looked at.

    Attributes:
        document: The JSON object that state, journal and history hold.
    """

    document: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, verified: VerifiedBundle, decision: Decision) -> Evidence:
        """Return the evidence of a bundle that passed all steps."""
        accepted = verified.evidence.accepted
        return cls(
            {
                **verified.evidence.as_json(),
                "signers": sorted(
                    {f"{item.owner} ({item.scheme} key {item.keyid[:16]})" for item in accepted}
                ),
                "approvals": list(verified.approvals),
                "policy": decision.as_json(),
            }
        )

    def with_file(self, file: EvidenceFile) -> Evidence:
        """Return it with a reference to the record of the verification."""
        return Evidence({**self.document, "record": asdict(file)})

    def with_time(self, seconds: int) -> Evidence:
        """Return it with the time of the verification, in seconds since 1970."""
        return Evidence({**self.document, "verified": seconds})

    def with_break_glass(self, decision: Decision) -> Evidence:
        """Return it with what break-glass stood in for when the release was admitted again."""
        said = decision.as_json()
        approvals = self._policy.get("approvals")
        known = list(approvals) if isinstance(approvals, (list, tuple)) else []
        policy = {
            **self._policy,
            "break_glass": said["break_glass"],
            "approvals": [*known, *(each for each in said["approvals"] if each not in known)],
        }
        return Evidence({**self.document, "policy": policy})

    def public(self) -> Evidence:
        """Return what every user may read of it.

        Only what is named here: notes of approvers, names of other hosts, and reasons why an approval did not
        count are root's, and so is what another version adds.
        """
        policy = {
            "environment": self.environment,
            "change_id": self.change_id,
            "builder": self.builder,
            "break_glass": list(self.break_glass),
            "reset": self.reset,
            "approvals": self.approved_by,
        }
        found = {
            "signers": list(self.signers),
            "accepted": self.released_by,
            "verified": self.verified,
            "record": asdict(self.file) if self.file else None,
            "policy": {name: value for name, value in policy.items() if value},
        }
        return Evidence({name: value for name, value in found.items() if value})

    @property
    def signers(self) -> tuple[str, ...]:
        """Who signed the release, with scheme and key, for people."""
        return _texts(self.document.get("signers"))

    @property
    def released_by(self) -> list[Row]:
        """Owner, scheme and key id of each key that released it, each once."""
        return _rows(self.document.get("accepted"), ("owner", "scheme", "keyid"))

    @property
    def approved_by(self) -> list[Row]:
        """Role, owner and key id of each approval that counted, each once."""
        return _rows(self._policy.get("approvals"), ("role", "owner", "keyid"))

    @property
    def environment(self) -> str:
        """The environment that the host belonged to."""
        return _text(self._policy.get("environment"))

    @property
    def change_id(self) -> str:
        """The change that the approvals name."""
        return _text(self._policy.get("change_id"))

    @property
    def builder(self) -> str:
        """Who built it, where provenance that counts says so."""
        return _text(self._policy.get("builder"))

    @property
    def break_glass(self) -> tuple[str, ...]:
        """What was missing and break-glass stood in for; empty where the policy was kept."""
        return _texts(self._policy.get("break_glass"))

    @property
    def reset(self) -> int:
        """The number of the reset of the product by the root that was in force; 0 for none."""
        return _whole(self._policy.get("reset")) or 0

    @property
    def verified(self) -> int | None:
        """When the bundle was verified, in seconds since 1970; None: when it was installed."""
        return _whole(self.document.get("verified"))

    @property
    def file(self) -> EvidenceFile | None:
        """The record of the verification; None where none could be written."""
        record = _mapping(self.document.get("record"))
        return EvidenceFile(_text(record.get("path")), _text(record.get("sha256"))) if record else None

    @property
    def _policy(self) -> Mapping[str, Any]:
        return _mapping(self.document.get("policy"))


NO_EVIDENCE = Evidence()
"""Of a release that was never verified here; only tests install one."""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _rows(value: object, names: tuple[str, ...]) -> list[Row]:
    rows = [_mapping(row) for row in value] if isinstance(value, (list, tuple)) else []
    found = [{name: _text(row.get(name)) for name in names} for row in rows]
    # One person may have signed with two tools: each line of the log names a key once.
    return [row for index, row in enumerate(found) if row not in found[:index]]
