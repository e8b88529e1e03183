"""Find the images in an archive or layout: both forms of `docker save`, and OCI's.

An archive may describe its images twice, in `manifest.json` and in `index.json`. Engines differ in which of
the two they use, so both must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bundler.image_sources.content import BLOBS, Content, blob_digest, config_digest
from bundler.image_sources.faults import AGAIN, DAMAGED, as_input, raise_problems
from bundler.image_sources.tarscan import shown
from bundler.image_sources.walk import ImageWalk, SavedImage, SavedLayer
from installer.core.digest import oci_digest
from installer.core.errors import Problem, TamperedError, UnfitInputError
from installer.core.jsonio import loads_strict
from installer.core.limits import KIB
from installer.core.oci import documents
from installer.core.oci.reference import familiar, reference_fault, split_reference

_WHOLE = "load it into the engine that has the layer, and run `docker save`"


def read_images(
    content: Content,
    platforms: Sequence[str],
    skipped: list[str] | None = None,
    walk: LayoutWalk | None = None,
) -> list[SavedImage]:
    """Find the images for the given platforms in an archive or layout.

    Args:
        content: The archive or the layout.
        platforms: Platforms of the bundle; images for others are not looked into.
        skipped: Takes what lies next to the images and is none.
        walk: Goes through a layout, and is asked for more than its images afterwards.

    Returns:
        The images in the order in which they are described.

    Raises:
        UnfitInputError: It contains no images, or its documents are broken or contradictory.
    """
    with as_input():
        docker, index = content.resolve("manifest.json"), content.resolve("index.json")
        if index is not None:
            walk = walk or LayoutWalk(content, platforms)
            images = list(walk.images(index))
            if skipped is not None:
                skipped += walk.skipped
            # Both descriptions exist: they must agree, since engines read one or the other.
            if docker is not None:
                _agree(content, docker, images, platforms)
            return images
        if docker is not None:
            return list(_docker_images(content, docker))
    if content.resolve("repositories") is not None:
        what = "is in the form of `docker save` before Docker 1.10, which has no manifest.json"
        hint = "run `docker load` on it with an older Docker, and save the image again"
        raise UnfitInputError(what, where=content.where, hint=hint)
    raise UnfitInputError(
        "is neither an archive of `docker save` nor an OCI layout: it has no manifest.json and no index.json",
        where=content.where,
        hint="make it with `docker save -o FILE IMAGE` or `skopeo copy … oci-archive:FILE`",
    )


class LayoutWalk(ImageWalk):
    """The walk through a layout, in an archive or in a directory."""

    def __init__(self, content: Content, platforms: Sequence[str], *, whole: bool = False) -> None:
        super().__init__(content.where, platforms, whole=whole)
        self._content = content

    def images(self, name: str) -> Iterator[SavedImage]:
        """Go through `index.json`."""
        layout = self._content.place("oci-layout")
        document = loads_strict(self._content.document(_required(self._content, "oci-layout")), layout, KIB)
        # Another version may lay out blobs in another way.
        if not isinstance(document, dict) or document.get("imageLayoutVersion") != "1.0.0":
            raise TamperedError("is not of version 1.0.0", where=layout)
        index = documents.parse_index(self._content.document(name), self._content.place(name))
        for entry in index.manifests:
            yield from self.entry(entry, _names(entry), entry.digest)

    def document(self, entry: documents.Descriptor) -> tuple[bytes, str]:
        """Read a blob."""
        name = _required(self._content, _blob_name(entry.digest))
        return self._content.document(name), self._content.place(name)

    def place(self, name: str) -> str:
        """Return how errors name a blob."""
        return self._content.place(name)

    def layer(self, layer: documents.Descriptor) -> str:
        """Find a blob, and check its size."""
        name = _required(self._content, _blob_name(layer.digest))
        if (size := self._content.size(name)) != layer.size:
            what = f"is {size} bytes, not {layer.size}"
            raise TamperedError(what, where=self._content.place(name), hint=DAMAGED)
        return name


def _names(entry: documents.Descriptor) -> tuple[str, ...]:
    """Return the references of an outermost entry; one that is only a tag is none."""
    for key in (documents.CONTAINERD_NAME, documents.REF_NAME):
        name = entry.annotations.get(key, "")
        # `docker buildx` writes the tag alone under this key.
        if name and not reference_fault(name) and split_reference(name)[1]:
            return (familiar(name),)
    return ()


def _docker_images(content: Content, name: str) -> Iterator[SavedImage]:
    for saved in documents.parse_docker_manifest(content.document(name), content.place(name)):
        config_name = _required(content, saved.config)
        where = content.place(config_name)
        config = content.document(config_name)
        digest, claimed = oci_digest(config), config_digest(saved.config)
        # Where the name of the configuration is a digest, it is its own in every form.
        if claimed and claimed != digest:
            raise TamperedError(f"has the digest {digest}, not {claimed}", where=where, hint=DAMAGED)
        about = documents.parse_config(config, where)
        if len(about.diff_ids) != len(saved.layers):
            raise TamperedError(
                f"has {len(about.diff_ids)} layers, but manifest.json has {len(saved.layers)}", where=where
            )
        layers = []
        for layer, diff_id in zip(saved.layers, about.diff_ids, strict=True):
            member = _required(content, layer)
            size, claimed = content.size(member), blob_digest(layer)
            # `pack` leaves the bytes out of archives for an engine that has the layer already.
            if not size:
                what, hint = "is an empty layer: its bytes are not in the archive", _WHOLE
                raise UnfitInputError(what, where=content.place(member), hint=hint)
            layers.append(SavedLayer(content.place(member), diff_id, claimed, "", size, member))
        names = tuple(dict.fromkeys(familiar(tag) for tag in saved.tags))
        yield SavedImage(names, digest, about.platform, config, None, tuple(layers))


def _agree(content: Content, name: str, images: Sequence[SavedImage], platforms: Sequence[str]) -> None:
    """Check that `manifest.json` describes no image other than `index.json` does."""
    for other in _docker_images(content, name):
        # Images for other platforms are not packed, so they cannot do harm.
        if not any(documents.platform_matches(wanted, other.platform) for wanted in platforms):
            continue
        matching = [
            image
            for image in images
            if image.config == other.config
            and [layer.name for layer in image.layers] == [layer.name for layer in other.layers]
        ]
        known = {each for image in matching for each in image.names}
        if not matching or not known.issuperset(other.names):
            raise TamperedError(
                f"describes {', '.join(other.names) or 'an image'} differently from index.json",
                where=content.place(name),
                hint="do not use this archive: engines would load different images from it",
            )


def _blob_name(digest: str) -> str:
    return BLOBS + digest.removeprefix("sha256:")


def _required(content: Content, name: str) -> str:
    document = content.resolve(name)
    if document is None:
        raise TamperedError(f"does not contain {shown(name)}", where=content.where, hint=AGAIN)
    return document


def choose(
    images: Sequence[SavedImage], platforms: Sequence[str], where: str, reference: str = ""
) -> list[tuple[str, SavedImage]]:
    """Choose, for each reference, the images for the platforms of the bundle.

    Args:
        images: The images of the place.
        platforms: Platforms of the bundle.
        where: How errors name the place.
        reference: Name in the bundle of the one image to take; empty: all, by their own names.

    Returns:
        References and images, in the order in which they are described.

    Raises:
        UnfitInputError: An image has no name, occurs twice, or does not exist for a platform.
    """
    groups: dict[str, list[SavedImage]] = {}
    problems: list[Problem] = []
    if reference:
        groups[familiar(reference)] = _intended(images, familiar(reference), where)
    else:
        for image in images:
            if not image.names:
                what = f"contains an image without a name ({image.top[:19]}…)"
                problems.append(Problem(where, what, "name it in bundle.yaml: `as: NAME:TAG`"))
            for name in image.names:
                groups.setdefault(name, []).append(image)
    if not images:
        problems.append(Problem(where, "contains no image"))
    chosen: list[tuple[str, SavedImage]] = []
    for name, group in groups.items():
        document, wrong = _by_platform(name, group, platforms, where)
        chosen += [(name, image) for image in document]
        problems += wrong
    # The same image may be described by several entries: each problem once.
    if problems:
        raise_problems(list(dict.fromkeys(problems)))
    return chosen


def _intended(images: Sequence[SavedImage], reference: str, where: str) -> list[SavedImage]:
    tops = {image.top for image in images}
    named = [image for image in images if reference in image.names]
    if len(tops) > 1 and not named:
        have = ", ".join(sorted({name for image in images for name in image.names})) or "none has a name"
        raise UnfitInputError(
            f"contains {len(tops)} images, and none of them is named {reference} ({have})",
            where=where,
            hint="save that image alone, or remove `as` to take all of them",
        )
    return named or list(images)


def _by_platform(
    name: str, group: Sequence[SavedImage], platforms: Sequence[str], where: str
) -> tuple[list[SavedImage], list[Problem]]:
    offered = list(dict.fromkeys(image.platform for image in group))
    chosen: dict[str, SavedImage] = {}
    problems = []
    for wanted in platforms:
        fits = [image for image in group if documents.platform_matches(wanted, image.platform)]
        # `linux/arm64` matches `linux/arm64/v8`, too; the exact one is preferred.
        exact = [image for image in fits if image.platform == wanted] or fits
        if len({oci_digest(image.config) for image in exact if image.platform == exact[0].platform}) > 1:
            problems.append(
                Problem(where, f"contains two images named {name} for {exact[0].platform}", AGAIN)
            )
        elif exact:
            chosen.setdefault(exact[0].platform, exact[0])
        elif len(offered) > 1:
            problems.append(_lacks(name, wanted, offered, where))
    if not chosen and not problems:
        problems.append(_lacks(name, " or ".join(platforms), offered, where))
    return list(chosen.values()), problems


def _lacks(name: str, wanted: str, offered: Sequence[str], where: str) -> Problem:
    return Problem(
        where,
        f"{name} is for {', '.join(offered)}, not for {wanted}",
        "build or pull it for that platform, or change `platforms` in bundle.yaml",
    )
