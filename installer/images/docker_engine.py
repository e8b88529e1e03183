"""A container engine of this host, Docker or Podman, through Docker's own client library.

Reading is direct; whatever changes the engine goes through the system facade. An engine that is down, is not
on this host or does not answer raises an `EngineError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from installer.core.limits import CHUNK, MIB
from installer.core.oci.reference import familiar
from installer.images.docker_socket import EngineError, InUseError, probe, silent_error
from installer.images.engine_info import EngineImage, EngineInfo, describe
from installer.images.read_back import digests
from installer.shared.child.engine_address import engine_address, engine_name, engine_start
from installer.shared.http import faults
from installer.shared.terminal import interrupts

if TYPE_CHECKING:
    from installer.host.system import System

# Asked for in the first request only, which finds out what the engine speaks.
FLOOR = "1.41"
"""API version of the oldest engine."""
REACHED = 30
"""Seconds until the engine's socket answers."""
ANSWER = 120
"""Seconds for one short request: removing a large image from a busy disk takes longer than a minute."""
SILENCE = 300
"""Seconds for which an engine may neither read nor report anything while it loads an image."""
SLOWEST = 2 * MIB
"""Bytes per second; a slower load is aborted."""
_INTERNAL = 500
_PODMANS: dict[tuple[str, str, int, int], EngineInfo] = {}
"""What each Podman has said of itself in this process: it starts programs to say it, which takes a while."""
_NAMELESS = "<none>:<none>"  # what 20.10 lists as the name of an image that has none


class Engine:
    """One engine of this host."""

    def __init__(self, client: Any, loader: Any, info: EngineInfo, system: System) -> None:
        self._client, self._loader, self._system = client, loader, system
        self.info = info

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._loader.close()

    def find(self, name: str) -> EngineImage | None:
        """Return an image by tag or id; None if there is none.

        An image that a power cut damaged may be listed without details: then it has no layers.

        Raises:
            EngineError: The engine does not answer.
        """
        import docker.errors

        with self._asking(f"look for the image {name}"):
            try:
                raw = self._client.inspect_image(name)
            except docker.errors.ImageNotFound:
                return None
            # A power cut can leave an image that 20.10 lists and fails to inspect; it has to be removable.
            except docker.errors.APIError as error:
                if error.status_code != _INTERNAL or (listed := self._listed(name)) is None:
                    raise
                return listed
            layers = (raw.get("RootFS") or {}).get("Layers") or ()
            return EngineImage(raw["Id"], self._names(raw), tuple(layers))

    def _listed(self, name: str) -> EngineImage | None:
        for row in self._client.images(all=True):
            tags = self._names(row)
            if name == row["Id"] or name in tags:
                return EngineImage(row["Id"], tags, ())
        return None

    def _names(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        tags = (tag for tag in row.get("RepoTags") or () if tag != _NAMELESS)
        # Podman writes `docker.io/library/redis:7` where Docker writes `redis:7`.
        return tuple(tags if self.info.product == "Docker" else map(familiar, tags))

    def names(self, prefix: str) -> list[str]:
        """Return the names of images that start with `prefix`.

        Raises:
            EngineError: The engine does not answer.
        """
        with self._asking("list the images"):
            rows = self._client.images()
        return sorted(tag for row in rows for tag in self._names(row) if tag.startswith(prefix))

    def users(self, image: str) -> list[str]:
        """Return the names of containers, running or not, that were made from an image, by its id.

        Raises:
            EngineError: The engine does not answer.
        """
        with self._asking("list the containers"):
            rows = self._client.containers(all=True)
        # By id: a container keeps its image even when the name has moved on.
        return sorted(row["Names"][0].lstrip("/") for row in rows if row["ImageID"] == image and row["Names"])

    def layer_lists(self) -> Iterator[tuple[str, ...]]:
        """Yield the diff ids of every image that the engine has.

        Raises:
            EngineError: The engine does not answer.
        """
        with self._asking("list the images"):
            ids = {row["Id"] for row in self._client.images(all=True)}
        for each in sorted(ids):
            found = self.find(each)
            if found is not None:
                yield found.diff_ids

    def blobs(self) -> frozenset[str]:
        """Return the digests of the stored blobs that need not be sent; Docker tells of none.

        Raises:
            EngineError: The engine does not answer.
        """
        return frozenset()

    def load(
        self, chunks: Iterable[bytes], payload: int, advance: Callable[[int], None] = lambda _count: None
    ) -> frozenset[str]:
        """Send an archive, and return once the engine has reported that it is loaded.

        Args:
            chunks: The archive; an error that it raises passes through, and nothing is loaded.
            payload: About how many bytes it has; they decide how long loading may take.
            advance: Told the bytes that the engine has unpacked; only the classic store reports them.

        Returns:
            The layers that were unpacked, each by the first 12 digits of its diff id. Only the classic store
            reports them, and no layer that it takes for present.

        Raises:
            EngineError: The engine refuses the archive, closed the connection or took too long.
        """
        # The client's timeout counts silence only: an engine that trickles would never end.
        deadline = time.monotonic() + SILENCE + payload / SLOWEST
        with interrupts.waiting():
            return self._system.effect("docker.load", lambda: self._load(chunks, deadline, advance))

    def _load(
        self, chunks: Iterable[bytes], deadline: float, advance: Callable[[int], None]
    ) -> frozenset[str]:
        loaded, unpacked = False, dict[str, int]()
        with self._asking("load an image"), ExitStack() as last:
            # An engine that has everything finishes, whether or not anybody waits: an undo that did not wait
            # would look for the image too early, and leave it.
            pieces = _until(deadline, chunks, lambda: last.enter_context(interrupts.deferred()).shield())
            for event in self._loader.load_image(pieces, quiet=False):
                _check(deadline)
                text = str(event.get("stream") or "").strip()
                # Docker 28 with the containerd store reports an error as text only, and then success.
                fault = event.get("error") or (text if text.startswith("Error") else "")
                if fault:
                    raise EngineError(f"the engine rejects an image: {fault}", where=self.info.address)
                loaded = loaded or text.startswith("Loaded image")
                if layer := str(event.get("id") or ""):
                    before = unpacked.get(layer, 0)
                    unpacked[layer] = max(
                        before, int((event.get("progressDetail") or {}).get("current") or 0)
                    )
                    advance(unpacked[layer] - before)
        if not loaded:
            what = "the engine closed the connection before it reported the image as loaded"
            raise EngineError(what, where=self.info.address)
        return frozenset(unpacked)

    def sync(self) -> None:
        """Wait until everything that the engine wrote is on the disk.

        Raises:
            OSError: It could not be written.
        """
        # `docker load` returns long before its files are synced. The data are on the real host, whatever
        # `--root` says; one file system is synced once.
        devices = {Path(folder).stat().st_dev: folder for folder in reversed(self.info.roots)}
        for folder in devices.values():
            self._system.sync_fs(folder, of_engine=True)

    def tag(self, image: str, name: str) -> None:
        """Give an image a name. Another image that has the name loses it.

        Raises:
            EngineError: There is no such image, or the engine gives no answer.
        """
        repository, _, tag = name.rpartition(":")

        # Through the facade, so that tests can fail or kill at each change of the engine.
        def call() -> None:
            with self._asking(f"tag {name}"):
                self._client.tag(image, repository, tag)

        self._system.effect("docker.tag", call)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a name; the engine removes the image with its last name. What is not there is no error.

        Args:
            name: A tag or an id.
            force: Remove also what a stopped container uses, and an id with several names.

        Raises:
            InUseError: A container uses it.
            EngineError: The engine does not answer.
        """
        import docker.errors

        if force and self.info.product == "Podman":
            self._require_unused(name)

        def call() -> None:
            with self._asking(f"remove {name}"):
                try:
                    self._client.remove_image(name, force=force)
                except docker.errors.NotFound:
                    return
                except docker.errors.APIError as error:
                    if error.status_code == 409:
                        raise InUseError(str(error.explanation or error), where=name) from error
                    raise

        self._system.effect("docker.remove", call)

    def _require_unused(self, name: str) -> None:
        # Forced, Podman removes the containers of an image, too, also those that run.
        found = self.find(name)
        if found is not None and (users := self.users(found.id)):
            hint = f"remove them (`podman rm --force {' '.join(users)}`), then run the command again"
            what = f"containers use this image, which has to be removed: {', '.join(users)}"
            raise InUseError(what, where=name, hint=hint)

    def contents(self, name: str) -> frozenset[str]:
        """Export an image from the engine and return the digests of all files in it.

        The classic store rebuilds each plain layer from its files, so one that a power cut damaged shows; the
        containerd store returns the stored blobs.

        Raises:
            EngineError: The engine finds the image damaged, or gives no answer.
        """
        with self._asking(f"export the image {name}"):
            return digests(self._loader.get_image(name, chunk_size=CHUNK))

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        import docker.errors
        import requests.exceptions
        import urllib3.exceptions

        where = self.info.address
        probe(where, REACHED)
        try:
            yield
        except (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
            raise silent_error(what, where) from error
        except docker.errors.APIError as error:
            raise EngineError(
                f"the engine could not {what}: {error.explanation or error}", where=where
            ) from error
        except (
            docker.errors.DockerException,
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            ConnectionError,
        ) as error:
            # urllib3 wraps some timeouts in errors of other types.
            if "timed out" in str(error):
                raise silent_error(what, where) from error
            hint = (
                f"check its log (`journalctl -u {self.info.command}`), start it, then run the command again"
            )
            raise EngineError(
                f"the engine closed the connection when asked to {what}", where=where, hint=hint
            ) from error


def connect(system: System, address: str = "", *, answer: int = ANSWER, silence: int = SILENCE) -> Engine:
    """Connect to the engine of this host.

    Args:
        system: The facade for what changes the engine.
        address: `unix://…`; empty for `DOCKER_HOST` or Docker's own default.
        answer: Seconds for one short request.
        silence: Seconds for which it may be silent while it loads.

    Raises:
        EngineError: There is none, this user may not use it, it is not on this host, or it does not answer.
    """
    address = address or engine_address()
    probe(address, min(answer, REACHED))
    import docker
    import docker.errors
    import requests.exceptions

    with ExitStack() as opened:
        try:
            # Not `version="auto"`: a client that fails while it negotiates the version cannot be closed.
            asker = opened.enter_context(closing(docker.APIClient(address, FLOOR, answer)))
            # Not its version: Podman starts programs to answer that. It says here, too, that it is Podman.
            pong = asker.get(f"{asker.base_url}/_ping", timeout=answer).headers
            api, podman = str(pong["Api-Version"]), str(pong.get("Libpod-Api-Version", ""))
            client = opened.enter_context(closing(docker.APIClient(address, api, answer)))
            # A client of its own, because loading takes another timeout than short requests.
            loader = opened.enter_context(closing(docker.APIClient(address, api, silence)))
            info = _info(client, address, podman)
        except KeyError as error:
            what = f"{engine_name(address)} does not answer: another program does, without an Api-Version"
            raise EngineError(what, where=address, hint=engine_start(address)) from error
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            explained = error.explanation if isinstance(error, docker.errors.APIError) else ""
            what = f"{engine_name(address)} does not answer: {explained or faults.reason(error)}"
            raise EngineError(what, where=address, hint=engine_start(address)) from error
        asker.close()
        opened.pop_all()
    return Engine(client, loader, info, system)


def _info(client: Any, address: str, podman: str) -> EngineInfo:
    if not podman:
        return describe(address, "", client.info())
    # A service that is set up in another way has to be started again, and has another socket then, or is
    # behind that of systemd: none of that happens while one command runs.
    socket = Path(address.removeprefix("unix://")).stat()
    known = (address, podman, socket.st_ino, socket.st_ctime_ns)
    if known not in _PODMANS:
        _PODMANS[known] = describe(address, podman, client.info())
    return _PODMANS[known]


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError


def _until(deadline: float, chunks: Iterable[bytes], before_last: Callable[[], object]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        _check(deadline)
        if held:
            yield held
        held = chunk
    before_last()
    yield held
