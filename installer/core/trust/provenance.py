"""SLSA provenance of a bundle: who built it and from what. Only what a policy can require is read.

The form is https://slsa.dev/spec/v1.0/provenance. Unknown fields are ignored, unlike everywhere else: other
tools may have written the provenance, and what is not read cannot grant anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from installer.core.errors import TamperedError

PREDICATE = "https://slsa.dev/provenance/v1"
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REVISION = re.compile(r"@(refs/.*|[0-9a-f]{40}|[0-9a-f]{64})$")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Provenance:
    """SLSA provenance about the bundle as a whole; what it does not state is empty.

    Attributes:
        identity: The bundle's.
        builder: Who built it: `runDetails.builder.id`.
        repository: Where the source is from, as `https://host/path`.
        commit: Of the source, in hex.
        tag: Of that commit.
        clean: Whether everything was as committed; None if not stated.
    """

    identity: str
    builder: str
    repository: str = ""
    commit: str = ""
    tag: str = ""
    clean: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, for reports and logs."""
        return {name: value for name, value in asdict(self).items() if name != "identity"}

    def source(self) -> str:
        """Return what it was built from, in words; empty if that is not known."""
        if not self.commit:
            return ""
        tree = {
            True: "clean",
            False: "with UNCOMMITTED CHANGES",
            None: ("not recorded whether there were uncommitted changes"),
        }[self.clean]
        words = [f"commit {self.commit}", f"tag {self.tag}" if self.tag else "", tree]
        words.append(f"of {self.repository}" if self.repository else "")
        return ", ".join(word for word in words if word)


def parse_predicate(value: Any, where: str, identity: str) -> Provenance:
    """Read the predicate of a statement whose signature was checked before.

    Args:
        value: The predicate.
        where: How errors name it.
        identity: The subject of the statement.

    Returns:
        What it says.

    Raises:
        TamperedError: It names no builder.
    """
    builder = _text(value, "runDetails", "builder", "id")
    # Without a builder the statement says nothing that a policy could use.
    if not builder:
        raise TamperedError("names no builder in runDetails.builder.id", where=where)
    found = _at(value, "buildDefinition", "resolvedDependencies")
    listed = found if isinstance(found, list) else []
    sources = [each for each in listed if COMMIT.fullmatch(_text(each, "digest", "gitCommit"))]
    if len(sources) != 1:  # of several, none can be said to be the source
        return Provenance(identity, builder)
    source = sources[0]
    dirty = _at(source, "annotations", "dirty")
    return Provenance(
        identity,
        builder,
        repository_of(_text(source, "uri")),
        _text(source, "digest", "gitCommit"),
        _text(source, "annotations", "tag"),
        not dirty if isinstance(dirty, bool) else None,
    )


def repository_of(uri: str) -> str:
    """Return the repository of an SPDX download location: `git+https://host/path@revision`."""
    return _REVISION.sub("", uri.removeprefix("git+"))


def why_rejected(
    provenance: Provenance, builders: Sequence[str], repositories: Sequence[str], clean: bool, commit: str
) -> str:
    """Return why provenance does not meet a policy; empty if it does.

    Args:
        provenance: The provenance.
        builders: Builder ids that count; empty: any.
        repositories: Repositories that count; empty: any.
        clean: Whether everything must be as committed.
        commit: The commit that the manifest names; empty: none.
    """
    if builders and provenance.builder not in builders:
        return f"was built by {provenance.builder}, which the policy does not allow"
    # The manifest is signed by the release key: a builder that names another commit built something else.
    if commit and provenance.commit and commit != provenance.commit:
        return f"names commit {provenance.commit}, but the bundle was created from {commit}"
    if repositories and provenance.repository not in repositories:
        return (
            f"was built from {provenance.repository or 'a repository that it does not name'}, "
            "which the policy does not allow"
        )
    if clean and provenance.clean is not True:
        return (
            "was built from a source tree with uncommitted changes"
            if provenance.clean is False
            else "does not state whether the source tree had uncommitted changes"
        )
    return ""


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any, *path: str) -> str:
    found = _at(value, *path)
    # Shown to people and compared with a policy: printable and short, or not there at all.
    fits = isinstance(found, str) and 1 <= len(found) <= _LONGEST and found.isprintable()
    return found if fits else ""
