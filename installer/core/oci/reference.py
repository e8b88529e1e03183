"""References of images, as Docker reads and writes them: `redis:7`, `registry.lan:5000/gateway@sha256:…`."""

from __future__ import annotations

import re

DOCKER_HUB = "docker.io"

_REFERENCE = re.compile(
    r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def reference_fault(reference: str) -> str | None:
    """Return why a text cannot name an image, or return None."""
    if len(reference) > 512:
        return "is longer than 512 characters"
    if not _REFERENCE.fullmatch(reference):
        return "is not of the form [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST]"
    return None


def split_reference(reference: str) -> tuple[str, str, str]:
    """Split a reference without fault into its name, its tag and its digest; the last two may be empty."""
    rest, _, digest = reference.partition("@")
    name, colon, tag = rest.rpartition(":")
    return (rest, "", digest) if not colon or "/" in tag else (name, tag, digest)


def split_host(name: str) -> tuple[str, str]:
    """Split a name into registry and repository, as Docker does: `redis` is `docker.io`, `library/redis`."""
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = DOCKER_HUB, name
    if host in (DOCKER_HUB, "index.docker.io"):
        return DOCKER_HUB, path if "/" in path else f"library/{path}"
    return host, path


def familiar(reference: str) -> str:
    """Return a reference as people write it: without `docker.io/` and `library/`, with a tag or a digest."""
    name, tag, digest = split_reference(reference)
    host, path = split_host(name)
    name = path.removeprefix("library/") if host == DOCKER_HUB else f"{host}/{path}"
    return name + (f":{tag}" if tag else "" if digest else ":latest") + (f"@{digest}" if digest else "")


def qualified(reference: str) -> str:
    """Return a reference in full, as containerd names images: `docker.io/library/redis:7`."""
    short = familiar(reference)
    name, _, _ = split_reference(short)
    return "/".join(split_host(name)) + short[len(name) :]
