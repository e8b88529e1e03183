"""VERB config validate: everything that is wrong with the values of this host for a release, at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from installer.commands.common.bundle_verifier import BundleInput
from installer.commands.common.session import Session
from installer.commands.config.release import (
    ConfiguredRelease,
    bundle_release,
    installed_release,
    require_none,
)
from installer.core.errors import Problem
from installer.planning.desired_state import check_configuration
from installer.secrets.site import SiteSecrets
from installer.shared.command.run_record import Row
from installer.shared.values import Layer
from installer.state.site_layers import LayerUse

_BUNDLE = "name the bundle that the values are for: `install config validate BUNDLE`"


@dataclass(frozen=True, slots=True)
class Validated:
    """What is wrong with the values of a host.

    Attributes:
        name: Product and version.
        release: What identifies the release.
        is_installed: Whether it runs.
        layers: What was read, from the weakest.
        count: How many values there are.
        problems: What is wrong; empty for nothing.
    """

    name: str
    release: Row
    is_installed: bool
    layers: tuple[LayerUse, ...]
    count: int
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "changed": False,
            "release": self.release,
            "installed": self.is_installed,
            "layers": [asdict(each) for each in self.layers],
            "count": self.count,
        }

    def text(self) -> str:
        """Return it for people."""
        files = "".join(f"\n  {each.file}" for each in self.layers)
        return (
            f"the values of this host are valid for {self.name}: {self.count} from{files}"
            if files
            else (f"{self.name} has no values")
        )

    def require_valid(self) -> None:
        """Raise what is wrong with the values.

        Raises:
            HostNotReadyError: Something is.
        """
        require_none(self.name, self.problems)


def validate(
    session: Session,
    source: BundleInput,
    *,
    product: str | None = None,
    given: tuple[Layer, ...] = (),
) -> Validated:
    """Check the values of this host, and what the templates of a release make of them.

    Args:
        session: The host.
        source: The bundle, and what was said of the environment; with an empty path, the installed release.
        product: The product; None where there is only one.
        given: Layers of the command line, from the weakest.

    Raises:
        UsageError: There is no such release.
        WaybillError: The bundle is refused, or the host cannot be read.
    """
    if source.path:
        with bundle_release(session, source, given) as release:
            return _validated(session, release, given)
    return _validated(session, installed_release(session, product, source, given, hint=_BUNDLE), given)


def _validated(session: Session, release: ConfiguredRelease, given: tuple[Layer, ...]) -> Validated:
    context, staged = release.context, release.staged
    secrets = SiteSecrets(context)
    checked = check_configuration(context, staged, secrets, site=given, environment=release.environment)
    for note in secrets.notes:
        session.ui.warn(note)
    problems = tuple(map(context.secrets.hide_problem, checked.problems))
    count = sum(1 for _ in release.found.configuration.merged.origins())
    return Validated(
        release.name, release.as_row(), release.is_installed, release.found.layers, count, problems
    )
