"""VERBS `bundle trust add-key`, `set-policy`, `set-product`, `rotate`, `revoke`, `sign`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bundler.archive.new_file import write_new
from bundler.config.durations import days, parse_expiry
from bundler.signing import Signer
from bundler.signing.detached import Prepared, fitting, public_keys, write_prepared
from bundler.trust.root_files import Edited, RootFile, edit, load
from installer.core.digest import HEX
from installer.core.errors import UsageError
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.semver import default_sequence, parse
from installer.core.trust.root import PRODUCTION, ROLES, Policy, ProductRule, Role, Root
from installer.core.trust.signatures import TrustedKey


@dataclass(frozen=True, slots=True)
class RootSigned:
    """What `sign` did.

    Attributes:
        file: The root with its signatures.
        added: Names of the signature files that were written; empty where they were there already.
    """

    file: RootFile
    added: tuple[str, ...]


def add_key(
    path: Path, keys: Sequence[TrustedKey], roles: Sequence[str], now: datetime, threshold: int = 0
) -> Edited:
    """Adds keys, or gives further roles to keys that are there.

    Args:
        path: The root.
        keys: The keys.
        roles: Which roles they get.
        now: The time.
        threshold: How many owners these roles ask for from now on; 0: as before, or 1.

    Raises:
        UsageError: There is no such role, or the root would not be accepted.
    """
    for role in roles:
        if role not in ROLES:
            raise UsageError(f"there is no role {role!r:.40}", hint=f"one of {', '.join(ROLES)}")

    def change(root: Root) -> Root:
        held = {**root.keys, **{key.keyid: key for key in keys}}
        new = dict(root.roles)
        for role in roles:
            before = new.get(role, Role((), 1))
            ids = tuple(sorted({*before.keys, *(key.keyid for key in keys)}))
            new[role] = Role(ids, threshold or before.threshold)
        return replace(root, keys=held, roles=new)

    return edit(path, change, now)


def set_policy(path: Path, environment: str, policy: Policy | None, now: datetime) -> Edited:
    """Sets what an environment asks for, or takes its policy away.

    Args:
        path: The root.
        environment: Its name.
        policy: The policy; None to take it away.
        now: The time.

    Raises:
        UsageError: The root would not be accepted; above all where nobody could satisfy the policy.
    """

    def change(root: Root) -> Root:
        policies = {name: each for name, each in root.environments.items() if name != environment}
        return replace(root, environments=policies | ({environment: policy} if policy else {}))

    return edit(path, change, now)


def make_policy(
    environment: str,
    base: Policy | None = None,
    *,
    requires: Sequence[str] | None = None,
    change_id: bool | None = None,
    rollback_plan: bool | None = None,
    builders: Sequence[str] | None = None,
    repositories: Sequence[str] | None = None,
    clean_tree: bool | None = None,
    max_age: str = "",
    products: Sequence[str] | None = None,
    break_glass: bool | None = None,
) -> Policy:
    """Gives the policy that is there, or the one to start from, with changes.

    Args:
        environment: `production` starts with everything required.
        base: The policy that is there.
        requires: `ROLE` or `ROLE=N` each; None: as before.
        change_id: Whether approvals must name a change; None: as before.
        rollback_plan: Whether there must be a way back; None: as before.
        builders: Builder ids that count; None: as before.
        repositories: Source repositories that count; None: as before.
        clean_tree: Whether the source must be as committed; None: as before.
        max_age: How long approvals count, `14d`; empty: as before.
        products: Products that may be installed; None: as before.
        break_glass: Whether that role may stand in; None: as before.

    Raises:
        UsageError: One of them makes no sense.
    """
    start = base or (PRODUCTION if environment == "production" else Policy({}))
    return Policy(
        requires=_requires(requires) if requires else start.requires,
        change_id=start.change_id if change_id is None else change_id,
        rollback_plan=start.rollback_plan if rollback_plan is None else rollback_plan,
        builders=tuple(builders) if builders else start.builders,
        repositories=tuple(repositories) if repositories else start.repositories,
        clean_tree=start.clean_tree if clean_tree is None else clean_tree,
        max_age_days=days(max_age) if max_age else start.max_age_days,
        products=tuple(products) if products else start.products,
        break_glass=start.break_glass if break_glass is None else break_glass,
    )


def _requires(given: Sequence[str]) -> dict[str, int]:
    asked: dict[str, int] = {}
    for each in given:
        role, _, number = each.partition("=")
        if role not in ROLES or role in ("root", "break-glass") or not (number or "1").isdecimal():
            raise UsageError(
                f"{each!r:.40} is not ROLE or ROLE=N",
                where="--require",
                hint="ROLE is release, provenance, security or ops",
            )
        asked[role] = int(number or "1")
    return asked


def set_product(path: Path, product: str, now: datetime, *, floor: str = "", reset: bool = False) -> Edited:
    """Sets the security floor of a product, or makes hosts forget the highest sequence number they have seen.

    Args:
        path: The root.
        product: Its name.
        now: The time.
        floor: A sequence number, or a version from which one follows; empty: as before.
        reset: Whether hosts forget.

    Raises:
        UsageError: No sequence number follows from `floor`.
    """
    sequence = int(floor) if floor.isdecimal() else default_sequence(parse(floor)) if floor else None
    if floor and sequence is None:
        raise UsageError("no sequence number follows from this version", where=floor, hint="give the number")

    def change(root: Root) -> Root:
        before = root.products.get(product, ProductRule())
        rule = ProductRule(before.floor if sequence is None else sequence, before.reset + reset)
        return replace(root, products={**root.products, product: rule})

    return edit(path, change, now)


def revoke(path: Path, keys: Sequence[str], bundles: Sequence[str], now: datetime) -> Edited:
    """Revokes keys and bundles; hosts act on it as soon as they have the new root.

    Args:
        path: The root.
        keys: Key ids, whole or short.
        bundles: Identities, or files of bundles.
        now: The time.

    Raises:
        UsageError: A key is not in the root; a bundle is neither; nothing is named.
    """
    if not keys and not bundles:
        raise UsageError("nothing is named", hint="give --key ID or --bundle IDENTITY")
    root = load(path).root
    ids = frozenset(find_key(root, each).keyid for each in keys)
    gone = frozenset(_identity(each) for each in bundles)
    return edit(
        path,
        lambda old: replace(
            old, revoked_keys=old.revoked_keys | ids, revoked_bundles=old.revoked_bundles | gone
        ),
        now,
    )


def rotate(
    path: Path,
    now: datetime,
    *,
    expires: str = "365d",
    replaced: Mapping[str, TrustedKey] | None = None,
    removed: Sequence[str] = (),
) -> Edited:
    """Renews a root: a new expiry, and keys in place of others.

    Args:
        path: The root.
        now: The time.
        expires: For how long the new one is good.
        replaced: Key ids, whole or short, to the keys that take over their owner and roles.
        removed: Key ids, whole or short, of keys that lose all roles and are taken out.

    Raises:
        UsageError: A key is not in the root, or the root would not be accepted.
    """

    def change(root: Root) -> Root:
        keys, roles = dict(root.keys), dict(root.roles)
        swaps: dict[str, str] = {}
        for old_id, new in (replaced or {}).items():
            old = find_key(root, old_id)
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


def sign(path: Path, signers: Sequence[Signer], now: datetime) -> RootSigned:
    """Signs a root; the signatures lie beside it.

    Args:
        path: The root.
        signers: Who signs.
        now: The time.

    Returns:
        The root and what was written.

    Raises:
        UsageError: The key may not sign this root.
        TamperedError: It is not a root, or a signature beside it is of other bytes.
    """
    file = load(path)
    file.stands(now)
    added = []
    for signer in signers:
        _require_role(file, signer.keyid, signer.keyid8)
        made = signer.sign(file.data)
        added += _put(file, {f"{path.name}.{signer.keyid8}.{form}": data for form, data in made.items()})
    return RootSigned(load(path), tuple(added))


def prepare(path: Path, output: Path | None = None) -> Prepared:
    """Writes the bytes of a root that are to be signed elsewhere.

    Args:
        path: The root.
        output: Where to; None: `ROOT.unsigned`.

    Raises:
        TamperedError: It is not a root.
        UsageError: Something else has the name.
    """
    file = load(path)
    return write_prepared(output or path.with_name(f"{path.name}.unsigned"), file.data, file.fingerprint)


def attach(path: Path, signatures: Sequence[Path], public: Path | None, now: datetime) -> RootSigned:
    """Puts signatures that were made elsewhere beside a root, after they were verified.

    Args:
        path: The root.
        signatures: Files as cosign, GPG or openssl wrote them.
        public: The public key, or a `root.json` in which it is; None: this root and the one before.
        now: The time.

    Returns:
        The root and what was written.

    Raises:
        UsageError: One is no signature of this root, or by a key that may not sign it.
        TamperedError: It is not a root, or a signature beside it is of other bytes.
    """
    file = load(path)
    file.stands(now)
    known = [key for root in (file.root, file.before) if root for key in root.keys.values()]
    found = fitting(signatures, public_keys(public) if public else known, {path.name: file.data})
    ids = {key.keyid8: key.keyid for key in (public_keys(public) if public else known)}
    for each in found:
        _require_role(file, ids[each.keyid8], each.keyid8)
    added = _put(file, {each.name: each.data for each in found})
    return RootSigned(load(path), tuple(added))


def _require_role(file: RootFile, keyid: str, keyid8: str) -> None:
    if not any(root and _may_sign(root, keyid) for root in (file.before, file.root)):
        raise UsageError(
            f"the key {keyid8} does not have the role root, in this version or the one before",
            where=str(file.path),
            hint=f"bundle trust add-key {file.path} KEY.pub --role root --owner NAME",
        )


def _put(file: RootFile, signatures: Mapping[str, bytes]) -> list[str]:
    """Writes signatures beside a root, but for those that are there; gives the names of the new ones."""
    there = {each.name for each in file.signatures}
    added = [name for name in signatures if name not in there]
    for name in added:
        write_new(file.path.with_name(name), signatures[name], 0o644)
    return added


def find_key(root: Root, given: str) -> TrustedKey:
    """Finds a key by its whole or short id.

    Raises:
        UsageError: There is none, or there are two.
    """
    wanted = "".join(given.lower().split())
    found = [key for key in root.keys.values() if wanted in (key.keyid, key.keyid8)]
    if len(found) != 1:
        listed = ", ".join(f"{key.keyid8} ({key.owner})" for key in root.keys.values())
        what = (
            f"is not a key of this root: {given[:80]}" if not found else f"two keys have the id {given[:80]}"
        )
        raise UsageError(what, hint=f"there are {listed}")
    return found[0]


def _may_sign(root: Root, keyid: str) -> bool:
    return any(key.keyid == keyid for key in root.holders("root"))


def _identity(given: str) -> str:
    if HEX.fullmatch(given):
        return given
    if not Path(given).is_file():
        raise UsageError("is neither an identity (64 hex digits) nor a bundle", where=given[:200])
    medium = FileSource(Path(given))
    try:
        return open_bundle(medium, unsafe_trust_anyone).identity
    finally:
        medium.close()
