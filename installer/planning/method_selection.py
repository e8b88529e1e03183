"""Which deployment methods are driven: what the manifest, `--only`, `--skip` and `--root` say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from installer.core.errors import UsageError
from installer.core.format.manifest import Deployment, Manifest
from installer.deploy.method import _ENGINE, OFFLINE_METHODS, Target, uses_engine
from installer.state.release import Release
from installer.state.state import Entry


@dataclass(frozen=True, slots=True)
class Selection:
    """Which methods are driven.

    Attributes:
        driven: Their names.
        skipped: The others that the manifest names, with the reason in words.
    """

    driven: frozenset[str]
    skipped: dict[str, str]


def select(
    manifest: Manifest,
    *,
    live: bool,
    only: frozenset[str],
    skip: frozenset[str],
    running: frozenset[str] = frozenset(),
) -> Selection:
    """Decides which methods are driven.

    What was asked for once stays: a method that brought up what runs is driven again, by an upgrade or a
    rollback, unless a flag says otherwise. Else the old release would go on running beside the new files.

    Args:
        manifest: What the release names.
        live: Whether this is the running host, not a directory below `--root`.
        only: What `--only` names; empty for no such choice.
        skip: What `--skip` names.
        running: Methods by which the releases that are involved came up here before.

    Raises:
        UsageError: A name is not one of the release's methods, or `files` is to be skipped.
    """
    named = {deployment.method for deployment in manifest.deploy} | {"files"}
    if manifest.images:
        named.add("images")
    for flag, names in (("--only", only), ("--skip", skip)):
        if unknown := sorted(names - named):
            raise UsageError(
                f"{flag} {','.join(unknown)}: the release has no such method",
                hint=f"it has {', '.join(sorted(named))}",
            )
    if "files" in skip:
        raise UsageError("--skip files: files are the release", hint="skip the methods that use them instead")
    optional = {deployment.method for deployment in manifest.deploy if deployment.optional}
    driven, skipped = {"files"}, dict[str, str]()
    for name in sorted(named - {"files"}, key=lambda name: (name == "images", name)):
        needed = driven & _ENGINE or (not live and name not in optional)
        if name in skip:
            skipped[name] = "--skip names it"
        elif (not only and name in running) or (name == "images" and needed):
            driven.add(name)
        elif only and name not in only:
            skipped[name] = "--only names others"
        elif name not in only and name in optional:
            skipped[name] = "it is optional; --only can name it"
        elif not live and name not in only and name not in OFFLINE_METHODS:
            skipped[name] = "--root is not a live system; --only can name it"
        else:
            driven.add(name)
    return Selection(frozenset(driven), skipped)


@dataclass(frozen=True, slots=True)
class MethodStep:
    """What one method has to bring from one release to another.

    Attributes:
        name: The method.
        old: What the running release told it to do; None where it was not driven.
        new: What the new release tells it to do; None where it has it no more.
    """

    name: str
    old: Target | None
    new: Target | None


def method_steps(
    old: tuple[Entry, Release] | None, new: Release | None, selection: Selection
) -> list[MethodStep]:
    """Pairs what both releases tell each method: the same step of one and of the other.

    What only the old release has comes first and in reverse: it is taken down before the new one comes up.
    """
    before: dict[Key, Target] = {}
    if old is not None:
        entry, release = old
        targets = _targets(release, frozenset(entry.methods))
        before = {key: target for key, target in targets.items() if key[0] in entry.methods}
    after = _targets(new, selection.driven) if new is not None else {}
    gone = [MethodStep(key[0], target, None) for key, target in before.items() if key not in after]
    come = [
        MethodStep(key[0], before.get(key), target)
        for key, target in after.items()
        if key[0] in selection.driven
    ]
    return [*reversed([job for job in gone if job.name not in selection.skipped]), *come]


Key = tuple[str, str, int]
"""What tells steps of one release apart, and is the same in the next: method, own name, how often before."""


def _targets(release: Release, driven: frozenset[str]) -> dict[Key, Target]:
    targets: dict[Key, Target] = {}
    if release.manifest.images:
        targets["images", "", 0] = Target(release, {"engine": uses_engine(driven, live=False)})
    counts = Counter[tuple[str, str]]()
    for deployment in release.manifest.deploy:
        if deployment.method in OFFLINE_METHODS:
            continue
        name = (deployment.method, _own_name(deployment, release.manifest.product))
        targets[(*name, counts[name])] = Target(release, dict(deployment.options))
        counts[name] += 1
    return targets


def _own_name(step: Deployment, product: str) -> str:
    """Gives what a step is known by on the host, whatever its place: a step may come to stand before it."""
    if step.method == "compose":
        return str(step.options.get("project") or product)
    return str(step.options.get("apply", "")) if step.method == "script" else ""


def blobs_apart(
    manifest: Manifest, *, live: bool, only: frozenset[str], skip: frozenset[str], running: frozenset[str]
) -> bool:
    """Says whether the blobs of images only pass through: into the engine, or nowhere. See `select`."""
    driven = select(manifest, live=live, only=only, skip=skip, running=running).driven
    return "images" not in driven or uses_engine(driven, live=live)
