"""Rules of a manifest beyond the types of its fields: order, names, destinations and references."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from itertools import chain

from installer.core.errors import TamperedError
from installer.core.format.entries import (
    ansible_core_files,
    chart_files,
    folder_lists,
    health_check,
    kube_manifests,
    playbook_files,
    quadlet_files,
    tool_files,
    unit_names,
    whole_images,
)
from installer.core.format.features import (
    ANSIBLE,
    ANSIBLE_CORE,
    ATTRIBUTES,
    CLUSTER,
    HEALTH,
    HELM,
    KUBECTL,
    LAYERS,
    NAMES,
    ON_CHANGE,
    QUADLET,
    QUADLET_KUBE,
    SYSTEMD,
    TIMEOUTS,
    TOOLS,
    USER_UNITS,
    VALIDATORS,
    WHOLE_IMAGES,
)
from installer.core.format.manifest import (
    MANIFEST,
    SECTIONS,
    DirectoryEntry,
    FileEntry,
    LinkEntry,
    Manifest,
    blob_path,
)
from installer.core.format.member_names import (
    destination_fault,
    encoded_name,
    fold_name,
    is_plain_destination,
    is_plain_path,
    is_plain_target,
    link_target_fault,
    name_fault,
)
from installer.core.format.methods import SPECS, features_of, place_name
from installer.core.limits import KIB, LIMITS
from installer.core.risk import setting_lines

WRONG_RELEASE = (
    "this copy is as it was signed: the release is wrong, or needs a newer version of Waybill; "
    "ask its publisher"
)
"""The hint about a signed manifest that cannot be used: another copy would be no better."""


def check(manifest: Manifest) -> tuple[str, ...]:
    """Refuse a manifest that contradicts itself.

    Returns:
        The words of the features that it uses, as `requires` must have them.

    Raises:
        TamperedError: Paths or destinations conflict or are not allowed, the order is wrong, or something
            refers to a file that is not in the bundle.
    """
    _check_order(manifest.files)
    _check_names(manifest)
    _check_destinations(manifest)
    _check_references(manifest)
    _check_values_layers(manifest)
    _check_configuration(manifest.files)
    _check_attributes(manifest)
    return used_features(manifest)


def used_features(manifest: Manifest) -> tuple[str, ...]:
    """Return the words of the features that a manifest uses, sorted: what `requires` must have."""
    rows: list[LinkEntry | DirectoryEntry] = [*manifest.links, *manifest.directories]
    installs = chain((entry.install for entry in manifest.files), (row.install for row in rows))
    names = (
        any(entry.member for entry in manifest.files)
        or not all(is_plain_path(row.path) for row in rows)
        or not all(is_plain_target(link.target) for link in manifest.links)
        or not all(is_plain_destination(install) for install in installs if install)
    )
    words = {
        ATTRIBUTES: any(map(_has_capabilities, manifest.files))
        or any(map(_is_special, manifest.directories)),
        NAMES: names,
        CLUSTER: manifest.cluster,
        HEALTH: any(map(health_check.needs_feature, manifest.health)),
        LAYERS: manifest.values_layers,
        ON_CHANGE: any(entry.on_change for entry in manifest.files),
        TIMEOUTS: any(entry.timeout for entry in manifest.files),
        VALIDATORS: any(entry.validate for entry in manifest.files),
        WHOLE_IMAGES: manifest.whole_images,
    }
    # Earlier readers refuse the kinds as well, also where no step names the file.
    kinds = {entry.kind for entry in manifest.files}
    words |= {HELM: chart_files.KIND in kinds, KUBECTL: kube_manifests.KIND in kinds}
    words |= {ANSIBLE: playbook_files.KIND in kinds, ANSIBLE_CORE: ansible_core_files.KIND in kinds}
    of_podman = [entry.path for entry in manifest.files if entry.kind == quadlet_files.KIND]
    words[QUADLET] = bool(of_podman)
    words[QUADLET_KUBE] = any(path.rpartition(".")[2] in quadlet_files.LATER for path in of_podman)
    words[TOOLS] = not kinds.isdisjoint(("tool", "licence"))
    words |= {SYSTEMD: not kinds.isdisjoint(setting_lines.KINDS), USER_UNITS: "user-unit" in kinds}
    of_steps = {word for step in manifest.deploy for word in features_of(step.method, step.options)}
    return tuple(sorted({word for word, is_used in words.items() if is_used} | of_steps))


def _check_configuration(files: Iterable[FileEntry]) -> None:
    """Require that only rendered files, whose place on the host is known, are checked and acted on."""
    for entry in files:
        if (entry.validate or entry.on_change) and (entry.kind != "template" or not entry.install):
            key = "validate" if entry.validate else "on_change"
            raise _fault(f"{entry.path} has `{key}`, but is not a template that is installed")
        if entry.timeout and not (entry.validate or entry.on_change.command):
            raise _fault(f"{entry.path} has `timeout`, but no command")


def _has_capabilities(entry: FileEntry) -> bool:
    return bool(entry.capabilities)


def _is_special(entry: DirectoryEntry) -> bool:
    """Return whether a directory has what readers of the first version of the format do not know."""
    return bool(entry.owner) or entry.mode > 0o777


def _check_attributes(manifest: Manifest) -> None:
    """Require that attributes are those of something that is installed: the release directory has none."""
    for entry in filter(_has_capabilities, manifest.files):
        if entry.kind not in ("binary", "tree") or not entry.install:
            raise _fault(f"{entry.path} has capabilities, but is not a program that is installed")
    for directory in filter(_is_special, manifest.directories):
        if not directory.install:
            raise _fault(f"directory {directory.path} has an owner or a special bit, but is not installed")


def check_steps(manifest: Manifest) -> None:
    """Refuse steps whose files are not what their methods need; the types of their options are checked.

    Raises:
        TamperedError: A file is not in the bundle, is of another kind, is not executable, or has a wrong
            name.
    """
    by_path = {entry.path: entry for entry in manifest.files}
    for number, step in enumerate(manifest.deploy):
        named = [*SPECS[step.method].files(step.options)] if step.method in SPECS else []
        for option, path in named:
            entry, what = by_path.get(path), ""
            if entry is None:
                what = "is not in the bundle"
            elif entry.kind != option.kind:
                what = f"is listed as {entry.kind}, not as {option.kind}"
            elif (option.is_program or option.is_tool) and not entry.mode & 0o100:
                what = "is not executable by its owner"
            elif option.name_pattern and not re.fullmatch(option.name_pattern, place_name(option.kind, path)):
                what = f"is not a valid name of a {option.kind}: {option.name_hint}"
            elif option.rendered_as and (entry.install or entry.platform):
                what = "has a destination or a platform of its own"
            elif option.is_tool and (entry.install or not entry.platform):
                what = "has a destination, or no platform"
            if what:
                raise _fault(f"deploy[{number}].options.{option.key}: {path!r:.120} {what}")
        options = SPECS[step.method].options if step.method in SPECS else ()
        for key, fault in chain(
            folder_lists.faults(options, step.options), tool_files.faults(named, by_path)
        ):
            raise _fault(f"deploy[{number}].options.{key}: {fault}")
        for unit in unit_names.without_template(step.options):
            raise _fault(f"deploy[{number}].options.instances: {unit} has no template in `units`")
        if step.options.get("user") in (each.options.get("user", "") for each in manifest.deploy[:number]):
            raise _fault(f"deploy[{number}].options.user: another step has units of {step.options['user']}")
    _check_rendered(manifest)


def _check_rendered(manifest: Manifest) -> None:
    """Require that what a step renders into the release's directory is alone in its place."""
    taken = {fold_name(entry.path) for entry in manifest.files}
    for number, step in enumerate(manifest.deploy):
        for source, place in SPECS[step.method].places(step.options) if step.method in SPECS else ():
            if fold_name(place) in taken:
                where = f"deploy[{number}]: {source!r:.120}"
                raise _fault(f"{where} is written to {place!r:.120}, which the bundle has already")
            taken.add(fold_name(place))


def _fault(what: str) -> TamperedError:
    return TamperedError(what, where=MANIFEST, hint=WRONG_RELEASE)


def section_rank(path: str) -> int:
    """Return the place of a path's section in the order of the tar.

    Raises:
        TamperedError: No section of the format has such a path.
    """
    top, _, rest = path.partition("/")
    # An unknown section is a newer format, and the order of the tar would not be known.
    if top not in SECTIONS or not rest:
        raise _fault(f"{path} does not belong to any section of a bundle")
    return SECTIONS.index(top)


def _check_order(files: Iterable[FileEntry]) -> None:
    """Require sections in order; files sorted bytewise within each, except images, which keep their order."""
    last_rank, last_path = -1, ""
    for entry in files:
        rank, path = section_rank(entry.path), entry.tar_name
        in_order = rank > last_rank or (rank == last_rank and (path > last_path or rank == len(SECTIONS) - 1))
        if not in_order:
            raise _fault(f"{entry.path} is in the wrong place")
        last_rank, last_path = rank, path


def _check_names(manifest: Manifest) -> None:
    """Require names that fit, are unique without regard to case, and are not both file and directory."""
    files = [entry.path for entry in manifest.files] + [link.path for link in manifest.links]
    directories = [directory.path for directory in manifest.directories]
    for path in chain(files, directories):
        if not is_plain_path(path) and (fault := name_fault(path)):
            raise _fault(f"{path!r:.120} {fault}")
    for path in directories:
        if not path.startswith("trees/"):
            raise _fault(f"directory {path} does not belong to any tree")
    _check_unique(files, directories)
    encoded = [entry for entry in manifest.files if entry.member or not is_plain_path(entry.path)]
    for entry in encoded:
        # Nobody decodes a name: the one encoding of the true name is made again and compared.
        if entry.member != (wanted := encoded_name(entry.path)):
            raise _fault(f"{entry.path!r:.120} is stored as {entry.member!r:.120}, not as {wanted!r:.120}")
    if encoded:
        # An encoded name could be the plain name of another file: tar would unpack one over the other.
        _check_unique([entry.tar_name for entry in manifest.files], [])
    for link in manifest.links:
        _link(link)


def _check_unique(files: list[str], directories: list[str]) -> None:
    """Require that no path occurs twice, ignoring case, and that none is both a file and a directory."""
    # Also unique without case: bundles are unpacked on file systems that ignore case.
    folded = [fold_name(path) for path in files]
    folders = [fold_name(path) for path in directories]
    if len(taken := set(folders)) != len(folders):
        raise _fault(f"directory {_first_twice(folders)} occurs twice, ignoring case")
    if len(set(folded)) != len(folded):
        raise _fault(f"{_first_twice(folded)} occurs twice, ignoring case")
    # A path that is a file and a directory cannot be created on the host.
    if both := taken.intersection(folded):
        raise _fault(f"{min(both)} is both a file and a directory")
    for path, _ in _below([*folded, *folders], taken):
        raise _fault(f"{path} is both a file and a directory")


def _link(link: LinkEntry) -> None:
    """Require that a link stays in its tree, in the bundle and on the host."""
    if not link.path.startswith("trees/"):
        raise _fault(f"link {link.path} does not belong to any tree")
    top = "/".join(link.path.split("/")[:2])
    if fault := link_target_fault(link.path, link.target, top):
        raise _fault(f"link {link.path} -> {link.target!r:.120} {fault}")
    # The host mirrors the tree of the bundle, so that a link that stays in one stays in the other.
    if link.install and not link.install.endswith(link.path.removeprefix(top)):
        raise _fault(f"link {link.path} goes to {link.install!r:.120}, which is another path of its tree")


def _first_twice(items: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(item for item in items if item in seen or seen.add(item))  # type: ignore[func-returns-value]


def _below(paths: Iterable[str], directories: Container[str]) -> Iterator[tuple[str, str]]:
    """Return what is not a directory and has another path below it, with that path.

    Args:
        paths: All paths, each once.
        directories: Those of them that may have others below.
    """
    # In this order each path follows all of its own beginnings: those of the last one are enough to know.
    # A set of all directories above 150,000 deep paths would take gigabytes.
    beginnings: list[str] = []
    for path in sorted(paths):
        while beginnings and not path.startswith(beginnings[-1]):
            beginnings.pop()
        for above in beginnings:
            if path[len(above)] == "/":
                yield above, path
        if path not in directories:
            beginnings.append(path)


def _check_destinations(manifest: Manifest) -> None:
    """Require absolute, plain destinations, each used once per platform and not below a file or link."""
    platforms = ("", *manifest.platforms)
    alone = {platform: (platform,) for platform in platforms}
    taken: dict[str, tuple[str, ...]] = {}
    for install, platform in chain(
        ((entry.install, entry.platform) for entry in manifest.files),
        ((link.install, "") for link in manifest.links),
        ((directory.install, "") for directory in manifest.directories),
    ):
        if platform not in alone:
            raise _fault(f"platform {platform} is not listed in `platforms`")
        if not install:
            continue
        if fault := destination_fault(install):
            raise _fault(f"destination {install!r:.120} {fault}")
        there = taken.get(install, ())
        # Two files may share a destination only if no host needs both.
        if _meet((platform,), there):
            raise _fault(f"two files have the destination {install}")
        taken[install] = (*there, platform) if there else alone[platform]
    # A file below a link would be written wherever the link leads.
    for place, install in _below(taken, {directory.install for directory in manifest.directories}):
        if _meet(taken[install], taken[place]):
            raise _fault(f"{install} cannot be below {place}, which is a file or a link")


def _meet(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Return whether two lists of platforms have one in common; an empty name means all."""
    return bool(some and others) and ("" in some or "" in others or not set(some).isdisjoint(others))


def _check_references(manifest: Manifest) -> None:
    """Require that what is referred to is in the bundle, with the stated size."""
    by_path = {entry.path: entry for entry in manifest.files}
    for name in (manifest.rollback, manifest.values, manifest.values_schema):
        if name and name not in by_path:
            raise _fault(f"{name} is used in the manifest, but is not in the bundle")
    for entry in manifest.files:
        # Engines and registries look blobs up by this name without checking the content.
        if entry.path.startswith("images/blobs/") and entry.path != blob_path(entry.sha256):
            raise _fault(f"the name of {entry.path} does not match its digest")
    for what in whole_images.faults(manifest, by_path):
        raise _fault(what)
    expands: dict[str, tuple[str, int]] = {}
    for image in manifest.images:
        for digest, size in [
            (image.config, -1),
            (image.manifest, -1),
            *((layer.digest, layer.size) for layer in image.layers),
        ]:
            blob = by_path.get(blob_path(digest))
            if blob is None or size not in (-1, blob.size):
                raise _fault(f"image {image.reference}: {digest} is not in the bundle, or has another size")
        for layer in image.layers:
            plain = layer.digest == layer.diff_id
            listed = by_path[blob_path(layer.digest)].expanded
            # Two images may share a layer; it is expanded once and compared with both.
            said = expands.setdefault(layer.digest, (layer.diff_id, layer.expanded))
            if said != (layer.diff_id, layer.expanded) or listed != (0 if plain else layer.expanded):
                raise _fault(
                    f"image {image.reference}: {layer.digest} is listed with different expanded forms"
                )
            if plain and layer.expanded != layer.size:
                raise _fault(
                    f"image {image.reference}: {layer.digest} is not compressed, but is listed with two sizes"
                )


def _check_values_layers(manifest: Manifest) -> None:
    """Require values files of their kind and size for layers, and each layer once, in their order."""
    rows = manifest.values_layers
    by_path = {entry.path: entry for entry in manifest.files} if rows else {}
    last = ("", "")
    for number, row in enumerate(rows):
        entry, what, key = by_path.get(row.path), "", (row.layer, row.name)
        if key <= last:
            what = f"{row.layer} {row.name} is {'listed twice' if key == last else 'in the wrong place'}"
        elif entry is None:
            what = f"{row.path!r:.120} is not in the bundle"
        elif entry.kind != "values":
            what = f"{row.path!r:.120} is listed as {entry.kind}, not as values"
        elif not row.path.startswith("config/"):
            what = f"{row.path!r:.120} is not below config/"
        # On a host of another platform it would be missing.
        elif entry.platform:
            what = f"{row.path!r:.120} is for {entry.platform} only"
        elif entry.size > LIMITS.values_layer_bytes:
            what = f"{row.path!r:.120} is larger than {LIMITS.values_layer_bytes // KIB} KiB"
        if what:
            raise _fault(f"values_layers[{number}]: {what}")
        last = key
