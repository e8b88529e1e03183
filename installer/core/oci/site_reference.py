"""From the reference of an image in a bundle to its reference in the registry of a site.

The one rule, for charts, manifests and whatever else is rendered for a cluster: the registry that the image
came from is left out, the registry of the site and its prefix take its place, and the digest is added. So
`images.example/team/gateway:1.4.0` becomes `registry.lan:5000/airgap/team/gateway:1.4.0@sha256:…`.
"""

from __future__ import annotations

from collections.abc import Mapping

from installer.core.oci.reference import DOCKER_HUB, familiar, reference_fault, split_host, split_reference


def site_repository(reference: str, place: str) -> str:
    """Return the repository, below the host of a registry, in which an image of a bundle is.

    Args:
        reference: A reference without fault, such as `redis:7` or `images.example/team/gateway:1.4.0`.
        place: The registry of the site: `HOST[:PORT]`, then `/PREFIX` where it has one.
    """
    host, path = split_host(split_reference(reference)[0])
    site, _, prefix = place.partition("/")
    if host == DOCKER_HUB:
        path = path.removeprefix("library/")
    # An image that was made under the very name that it has on the site keeps it.
    if not prefix or (host == site and path.startswith(f"{prefix}/")):
        return path
    return f"{prefix}/{path}"


def site_reference(reference: str, digest: str, place: str) -> str:
    """Return the reference of an image in the registry of a site, by digest.

    Args:
        reference: In the bundle, as `site_repository` takes it. A digest in it is replaced: it may be that of
            an index which the bundle does not have.
        digest: Of the manifest or index that the registry has, `sha256:…`.
        place: As for `site_repository`.
    """
    tag = split_reference(reference)[1]
    repository = site_repository(reference, place)
    return f"{place.partition('/')[0]}/{repository}" + (f":{tag}" if tag else "") + f"@{digest}"


def on_site(reference: str, references: Mapping[str, str]) -> str:
    """Return what a rendered document has to say instead of a reference.

    Args:
        reference: As the document has it, with or without a tag and a digest.
        references: The references on the site, by those in the bundle as `familiar` writes them.

    Returns:
        The reference on the site; the given one where the release has no such image.
    """
    if reference_fault(reference):
        return reference
    name, tag, pinned = split_reference(reference)
    if tag or not pinned:
        return references.get(familiar(f"{name}:{tag}" if tag else name), reference)
    # `NAME@DIGEST` without a tag: the only image of that name.
    wanted = familiar(f"{name}:x")[:-2]
    same = [each for each in references if split_reference(each)[0] == wanted]
    return references[same[0]] if len(same) == 1 else reference
