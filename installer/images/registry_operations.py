"""Operations on the registry of the site: images are pushed under a tag of this host, then get their names.

The tag of this host keeps an image for as long as a retained release has it, also against the collection
of garbage, and tells what this host has pushed from what others did. It names the product, the host and the
image: `waybill.PRODUCT.HOST.DIGEST`. Clusters take images by digest, so the public names are for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.format.manifest import blob_path
from installer.core.oci import documents
from installer.deploy.operation import Handler, Json, StepError
from installer.host.context import Context
from installer.images.load_stream import read_document
from installer.secrets.site_registry import SETTINGS, SiteRegistry, connect, read_site_registry
from installer.secrets.store import StoreError
from installer.shared.registry.connection import Connection
from installer.shared.registry.errors import RegistryError
from installer.shared.registry.repository import Document, NoDeletionError, Repository, removed_marker

ABSENT = "absent"
FOUND = ".found"
"""Ends the tag of an image that had its public name before this host pushed it."""
OURS = re.compile(r"waybill\.[a-z0-9-]+\.[0-9a-f]{8}\.([0-9a-f]{16})(?:\.found)?")
"""Tags by which an install, this one or another, keeps an image."""
_MACHINE = "/etc/machine-id"


def keep_tag(context: Context, digest: str) -> str:
    """Return the tag by which a product on this host, below this root, keeps an image."""
    try:
        machine = context.system.read(_MACHINE, 4096)
    except OSError:
        machine = b""
    # Two roots on one machine are two hosts; a digest, because the id of a machine is nobody's business.
    owner = sha256_hex(machine.strip() + b"\0" + context.system.root.encode())[:8]
    return f"waybill.{context.layout.product}.{owner}.{digest.removeprefix('sha256:')[:16]}"


@contextmanager
def registry_of(context: Context, args: Json) -> Iterator[Connection]:
    """Connect to the registry that an operation recorded. Its errors become the step's."""
    try:
        site = read_site_registry(context.system)
        if site is None or site.address != args["registry"]:
            now = site.address if site else "nothing"
            what = f"the images are in the registry {args['registry']}, but {SETTINGS} names {now}"
            hint = f"put the old address back into {SETTINGS}, then run `install recover`"
            raise StepError(what, where=SETTINGS, hint=hint)
        with opened(context, site) as connection:
            yield connection
    except StoreError as error:
        raise StepError(error.problem.what, where=SETTINGS, hint=error.problem.hint) from error
    except RegistryError as error:
        raise StepError(error.what, where=error.where, hint=error.hint) from error


@contextmanager
def opened(context: Context, site: SiteRegistry) -> Iterator[Connection]:
    """Connect to the registry of the site, and forget the login afterwards.

    Raises:
        StoreError: The login or the certificates cannot be used.
    """
    with closing(connect(context, site)) as connection:
        yield connection


def digest_of(repository: Repository, reference: str) -> str:
    """Return the digest of what a tag or a digest leads to, or `absent`."""
    found = repository.manifest(reference)
    return found.digest if found else ABSENT


def wanted_tags(
    repository: Repository, attached: Iterable[Sequence[str]], lists: Container[str]
) -> list[Sequence[str]]:
    """Return the tags next to an image that a registry needs, and the digests that they lead to.

    Args:
        repository: Where the image goes.
        attached: All tags and digests.
        lists: Digests of lists of referrers, which newer registries make themselves.
    """
    rows = list(attached)
    # Asked only if it matters; the answer is the same for every digest.
    if any(digest in lists for _, digest in rows) and repository.lists_referrers(rows[0][1]):
        return [row for row in rows if row[1] not in lists]
    return rows


class PushImage(Handler):
    """`image.push`: pushes an image into the registry of the site, under a tag of this host only."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return whether this host keeps the image already, and whether somebody else has named it."""
        with registry_of(context, args) as connection:
            repository = Repository(connection, args["repository"])
            kept = [
                tag for tag in (args["keep"], args["keep"] + FOUND) if digest_of(repository, tag) != ABSENT
            ]
            # Where another install has pushed it, the name is of an install, and goes with the last of them.
            before = (
                not kept
                and digest_of(repository, args["tag"]) == args["digest"]
                and not others_keep(repository, args["keep"], args["digest"])
            )
            # Tags of signatures: only those that nobody has are made. Earlier journals know none.
            tags = wanted_tags(repository, args.get("attached", ()), args.get("lists", {}))
            free = [tag for tag, _ in tags if digest_of(repository, tag) == ABSENT]
            return {"kept": kept, "before": before, "free": free}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Send what the registry lacks, then the manifests, and read back what it has."""
        with registry_of(context, args) as connection:
            repository = Repository(connection, args["repository"])
            release = Path(context.system.real(args["release"])) if args["release"] else None
            try:
                self._blobs(context, repository, args, release)
                top = self._manifests(repository, args, release)
            except TamperedError as error:
                raise StepError(error.what, where=error.where, hint=error.hint) from error
            for tag, digest in args.get("attached", ()):
                if tag in preimage["free"] and digest in args["lists"]:
                    repository.put(tag, Document(args["lists"][digest].encode(), documents.INDEX))
                elif tag in preimage["free"]:
                    _point(repository, tag, digest)
            kept = preimage["kept"] or [args["keep"] + FOUND * preimage["before"]]
            for tag in kept:
                repository.put(tag, top)

    def _blobs(self, context: Context, repository: Repository, args: Json, release: Path | None) -> None:
        # Asked now, not when it was planned: the registry may have collected garbage since.
        lacking = [(digest, size) for digest, size in args["blobs"] if not repository.has_blob(digest)]
        context.progress.start(f"push {args['reference']}", sum(size for _, size in lacking))
        try:
            for digest, size in lacking:
                source = args["mounts"].get(digest)
                if source and repository.mount(digest, source):
                    context.progress.advance(size)
                else:
                    repository.upload(digest, size, _opener(release, digest), context.progress.advance)
        finally:
            context.progress.done()

    def _manifests(self, repository: Repository, args: Json, release: Path | None) -> Document:
        """Store the manifests that the registry lacks, and return what the tag leads to."""
        top = Document(args["index"].encode(), documents.INDEX)
        for digest, media_type in args["manifests"]:
            document = repository.manifest(digest)
            if document is None:
                if release is None:
                    raise _not_here(digest)
                document = Document(read_document(release, digest), media_type)
                repository.put(digest, document)
            top = top if args["index"] else document
        # After its manifests: a registry refuses an index of what it does not have.
        if args["index"]:
            repository.put(top.digest, top)
        return top

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Remove the tags that `do` made. What is left without a tag is for the registry to collect."""
        with registry_of(context, args) as connection:
            repository = Repository(connection, args["repository"])
            for tag in (args["keep"], args["keep"] + FOUND):
                if tag not in preimage["kept"]:
                    remove_tag(context, repository, tag)
            for tag, digest in args.get("attached", ()):
                if tag in preimage["free"] and _is_removable(repository, tag, digest):
                    remove_tag(context, repository, tag)


class NameImages(Handler):
    """`image.name`: moves the public names of a release, in the registry of the site, to its images."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return where each name leads."""
        with registry_of(context, args) as connection:
            return {
                "names": [
                    digest_of(Repository(connection, each["repository"]), each["tag"])
                    for each in args["names"]
                ]
            }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Move the names."""
        with registry_of(context, args) as connection:
            for each in args["names"]:
                _point(Repository(connection, each["repository"]), each["tag"], each["digest"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Move the names back, unless somebody else moved one meanwhile: that one is left alone."""
        with registry_of(context, args) as connection:
            for each, before in reversed(list(zip(args["names"], preimage["names"], strict=True))):
                repository, tag = Repository(connection, each["repository"]), each["tag"]
                now = digest_of(repository, tag)
                if now == before:
                    continue
                marker = removed_marker(repository.name, tag)[0].digest
                if now not in (each["digest"], marker, ABSENT):
                    # No cluster takes an image by its name alone, so this stops nothing.
                    what = f"somebody else moved the name {repository.where}:{tag}: it stays"
                    context.progress.warn(what)
                elif before == ABSENT:
                    remove_tag(context, repository, tag)
                else:
                    _point(repository, tag, before)


def _is_removable(repository: Repository, tag: str, digest: str) -> bool:
    """Return whether a tag is as this install made it, or half way out; not what somebody else made of it."""
    return digest_of(repository, tag) in (digest, removed_marker(repository.name, tag)[0].digest)


def _point(repository: Repository, tag: str, digest: str) -> None:
    if digest_of(repository, tag) == digest:
        return
    document = repository.manifest(digest)
    if document is None:
        what = f"the registry does not have {digest[:19]}… any more, to which this name has to lead"
        raise StepError(what, where=f"{repository.where}:{tag}", hint="push that image there again")
    repository.put(tag, document)


def remove_tag(context: Context, repository: Repository, tag: str) -> bool:
    """Remove a tag and return whether it went; one that the registry does not remove stays and is named."""
    if repository.manifest(tag) is None:
        return False
    try:
        repository.delete_tag(tag)
    except NoDeletionError as error:
        context.progress.warn(f"cannot remove the name {error.where}: {error.what}; {error.hint}")
        return False
    return True


def others_keep(repository: Repository, keep: str, digest: str) -> bool:
    """Return whether another install keeps an image; true where there are too many tags to tell."""
    tags = repository.tags()
    if tags is None:
        return True
    wanted = digest.removeprefix("sha256:")[:16]
    found = (OURS.fullmatch(tag) for tag in tags if tag.removesuffix(FOUND) != keep)
    return any(each is not None and each[1] == wanted for each in found)


def _opener(release: Path | None, digest: str) -> Callable[[], BinaryIO]:
    def source() -> BinaryIO:
        if release is None:
            raise _not_here(digest)
        return (release / blob_path(digest)).open("rb")

    return source


def _not_here(digest: str) -> StepError:
    what = "the registry lacks a part of an image, and the release does not contain it"
    return StepError(what, where=digest, hint="install the release from its bundle")


HANDLERS: dict[str, Handler] = {"image.push": PushImage(), "image.name": NameImages()}
