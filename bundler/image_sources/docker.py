"""Images from a running Docker engine, through its API: inspected first, then saved in one stream.

Engines up to 24 write `<id>/layer.tar` and describe the images at the very end of the stream; later ones
write an OCI layout. Both are read once and never stored in a file.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from bundler.image_sources.base import BlobSink, ImageEntry, ImageSource, ResolvedImage
from bundler.image_sources.content import StreamedArchive
from bundler.image_sources.faults import raise_problems
from bundler.image_sources.saved import read_images
from bundler.image_sources.store import store_image
from bundler.image_sources.walk import SavedImage
from installer.core.digest import oci_digest
from installer.core.errors import Problem, UnfitInputError
from installer.core.format.manifest import Image
from installer.core.limits import MIB
from installer.core.oci.documents import platform_matches
from installer.core.oci.reference import familiar, reference_fault, split_reference
from installer.shared.http import faults

if TYPE_CHECKING:
    from docker import DockerClient
    from requests import Response

DEFAULT_SOCKET = "/var/run/docker.sock"
OCI_FORM = (1, 44)
"""The API of Docker 25, the first that saves an OCI layout."""
PLATFORM_CHOICE = (1, 48)
"""The API of Docker 28, the first that saves one platform of several."""


@dataclass(frozen=True, slots=True)
class _Inspected:
    wanted: ImageEntry
    id: str
    platform: str
    size: int
    diff_ids: tuple[str, ...]
    containerd: bool
    digests: frozenset[str] = frozenset()

    def resolved(self) -> ResolvedImage:
        # The engine counts bytes of files; headers and padding of a layer's tar come on top.
        # An estimate that is too high only asks for more free space.
        payload = self.size + self.size // 8 + len(self.diff_ids) * MIB
        return ResolvedImage(self.reference, self.platform, len(self.diff_ids) + 2, payload, self.digests)

    @property
    def reference(self) -> str:
        """Its name in the bundle."""
        name, tag, digest = split_reference(self.wanted.name or self.wanted.reference)
        # The engine was asked for this digest: it belongs to the image, not to its name.
        return familiar(f"{name}:{tag}" if tag else f"{name}@{digest}" if digest else name)


class EngineSource(ImageSource):
    """All images that a bundle takes from the engine.

    Args:
        entries: The images.
        platforms: Platforms of the bundle.
    """

    key = ""
    takes = "reference"
    takes_all = True
    waits_for = "the Docker engine"

    @classmethod
    def from_entries(cls, entries: Sequence[ImageEntry], platforms: Sequence[str]) -> Self:
        """Return one source for all entries: the engine saves them in one stream, shared layers once."""
        return cls(entries, platforms)

    def __init__(self, entries: Sequence[ImageEntry], platforms: Sequence[str]) -> None:
        self._entries = entries
        self._platforms = platforms
        self._inspected: list[_Inspected] | None = None
        self.where = "the Docker engine"

    def resolve(self) -> list[ResolvedImage]:
        """Ask the engine for each image.

        Raises:
            UnfitInputError: The engine does not answer, or images are missing or for another platform.
        """
        if self._inspected is None:
            with connected() as client:
                self._inspected = self._inspect(client)
        return [inspected.resolved() for inspected in self._inspected]

    def pack(self, sink: BlobSink) -> list[Image]:
        """Have the engine save the images, and store them from its stream.

        Raises:
            UnfitInputError: The engine stops, or its images have changed.
        """
        self.resolve()
        packed: dict[int, Image] = {}
        inspected = dict(enumerate(self._inspected or ()))
        with connected() as client:
            # Only the old form needs batches; one stream stores shared layers once.
            old = _api(client) < OCI_FORM
            for batch in _batches(inspected) if old else [inspected]:
                content = StreamedArchive("the stream of the Docker engine")
                with _saved(client, list(batch.values())) as stream:
                    content.take(stream, sink)
                images = read_images(content, self._platforms, self.skipped)
                for number, each in batch.items():
                    image = _match(each, images)
                    layers = [content.layer(layer.name, sink) for layer in image.layers]
                    packed[number] = store_image(each.reference, image, layers, sink, content.where)
        return [packed[number] for number in sorted(packed)]

    def _inspect(self, client: DockerClient) -> list[_Inspected]:
        containerd = _uses_containerd(client)
        inspected, problems = [], []
        for entry in self._entries:
            answer = _look(client, entry)
            if isinstance(answer, Problem):
                problems.append(answer)
                continue
            parts = (answer.get("Os"), answer.get("Architecture"), answer.get("Variant"))
            platform = "/".join(str(part) for part in parts if part)
            diff_ids = tuple((answer.get("RootFS") or {}).get("Layers") or ())
            size = int(answer.get("Size") or 0)
            # Digests that it was pulled by; with containerd the id is one, too.
            pulled = [str(each).rpartition("@")[2] for each in answer.get("RepoDigests") or ()]
            digests = frozenset([*pulled, *([str(answer["Id"])] if containerd else [])])
            each = _Inspected(entry, str(answer["Id"]), platform, size, diff_ids, containerd, digests)
            fault = self._fault(each)
            if fault is None:
                inspected.append(each)
            else:
                problems.append(fault)
        raise_problems(problems)
        return inspected

    def _fault(self, inspected: _Inspected) -> Problem | None:
        """Return why an image of the engine cannot be taken; None if it can."""
        name, where = inspected.wanted.reference, _where(inspected.wanted)
        reference = inspected.wanted.name or inspected.reference
        # An id is no name for a host, and changes with every build.
        is_id = not inspected.wanted.name and inspected.id.removeprefix("sha256:").startswith(name)
        if is_id or reference_fault(reference) or split_reference(reference)[2]:
            hint = f"run `docker tag {name} NAME:TAG`, and list NAME:TAG"
            return Problem(where, f"{name} is not a name and tag", hint)
        if not any(platform_matches(wanted, inspected.platform) for wanted in self._platforms):
            wanted = " or ".join(self._platforms)
            hint = f"run `docker pull --platform {self._platforms[0]} {name}`, or build it for that platform"
            return Problem(where, f"{name} is for {inspected.platform}, not for {wanted}", hint)
        return None


@contextmanager
def connected() -> Iterator[DockerClient]:
    """Connect to the engine of DOCKER_HOST, of the current Docker context, or of the usual socket.

    Raises:
        UnfitInputError: It does not answer.
    """
    import docker.errors
    import requests.exceptions

    try:
        client = _client()
    except (docker.errors.DockerException, OSError) as error:
        raise _unreachable(error) from None
    try:
        yield client
    except requests.exceptions.ConnectionError as error:
        raise _unreachable(error) from None
    except docker.errors.APIError as error:
        what = f"the Docker engine reports an error: {error.explanation or error}"
        raise UnfitInputError(what, hint="check the engine's log") from None
    finally:
        client.close()


def _client() -> DockerClient:
    import docker
    from docker.context import ContextAPI

    url = os.environ.get("DOCKER_HOST", "")
    if not url:
        context = ContextAPI.get_current_context()
        # The library's `from_env` ignores contexts; the docker command does not.
        if context is not None and context.name != "default" and context.Host:
            return docker.DockerClient(base_url=context.Host, tls=context.TLSConfig or False)
    if url.startswith("unix://") or not url:
        # The client library hides why a socket does not answer.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            # Connecting once by hand shows the reason, for example a missing permission.
            probe.connect(url.removeprefix("unix://") or DEFAULT_SOCKET)
    return docker.from_env()


def _unreachable(error: Exception) -> UnfitInputError:
    where = os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
    # By far the most frequent cause, with a remedy of its own.
    if isinstance(error, PermissionError):
        return UnfitInputError(
            "permission denied: this user may not use the Docker engine",
            where=where,
            hint="join the group `docker` and log in again, or run as root",
        )
    return UnfitInputError(
        f"the Docker engine does not answer: {faults.reason(error)}",
        where=where,
        hint="start it (`systemctl start docker`) or set DOCKER_HOST; or take the images from `archive:`, "
        "`oci:` or `registry:`",
    )


def _api(client: DockerClient) -> tuple[int, ...]:
    return tuple(int(part) for part in client.api.api_version.split("."))


def _uses_containerd(client: DockerClient) -> bool:
    status = client.info().get("DriverStatus") or []
    # That store keeps compressed layers; the id is then a digest of the manifest.
    return any("io.containerd.snapshotter" in str(row) for row in status)


def _where(entry: ImageEntry) -> str:
    return f"bundle.yaml:{entry.line}" if entry.line else entry.reference


def _look(client: DockerClient, entry: ImageEntry) -> dict[str, Any] | Problem:
    import docker.errors

    inspect: Any = client.api.inspect_image
    where, name = _where(entry), entry.reference
    try:
        return dict(inspect(name))
    except docker.errors.ImageNotFound:
        repository = split_reference(name)[0]
        tags = sorted({tag for image in client.images.list(name=repository) for tag in image.tags})
        have = f"; it has {', '.join(tags[:5])}" if tags else ""
        hint = f"run `docker pull {name}`, or `docker build -t {name} …`"
        return Problem(where, f"the Docker engine has no image {name}{have}", hint)
    except docker.errors.APIError as error:
        what = f"the Docker engine reports for {name}: {error.explanation or error}"
        return Problem(where, what, "check the reference")


@contextmanager
def _saved(client: DockerClient, images: Sequence[_Inspected]) -> Iterator[_Stream]:
    # An engine may know a digest and not save by it.
    names = [image.id if "@" in image.wanted.reference else image.wanted.reference for image in images]
    parameters: dict[str, Any] = {"names": names}
    platforms = {image.platform for image in images}
    # Without it, images of several platforms would come with layers of all of them.
    if images[0].containerd and len(platforms) == 1 and _api(client) >= PLATFORM_CHOICE:
        system, architecture, *variant = platforms.pop().split("/")
        chosen = {"os": system, "architecture": architecture, "variant": variant[0] if variant else ""}
        parameters["platform"] = json.dumps(chosen)
    api = client.api
    # No time limit: old engines copy the images before they send the first byte.
    response = api.get(
        f"{api.base_url}/v{api.api_version}/images/get", params=parameters, stream=True, timeout=None
    )
    try:
        # The stream has begun to be an error message, not an archive.
        if response.status_code != 200:
            raise UnfitInputError(
                f"the Docker engine cannot save the images: {response.text[:300].strip()}",
                where=", ".join(image.wanted.reference for image in images),
                hint="run `docker save` for details; pull an image again if its content is missing",
            )
        yield _Stream(response)
    finally:
        response.close()


@dataclass(frozen=True, slots=True)
class _Stream:
    response: Response

    def read(self, size: int, /) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            return bytes(self.response.raw.read(size))
        except (HTTPError, OSError) as error:
            raise UnfitInputError(
                f"the Docker engine stopped in the middle of saving the images ({error})",
                hint="check the engine's log and its free disk space, and try again",
            ) from None


def _match(wanted: _Inspected, images: Sequence[SavedImage]) -> SavedImage:
    """Find the image that was inspected among those of the stream."""
    for image in images:
        if (
            # The id is a digest of the configuration or, with containerd, of the index.
            wanted.id in (image.top, oci_digest(image.config))
            and image.platform == wanted.platform
            and tuple(layer.diff_id for layer in image.layers) == wanted.diff_ids
        ):
            return image
    raise UnfitInputError(
        "the image changed in the engine while it was saved",
        where=wanted.wanted.reference,
        hint="do not build or tag the image while the bundle is created, and try again",
    )


def _batches(inspected: dict[int, _Inspected]) -> list[dict[int, _Inspected]]:
    """Divide the images into batches whose streams are deterministic in the old form.

    In that form two images may have one layer under two ids, if it is the uppermost layer of one of them
    only; the engine writes the bytes under either id at random. Such images must not be in one stream.
    """
    batches: list[tuple[dict[int, _Inspected], dict[str, tuple[str, ...]]]] = []
    for number, image in inspected.items():
        chains: dict[str, tuple[str, ...]] = {}
        for depth, diff_id in enumerate(image.diff_ids, start=1):
            top = image.id if depth == len(image.diff_ids) else ""
            chains.setdefault(diff_id, (*image.diff_ids[:depth], top))
        for members, known in batches:
            if all(known.get(diff_id, chain) == chain for diff_id, chain in chains.items()):
                members[number] = image
                known.update(chains)
                break
        else:
            batches.append(({number: image}, chains))
    return [members for members, _ in batches]
