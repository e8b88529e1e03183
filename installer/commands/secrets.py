"""VERB secrets check: look which references to secrets can be resolved here, and say why others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from installer.commands.common.bundle_verifier import BundleInput, opened_bundle
from installer.commands.common.session import Session
from installer.core.errors import HostNotReadyError, Problem, UsageError, os_errors_as
from installer.core.limits import LIMITS
from installer.core.remedies import remedy
from installer.core.schema_errors import dotted
from installer.core.trust.root import PRODUCT
from installer.host.layout import CONFIG, Layout
from installer.secrets.references import Reference
from installer.secrets.registry import references_in
from installer.secrets.resolve import examine
from installer.shared.configuration.release_layers import ReleaseLayers, release_layers
from installer.shared.values import Layer, merge_layers
from installer.staging.preview import previewed
from installer.state.host_identity import environment as environment_of
from installer.state.host_identity import recorded_cluster
from installer.state.site_layers import site_layers


@dataclass(frozen=True, slots=True)
class Use:
    """A value that is a reference.

    Attributes:
        product: Whose value.
        key: Its key: `db.password`.
        where: The file that has it, with the line.
        reference: The reference.
        problem: Why it cannot be resolved; None if it can.
    """

    product: str
    key: str
    where: str
    reference: Reference
    problem: Problem | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object; the value of the secret is not in it."""
        return {
            "product": self.product,
            "key": self.key,
            "where": self.where,
            "reference": str(self.reference),
            "store": self.reference.store,
            "resolved": self.problem is None,
            "what": self.problem.what if self.problem else None,
            "hint": (self.problem.hint or None) if self.problem else None,
        }


@dataclass(slots=True)
class SecretsCheck:
    """What became of the references of a host.

    Attributes:
        uses: Every value that is a reference.
        problems: What is wrong: references that are not resolved, faulty ones, unreadable files.
        notes: What to warn of.
    """

    uses: list[Use] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return it for people, one reference a line."""
        if not self.uses:
            return "" if self.problems else "no value of this host refers to a secret"
        good = sum(each.problem is None for each in self.uses)
        lines = [f"{good} of {len(self.uses)} references to secrets can be resolved"]
        lines += [
            f"  {'ok' if each.problem is None else 'FAILED':<6}  {each.product}  {each.key}  {each.reference}"
            for each in self.uses
        ]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"secrets": [each.as_json() for each in self.uses]}

    def require_resolved(self) -> None:
        """Raise what is wrong.

        Raises:
            HostNotReadyError: A reference cannot be resolved, is faulty, or a file cannot be read.
        """
        if self.problems:
            count = len(self.problems)
            what = f"secrets of this host cannot be resolved: {count} problem{'s' if count > 1 else ''}"
            raise HostNotReadyError(what, hint="nothing was changed", problems=self.problems)


def secrets_check(
    session: Session,
    source: BundleInput | None = None,
    product: str | None = None,
    values: Sequence[Layer] = (),
    environment: str = "",
) -> SecretsCheck:
    """Resolve the references in the values of a host, and forget the secrets again.

    Args:
        session: The host.
        source: A bundle whose values count, too; None for the files of the host alone.
        product: Only this product; None for that of the bundle, or for all that have values here.
        values: Layers of the command line, from the weakest.
        environment: What was said of the environment of this host; empty for nothing.

    Raises:
        UsageError: The product has no values here, or values are given without saying for which product.
        WaybillError: The bundle is refused, the environment or the cluster is in doubt, or there are more
            secrets than can be hidden.
    """
    found = SecretsCheck()
    environment = environment_of(session.system, source.environment if source else environment)
    if source is not None:
        with _of_bundle(session, source, environment) as (name, release):
            if product not in (None, name):
                raise UsageError(f"the bundle is one of {name}, not of {product}", hint="leave out --product")
            found.notes += release.notes
            found.problems += release.problems
            _check(session, name, environment, (release.layers, values), found)
        return found
    names = _products(session, environment)
    if product is not None and product not in names:
        listed = ", ".join(names) or "none"
        raise UsageError(f"{product} has no values on this host", hint=f"products with values here: {listed}")
    chosen = [product] if product else names
    if values and len(chosen) != 1:
        raise UsageError("for which product are the values?", hint="give --product NAME, or a bundle")
    for name in chosen:
        _check(session, name, environment, ((), values), found)
    return found


@contextmanager
def _of_bundle(
    session: Session, source: BundleInput, environment: str
) -> Iterator[tuple[str, ReleaseLayers]]:
    with opened_bundle(session, source) as (_, opened):
        context = session.context(opened.bundle.manifest.product)
        with previewed(opened, context.system, context.layout, context.progress) as (_, staged):
            system, cluster = context.system, recorded_cluster(context.system)

            def read(path: str) -> bytes:
                return system.read(f"{staged.directory}/{path}", LIMITS.document_bytes)

            yield context.layout.product, release_layers(staged.manifest, read, environment, cluster)


@os_errors_as(HostNotReadyError, "cannot look for values", CONFIG, remedy)
def _products(session: Session, environment: str) -> list[str]:
    system = session.system
    found = []
    for name in system.names(CONFIG):
        if PRODUCT.fullmatch(name) and system.is_dir(f"{CONFIG}/{name}"):
            site = site_layers(system, Layout(name), environment)
            found += [name] if site.layers or site.problems else []
    return found


def _check(
    session: Session,
    product: str,
    environment: str,
    others: tuple[Sequence[Layer], Sequence[Layer]],
    found: SecretsCheck,
) -> None:
    """Look at the values of one product; `others` are the layers below and above those of the host."""
    site = site_layers(session.system, Layout(product), environment)
    found.notes += site.notes
    found.problems += site.problems
    # Whether the values fit a release is what a plan says; here only what they refer to counts.
    merged, problems = merge_layers([*others[0], *site.layers, *others[1]])
    if problems:
        found.problems += problems
        return
    references, problems = references_in(merged.values, merged.where)
    found.problems += problems
    resolution = examine(session.context(product), references.values())
    found.notes += resolution.notes
    found.problems += resolution.problems()
    found.uses += [
        Use(product, dotted(path), merged.where(path), reference, resolution.unresolved.get(reference))
        for path, reference in references.items()
    ]
