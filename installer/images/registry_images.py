"""Images in the registry of the site: what is checked, planned and looked for there.

Nothing here is about one engine: the nodes of a cluster take the images from the registry, by digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from installer.core.errors import HostNotReadyError, Problem
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import Target
from installer.deploy.operation import Op
from installer.deploy.site.image_places import NOWHERE, ImagePlaces
from installer.deploy.site.images import SiteImage, collisions, fetch_from, site_images
from installer.host.context import Context
from installer.images.registry_operations import (
    ABSENT,
    FOUND,
    digest_of,
    keep_tag,
    opened,
    remove_tag,
    wanted_tags,
)
from installer.secrets.site_registry import SETTINGS, SiteRegistry, has_site_registry, read_site_registry
from installer.secrets.store import StoreError
from installer.shared.humanize import size_text
from installer.shared.registry.connection import Connection
from installer.shared.registry.errors import RegistryError
from installer.shared.registry.repository import Repository
from installer.state.release import Release

KIND = "pushed image"
"""Of the items in the inventory of a removal."""


def places(context: Context, target: Target | None) -> ImagePlaces:
    """Return where the images of a release go, besides its directory."""
    if target is None:
        return NOWHERE
    taken = ImagePlaces(bool(target.options.get("engine")), bool(target.options.get("registry")))
    return taken.on_host(live=context.live, registry=has_site_registry(context.system))


def check(context: Context, new: Target | None) -> list[Problem]:
    """Return why the images cannot be pushed: settings, names, the login, the right to push."""
    if new is None or not places(context, new).registry:
        return []
    with _problems() as problems:
        site, images = _images(context, new.release)
        for first, second in collisions(images):
            what = f"has the same name in the registry as {first.reference}, and is another image"
            problems.append(Problem(second.reference, what, "give one of them another tag in bundle.yaml"))
        # Two names that clash are for the release engineer; the registry need not be asked.
        if problems:
            return problems
        with opened(context, site) as connection:
            for name in dict.fromkeys(image.repository for image in images):
                Repository(connection, name).require_push()
            # Without the blobs on this host nothing can be pushed: what is there must be all of it.
            if not new.release.blobs_at:
                problems.extend(_lost(connection, images))
    return problems


def _lost(connection: Connection, images: Sequence[SiteImage]) -> Iterator[Problem]:
    """Yield which images the registry lacks that no directory has: the release came with `--work-dir`."""
    what = "is missing from the registry, and the release does not contain its layers"
    for image in images:
        if Repository(connection, image.repository).manifest(image.digest) is None:
            yield Problem(image.site, what, "install the release from its bundle")


def plan(context: Context, new: Target | None) -> list[str]:
    """Return what is pushed, how much of it is there already, and which names move."""
    if new is None or not places(context, new).registry:
        return []
    lines = list[str]()
    with _problems() as problems:
        site, images = _images(context, new.release)
        with opened(context, site) as connection:
            known = set[str]()
            for image in images:
                lines += _lines(context, connection, image, known)
        if lines:
            lines.append(f"registry: {site.address.partition('//')[0]}//{site.place}")
    return [f"push images ({problem.what})" for problem in problems[:1]] or lines


def _lines(context: Context, connection: Connection, image: SiteImage, known: set[str]) -> Iterator[str]:
    repository = Repository(connection, image.repository)
    if not _kept(context, repository, image):
        lacking = [
            (digest, size)
            for digest, size in image.blobs
            if digest not in known and not repository.has_blob(digest)
        ]
        there = len(image.blobs) - len(lacking)
        # What one repository has by then, the next one gets from there.
        known |= {digest for digest, _ in image.blobs}
        rest = f"; {there} of {len(image.blobs)} blobs are in the registry by then" if there else ""
        size = f", {size_text(sum(size for _, size in lacking))}" if lacking else ""
        yield f"push image {image.reference} to {repository.where}:{image.tag}{size}{rest}"
        for tag, digest in wanted_tags(repository, image.attached, dict(image.lists)):
            # Somebody on the site may have signed the image, too.
            stays = digest_of(repository, tag) not in (ABSENT, digest)
            what = "stays as it is: the site has another one" if stays else "comes with it"
            yield f"  {repository.where}:{tag[:15]}…{tag[71:]} {what}"
    now = digest_of(repository, image.tag)
    if now not in (ABSENT, image.digest):
        yield f"move name {repository.where}:{image.tag} from {now[7:19]} to {image.digest[7:19]}"


def operations(context: Context, old: Target | None, new: Target | None) -> list[Op]:
    """Return one operation for each image that is pushed, then one that moves all names."""
    if new is None or not places(context, new).registry:
        return []
    with _required():
        site, images = _images(context, new.release)
        before = _before(context, old)
        pushes, names = list[Op](), list[dict[str, str]]()
        with opened(context, site) as connection:
            for image in images:
                repository = Repository(connection, image.repository)
                if not _kept(context, repository, image):
                    args = _push(context, site, image, [*before, *images])
                    label = f"push image {image.reference}"
                    pushes.append(Op("image.push", {**args, "release": new.release.blobs_at}, "stage", label))
                if digest_of(repository, image.tag) != image.digest:
                    names.append({"repository": image.repository, "tag": image.tag, "digest": image.digest})
    label = f"name {len(names)} image{'' if len(names) == 1 else 's'} in the registry"
    args = {"registry": site.address, "names": names}
    return [*pushes, *([Op("image.name", args, "switch", label)] if names else [])]


def _push(
    context: Context, site: SiteRegistry, image: SiteImage, others: Sequence[SiteImage]
) -> dict[str, object]:
    # Images that come before it in this release, or that the last one has, are in the registry by then.
    mounts: dict[str, str] = {}
    for other in others:
        if other == image:
            break
        # A blob of the same repository is there already: a mount is for those of others.
        if other.repository != image.repository:
            mounts |= {digest: other.repository for digest, _ in other.blobs}
    return {
        "registry": site.address,
        "reference": image.reference,
        "repository": image.repository,
        "tag": image.tag,
        "keep": keep_tag(context, image.digest),
        "digest": image.digest,
        "manifests": [list(each) for each in image.manifests],
        "index": image.index.decode(),
        "blobs": [list(each) for each in image.blobs],
        "mounts": {digest: mounts[digest] for digest, _ in image.blobs if digest in mounts},
        "attached": [list(each) for each in image.attached],
        "lists": {digest: data.decode() for digest, data in image.lists},
    }


def drift(context: Context, target: Target) -> list[Problem]:
    """Return which images the registry does not have any more."""
    if not places(context, target).registry:
        return []
    with _problems() as problems:
        site, images = _images(context, target.release)
        with opened(context, site) as connection:
            for image in images:
                if Repository(connection, image.repository).manifest(image.digest) is None:
                    what = "is missing from the registry"
                    problems.append(Problem(image.site, what, "install the release again"))
    return problems


def inventory(context: Context, target: Target) -> Iterator[InventoryItem]:
    """Yield the images that a retained release has in the registry."""
    if not places(context, target).registry:
        return
    with _problems():
        _, images = _images(context, target.release)
        for image in images:
            name = image.site.partition("@")[0]
            yield InventoryItem(KIND, name, image.digest, keep_tag(context, image.digest))


def residue(context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
    """Look for the tags by which this host kept images."""
    rows = [item for item in items if item.kind == KIND]
    problems: list[Problem]
    seen = 0
    with _problems() as problems:
        if rows and (site := read_site_registry(context.system)):
            with opened(context, site) as connection:
                for item in rows:
                    yield _residue(connection, item)
                    seen += 1
    for item in rows[seen:]:
        what = f"cannot be checked: {problems[0].what if problems else f'{SETTINGS} is gone'}"
        yield Residue("left", KIND, item.name, what, problems[0].hint if problems else "", item.mark)


def _residue(connection: Connection, item: InventoryItem) -> Residue:
    repository = Repository(connection, item.name.partition("/")[2].rpartition(":")[0])
    left = [tag for tag in (item.other, item.other + FOUND) if digest_of(repository, tag) != ABSENT]
    if left:
        what, hint = "is still kept there by a tag of this host", f"remove the tag {left[0]} in the registry"
        return Residue("left", KIND, item.name, what, hint, item.mark)
    if digest_of(repository, item.name.rpartition(":")[2]) == item.mark:
        return Residue("stays", KIND, item.name, "somebody else has it there under this name", id=item.mark)
    return Residue("gone", KIND, item.name, id=item.mark)


def remove_residue(context: Context, items: Sequence[InventoryItem]) -> bool:
    """Remove tags that an earlier removal left, the registry may have been down; return whether one went."""
    rows, went = [item for item in items if item.kind == KIND], False
    with _problems() as problems:
        if rows and (site := read_site_registry(context.system)):
            with opened(context, site) as connection:
                for item in rows:
                    repository = Repository(connection, item.name.partition("/")[2].rpartition(":")[0])
                    for tag in (item.other, item.other + FOUND):
                        went |= remove_tag(context, repository, tag)
    for problem in problems:
        context.progress.warn(f"cannot remove images from the registry: {problem.what}")
    return went


def _images(context: Context, release: Release) -> tuple[SiteRegistry, tuple[SiteImage, ...]]:
    site = read_site_registry(context.system)
    if site is None:
        raise HostNotReadyError("does not exist any more", where=SETTINGS)
    return site, site_images(
        release.manifest, site.place, fetch_from(context, release.staged, release.blobs_at)
    )


def _before(context: Context, old: Target | None) -> tuple[SiteImage, ...]:
    """Return the images of the running release, whose layers can be taken over, as far as they are known."""
    if old is None or not places(context, old).registry:
        return ()
    images = list[SiteImage]()
    with _problems():
        images += _images(context, old.release)[1]
    return tuple(images)


def _kept(context: Context, repository: Repository, image: SiteImage) -> bool:
    """Return whether this host keeps the image there, as a whole as far as the registry tells."""
    tag = keep_tag(context, image.digest)
    # A registry may have lost a manifest below the tag: collected, or removed by somebody.
    kept = image.digest in (digest_of(repository, tag), digest_of(repository, tag + FOUND))
    needed = [digest for digest, _ in image.manifests]
    needed += [tag for tag, _ in wanted_tags(repository, image.attached, dict(image.lists))]
    return kept and all(repository.manifest(each) is not None for each in needed)


@contextmanager
def _problems() -> Iterator[list[Problem]]:
    """Collect what goes wrong with the registry instead of raising it."""
    found: list[Problem] = []
    try:
        yield found
    except StoreError as error:
        found += [Problem(SETTINGS, error.problem.what, error.problem.hint), *error.faults]
    except HostNotReadyError as error:
        found.append(Problem(error.where, error.what, error.hint))


@contextmanager
def _required() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise RegistryError(error.problem.what, where=SETTINGS, hint=error.problem.hint) from error
