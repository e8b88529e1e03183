"""The store `vault`: the key-value engines of HashiCorp Vault and OpenBao, versions 1 and 2.

One login for a run, one request for a mount, one request for a path, however many keys of it are referred to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from installer.core.errors import Problem
from installer.core.schema_errors import did_you_mean
from installer.secrets.references import Form, Reference
from installer.secrets.store import Outcome, SecretStore, StoreError
from installer.secrets.vault import faults
from installer.secrets.vault.client import Answer, VaultClient
from installer.secrets.vault.login import Login, log_in
from installer.secrets.vault.settings import SETTINGS, Settings, read_settings

_KINDS = {
    dict: "a group of values",
    list: "a list",
    int: "a number",
    float: "a number",
    bool: "true or false",
}
TOTAL = 300.0
"""Seconds for all requests of a run."""


class VaultStore(SecretStore):
    """The store `vault`."""

    name = "vault"
    form: ClassVar = Form("secret://vault/MOUNT/PATH#KEY", deep=True, key=True)

    def resolve(self, references: Sequence[Reference]) -> Mapping[Reference, Outcome]:
        """Log in, read each path once, and log out."""
        client = VaultClient(self.context, read_settings(self.context.system))
        try:
            login = log_in(client)
            try:
                return self._read(_Reader(client, login), references)
            finally:
                if login.own:
                    _revoke(client)
        finally:
            client.close()

    def _read(self, reader: _Reader, references: Sequence[Reference]) -> Mapping[Reference, Outcome]:
        paths: dict[str, list[Reference]] = {}
        for each in references:
            paths.setdefault(each.path, []).append(each)
        found: dict[Reference, Outcome] = {}
        system = self.context.system
        until, gone = system.monotonic() + TOTAL, None
        for path, wanted in paths.items():
            # What holds for the server holds for the rest, too: it is not asked again.
            if gone is None and system.monotonic() > until:
                gone = faults.slow_in_all(reader.client.settings, TOTAL).problem
            values: Mapping[str, Any] | Problem
            try:
                values = gone or reader.values(path)
            except StoreError as error:
                values = gone = error.problem
            for each in wanted:
                found[each] = values if isinstance(values, Problem) else self._one(each, values)
        return found

    def _one(self, reference: Reference, values: Mapping[str, Any]) -> Outcome:
        if reference.key not in values:
            near = did_you_mean(reference.key, values)
            what = f"has no key {reference.key!r} there"
            return Problem(
                "", what, f"did you mean #{near}?" if near else "see `bao kv get`, or `vault kv get`"
            )
        value = values[reference.key]
        if not isinstance(value, str):
            kind = _KINDS.get(type(value), "nothing (null)")
            return Problem(
                "", f"is {kind}, not text", "store it as text: a number in quotes, a group as JSON text"
            )
        return self.secret(reference, value)


def _revoke(client: VaultClient) -> None:
    # Best effort: it ends by itself soon. What the run is about does not fail because of it.
    with suppress(StoreError):
        client.context.system.effect(
            "vault.logout", lambda: client.ask(lambda api: api.auth.token.revoke_self())
        )


@dataclass(slots=True)
class _Reader:
    """Reads paths, with a token."""

    client: VaultClient
    login: Login
    mounts: dict[str, int | Problem] = field(default_factory=dict)
    served: bool = False

    def __post_init__(self) -> None:
        self.mounts |= self.client.settings.mounts

    def values(self, path: str) -> Mapping[str, Any] | Problem:
        """Return the keys and values of a path.

        Raises:
            StoreError: No other path would do better.
        """
        mount = self._mount(path)
        if isinstance(mount, Problem):
            return mount
        version, inner = self.mounts[mount], path.removeprefix(f"{mount}/")
        if isinstance(version, Problem):
            return version
        if version == 2:
            answer = self.client.ask(
                lambda api: api.secrets.kv.v2.read_secret_version(
                    inner, mount_point=mount, raise_on_deleted_version=False
                )
            )
            found = answer.part("data", "data")
        else:
            answer = self.client.ask(lambda api: api.secrets.kv.v1.read_secret(inner, mount_point=mount))
            found = answer.part("data")
        if answer.status == 403:
            return self._forbidden(f"policy does not allow to read {_api_path(mount, version, inner)}")
        if answer.status == 404 or (
            answer.ok and version == 2 and answer.part("data", "metadata") and not found
        ):
            return _missing(self.client.settings, answer, mount, version)
        if not answer.ok:
            what = f"cannot be read: the Vault answers with status {answer.status}"
            return Problem("", what, "check mount and path; read the log of the server")
        self.served = True
        if found is None:
            raise faults.lying(self.client.settings, "is not a secret of a key-value engine")
        return found

    def _mount(self, path: str) -> str | Problem:
        """Return the mount of a path; the server says how long its name is, and which version it has."""
        known = [each for each in self.mounts if path.startswith(f"{each}/")]
        if known:
            return max(known, key=len)
        answer = self.client.ask(lambda api: api.adapter.get(_mount_url(path)))
        name = repr(path.partition("/")[0])
        # Not remembered: the name of a mount may have several parts, and another one of them be allowed.
        if answer.status == 403:
            return self._forbidden(f"there is no mount {name}, or policy allows this login nothing in it")
        data = answer.part("data")
        if answer.status == 404 or data is None:
            return _missing(self.client.settings, answer, path.partition("/")[0], 0)
        return self._described(path, data)

    def _described(self, path: str, data: Mapping[str, Any]) -> str | Problem:
        named, kind = str(data.get("path", "")).strip("/"), data.get("type")
        if not named or not path.startswith(f"{named}/"):
            raise faults.lying(self.client.settings, "names another mount than it was asked for")
        if kind not in ("kv", "generic"):
            what = f"the mount {named} is of the type {str(kind)[:40]!r}, not kv"
            self.mounts[named] = Problem("", what, "refer to a key-value engine: other ones make new secrets")
            return named
        options = data.get("options")
        version = str(options.get("version", "1")) if isinstance(options, dict) else "1"
        if version not in ("1", "2"):
            what = f"the mount {named} has version {version[:8]!r} of the key-value engine"
            self.mounts[named] = Problem("", what, "Waybill reads versions 1 and 2")
        else:
            self.mounts[named] = int(version)
        return named

    def _forbidden(self, otherwise: str) -> Problem:
        """Return why the server forbids something; it says the same of policies and of ended tokens.

        Raises:
            StoreError: The token is of no use any more.
        """
        if self.client.ask(lambda api: api.auth.token.lookup_self()).ok:
            hint = "let a policy of this login have the capability read there"
            return Problem("", otherwise, hint)
        name = f"the Vault {self.client.settings.address}"
        if self.login.own or self.served:
            lease = f" after {self.login.seconds} s" if self.login.seconds else ""
            what = (
                f"{name} does not accept the token any more: its lease ended{lease}, or its uses are used up"
            )
            raise StoreError(
                what, "raise token_ttl and token_num_uses of the role, and run the command again"
            )
        path = self.client.settings.auth.files.get("token_file")
        what = f"{name} does not accept the token in {path}: it has expired or was revoked"
        raise StoreError(what, "write a new token into that file, or let an agent renew it")


def _mount_url(path: str) -> str:
    from urllib.parse import quote

    return f"/v1/sys/internal/ui/mounts/{quote(path)}"


def _api_path(mount: str, version: int, inner: str) -> str:
    return f"{mount}/data/{inner}" if version == 2 else f"{mount}/{inner}"


def _missing(settings: Settings, answer: Answer, mount: str, version: int) -> Problem:
    metadata = answer.part("data", "metadata") or {}
    number = metadata.get("version")
    which = f"version {number}" if isinstance(number, int) else "the latest version"
    if metadata.get("destroyed") is True:
        return Problem("", f"was destroyed: {which} is gone for good", "write it again: bao kv put")
    if metadata.get("deletion_time"):
        return Problem(
            "", f"was deleted: {which}", "bring it back: bao kv undelete, or write it again: bao kv put"
        )
    if "namespace not found" in answer.errors():
        return Problem("", *faults.NO_NAMESPACE)
    if not version or "no handler for route" in answer.errors():
        within = f" in the namespace {settings.namespace}" if settings.namespace else ""
        return Problem(
            "", f"there is no mount {mount!r}{within}", f"see `bao secrets list`, and mounts in {SETTINGS}"
        )
    warnings = answer.body.get("warnings")
    if isinstance(warnings, list) and "versioned" in " ".join(map(str, warnings[:3])).lower():
        what = f"the mount {mount} is of version 2 of the key-value engine, not {version}"
        return Problem("", what, f"correct mounts in {SETTINGS}, or leave it out")
    return Problem("", "there is nothing at this path", "check its spelling; see `bao kv list`")
