"""`root.json` as data: the keys, roles and policies that a host trusts, and until when.

`root_json` reads it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from installer.core.errors import ExpiredError
from installer.core.format.manifest import SITE_NAME
from installer.core.limits import MIB
from installer.core.timestamps import expired_text, format_time
from installer.core.trust.signatures import TrustedKey

SCHEMA = "waybill/root/v1"
ROLES = ("release", "root", "provenance", "security", "ops", "break-glass")
APPROVERS = ("provenance", "security", "ops", "break-glass")
"""Roles that sign approvals; `release` signs bundles, `root` signs roots."""
ROOT_BYTES = MIB
ENVIRONMENT = SITE_NAME
PRODUCT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
BUILDER = re.compile(r"[\x21-\x7e]{1,500}")
MAX_AGE_DAYS = 3650
FINGERPRINT_DIGITS = 64
_SHA256SUM = re.compile(r"\\?([0-9A-Fa-f]{64})[ \t]+\*?\S.*")


@dataclass(frozen=True, slots=True)
class Role:
    """Whose signatures count for one purpose.

    Attributes:
        keys: Key ids, sorted.
        threshold: How many distinct owners must have signed.
    """

    keys: tuple[str, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What an environment requires before a bundle is installed there.

    Attributes:
        requires: Number of owners that must sign in each role; at least the threshold of the role.
        change_id: Whether the approvals must name one change.
        rollback_plan: Whether the bundle must carry a rollback plan, and an approval name its version.
        builders: Builder ids that the provenance may name; empty: any.
        repositories: Source repositories that the provenance may name; empty: any.
        clean_tree: Whether the provenance must state that everything was as committed.
        max_age_days: Number of days for which an approval counts; 0: until it expires.
        products: Products that may be installed; empty: any.
        break_glass: Whether the role `break-glass` may replace everything here but the release signature.
    """

    requires: Mapping[str, int]
    change_id: bool = False
    rollback_plan: bool = False
    builders: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    clean_tree: bool = False
    max_age_days: int = 0
    products: tuple[str, ...] = ()
    break_glass: bool = False

    @property
    def asks_for_provenance(self) -> bool:
        """Whether the role `provenance` needs provenance, not only an approval."""
        return bool(self.builders or self.repositories or self.clean_tree)

    def document(self) -> dict[str, Any]:
        """Return the policy as a JSON object."""
        lists = {name: sorted(getattr(self, name)) for name in ("builders", "repositories", "products")}
        return {**asdict(self), "requires": dict(sorted(self.requires.items())), **lists}


PRODUCTION = Policy(
    {"release": 1, "provenance": 1, "security": 1, "ops": 1}, change_id=True, rollback_plan=True
)
"""The policy of the environment `production` if none is given."""


@dataclass(frozen=True, slots=True)
class ProductRule:
    """The rule for one product in all environments.

    Attributes:
        floor: The lowest sequence number that may be installed: the security floor.
        reset: Counter; a higher value makes hosts forget the highest sequence number they had.
    """

    floor: int = 0
    reset: int = 0


@dataclass(frozen=True, slots=True)
class Root:
    """The trust of a host.

    Attributes:
        version: Counts up by one with every change.
        expires: From then on, nothing new is installed by this root.
        keys: Key id to key.
        roles: Name to role; `release` is always there.
        revoked_keys: Key ids that do not count, whatever else the root says.
        revoked_bundles: Identities of bundles that are not installed any more.
        environments: Policies by name; without any, a release signature is enough.
        products: Product to what holds for it everywhere.
    """

    version: int
    expires: datetime
    keys: Mapping[str, TrustedKey]
    roles: Mapping[str, Role]
    revoked_keys: frozenset[str] = frozenset()
    revoked_bundles: frozenset[str] = frozenset()
    environments: Mapping[str, Policy] = field(default_factory=dict)
    products: Mapping[str, ProductRule] = field(default_factory=dict)

    def holders(self, role: str) -> tuple[TrustedKey, ...]:
        """Return the keys of a role that are not revoked; none where the role is not there."""
        listed = self.roles[role].keys if role in self.roles else ()
        return tuple(self.keys[keyid] for keyid in listed if keyid not in self.revoked_keys)

    def needs(self, policy: Policy) -> dict[str, int]:
        """Return the number of owners that a policy requires in each role, `release` included."""
        asked = {"release": 1, **policy.requires}
        return {role: max(asked[role], self.roles[role].threshold) for role in ROLES if role in asked}

    def document(self) -> dict[str, Any]:
        """Return the root as the JSON object that `parse_root` reads."""
        keys = {}
        for keyid, key in sorted(self.keys.items()):
            keys[keyid] = {"scheme": key.scheme, "owner": key.owner, "public": key.public}
            if key.not_after is not None:
                keys[keyid]["not_after"] = format_time(key.not_after)
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "version": self.version,
            "expires": format_time(self.expires),
            "keys": keys,
            "roles": {
                name: {"keys": sorted(role.keys), "threshold": role.threshold}
                for name, role in self.roles.items()
            },
            "environments": {name: policy.document() for name, policy in self.environments.items()},
            "revoked": {"keys": sorted(self.revoked_keys), "bundles": sorted(self.revoked_bundles)},
        }
        if self.products:
            document["products"] = {name: asdict(rule) for name, rule in self.products.items()}
        return document


@dataclass(frozen=True, slots=True)
class RootOrigin:
    """Where a root is from, for whoever has to replace it.

    Attributes:
        name: What errors call it.
        where: Its file.
        remedy: What to do once it has expired.
    """

    name: str
    where: str
    remedy: str

    def expired_error(self, root: Root, now: datetime) -> ExpiredError:
        """Return the error for a root that has expired."""
        # A clock that runs ahead looks the same: nobody should fetch a root for a dead battery.
        return ExpiredError(
            f"{self.name} {expired_text(root.expires, now)}",
            where=self.where,
            hint=f"check the clock with `date -u`; if it is right, {self.remedy}",
        )


OF_HOST = RootOrigin(
    "the root of this host",
    "root.json",
    "bring a newer root.json and run `install trust update`; installed releases keep running",
)
"""The root that a host was set up with."""


def fingerprint(root: bytes) -> str:
    """Return the SHA-256 of a root's exact bytes, 64 lower-case hex digits."""
    return hashlib.sha256(root).hexdigest()


def display_fingerprint(digits: str) -> str:
    """Return a fingerprint in groups of four digits, to be read out and typed."""
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def typed_digits(typed: str) -> str:
    """Return what was typed of a fingerprint without spacing and case; also of a line of `sha256sum`."""
    line = _SHA256SUM.fullmatch(typed.strip())
    return re.sub(r"[\s:\u2010-\u2015-]", "", (line[1] if line else typed).lower().removeprefix("sha256:"))


def same_fingerprint(typed: str, digits: str) -> bool:
    """Return whether a typed text is the whole fingerprint, whatever its spacing and case."""
    # The whole one: the first digits of a fingerprint can be imitated.
    return hmac.compare_digest(typed_digits(typed).encode(), digits.encode())


def differing_groups(typed: str, digits: str) -> list[int]:
    """Return which groups of four of a whole fingerprint differ, counted from one, as the sheet has them."""
    plain = typed_digits(typed)
    return [at // 4 + 1 for at in range(0, len(digits), 4) if plain[at : at + 4] != digits[at : at + 4]]


def is_owner_name(owner: object) -> bool:
    """Return whether a text can name the owner of a key."""
    # No control and bidirectional characters: thresholds count names, and people compare what is shown.
    return (
        isinstance(owner, str) and 1 <= len(owner) <= 100 and owner.isprintable() and owner == owner.strip()
    )
