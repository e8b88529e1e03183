"""The images of a release in the registry of the site, and by which references clusters take them.

An image for several platforms is one index there, which follows from the signed manifest alone; of a whole
image it is the index of its maker. What else a tag leads to is the very manifest that the bundle has, so that
its digest and the signatures of it stay valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from installer.core.digest import oci_digest
from installer.core.errors import HostNotReadyError, TamperedError
from installer.core.format.manifest import Image, Manifest, WholeImage, blob_path
from installer.core.limits import LIMITS
from installer.core.oci import documents, whole
from installer.core.oci.layout import platform_index
from installer.core.oci.reference import familiar, split_reference
from installer.core.oci.site_reference import on_site, site_reference, site_repository
from installer.host.context import Context
from installer.secrets.site_registry import read_site_registry
from installer.state.release import Release

Fetch = Callable[[str], bytes]
"""Returns the bytes of a manifest of the release by its digest."""


@dataclass(frozen=True, slots=True)
class SiteImage:
    """One image of a release, for all platforms that the bundle has it for.

    Attributes:
        reference: In the bundle, as `familiar` writes it.
        repository: In the registry of the site, without the host.
        tag: There.
        manifests: Digest and media type of each manifest that is pushed as the bundle has it, in this order.
        index: An index of them that the bundle does not have; empty where the tag leads to the last one.
        blobs: Digest and size of each configuration and layer, without repetition; -1 for an unknown size.
        site: The reference by which a cluster takes it.
        attached: Further tags next to it and the digests that they lead to, such as signatures.
        lists: Lists of what refers to it, by their digests; registries that make them themselves get none.
    """

    reference: str
    repository: str
    tag: str
    manifests: tuple[tuple[str, str], ...]
    index: bytes
    blobs: tuple[tuple[str, int], ...]
    site: str
    attached: tuple[tuple[str, str], ...] = ()
    lists: tuple[tuple[str, bytes], ...] = ()

    @property
    def digest(self) -> str:
        """The digest of what its tag leads to."""
        return oci_digest(self.index) if self.index else self.manifests[-1][0]


def site_images(manifest: Manifest, place: str, fetch: Fetch) -> tuple[SiteImage, ...]:
    """Return the images of a release as the registry of the site has them, in the order of the manifest.

    Args:
        manifest: Of the release.
        place: The registry and its prefix, see `site_repository`.
        fetch: Returns the manifests of the images.
    """
    named: dict[str, list[Image]] = {}
    for image in manifest.images:
        # `redis:7` and `docker.io/library/redis:7` are one image, for one platform each.
        named.setdefault(familiar(image.reference), []).append(image)
    wholes = {familiar(each.reference): each for each in manifest.whole_images}
    return tuple(
        _site_image(reference, images, place, fetch, wholes.get(reference))
        for reference, images in named.items()
    )


def _site_image(
    reference: str, images: Sequence[Image], place: str, fetch: Fetch, original: WholeImage | None
) -> SiteImage:
    described, blobs = dict[str, documents.Descriptor](), dict[str, int]()
    for image in images:
        data = fetch(image.manifest)
        found = documents.parse_manifest(data, f"the manifest {image.manifest}")
        described[image.manifest] = documents.Descriptor(image.manifest, len(data), found.media_type)
        blobs |= {each.digest: each.size for each in (found.config, *found.layers)}
    manifests = {each.digest: each.media_type for each in described.values()}
    for digest in original.documents[1:] if original else ():
        attached = whole.parse_attached(fetch(digest), f"the manifest {digest}")
        manifests[digest] = attached.media_type
        blobs |= {each.digest: each.size for each in attached.blobs}
    # One platform needs no index: the tag leads to the very manifest that its maker may have signed.
    index = platform_index(images, described) if len(described) > 1 and original is None else b""
    if original:
        manifests = _with_top(manifests, original.digest, fetch)
    digest = oci_digest(index) if index else [*manifests][-1]
    return SiteImage(
        reference,
        site_repository(reference, place),
        split_reference(reference)[1],
        tuple(manifests.items()),
        index,
        tuple(blobs.items()),
        site_reference(reference, digest, place),
        *(_near(original, fetch) if original else ()),
    )


def _near(
    image: WholeImage, fetch: Fetch
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, bytes], ...]]:
    """Return the tags next to a whole image, and those of them that are lists of referrers."""
    tags = [(each.tag, each.manifest) for each in image.attached if each.tag]
    lists = dict[str, bytes]()
    for subject in dict.fromkeys(each.subject for each in image.attached if each.subject):
        rows = (each.manifest for each in image.attached if each.subject == subject)
        data = whole.referrers_list(map(fetch, rows))
        lists[oci_digest(data)] = data
        tags.append((subject.replace(":", "-"), oci_digest(data)))
    return tuple(tags), tuple(lists.items())


def _with_top(manifests: Mapping[str, str], top: str, fetch: Fetch) -> dict[str, str]:
    """Return manifests with the one last that the tag of the image leads to: its index, or its only one."""
    # A registry refuses an index of what it does not have.
    others = {digest: media_type for digest, media_type in manifests.items() if digest != top}
    return others | {
        top: manifests.get(top) or documents.parse_index(fetch(top), f"the index {top}").media_type
    }


def fetch_from(context: Context, *directories: str) -> Fetch:
    """Return what reads the manifests of a release from the directories that may hold its blobs.

    Raises:
        HostNotReadyError: When it is called for one that is not there: its blobs were not retained.
        TamperedError: When one does not have its digest.
    """

    def fetch(digest: str) -> bytes:
        for directory in dict.fromkeys(directories):
            try:
                path = f"{directory}/{blob_path(digest)}"
                data = context.system.read(path, LIMITS.document_bytes) if directory else None
            except OSError:
                continue
            # Staged or retained: it was verified then, and is compared again because digests follow from it.
            if data is not None:
                if oci_digest(data) != digest:
                    raise TamperedError("does not match its digest", where=path)
                return data
        what = "the manifests of its images are not on this host"
        raise HostNotReadyError(what, where=digest, hint="install the release from its bundle")

    return fetch


def site_references(context: Context, release: Release) -> dict[str, str]:
    """Return the references by which a cluster of the site takes the images of a release.

    Args:
        context: The host.
        release: Whose images they are.

    Returns:
        The reference on the site, by digest, for each reference in the bundle, as `familiar` writes it; empty
        where the site has no registry: the nodes have the images under their own names.

    Raises:
        StoreError: The settings of the registry are wrong.
        HostNotReadyError: The manifests of the images are not on this host.
    """
    site = read_site_registry(context.system)
    if site is None or not release.manifest.images:
        return {}
    fetch = fetch_from(context, release.staged, release.blobs_at)
    return {each.reference: each.site for each in site_images(release.manifest, site.place, fetch)}


def site_rule(references: Mapping[str, str]) -> Callable[[str], str]:
    """Return the rule that rewrites references in what is rendered for a cluster: a pure function.

    Args:
        references: From `site_references`; what it does not have stays as it is.
    """
    return lambda reference: on_site(reference, references)


def collisions(images: Sequence[SiteImage]) -> Iterator[tuple[SiteImage, SiteImage]]:
    """Yield each two images that would have one name on the site and are not the same."""
    seen: dict[tuple[str, str], SiteImage] = {}
    for image in images:
        first = seen.setdefault((image.repository, image.tag), image)
        if first.digest != image.digest:
            yield first, image
