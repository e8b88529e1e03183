"""VERB config diff: which values change from the installed release to a bundle, or to a retained release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from installer.commands.common.bundle_verifier import BundleInput
from installer.commands.common.session import Session
from installer.commands.config.release import (
    ConfiguredRelease,
    Value,
    bundle_release,
    installed_release,
    retained_release,
)
from installer.core.errors import HostNotReadyError, UsageError
from installer.shared.command.run_record import Row
from installer.shared.configuration.merge import SHIPPED
from installer.shared.values import Layer
from installer.state.recorded_values import changes

_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
_INSTEAD = "there is nothing to compare with: `install config show --bundle BUNDLE` shows what a bundle gets"
_NOT_RECORDED = "(not recorded)"


@dataclass(frozen=True, slots=True)
class Change:
    """A value that changes.

    Attributes:
        key: Its key, with dots.
        change: What becomes of it.
        before: What it is in the installed release; None where it is not there, or was not recorded.
        after: What it will be; None where it is not there, or was not recorded.
    """

    key: str
    change: Literal["changed", "added", "removed"]
    before: Value | None
    after: Value | None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        before, after = (each.as_json() if each else None for each in (self.before, self.after))
        return {"key": self.key, "change": self.change, "before": before, "after": after}


@dataclass(frozen=True, slots=True)
class ConfigDiff:
    """Which values change.

    Attributes:
        old: The installed release, in words.
        new: The other one, in words.
        rows: What identifies the two.
        changes: The changes, by key.
        is_rollback: Whether the other one is a retained release: then the values of then come back.
    """

    old: str
    new: str
    rows: tuple[Row, Row]
    changes: tuple[Change, ...]
    is_rollback: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "changed": False,
            "from": self.rows[0],
            "to": self.rows[1],
            "rollback": self.is_rollback,
            "changes": [each.as_json() for each in self.changes],
        }

    def text(self) -> str:
        """Return it for people."""
        way = "rollback to " if self.is_rollback else ""
        if not self.changes:
            return f"{self.old} → {way}{self.new}: no value changes"
        count = f"{len(self.changes)} value{'s change' if len(self.changes) > 1 else ' changes'}"
        return "\n".join([f"{self.old} → {way}{self.new}: {count}", *map(self._line, self.changes)])

    def _line(self, change: Change) -> str:
        before, after = self._side(change.before, self.old), self._side(change.after, self.new)
        shown = {"added": after, "removed": before, "changed": f"{before} → {after}"}[change.change]
        return f"{_SIGNS[change.change]} {change.key}: {shown}"

    def _side(self, value: Value | None, name: str) -> str:
        if value is None:
            return _NOT_RECORDED
        # Both releases have their values in files of the same names.
        of = f" of {name.rpartition(' ')[2]}" if value.origin.layer in SHIPPED else ""
        return f"{value.text} ({value.origin.where}{of})"


def diff(
    session: Session,
    source: BundleInput,
    version: str | None,
    *,
    product: str | None = None,
    given: tuple[Layer, ...] = (),
) -> ConfigDiff:
    """Return which values change.

    The installed release has the values that it was rendered with, and so will a retained one have after a
    rollback. Only their digests were recorded: a value is shown if the layers of today still have it.

    Args:
        session: The host.
        source: The bundle to compare with, and what was said of the environment; with an empty path, a
            retained release.
        version: The retained release to compare with; None for a bundle.
        product: The product; None where there is only one. Of a bundle it is known.
        given: Layers of the command line, from the weakest; for the bundle only.

    Raises:
        UsageError: Neither or both are given, or there is no such release.
        HostNotReadyError: Nothing is installed, the values of this host are not valid for the bundle, or a
            reference to a secret cannot be resolved.
        WaybillError: The bundle is refused, or the host cannot be read.
    """
    if bool(source.path) == (version is not None):
        what = "give a bundle or --release VERSION" + (", not both" if source.path else "")
        raise UsageError(what, hint="see `install config diff --help`")
    if version is not None:
        if given:
            raise UsageError(
                "--values and --set do not change a rollback: the values of then come back",
                hint="omit them; to install an earlier release with other values, use its bundle",
            )
        old = installed_release(session, product, source, hint=_INSTEAD, kind=HostNotReadyError)
        return _compared(session, old, retained_release(session, product, version, source), is_rollback=True)
    with bundle_release(session, source, given, resolves=True) as new:
        new.require_valid()
        name = new.context.layout.product
        if name not in session.products():
            raise HostNotReadyError(f"{name} is not installed here", hint=_INSTEAD)
        old = installed_release(session, name, source, hint=_INSTEAD, kind=HostNotReadyError)
        return _compared(session, old, new)


def _compared(
    session: Session, old: ConfiguredRelease, new: ConfiguredRelease, *, is_rollback: bool = False
) -> ConfigDiff:
    rows = (old.as_row(), new.as_row())
    session.ui.tell(from_=rows[0], to=rows[1])
    now, then = _side(old), _side(new)
    found = [
        Change(each.key, each.change, now[1].get(each.key), then[1].get(each.key))
        for each in changes(now[0], then[0])
    ]
    return ConfigDiff(old.name, new.name, rows, tuple(found), is_rollback)


def _side(release: ConfiguredRelease) -> tuple[dict[str, str], dict[str, Value]]:
    """Return the digests of the values of a release, and the values as far as they are known."""
    today = release.digests()
    digests = dict(release.recorded) or today
    values = {each.key: each for each in release.values() if today.get(each.key) == digests.get(each.key)}
    return digests, values
