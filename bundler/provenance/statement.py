"""SLSA provenance of a bundle: made by `bundle create`, signed if a provenance key is given.

It is a statement about the bundle's identity, so that identity cannot cover it: it is stored
with the approvals, or unsigned next to the bundle. The format is https://slsa.dev/spec/v1.0/provenance.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from bundler import __version__
from bundler.archive.new_file import replace_file
from bundler.config.model import BundleConfig
from bundler.provenance.builder import Builder
from bundler.provenance.git import Checkout
from bundler.signing import Signer
from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.core.errors import UnfitInputError
from installer.core.format.approval_names import DIRECTORY
from installer.core.format.manifest import Manifest
from installer.core.intoto import make_statement
from installer.core.limits import LIMITS
from installer.core.timestamps import format_time
from installer.core.trust.provenance import PREDICATE

BUILD_TYPE = "urn:waybill:create:v1"
CHANGED = 50
"""The largest number of changed files that are listed; for more, only their number is given."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BuildRun:
    """One run of `bundle create`, as provenance describes it.

    Attributes:
        builder: Who runs it.
        parameters: The parameters by name; nothing secret.
        started: When it began.
        signers: Keys that sign the provenance; none: it is written next to the bundle, to be signed
            elsewhere.
    """

    builder: Builder
    parameters: Json
    started: datetime
    signers: Sequence[Signer] = ()


def statement(
    run: BuildRun,
    checkout: Checkout,
    config: BundleConfig,
    manifest: Manifest,
    identity: str,
    finished: datetime,
) -> bytes:
    """Return the statement about a bundle, never larger than readers accept.

    Args:
        run: The run that made it.
        checkout: The git checkout of the inputs.
        config: The checked bundle.yaml.
        manifest: Of the bundle.
        identity: Of the bundle.
        finished: When it was done.

    Raises:
        UnfitInputError: The parameters alone are too long.
    """
    groups = _groups(config, manifest)
    # A reader refuses statements above a limit: details are folded until it fits.
    while True:
        rows = [_source(checkout), *(row for group in groups.values() for row in group)]
        data = jsonio.dumps(_document(run, checkout, rows, identity, finished))
        if len(data) <= LIMITS.approval_bytes:
            return data
        # Largest first: the fewest details are lost.
        name = max(groups, key=lambda name: len(groups[name]))
        if len(groups[name]) < 2:
            raise UnfitInputError("the provenance would be too long", hint="shorten paths or parameters")
        # the largest group becomes one row: its files are all on the signed list
        groups[name] = [_folded(name, manifest)]


def signed_files(run: BuildRun, data: bytes) -> dict[str, bytes]:
    """Sign a statement; return the members to write after the payload."""
    files: dict[str, bytes] = {}
    for signer in run.signers:
        name = f"{DIRECTORY}provenance-{signer.keyid8}.json"
        files |= {name: data, **{f"{name}.{form}": made for form, made in signer.sign(data).items()}}
    return files


def write_unsigned(bundle: Path, data: bytes) -> Path:
    """Write the statement next to the bundle; replace that of an earlier run.

    Raises:
        UnfitInputError: It cannot be written.
    """
    path = bundle.with_name(f"{bundle.name}.provenance.json")
    replace_file(path, data)
    return path


def _document(run: BuildRun, checkout: Checkout, rows: list[Json], identity: str, finished: datetime) -> Json:
    internal: Json = {"variables": list(run.builder.variables)}
    # It decides the time in the bundle, so whoever rebuilds it needs it.
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        internal["SOURCE_DATE_EPOCH"] = epoch
    if checkout.unknown:
        internal["source"] = f"unknown: {checkout.unknown}"
    metadata = {"startedOn": format_time(run.started), "finishedOn": format_time(finished)}
    if run.builder.invocation:
        metadata["invocationId"] = run.builder.invocation
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": run.parameters,
            "internalParameters": internal,
            "resolvedDependencies": [row for row in rows if row],
        },
        "runDetails": {
            "builder": {"id": run.builder.identity, "version": {"waybill": __version__}},
            "metadata": metadata,
        },
    }
    return make_statement(PREDICATE, predicate, identity)


def _source(checkout: Checkout) -> Json:
    # Without a commit there is nothing to name; `internalParameters` has the reason.
    if not checkout.commit:
        return {}
    # A tag reads better than a commit; the digest below has the commit in any case.
    revision = f"refs/tags/{checkout.tag}" if checkout.tag else checkout.commit
    # A policy can require a clean tree: this is what it reads.
    annotations: Json = {"dirty": bool(checkout.changed)}
    if checkout.tag:
        annotations["tag"] = checkout.tag
    if checkout.changed:
        annotations |= {"changed": list(checkout.changed[:CHANGED]), "changedCount": len(checkout.changed)}
    row: Json = {"name": "source", "digest": {"gitCommit": checkout.commit}, "annotations": annotations}
    return row | ({"uri": f"git+{checkout.repository}@{revision}"} if checkout.repository else {})


def _groups(config: BundleConfig, manifest: Manifest) -> dict[str, list[Json]]:
    """Return the inputs by the part of the bundle they are in: bundle.yaml, each file, tree and image."""
    groups: dict[str, list[Json]] = {
        "bundle.yaml": [{"name": "bundle.yaml", "digest": {"sha256": config.sha256}}]
    }
    given = {item.member: item.given for item in config.items}
    for entry in manifest.files:
        top = entry.path.partition("/")[0]
        if entry.path in given:
            row = {
                "name": given[entry.path],
                "digest": {"sha256": entry.sha256},
                "annotations": {"member": entry.tar_name},
            }
            groups.setdefault(top, []).append(row)
    for tree in config.trees:
        # A tree may have 100,000 files: one row with a digest over all of them.
        row = _folded(tree.member, manifest) | {"name": tree.given}
        groups.setdefault("trees", []).append(row)
    for image in manifest.images:
        row = {
            "name": image.reference,
            "digest": {"sha256": image.config.removeprefix("sha256:")},
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "annotations": {"platform": image.platform, "manifest": image.manifest},
        }
        groups.setdefault("images", []).append(row)
    return groups


def _folded(name: str, manifest: Manifest) -> Json:
    """Return all files below a path of the bundle as one row.

    The digest is in-toto's `dirHash1`, that of Go's modules: the SHA-256 of their lines in SHA256SUMS.
    """
    # dirHash1 hashes the lines in the order of their paths.
    below = sorted(
        (each for each in manifest.files if each.path.startswith(f"{name}/")), key=attrgetter("tar_name")
    )
    lines = "".join(f"{each.sha256}  {each.tar_name}\n" for each in below)
    return {
        "name": f"{name}/",
        "digest": {"dirHash1": sha256_hex(lines.encode())},
        "annotations": {"files": len(below), "member": f"{name}/"},
    }
