"""What `bundle create` prints: a summary by default, every file with `--all`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from installer.core.format.manifest_rules import used_features
from installer.shared.humanize import size_text
from installer.shared.terminal.narrow import fitted

if TYPE_CHECKING:
    from bundler.commands.create import Created, Planned
    from bundler.config.model import BundleConfig
    from bundler.config.secrets.allowances import Allowed
    from bundler.provenance.statement import BuildRun
    from installer.core.format.manifest import FileEntry, Manifest

_SHOWN = 3
_FINDINGS = 10
"""Findings in images that are listed one by one."""


def planned_text(planned: Planned, target: Path, *, show_all: bool) -> str:
    """Return what `--dry-run` prints.

    Args:
        planned: The bundle that could be written.
        target: The file that would be written.
        show_all: Whether every file is listed.
    """
    manifest = planned.manifest
    entries = [item.entry for item in planned.collected.inputs]
    lines = [_contents(entries, show_all=show_all)]
    # An upper bound: layers shrink by compression.
    lines += [
        f"image {image.reference} {image.platform} at most {size_text(image.payload)}"
        for image in planned.images
    ]
    if planned.shared_bytes:
        lines.append(f"shared layers are stored once: {size_text(planned.shared_bytes)} saved")
    most = size_text(planned.most_bytes)
    lines += [
        "",
        f"{manifest.product} {manifest.version}",
        *_requires(manifest),
        f"source      {planned.checkout.as_text()}",
        *_exceptions(planned.config),
        f"would write {target}, at most {most} without provenance; nothing was written",
    ]
    return "\n".join(lines)


def planned_json(planned: Planned, target: Path) -> dict[str, Any]:
    """Return what `--dry-run --json` prints; arguments as `planned_text`."""
    return {
        "path": str(target),
        "dry_run": True,
        "payload_bytes_at_most": planned.payload_bytes,
        "files": len(planned.collected.inputs),
        "requires": list(used_features(planned.manifest)),
        "inputs": [item.entry.path for item in planned.collected.inputs],
        "images": [image.reference for image in planned.images],
        "source": planned.checkout.as_json(),
        "excluded": sum(len(tree.excluded) for tree in planned.config.trees),
        "secrets_allowed": [each._asdict() for each in planned.config.exceptions],
    }


def created_text(created: Created, planned: Planned, run: BuildRun, *, show_all: bool) -> str:
    """Return what is printed about a bundle that was written.

    Args:
        created: The bundle.
        planned: What was planned.
        run: The run that made it.
        show_all: Whether every file is listed.
    """
    manifest = created.manifest
    lines = [_contents(manifest.files, show_all=show_all)]
    lines += [f"image {image.reference} {image.platform} {image.config[:19]}" for image in manifest.images]
    # An unsigned bundle is of no use to a host: the next command is shown.
    signed = ", ".join(created.signatures) or "none: run `bundle sign BUNDLE --key NAME.key`"
    provenance = ", ".join(created.provenance) or "already signed by this key"
    lines += [
        "",
        f"{manifest.product} {manifest.version}",
        f"identity    {created.identity}",
        *_requires(manifest),
        f"source      {planned.checkout.as_text()}",
        *_exceptions(planned.config),
        *_let_through(created.allowed, show_all=show_all),
        f"built by    {run.builder.identity}",
        f"provenance  {provenance}{'' if run.signers else ', not signed'}",
        f"signatures  {signed}",
        f"{'unchanged' if created.unchanged else 'wrote'}   {created.path}, {size_text(created.size)}",
    ]
    return "\n".join(lines)


def _contents(entries: Iterable[FileEntry], *, show_all: bool) -> str:
    if show_all:
        rows = [(entry.path, size_text(entry.size)) for entry in entries]
        return fitted([("WHAT", "SIZE"), *rows], right=(1,))
    groups: dict[str, list[int]] = {}
    for entry in entries:
        groups.setdefault(entry.path.split("/")[0], []).append(entry.size)
    summary = [(name, str(len(sizes)), size_text(sum(sizes))) for name, sizes in groups.items()]
    return fitted([("WHAT", "FILES", "SIZE"), *summary], right=(1, 2))


def _requires(manifest: Manifest) -> Iterator[str]:
    """Yield the features that hosts must know, with what happens on those that do not."""
    for word in used_features(manifest):
        yield f"requires    {word}: hosts with an earlier installer refuse the bundle"


def _let_through(found: Sequence[Allowed], *, show_all: bool) -> Iterator[str]:
    """Yield what was found in images and let through: the bundle has the exceptions only."""
    shown = found if show_all else found[:_FINDINGS]
    yield from (f"let through {each.path}: {each.what}" for each in shown)
    if len(shown) < len(found):
        yield f"let through {len(found) - len(shown)} more findings in images; `--all` lists them"


def _exceptions(config: BundleConfig) -> Iterator[str]:
    """Yield what is not in the bundle, and what is in it by an exception."""
    for tree in config.trees:
        if tree.excluded:
            shown = ", ".join(tree.excluded[:_SHOWN]) + (", …" if len(tree.excluded) > _SHOWN else "")
            yield f"excluded    {len(tree.excluded)} of {tree.given}: {shown}"
    if config.skip_images:
        yield f"unsearched  the images, for secrets: {config.skip_images}"
    listed = [*config.allowed, *(each.in_images() for each in config.for_images.entries)]
    if listed:
        files = list(dict.fromkeys(each.path for each in listed))
        shown = ", ".join(files[:_SHOWN]) + (", …" if len(files) > _SHOWN else "")
        yield f"allowed     {len(files)} file{'' if len(files) == 1 else 's'} by secrets_allow: {shown}"
