"""The strict reader of `root.json`; it reports all problems at once.

`schemas/v1/root.schema.json` says the same for editors; what a schema cannot say (an id is the hash of its
key, a threshold can be met by different people) is added here.

Whether two keys are of one person is decided by `quorum.fold_owner` wherever signatures count. Here names are
compared as the first versions did, and revoked keys count: a host must be able to read the root that it has.
`quorum.unmet` says what such a root cannot do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from installer.core.digest import HEX
from installer.core.document_file import other_kind, read_document
from installer.core.errors import MediaError, TamperedError, UntrustedError, UsageError, WaybillError
from installer.core.fields import Document, Value
from installer.core.jsonio import loads_strict
from installer.core.trust.quorum import short_roles
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
    is_owner_name,
)
from installer.core.trust.signatures import TrustedKey

MOST_KEYS = 256
"""Keys of one root: who counts for what is searched for, and the search has to end."""
_NAMES_OF_KINDS = ("schema", "_type", "mediaType", "payloadType")
"""Fields by which documents of Waybill, in-toto, cosign and DSSE say what they are."""
_KEYID = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_KEYID_FORM = "a key id: 64 or 40 lower-case hex digits"
_LINES = re.compile(r"[\x20-\x7e\r\n]+")
_REQUIRED = ("release", *APPROVERS[:-1])
"""Roles that a policy can require; break-glass stands in for them."""


def load_root(path: Path) -> tuple[Root, bytes]:
    """Read a root from a file.

    Args:
        path: Where it is.

    Returns:
        The root, and the exact bytes for `fingerprint`.

    Raises:
        UntrustedError: There is no such file.
        MediaError: It cannot be read.
        UsageError: It is a file of another kind.
        TamperedError: It is a root that is damaged, or nothing that is known.
    """

    def look(data: bytes) -> None:
        if kind := other_kind(data):
            raise _not_a_root(path, kind)

    try:
        data = read_document(path, ROOT_BYTES, look=look)
    except FileNotFoundError:
        raise UntrustedError(
            "no such file; without a root, no key is trusted",
            where=str(path),
            hint="give the path of the root.json that was brought to this host",
        ) from None
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        return parse_root(data, str(path)), data
    except TamperedError:
        if _is_other_document(data):
            raise _not_a_root(path, "another JSON document") from None
        raise


def _not_a_root(path: Path, kind: str) -> UsageError:
    hint = "give a root.json, as `bundle trust init` writes it"
    return UsageError(f"is {kind}, not a root", where=str(path), hint=hint)


def _is_other_document(data: bytes) -> bool:
    """Return whether it is an object that says to be something else, and has nothing of a root."""
    with suppress(TamperedError):
        value = loads_strict(data, "", ROOT_BYTES)
        if isinstance(value, dict) and not {"keys", "roles"} & set(value):
            said = str(next((value[name] for name in _NAMES_OF_KINDS if name in value), ""))
            # All kinds in use have a slash; anything else may be a root whose schema was damaged.
            return "/" in said and not said.startswith("waybill/root/")
    return False


def parse_root(data: bytes, where: str = "root.json") -> Root:
    """Read a root.

    Args:
        data: The file's bytes; the caller knows where they are from.
        where: How errors name them.

    Returns:
        The root.

    Raises:
        TamperedError: It is not a root; `problems` lists everything that is wrong.
    """
    document = Document(where)
    root = _root(Value(document, loads_strict(data, where, ROOT_BYTES)))
    if document.problems or root is None:
        raise TamperedError("is not a root that can be trusted", where=where, problems=document.problems)
    return root


def _root(value: Value) -> Root | None:
    document = value.document
    with value.fields() as taken:
        taken.take("schema").choice((SCHEMA,))
        if document.problems:  # a root of another version has other fields
            return None
        listed = taken.take("keys")
        keys = listed.entries(_key, most=MOST_KEYS, empty=False)
        _check_short_ids(listed, keys)
        # Roles may name a key that is faulty itself: that is reported once, at the key.
        names = frozenset(listed.raw) if isinstance(listed.raw, dict) else frozenset()
        revoked_keys, revoked_bundles = _revoked(taken.take("revoked"))
        root = Root(
            version=taken.take("version").number(1),
            expires=taken.take("expires").time(),
            keys=keys,
            roles=_roles(taken.take("roles"), keys, names),
            revoked_keys=revoked_keys,
            revoked_bundles=revoked_bundles,
            environments=(environments := taken.take("environments")).entries(_policy),
            products=taken.take("products", {}).entries(_product),
        )
    for name, policy in root.environments.items():
        # Only in a root without any other problem: each of them may be why a policy cannot be met.
        if not document.problems:
            _check_policy(Value(document, None, environments.at(name)), root, policy)
    return root


def _key(keyid: str, value: Value) -> TrustedKey | None:
    with value.fields() as taken:
        scheme = taken.take("scheme").choice(("cosign", "gpg"))
        owner, public = taken.take("owner"), taken.take("public")
        not_after = taken.take("not_after").time() if taken.has("not_after") else None
    if not is_owner_name(owner.raw):
        return owner.expected("1 to 100 printable characters without a space at either end", None)
    if not public.text(_LINES, "a public key as text"):
        return None
    try:
        key = TrustedKey.from_public(public.raw, owner.raw, not_after, public.path)
    except WaybillError as error:
        public.note(error.what, error.hint)
        return None
    # The id is computed, never taken from the document: else a key could carry the id of another one.
    if key.keyid != keyid:
        value.note(f"does not match the key: the id of this key is {key.keyid}")
    if scheme and key.scheme != scheme:
        value.document.note(value.at("scheme"), f"is {scheme}, but this key needs {key.scheme}")
    return key


def _check_short_ids(value: Value, keys: Mapping[str, TrustedKey]) -> None:
    """Refuse two keys that file names of signatures could not tell apart."""
    short = [(key.scheme, key.keyid8) for key in keys.values()]
    for scheme, keyid8 in sorted({item for item in short if short.count(item) > 1}):
        value.note(f"has two {scheme} keys with the short id {keyid8}", "replace one of them")


def _roles(value: Value, keys: Mapping[str, TrustedKey], listed: frozenset[str]) -> dict[str, Role]:
    if isinstance(value.raw, dict) and "release" not in value.raw:
        value.document.note(value.at("release"), "is missing")

    def read(name: str, item: Value) -> Role | None:
        if name not in ROLES:
            item.note(f"is not a role; the roles are: {', '.join(ROLES)}")
            return None
        return _role(item, keys, listed)

    return value.entries(read, empty=False)


def _role(value: Value, keys: Mapping[str, TrustedKey], listed: frozenset[str]) -> Role:
    with value.fields() as taken:
        ids = (named := taken.take("keys")).names(_KEYID, _KEYID_FORM)
        threshold = (least := taken.take("threshold")).number(1)
    for keyid in ids:
        if keyid not in listed:
            named.note(f"names {keyid}, which is not in `keys`")
    owners = {keys[keyid].owner.casefold() for keyid in ids if keyid in keys}
    if threshold > len(owners) and all(keyid in keys for keyid in ids):
        count = "1 owner" if len(owners) == 1 else f"{len(owners)} owners"
        least.note(f"is {threshold}, but the keys of the role have only {count}")
    return Role(tuple(sorted(ids)), threshold)


def _revoked(value: Value) -> tuple[frozenset[str], frozenset[str]]:
    with value.fields() as taken:
        keys = taken.take("keys").names(_KEYID, _KEYID_FORM)
        bundles = taken.take("bundles").names(HEX, "64 lower-case hex digits")
    return frozenset(keys), frozenset(bundles)


def _check_name(value: Value, name: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(name):
        value.note("is not a name of lower-case letters, digits and hyphens")


def _policy(name: str, value: Value) -> Policy:
    _check_name(value, name, ENVIRONMENT)
    with value.fields() as taken:
        return Policy(
            requires=taken.take("requires").entries(_required),
            change_id=taken.take("change_id", False).flag(),
            rollback_plan=taken.take("rollback_plan", False).flag(),
            builders=taken.take("builders", []).names(BUILDER, "a builder id"),
            repositories=taken.take("repositories", []).names(BUILDER, "a repository"),
            clean_tree=taken.take("clean_tree", False).flag(),
            max_age_days=taken.take("max_age_days", 0).number(0, MAX_AGE_DAYS),
            products=taken.take("products", []).names(PRODUCT, "a product name"),
            break_glass=taken.take("break_glass", False).flag(),
        )


def _required(role: str, value: Value) -> int | None:
    if role not in _REQUIRED:
        value.note(f"is not a role that a policy can require; allowed: {', '.join(_REQUIRED)}")
        return None
    return value.number(1)


def _product(name: str, value: Value) -> ProductRule:
    _check_name(value, name, PRODUCT)
    with value.fields() as taken:
        return ProductRule(taken.take("floor", 0).number(0), taken.take("reset", 0).number(0))


def _check_policy(value: Value, root: Root, policy: Policy) -> None:
    """Refuse a policy that nobody can satisfy: it would be noticed in the night of an upgrade."""
    known = len(value.document.problems)
    for role in policy.requires:
        if role not in root.roles:
            hint = f"run `bundle trust add-key root.json KEY.pub --role {role} --owner NAME`"
            what = f"requires the role {role}, which is not in `roles`"
            value.document.note(value.at("requires"), what, hint)
    for name in ("builders", "repositories", "clean_tree"):
        if getattr(policy, name) and "provenance" not in policy.requires:
            value.document.note(value.at(name), "has no effect where the role provenance is not required")
    if policy.break_glass and "break-glass" not in root.roles:
        value.document.note(value.at("break_glass"), "is allowed, but `roles` has no role break-glass")
    if len(value.document.problems) > known:
        return
    wanted = [root.needs(policy)]
    if policy.break_glass:
        wanted.append({"release": wanted[0]["release"], "break-glass": root.roles["break-glass"].threshold})
    for needs in wanted:
        if short := short_roles(root, needs, str.casefold, with_revoked=True):
            what = f"cannot be met: there are too few owners for {', '.join(short)}"
            value.note(what, "an owner counts for one role only: add more owners")
