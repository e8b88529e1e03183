"""Drives a Docker engine of this host through Docker's own client library.

Reading is direct; whatever changes the engine goes through the system facade. An engine that is down, not on
this host or gives no answer is an `EngineError` that says so and what to do.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from installer.core.errors import HostNotReadyError
from installer.core.limits import CHUNK, MIB
from installer.images.data_roots import data_roots
from installer.images.read_back import digests

if TYPE_CHECKING:
    from installer.host.system import System

Store = Literal["classic", "containerd"]
DEFAULT_HOST = "unix:///var/run/docker.sock"
OLDEST = (20, 10)
FLOOR = "1.41"
"""API version of the oldest engine."""
ANSWER = 30
"""Seconds for one short question to the engine."""
SILENCE = 300
"""Seconds for which an engine may neither read nor say anything while it loads."""
SLOWEST = 2 * MIB
"""Bytes per second below which a load that still moves is given up."""
_INTERNAL = 500
_NAMELESS = "<none>:<none>"  # what 20.10 lists as the name of an image that has none
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "amd64": "amd64"}


class EngineError(HostNotReadyError):
    """The engine is not there, not fit, failed, or gave no answer in time."""

    code = "engine"


class InUseError(EngineError):
    """An image cannot be removed because a container uses it."""

    code = "engine-in-use"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself.

    Attributes:
        version: As it writes it.
        store: `classic` (the id of an image is its configuration's digest) or `containerd` (its manifest's).
        driver: Storage driver.
        root: Its data root on this host.
        platform: `os/arch`.
        address: Where it was reached.
    """

    version: str
    store: Store
    driver: str
    root: str
    platform: str
    address: str

    @property
    def roots(self) -> tuple[str, ...]:
        """Where it keeps images; empty where that is not on this host."""
        return data_roots(self.root, containerd=self.store == "containerd")

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor of the version; zeros where it has none."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image that an engine has.

    Attributes:
        id: Its id, `sha256:…`.
        tags: The names it goes by.
        diff_ids: Its layers, from the lowest; empty where the engine itself cannot say.
    """

    id: str
    tags: tuple[str, ...]
    diff_ids: tuple[str, ...]


class Engine:
    """One engine of this host."""

    def __init__(self, client: Any, loader: Any, info: EngineInfo, system: System) -> None:
        self._client, self._loader, self._system = client, loader, system
        self.info = info

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._loader.close()

    def find(self, name: str) -> EngineImage | None:
        """Looks up an image by tag or id.

        One that a power cut has damaged may be listed, and no more be said of it: then it has no layers.

        Raises:
            EngineError: The engine gives no answer.
        """
        import docker.errors

        with self._asking(f"look for the image {name}"):
            try:
                raw = self._client.inspect_image(name)
            except docker.errors.ImageNotFound:
                return None
            except docker.errors.APIError as error:
                if error.status_code != _INTERNAL or (listed := self._listed(name)) is None:
                    raise
                return listed
            layers = (raw.get("RootFS") or {}).get("Layers") or ()
            return EngineImage(raw["Id"], tuple(raw.get("RepoTags") or ()), tuple(layers))

    def _listed(self, name: str) -> EngineImage | None:
        for row in self._client.images(all=True):
            tags = tuple(tag for tag in row.get("RepoTags") or () if tag != _NAMELESS)
            if name == row["Id"] or name in tags:
                return EngineImage(row["Id"], tags, ())
        return None

    def names(self, prefix: str) -> list[str]:
        """Lists the names of images that start with `prefix`.

        Raises:
            EngineError: The engine gives no answer.
        """
        with self._asking("list the images"):
            rows = self._client.images()
        return sorted(tag for row in rows for tag in row.get("RepoTags") or () if tag.startswith(prefix))

    def users(self, image: str) -> list[str]:
        """Lists the containers that were made from an image, by its id; those that do not run too.

        Raises:
            EngineError: The engine gives no answer.
        """
        with self._asking("list the containers"):
            rows = self._client.containers(all=True)
        return sorted(row["Names"][0].lstrip("/") for row in rows if row["ImageID"] == image and row["Names"])

    def layer_lists(self) -> Iterator[tuple[str, ...]]:
        """Gives the diff ids of every image that the engine has.

        Raises:
            EngineError: The engine gives no answer.
        """
        with self._asking("list the images"):
            ids = {row["Id"] for row in self._client.images(all=True)}
        for each in sorted(ids):
            found = self.find(each)
            if found is not None:
                yield found.diff_ids

    def load(
        self, chunks: Iterable[bytes], payload: int, advance: Callable[[int], None] = lambda _count: None
    ) -> frozenset[str]:
        """Sends an archive; returns when the engine has said that it loaded it.

        Args:
            chunks: The archive; what it raises passes through, and nothing is loaded then.
            payload: Its bytes, about; they decide how long it may take.
            advance: Told the bytes that the engine has unpacked; only the classic store says so.

        Returns:
            The layers that were unpacked, each by the first 12 digits of its diff id; only the classic store
            says so, and of no layer that it believes to have already.

        Raises:
            EngineError: The engine refuses it, went away, fell silent or took too long.
        """
        deadline = time.monotonic() + SILENCE + payload / SLOWEST
        return self._system.effect("docker.load", lambda: self._load(chunks, deadline, advance))

    def _load(
        self, chunks: Iterable[bytes], deadline: float, advance: Callable[[int], None]
    ) -> frozenset[str]:
        loaded, unpacked = False, dict[str, int]()
        with self._asking("load an image"):
            for event in self._loader.load_image(_until(deadline, chunks), quiet=False):
                _check(deadline)
                said = str(event.get("stream") or "").strip()
                fault = event.get("error") or (said if said.startswith("Error") else "")
                if fault:
                    # 28 with the containerd store only says it in passing, and goes on to claim success.
                    raise EngineError(f"the engine refuses an image: {fault}"[:600], where=self.info.address)
                loaded = loaded or said.startswith("Loaded image")
                if layer := str(event.get("id") or ""):
                    before = unpacked.get(layer, 0)
                    unpacked[layer] = max(
                        before, int((event.get("progressDetail") or {}).get("current") or 0)
                    )
                    advance(unpacked[layer] - before)
        if not loaded:
            what = "the engine ended a load without saying that it is done"
            raise EngineError(what, where=self.info.address)
        return frozenset(unpacked)

    def sync(self) -> None:
        """Waits until what the engine wrote is on the disk: `docker load` alone survives no power cut.

        An engine keeps its data on the real host, whatever `--root` says.

        Raises:
            OSError: It is not.
        """
        devices = {Path(folder).stat().st_dev: folder for folder in reversed(self.info.roots)}
        for folder in devices.values():
            self._system.sync_fs(folder, of_engine=True)

    def tag(self, image: str, name: str) -> None:
        """Gives an image a name, which any other image loses by that.

        Raises:
            EngineError: There is no such image, or the engine gives no answer.
        """
        repository, _, tag = name.rpartition(":")

        def call() -> None:
            with self._asking(f"tag {name}"):
                self._client.tag(image, repository, tag)

        self._system.effect("docker.tag", call)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Takes a name away, and with the last name the image; what is not there is done already.

        Args:
            name: A tag or an id.
            force: Whether also where a stopped container uses it or it has several names.

        Raises:
            InUseError: A container uses it.
            EngineError: The engine gives no answer.
        """
        import docker.errors

        def call() -> None:
            with self._asking(f"remove {name}"):
                try:
                    self._client.remove_image(name, force=force)
                except docker.errors.ImageNotFound:
                    return
                except docker.errors.APIError as error:
                    if error.status_code == 409:
                        raise InUseError(str(error.explanation or error)[:400], where=name) from error
                    raise

        self._system.effect("docker.remove", call)

    def contents(self, name: str) -> frozenset[str]:
        """Reads an image back out of the engine and gives the digests of all that is in it.

        The classic store rebuilds each plain layer, so a damaged one (as a power cut leaves them) shows; the
        containerd store gives the stored blobs.

        Raises:
            EngineError: The engine finds the image damaged, or gives no answer.
        """
        with self._asking(f"read the image {name} back"):
            return digests(self._loader.get_image(name, chunk_size=CHUNK))

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        import docker.errors
        import requests.exceptions
        import urllib3.exceptions

        where = self.info.address
        _probe(where, ANSWER)
        try:
            yield
        except (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
            raise _silent(what, where) from error
        except docker.errors.APIError as error:
            text = str(error.explanation or error)[:600]
            raise EngineError(f"the engine could not {what}: {text}", where=where) from error
        except (
            docker.errors.DockerException,
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            ConnectionError,
        ) as error:
            if "timed out" in str(error):
                raise _silent(what, where) from error
            hint = "look at its log (journalctl -u docker), start it, then run this again"
            raise EngineError(f"the engine went away when asked to {what}", where=where, hint=hint) from error


def connect(system: System, address: str = "", *, answer: int = ANSWER, silence: int = SILENCE) -> Engine:
    """Connects to the engine of this host.

    Args:
        system: The facade for what changes the engine.
        address: `unix://…`; empty for `DOCKER_HOST` or Docker's own default.
        answer: Seconds for one short question.
        silence: Seconds for which it may be silent while it loads.

    Raises:
        EngineError: There is none, it may not be used, it is not on this host, or it gives no answer.
    """
    address = address or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    _probe(address, answer)
    import docker
    import docker.errors
    import requests.exceptions

    with ExitStack() as opened:
        try:
            # Not `version="auto"`: a client that fails while it finds that out cannot be closed.
            asker = opened.enter_context(closing(docker.APIClient(address, FLOOR, answer)))
            api = str(asker.version(api_version=False)["ApiVersion"])
            client = opened.enter_context(closing(docker.APIClient(address, api, answer)))
            loader = opened.enter_context(closing(docker.APIClient(address, api, silence)))
            raw = client.info()
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(
                f"the Docker engine does not answer: {error}"[:400], where=address, hint=_START
            ) from error
        asker.close()
        opened.pop_all()
    kinds = {str(row[0]): str(row[1]) for row in raw.get("DriverStatus") or () if len(row) == 2}
    store: Store = "containerd" if "snapshotter" in kinds.get("driver-type", "") else "classic"
    machine = str(raw.get("Architecture", ""))
    info = EngineInfo(
        version=str(raw.get("ServerVersion", "")),
        store=store,
        driver=str(raw.get("Driver", "")),
        root=str(raw.get("DockerRootDir", "")),
        platform=f"{raw.get('OSType', '')}/{_ARCHITECTURES.get(machine, machine)}",
        address=address,
    )
    return Engine(client, loader, info, system)


_START = (
    "start it: systemctl start docker (and systemctl enable docker, to have it after a boot); "
    "or name another one by DOCKER_HOST=unix://…"
)


def _probe(address: str, timeout: float) -> None:
    """Tries the socket first: its errno says more than any client library."""
    if not address.startswith("unix://"):
        hint = "images are loaded into the engine of this host: DOCKER_HOST=unix:///path/of/its/socket"
        raise EngineError("is not an engine of this host", where=address, hint=hint)
    path = address.removeprefix("unix://")
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(timeout)
            probe.connect(path)
    except PermissionError as error:
        hint = "run this as root or as a member of the group that owns the socket"
        raise EngineError("this user may not talk to the Docker engine", where=path, hint=hint) from error
    except FileNotFoundError as error:
        raise EngineError(
            "no Docker engine runs here: there is no socket", where=path, hint=_START
        ) from error
    except ConnectionRefusedError as error:
        raise EngineError("the Docker engine is not running", where=path, hint=_START) from error
    except OSError as error:
        raise EngineError(f"the Docker engine cannot be reached: {error}", where=path, hint=_START) from error


def _silent(what: str, where: str) -> EngineError:
    hint = "it may hang or its disk may be stuck: look at its log (journalctl -u docker), then run this again"
    return EngineError(f"the engine gave no answer in time when asked to {what}", where=where, hint=hint)


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError


def _until(deadline: float, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        _check(deadline)
        yield chunk
