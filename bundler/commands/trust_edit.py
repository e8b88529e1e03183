"""`bundle trust add-key`, `set-policy`, `set-product`, `rotate`, `revoke`: change a root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bundler.archive.reading import unverified_bundle
from bundler.config.durations import days, parse_expiry
from bundler.trust.root_files import Edited, edit, load
from installer.core.digest import HEX
from installer.core.errors import UsageError
from installer.core.schema_errors import spelling_hint
from installer.core.semver import default_sequence, parse
from installer.core.trust.root import PRODUCTION, ROLES, Policy, ProductRule, Role, Root
from installer.core.trust.signatures import TrustedKey

# The other two are never required for a release: one is for roots, one for emergencies.
_REQUIRED = tuple(role for role in ROLES if role not in ("root", "break-glass"))


def add_keys(
    path: Path, keys: Sequence[TrustedKey], roles: Sequence[str], now: datetime, threshold: int = 0
) -> Edited:
    """Add keys to a root, or give more roles to keys that it has.

    Args:
        path: The root.
        keys: The keys.
        roles: The roles they get.
        now: The current time.
        threshold: The number of owners that these roles require; 0: unchanged, 1 for a new role.

    Raises:
        UsageError: There is no such role, or hosts would not accept the root.
    """
    # Checked here as well as in the root's own parser, for a message that lists the roles.
    for role in roles:
        if role not in ROLES:
            hint = spelling_hint(role, ROLES, f"use one of {', '.join(ROLES)}")
            raise UsageError(f"unknown role {role!r:.40}", hint=hint)

    def change(root: Root) -> Root:
        # A key that is given again replaces the old entry: owner and expiry can be corrected.
        held = {**root.keys, **{key.keyid: key for key in keys}}
        new = dict(root.roles)
        for role in roles:
            before = new.get(role, Role((), 1))
            # Sorted: the order in which keys were added must not change the fingerprint.
            ids = tuple(sorted({*before.keys, *(key.keyid for key in keys)}))
            new[role] = Role(ids, threshold or before.threshold)
        return replace(root, keys=held, roles=new)

    return edit(path, change, now)


def set_policy(path: Path, environment: str, policy: Policy | None, now: datetime) -> Edited:
    """Set or remove the policy of an environment.

    Args:
        path: The root.
        environment: The name of the environment.
        policy: The policy; None removes it.
        now: The current time.

    Raises:
        UsageError: Hosts would not accept the root, for example because nobody could satisfy the policy.
    """

    def change(root: Root) -> Root:
        policies = {name: each for name, each in root.environments.items() if name != environment}
        return replace(root, environments=policies | ({environment: policy} if policy else {}))

    return edit(path, change, now, part=f"environment {environment}")


def make_policy(
    environment: str,
    base: Policy | None = None,
    *,
    requires: Sequence[str] | None = None,
    max_age: str = "",
    **changes: Sequence[str] | bool | None,
) -> Policy:
    """Return a policy: the present one, or the default of the environment, with changes.

    Args:
        environment: The name; `production` starts with everything required.
        base: The present policy.
        requires: `ROLE` or `ROLE=N` each; None: unchanged.
        max_age: How long approvals are valid, `14d`; empty: unchanged.
        changes: Other fields of the policy; None, or an empty list: unchanged.

    Raises:
        UsageError: A value is not valid.
    """
    # Production starts strict: leaving a requirement out is a decision somebody has to type.
    start = base or (PRODUCTION if environment == "production" else Policy({}))
    fields: dict[str, Any] = {
        name: value if isinstance(value, bool) else tuple(value)
        for name, value in changes.items()
        if isinstance(value, bool) or value
    }
    if requires:
        fields["requires"] = _requires(requires)
    if max_age:
        fields["max_age_days"] = days(max_age)
    return replace(start, **fields)


def _requires(given: Sequence[str]) -> dict[str, int]:
    asked: dict[str, int] = {}
    for each in given:
        role, _, number = each.partition("=")
        if role not in _REQUIRED or not (number or "1").isdecimal():
            otherwise = (
                "use release, provenance, security or ops as ROLE; for several roles, "
                "give --require several times"
            )
            raise UsageError(
                f"{each!r:.40} is not ROLE or ROLE=N",
                where="--require",
                hint=otherwise if role in _REQUIRED else spelling_hint(role, _REQUIRED, otherwise),
            )
        asked[role] = int(number or "1")
    return asked


def set_product(path: Path, product: str, now: datetime, *, floor: str = "", reset: bool = False) -> Edited:
    """Set the security floor of a product, or have hosts forget the highest sequence number they have seen.

    Args:
        path: The root.
        product: The name of the product.
        now: The current time.
        floor: A sequence number, or a version that implies one; empty: unchanged.
        reset: Whether hosts forget it.

    Raises:
        UsageError: `floor` implies no sequence number.
    """
    # Digits are a sequence number; anything with a dot is a version.
    sequence = int(floor) if floor.isdecimal() else default_sequence(parse(floor)) if floor else None
    if floor and sequence is None:
        raise UsageError(
            "no sequence number can be derived from this version",
            where=floor,
            hint="give the sequence number instead of the version",
        )

    def change(root: Root) -> Root:
        before = root.products.get(product, ProductRule())
        # A counter, not a flag: hosts act once on each increase.
        rule = ProductRule(before.floor if sequence is None else sequence, before.reset + reset)
        return replace(root, products={**root.products, product: rule})

    return edit(path, change, now)


def revoke(path: Path, keys: Sequence[str], bundles: Sequence[str], now: datetime) -> Edited:
    """Revoke keys and bundles; it takes effect on a host as soon as the host has the new root.

    Args:
        path: The root.
        keys: Key ids, full or short.
        bundles: Identities of bundles, or bundle files.
        now: The current time.

    Raises:
        UsageError: A key is not in the root, a bundle is neither, or nothing is given; or too few
            owners would be left who can sign a root.
    """
    if not keys and not bundles:
        raise UsageError("nothing to revoke", hint="give --key ID or --bundle IDENTITY")
    # Ids are resolved now, so that the root stores full ids, whatever was typed.
    root = load(path).root
    ids = frozenset(find_key(root, each).keyid for each in keys)
    identities = frozenset(_identity(each) for each in bundles)
    return edit(
        path,
        lambda old: replace(
            old, revoked_keys=old.revoked_keys | ids, revoked_bundles=old.revoked_bundles | identities
        ),
        now,
        # A stolen key is stopped at once, and the gap that it leaves is closed after. Not where nobody could
        # sign that: hosts would take neither this root nor any later one.
        allow=lambda gap: gap.place != "role root",
    )


def rotate(
    path: Path,
    now: datetime,
    *,
    expires: str = "365d",
    replaced: Mapping[str, TrustedKey] | None = None,
    removed: Sequence[str] = (),
) -> Edited:
    """Renew a root: set a new expiry, replace and remove keys.

    Args:
        path: The root.
        now: The current time.
        expires: How long the new root is valid.
        replaced: Key ids, full or short, to the keys that take over their owner and roles.
        removed: Key ids, full or short, of keys to remove with all their roles.

    Raises:
        UsageError: A key is not in the root, or hosts would not accept the root.
    """

    def change(root: Root) -> Root:
        keys, roles = dict(root.keys), dict(root.roles)
        swaps: dict[str, str] = {}
        for old_id, new in (replaced or {}).items():
            old = find_key(root, old_id)
            # The old key goes: two keys of one owner would not count twice, but could be stolen twice.
            del keys[old.keyid]
            keys[new.keyid] = replace(new, owner=old.owner)
            swaps[old.keyid] = new.keyid
        gone = {find_key(root, each).keyid for each in removed}
        keys = {keyid: key for keyid, key in keys.items() if keyid not in gone}
        for name, role in roles.items():
            ids = {swaps.get(keyid, keyid) for keyid in role.keys if keyid not in gone}
            roles[name] = Role(tuple(sorted(ids)), role.threshold)
        return replace(root, keys=keys, roles=roles, expires=parse_expiry(expires, now))

    return edit(path, change, now)


def find_key(root: Root, given: str) -> TrustedKey:
    """Find a key by its full or short id.

    Raises:
        UsageError: There is none, or there are two.
    """
    # People copy fingerprints with spaces and in capitals.
    wanted = "".join(given.lower().split())
    matching = [key for key in root.keys.values() if wanted in (key.keyid, key.keyid8)]
    if len(matching) != 1:
        listed = ", ".join(f"{key.keyid8} ({key.owner})" for key in root.keys.values())
        what = (
            f"{given[:80]} is not a key of this root"
            if not matching
            else f"two keys have the id {given[:80]}"
        )
        raise UsageError(what, hint=f"keys of this root: {listed}")
    return matching[0]


def _identity(given: str) -> str:
    # An identity works without the file: a bad bundle may be out of reach.
    if HEX.fullmatch(given):
        return given
    if not Path(given).is_file():
        raise UsageError("is neither an identity (64 hex digits) nor a bundle file", where=given[:200])
    with unverified_bundle(Path(given)) as bundle:
        return bundle.identity
