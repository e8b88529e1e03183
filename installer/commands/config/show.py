"""VERB config show: the values of this host for a release, each with the layer that set it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from installer.commands.common.bundle_verifier import BundleInput
from installer.commands.common.session import Session
from installer.commands.config.release import (
    ConfiguredRelease,
    Value,
    bundle_release,
    installed_release,
    require_none,
)
from installer.core.errors import Problem, UsageError
from installer.core.schema_errors import spelling_hint
from installer.shared.command.run_record import Row
from installer.shared.terminal.narrow import fitted
from installer.shared.values import Layer
from installer.state.site_layers import LayerUse

_LISTED = 12
_BUNDLE = "name the bundle whose values are to be shown: `install config show --bundle BUNDLE`"


@dataclass(frozen=True, slots=True)
class Shown:
    """The values of a host.

    Attributes:
        name: Product and version.
        release: What identifies the release.
        is_installed: Whether it runs.
        layers: What was read, from the weakest.
        values: The values.
        rows: Key, value and layer of each for people, without secrets.
        problems: What is wrong with them; then they are shown as far as they could be merged.
    """

    name: str
    release: Row
    is_installed: bool
    layers: tuple[LayerUse, ...]
    values: tuple[Value, ...]
    rows: tuple[tuple[str, str, str], ...]
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        rows = [{"key": each.key, **each.as_json(), "applied": each.applied} for each in self.values]
        return {
            "changed": False,
            "release": self.release,
            "installed": self.is_installed,
            "layers": [asdict(each) for each in self.layers],
            "values": rows,
        }

    def text(self) -> str:
        """Return it for people."""
        if not self.values:
            return f"{self.name} has no values"
        lines = [fitted([("KEY", "VALUE", "FROM"), *self.rows])]
        changed = [each.key for each in self.values if each.applied is False]
        if changed:
            more = f", … {len(changed) - _LISTED} more" if len(changed) > _LISTED else ""
            lines.append(f"changed since {self.name} was installed: {', '.join(changed[:_LISTED])}{more}")
            lines.append(
                "  install the bundle again: that renders the configuration with the values of today"
            )
        return "\n".join(lines)

    def require_valid(self) -> None:
        """Raise what is wrong with the values.

        Raises:
            HostNotReadyError: Something is.
        """
        require_none(self.name, self.problems)


def show(
    session: Session,
    key: str | None,
    source: BundleInput,
    *,
    product: str | None = None,
    given: tuple[Layer, ...] = (),
) -> Shown:
    """Return the values of this host.

    Args:
        session: The host.
        key: Only the value of this key, or of the group with this name; None for all.
        source: The bundle, and what was said of the environment; with an empty path, the installed release.
        product: The product; None where there is only one.
        given: Layers of the command line, from the weakest.

    Raises:
        UsageError: There is no such key, or no such release.
        WaybillError: The bundle is refused, or the host cannot be read.
    """
    if source.path:
        with bundle_release(session, source, given) as release:
            return _shown(release, key)
    return _shown(installed_release(session, product, source, given, hint=_BUNDLE), key)


def _shown(release: ConfiguredRelease, key: str | None) -> Shown:
    values = tuple(release.values())
    chosen = tuple(each for each in values if key is None or f"{each.key}.".startswith(f"{key}."))
    # With a broken file the key may be in it.
    if key is not None and not chosen and not release.found.problems:
        names = [each.key for each in values]
        groups = list(dict.fromkeys(name.rpartition(".")[0] for name in names if "." in name))
        listed = f"its values: {', '.join(names[:_LISTED])}" if names else "it has no values"
        raise UsageError(
            f"{release.name} has no value {key!r:.80}",
            where="KEY",
            hint=spelling_hint(key, [*names, *groups], listed),
        )
    found, hide = release.found, release.context.secrets.hide
    # Hidden by cell: the lines of a table are broken at any character.
    rows = tuple((hide(each.key), hide(each.text), hide(each.origin.where)) for each in chosen)
    return Shown(
        release.name, release.as_row(), release.is_installed, found.layers, chosen, rows, found.problems
    )
