"""References with a digest, `name:tag@sha256:…`, and the images of a release that they mean.

An image that was loaded from an archive has no digest in most engines: they know only the digests of what
they pulled. The digest is compared when the bundle is created; on the host the image has its name and tag.
"""

from __future__ import annotations

from collections.abc import Iterable

from installer.core.oci.reference import familiar, reference_fault, split_reference


def loaded_reference(reference: str, images: Iterable[tuple[str, str]]) -> str:
    """Return the name and tag under which an engine has the image that a reference with a digest means.

    Args:
        reference: As a Compose file has it. Without a digest, or without an image that fits, it is returned
            as it is.
        images: Name and tag, and digest of the manifest, of each image of the release.
    """
    if reference_fault(reference):
        return reference
    name, tag, digest = split_reference(reference)
    if not digest:
        return reference
    known = {familiar(each): manifest for each, manifest in images}
    if tag:
        named = familiar(f"{name}:{tag}")
        return named if named in known else reference
    # Without a tag: the image of that name with that manifest, or the only one of that name.
    same = [each for each in known if split_reference(each)[0] == familiar(f"{name}:x")[:-2]]
    exact = [each for each in same if known[each] == digest]
    return exact[0] if exact else same[0] if len(same) == 1 else reference
