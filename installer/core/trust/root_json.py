"""Reads `root.json`: strictly, and all faults of a document are reported at once.

`schemas/v1/root.schema.json` says the same for editors; what a schema cannot say (an id is the hash of its
key, a threshold can be met by different people) is added here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from installer.core.errors import MediumError, Problem, TamperedError, UntrustedError, WaybillError
from installer.core.jsonio import loads_strict
from installer.core.limits import LIMITS
from installer.core.trust.quorum import assign, fold
from installer.core.trust.root import (
    APPROVERS,
    BUILDER,
    ENVIRONMENT,
    MAX_AGE_DAYS,
    PRODUCT,
    ROLES,
    ROOT_BYTES,
    SCHEMA,
    Policy,
    ProductRule,
    Role,
    Root,
    owner_ok,
    parse_time,
)
from installer.core.trust.signatures import TrustedKey

MOST_KEYS = 256
"""Keys of one root: who counts for what is searched for, and the search has to end."""
_T = TypeVar("_T")
_KEYID = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LINES = re.compile(r"[\x20-\x7e\r\n]+")
_POLICY = frozenset(Policy.__dataclass_fields__) - {"requires"}


def load_root(path: Path) -> tuple[Root, bytes]:
    """Reads a root from a file.

    Args:
        path: Where it is.

    Returns:
        The root, and the exact bytes for `fingerprint`.

    Raises:
        UntrustedError: There is no such file.
        MediumError: It cannot be read.
        TamperedError: It is not a root.
    """
    try:
        with path.open("rb") as file:
            data = file.read(ROOT_BYTES + 1)
    except FileNotFoundError:
        raise UntrustedError(
            "there is no such file, and without a root nobody is trusted",
            where=str(path),
            hint="give the path of the root.json that was carried here",
        ) from None
    except OSError as error:
        raise MediumError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return parse_root(data, str(path)), data


def parse_root(data: bytes, where: str = "root.json") -> Root:
    """Reads a root.

    Args:
        data: The file's bytes; the caller knows where they are from.
        where: How errors name them.

    Returns:
        The root.

    Raises:
        TamperedError: It is not a root; `problems` lists everything that is wrong.
    """
    document = loads_strict(data, where, ROOT_BYTES)
    reader = _Reader(where)
    root = reader.root(document)
    if reader.problems or root is None:
        raise TamperedError("is not a root that can be trusted", where=where, problems=reader.problems)
    return root


class _Reader:
    """Reads one document, collecting what is wrong with it."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[Problem] = []

    def fault(self, at: str, what: str, hint: str = "") -> None:
        self.problems.append(Problem(f"{self.where}: {at}" if at else self.where, what, hint))

    def fields(
        self, value: object, at: str, required: set[str], optional: frozenset[str] = frozenset()
    ) -> Any:
        """Gives the object, empty where it is none; missing and foreign fields are faults."""
        if not isinstance(value, dict):
            self.fault(at, "is not an object")
            return {}
        for name in sorted(required - value.keys()):
            self.fault(at, f"lacks {name!r}")
        for name in sorted(value.keys() - required - optional):
            self.fault(at, f"has the unknown field {name[:40]!r}")
        return value

    def ids(self, value: object, at: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(i, str) and pattern.fullmatch(i) for i in value):
            self.fault(at, "is not a list of lower-case hex ids")
            return ()
        if len(set(value)) != len(value):
            self.fault(at, "names one id twice")
        return tuple(value)

    def count(self, value: object, at: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.fault(at, "is not a whole number from 1 on")
            return 1
        return value

    def time(self, value: object, at: str) -> datetime:
        moment = parse_time(value)
        if moment is None:
            self.fault(at, "is not a time of the form 2030-01-31T00:00:00Z")
        return moment or datetime.max.replace(tzinfo=UTC)

    def root(self, document: object) -> Root | None:
        required = {"schema", "version", "expires", "keys", "roles", "environments", "revoked"}
        top = self.fields(document, "", required, frozenset({"products"}))
        if top.get("schema") != SCHEMA:
            self.fault("schema", f"is not {SCHEMA!r}", "it may be made for a newer version of this program")
        if self.problems:
            return None
        if isinstance(top["keys"], dict) and len(top["keys"]) > MOST_KEYS:
            self.fault("keys", f"has {len(top['keys'])} keys, at most {MOST_KEYS} are allowed")
            return None
        keys = self.each(top["keys"], "keys", self.key)
        self.distinct(keys)
        names = self.fields(top["roles"], "roles", {"release"}, frozenset(ROLES))
        listed = set(top["keys"]) if isinstance(top["keys"], dict) else set()
        roles = self.each(names, "roles", lambda at, _, value: self.role(at, value, keys, listed))
        revoked = self.fields(top["revoked"], "revoked", {"keys", "bundles"})
        environments = self.each(
            top["environments"], "environments", self.named(ENVIRONMENT, self.policy), empty=True
        )
        products = self.each(
            top.get("products", {}), "products", self.named(PRODUCT, self.product), empty=True
        )
        root = Root(
            version=self.count(top["version"], "version"),
            expires=self.time(top["expires"], "expires"),
            keys=keys,
            roles=roles,
            revoked_keys=frozenset(self.ids(revoked.get("keys"), "revoked.keys", _KEYID)),
            revoked_bundles=frozenset(self.ids(revoked.get("bundles"), "revoked.bundles", _DIGEST)),
            environments=environments,
            products=products,
        )
        for name, policy in environments.items():
            self.satisfiable(root, f"environments.{name}", policy)
        return root

    def each(
        self, value: object, at: str, read: Callable[[str, str, object], _T | None], *, empty: bool = False
    ) -> dict[str, _T]:
        if not isinstance(value, dict) or not (value or empty):
            self.fault(at, "is not an object" if empty else "is not an object with at least one entry")
            return {}
        found = {name: read(f"{at}.{name[:32]}", name, item) for name, item in value.items()}
        return {name: item for name, item in found.items() if item is not None}

    def key(self, at: str, keyid: str, value: object) -> TrustedKey | None:
        item = self.fields(value, at, {"scheme", "owner", "public"}, frozenset({"not_after"}))
        not_after = self.time(item["not_after"], f"{at}.not_after") if "not_after" in item else None
        if not owner_ok(item.get("owner")):
            self.fault(f"{at}.owner", "is not 1 to 100 printable characters without a space at either end")
            return None
        if not isinstance(item.get("public"), str) or not _LINES.fullmatch(item["public"]):
            self.fault(f"{at}.public", "is not a public key as text")
            return None
        try:
            key = TrustedKey.from_public(item["public"], item["owner"], not_after, f"{at}.public")
        except WaybillError as error:
            self.fault(f"{at}.public", error.what, error.hint)
            return None
        if key.keyid != keyid:
            self.fault(at, f"is the id of another key: this one's is {key.keyid}")
        if key.scheme != item.get("scheme"):
            self.fault(f"{at}.scheme", f"is not {key.scheme!r}, which the key is made for")
        return key

    def distinct(self, keys: Mapping[str, TrustedKey]) -> None:
        short = [(key.scheme, key.keyid8) for key in keys.values()]
        for scheme, keyid8 in sorted({item for item in short if short.count(item) > 1}):
            self.fault("keys", f"has two {scheme} keys with the short id {keyid8}", "replace one of them")

    def role(self, at: str, value: object, keys: Mapping[str, TrustedKey], listed: set[str]) -> Role:
        item = self.fields(value, at, {"keys", "threshold"})
        ids = self.ids(item.get("keys"), f"{at}.keys", _KEYID)
        threshold = self.count(item.get("threshold"), f"{at}.threshold")
        for keyid in ids:
            if keyid not in listed:
                self.fault(f"{at}.keys", f"names {keyid}, which `keys` lacks")
        owners = {fold(keys[keyid].owner) for keyid in ids if keyid in keys}
        if threshold > len(owners) and all(keyid in keys for keyid in ids):
            self.fault(
                f"{at}.threshold", f"is {threshold}, but the keys of the role have {len(owners)} owners"
            )
        return Role(tuple(sorted(ids)), threshold)

    def named(
        self, pattern: re.Pattern[str], read: Callable[[str, object], _T]
    ) -> Callable[[str, str, object], _T]:
        def checked(at: str, name: str, value: object) -> _T:
            if not pattern.fullmatch(name):
                self.fault(at, "is not a name of lower-case letters, digits and hyphens")
            return read(at, value)

        return checked

    def texts(self, value: object, at: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(i, str) and pattern.fullmatch(i) for i in value):
            self.fault(at, "is not a list of such names")
            return ()
        if len(set(value)) != len(value):
            self.fault(at, "names one thing twice")
        return tuple(value)

    def whole(self, value: object, at: str, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self.fault(at, f"is not a whole number from 0 to {most}")
            return 0
        return value

    def flag(self, value: object, at: str) -> bool:
        if not isinstance(value, bool):
            self.fault(at, "is not true or false")
        return value is True

    def policy(self, at: str, value: object) -> Policy:
        item = self.fields(value, at, {"requires"}, _POLICY)
        asked = self.fields(
            item.get("requires"), f"{at}.requires", set(), frozenset(("release", *APPROVERS[:-1]))
        )
        return Policy(
            requires={
                role: self.count(number, f"{at}.requires.{role[:32]}") for role, number in asked.items()
            },
            change_id=self.flag(item.get("change_id", False), f"{at}.change_id"),
            rollback_plan=self.flag(item.get("rollback_plan", False), f"{at}.rollback_plan"),
            builders=self.texts(item.get("builders", []), f"{at}.builders", BUILDER),
            repositories=self.texts(item.get("repositories", []), f"{at}.repositories", BUILDER),
            clean_tree=self.flag(item.get("clean_tree", False), f"{at}.clean_tree"),
            max_age_days=self.whole(item.get("max_age_days", 0), f"{at}.max_age_days", MAX_AGE_DAYS),
            products=self.texts(item.get("products", []), f"{at}.products", PRODUCT),
            break_glass=self.flag(item.get("break_glass", False), f"{at}.break_glass"),
        )

    def product(self, at: str, value: object) -> ProductRule:
        item = self.fields(value, at, set(), frozenset({"floor", "reset"}))
        most = LIMITS.json_integer
        return ProductRule(
            self.whole(item.get("floor", 0), f"{at}.floor", most),
            self.whole(item.get("reset", 0), f"{at}.reset", most),
        )

    def satisfiable(self, root: Root, at: str, policy: Policy) -> None:
        """A policy that nobody can satisfy is a mistake that would be noticed at night."""
        if self.problems:
            return
        for role in policy.requires:
            if role not in root.roles:
                self.fault(f"{at}.requires", f"asks for the role {role}, which `roles` lacks")
        for name in ("builders", "repositories", "clean_tree"):
            if getattr(policy, name) and "provenance" not in policy.requires:
                self.fault(f"{at}.{name}", "means nothing where the role provenance is not required")
        if policy.break_glass and "break-glass" not in root.roles:
            self.fault(f"{at}.break_glass", "is allowed, but `roles` lacks the role break-glass")
        if self.problems:
            return
        wanted = [root.needs(policy)]
        if policy.break_glass:
            wanted.append(
                {"release": wanted[0]["release"], "break-glass": root.roles["break-glass"].threshold}
            )
        for needs in wanted:
            owners = {
                role: frozenset(fold(root.keys[keyid].owner) for keyid in root.roles[role].keys)
                for role in needs
            }
            filled = assign(needs, owners)
            if short := [role for role in needs if len(filled[role]) < needs[role]]:
                what = f"cannot be met: there are too few owners for {', '.join(short)}"
                self.fault(at, what, "one owner never counts for two roles: name more people")
