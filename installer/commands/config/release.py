"""The release that a verb of `config` is about, with the values of this host for it.

A bundle is verified in full before anything of it is parsed, as for a plan. Of a release of this host, the
documents count only if they are what was verified when it was installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from installer.commands.common.bundle_verifier import BundleInput, opened_bundle
from installer.commands.common.session import Session
from installer.commands.common.unfinished import find_unfinished
from installer.core.errors import HostNotReadyError, Problem, UsageError, WaybillError
from installer.host.context import Context
from installer.planning.views.visible_release import visible_release
from installer.secrets.site import SiteSecrets
from installer.shared.command.run_record import Row, release_row
from installer.shared.configuration.merge import Origin
from installer.shared.configuration.substitution import dotted_group, not_resolved
from installer.shared.secrecy import MASK
from installer.shared.secrecy.declared import secret_values
from installer.shared.values import BUILT_IN, Layer
from installer.staging.preview import previewed
from installer.staging.staged import Staged
from installer.state.host_identity import environment
from installer.state.recorded_values import digests_of, read_recorded
from installer.state.site_layers import ReleaseValues, release_values
from installer.state.state import Entry, State, host_readable

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a host.

    Attributes:
        key: Its key, with dots.
        value: The value; what is secret in it is `***`.
        secret: Whether something is.
        origin: Which layer set it.
        applied: Whether the release was rendered with this very value; None where that is not known.
    """

    key: str
    value: Any
    secret: bool
    origin: Origin
    applied: bool | None = None

    @property
    def text(self) -> str:
        """The value for people, in the notation of JSON, which is YAML, too."""
        return MASK if self.secret and self.value == MASK else json.dumps(self.value, ensure_ascii=False)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, without its key."""
        return {
            "value": self.value,
            "secret": self.secret,
            "layer": self.origin.layer,
            "file": self.origin.file,
            "line": self.origin.line or None,
        }


@dataclass(frozen=True, slots=True)
class ConfiguredRelease:
    """A release, and the values of this host for it.

    Attributes:
        context: Its product.
        staged: The release; its documents can be read in `staged.directory`.
        found: The values.
        environment: The environment of this host; empty for none.
        recorded: Digests of the values that it was rendered with, by key; empty where that is not known, or
            nothing was rendered.
        is_installed: Whether it runs.
        secrets: Resolved its references to secrets; None where no store was asked.
    """

    context: Context
    staged: Staged
    found: ReleaseValues
    environment: str
    recorded: Mapping[str, str] = field(default_factory=dict)
    is_installed: bool = False
    secrets: SiteSecrets | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Product and version."""
        return f"{self.context.layout.product} {self.staged.manifest.version}"

    def as_row(self) -> Row:
        """Return what identifies it, as a JSON object."""
        return release_row(self.staged.manifest.version, self.staged.manifest.sequence, self.staged.identity)

    def digests(self) -> dict[str, str]:
        """Return the digests of the values that this host has for it now, by key.

        Raises:
            HostNotReadyError: The key for digests of secrets cannot be read.
        """
        found = self.found.configuration
        return dict(digests_of(_own(found.values), self.secrets.keyed if self.secrets else None))

    def values(self) -> Iterator[Value]:
        """Yield the values of this host, in the order of the files."""
        merged = self.found.configuration.merged
        secrets = secret_values(merged.values, self.found.schema)
        digests = self.digests() if self.recorded else {}
        unknown = {dotted_group(each) for each in self.found.configuration.substitution.unknown}
        for path, origin in merged.origins():
            value: Any = merged.values
            for key in path:
                value = value[key]
            shown, key = _masked(value, path, secrets), ".".join(map(str, path))
            # What a store has for a reference today was not asked.
            known = bool(self.recorded) and key not in unknown
            applied = self.recorded.get(key) == digests.get(key) if known else None
            yield Value(key, shown, shown != value, origin, applied)

    def require_valid(self) -> None:
        """Raise everything that is wrong with the values, at once.

        Raises:
            HostNotReadyError: Something is.
        """
        require_none(self.name, self.found.problems)


def require_none(name: str, problems: tuple[Problem, ...] | list[Problem]) -> None:
    """Raise problems of values, at once.

    Raises:
        HostNotReadyError: There is one.
    """
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise HostNotReadyError(
            f"the values of this host are not valid for {name}: {count}",
            hint="correct what is named below; nothing was changed",
            problems=problems,
        )


@contextmanager
def bundle_release(
    session: Session, source: BundleInput, given: tuple[Layer, ...], *, resolves: bool = False
) -> Iterator[ConfiguredRelease]:
    """Verify a bundle, and keep its documents while its values are looked at.

    Args:
        session: The host.
        source: The bundle.
        given: Layers of the command line, from the weakest.
        resolves: Whether references to secrets are resolved, to compare them; nothing shows them.

    Raises:
        WaybillError: The bundle is refused, or the host cannot be read.
    """
    with opened_bundle(session, source) as (verifier, opened):
        context = session.context(opened.bundle.manifest.product)
        with previewed(opened, context.system, context.layout, context.progress) as (_, staged):
            verifier.decide(opened)
            for note in verifier.trace.notes:
                session.ui.warn(note)
            secrets = SiteSecrets(context) if resolves else None
            yield _configured(session, context, staged, verifier.environment, given, secrets)


def installed_release(
    session: Session,
    product: str | None,
    source: BundleInput,
    given: tuple[Layer, ...] = (),
    *,
    hint: str,
    kind: type[WaybillError] = UsageError,
) -> ConfiguredRelease:
    """Return the installed release.

    Args:
        session: The host.
        product: The product; None where there is only one.
        source: What was said of the environment; its bundle does not count.
        given: Layers of the command line.
        hint: What to type where nothing is installed.
        kind: The error where nothing is.

    Raises:
        UsageError: Nothing is installed and `kind` is nothing else, or it is not clear what is meant.
        WaybillError: It is damaged, or this user may not read it.
    """
    if not session.products():
        raise kind("no release is installed here", hint=hint)
    context, state = _state_of(session, product)
    if state.current is None:
        raise kind(f"{context.layout.product} is not installed here", hint=hint)
    return _of_host(session, context, state.current, source, given, is_installed=True)


def retained_release(
    session: Session, product: str | None, version: str, source: BundleInput
) -> ConfiguredRelease:
    """Return a retained release.

    Raises:
        UsageError: It is not retained here.
        WaybillError: It is damaged, or this user may not read it.
    """
    context, state = _state_of(session, product)
    if (entry := state.find(version)) is None:
        retained = ", ".join(entry.version for entry in state.retained) or "none"
        what = f"{context.layout.product} {version} is not a retained release of this host"
        raise UsageError(what, where="--release", hint=f"retained releases: {retained}")
    return _of_host(session, context, entry, source, ())


def _state_of(session: Session, product: str | None) -> tuple[Context, State]:
    context = session.context(session.product(product))
    session.ui.tell(product=context.layout.product)
    with host_readable():
        found = find_unfinished(context)
    if found.note:
        session.ui.warn(found.note)
    return context, found.state


def _of_host(
    session: Session,
    context: Context,
    entry: Entry,
    source: BundleInput,
    given: tuple[Layer, ...],
    *,
    is_installed: bool = False,
) -> ConfiguredRelease:
    release = visible_release(context, entry).release
    staged = Staged(release.manifest, entry.manifest, entry.identity, release.directory)
    chosen = environment(context.system, source.environment)
    found = _configured(session, context, staged, chosen, given)
    recorded = read_recorded(context.system, context.layout, entry.record) or {}
    return ConfiguredRelease(context, staged, found.found, chosen, recorded, is_installed)


def _configured(
    session: Session,
    context: Context,
    staged: Staged,
    environment: str,
    given: tuple[Layer, ...],
    secrets: SiteSecrets | None = None,
) -> ConfiguredRelease:
    found = release_values(
        context.system, context.layout, (staged.manifest, staged.directory), given, environment,
        secrets.substitute if secrets else not_resolved,
    )  # fmt: skip
    # Before anything is said of a value.
    context.secrets.allow(filter(None, [context.layout.product, staged.manifest.version, environment]))
    context.secrets.add(found.secrets)
    for note in found.notes:
        session.ui.warn(note)
    return ConfiguredRelease(context, staged, found, environment, secrets=secrets)


def _own(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in values.items() if key != BUILT_IN}


def _masked(value: Any, path: Path, secrets: Mapping[Path, str]) -> Any:
    if isinstance(value, list):
        return [_masked(each, (*path, at), secrets) for at, each in enumerate(value)]
    if isinstance(value, dict):
        return {key: _masked(each, (*path, key), secrets) for key, each in value.items()}
    return MASK if path in secrets else value
