"""containerd without Docker, as on nodes of k3s, RKE2 and kubeadm: through its own command line, `ctr`.

Images are imported and not unpacked: that is done by whoever starts a container, with the snapshotter that it
is set up for. The kubelet's interface (CRI) gives each image one more name, `sha256:` and the digest of its
configuration, which keeps the image; it is no name of anybody's and goes with the last other one.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

from installer.core.digest import oci_digest
from installer.core.limits import LIMITS
from installer.core.oci.reference import familiar, qualified, reference_fault
from installer.images.docker_engine import ANSWER, REACHED, SILENCE, SLOWEST, Engine
from installer.images.docker_socket import EngineError, InUseError
from installer.images.engine_info import EngineImage, EngineInfo
from installer.images.load_stream import chain_ids
from installer.shared.child.process import Completed
from installer.shared.secrecy.known import Secrets

if TYPE_CHECKING:
    from installer.host.system import System

_NAMESPACE = "k8s.io"
"""The namespace from which the kubelet takes images."""
_NAMESPACES = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_TOOLS = (("ctr",), ("k3s", "ctr"), ("/var/lib/rancher/rke2/bin/ctr",))
"""The command line: containerd's own, that of k3s, that of RKE2."""
_SNAPSHOTTERS = "io.containerd.snapshotter.v1"
_KNOWN: WeakKeyDictionary[System, dict[str, tuple[str, str]]] = WeakKeyDictionary()
"""Version and directory of the blobs of each containerd that a host was asked for, by its address."""
_ID = re.compile(r"sha256:[0-9a-f]{64}")
_PINNED = "io.cri-containerd.pinned=pinned"
"""The label by which the kubelet, since containerd 1.7, does not collect an image that no container uses."""
_LOG = "see its log, for example with `journalctl -u containerd`, then run the command again"
_FORM = "write it like containerd:///run/containerd/containerd.sock?namespace=k8s.io"
_INSTALL = "install it, for example with the package containerd; k3s and RKE2 bring their own"
_START = "start it, for example with `systemctl start containerd`; or set DOCKER_HOST to another engine"


@dataclass(frozen=True, slots=True)
class _Info(EngineInfo):
    """What containerd reports about itself; `namespace`: the one that gets the images."""

    namespace: str = _NAMESPACE

    @property
    def roots(self) -> tuple[str, ...]:
        """Where it keeps images; empty if that is not on this host."""
        return (self.root,) if self.root and Path(self.root).is_dir() else ()

    @property
    def takes_every_layer(self) -> bool:
        """Whether every layer has to be sent, also those that it has."""
        return False

    @property
    def title(self) -> str:
        """Its address, as the plan names it."""
        return f"{self.address} (containerd {self.version}, namespace {self.namespace})"

    def removing(self, *names: str) -> str:
        """Return the command that removes names of images, as texts have it."""
        return f"`ctr -n {self.namespace} images rm {' '.join(names)}`"

    @property
    def tags(self) -> str:
        """The command that gives an image a name."""
        return f"ctr -n {self.namespace} images tag --force"

    @property
    def prunes(self) -> str:
        """The command that removes images which no container uses."""
        return "crictl rmi --prune"


class Containerd(Engine):
    """One namespace of the containerd of this host.

    Args:
        system: The facade.
        command: The words that run `ctr` for this namespace.
        content: The directory of its blobs.
        info: What it reports about itself.
    """

    def __init__(self, system: System, command: Sequence[str], content: str, info: EngineInfo) -> None:
        self._system, self._command, self._content = system, tuple(command), Path(content)
        self.info = info

    def close(self) -> None:
        """Close nothing: each request is a program of its own."""

    def find(self, name: str) -> EngineImage | None:
        """Return an image by name or id; see `Engine.find`."""
        rows = self._rows(name)
        if not rows:
            return None
        id_ = rows[0][1]
        is_complete = all(status == "complete" for _, _, status in rows)
        return EngineImage(
            id_,
            tuple(_familiar(each) for each, _, _ in rows if not _ID.fullmatch(each)),
            self._diff_ids(id_) if is_complete else (),
        )

    def names(self, prefix: str) -> list[str]:
        """Return the names of images that start with `prefix`; see `Engine.names`."""
        lines = self._ask("list the images", "images", "ls", "-q")
        return sorted(each for each in map(_familiar, lines) if each.startswith(prefix))

    def users(self, image: str) -> list[str]:
        """Return the containers that were made from an image, by its id; see `Engine.users`."""
        # A container knows its image by a name, which may be gone by now; its files show what it is made of.
        chains = chain_ids(self._diff_ids(image))[-1:]
        names = {name for name, _, _ in self._rows(image)}
        found = {each for each, name in self._pairs("containers", "ls") if name in names}
        for snapshotter, _ in self._pairs("plugins", "ls", f"type=={_SNAPSHOTTERS}", columns=(1, 2)):
            pairs = self._pairs("snapshots", "--snapshotter", snapshotter, "ls") if chains else ()
            found |= {key for key, parent in pairs if parent in chains}
        return sorted(found)

    def layer_lists(self) -> Iterator[tuple[str, ...]]:
        """Yield nothing: what it has is known by blob; see `blobs`."""
        return iter(())

    def blobs(self) -> frozenset[str]:
        """Return the digests of the blobs that need not be sent; see `Engine.blobs`."""
        # One that is not in the list is sent again, which does no harm.
        return frozenset(self._lines(self._run("list its blobs", "content", "ls", "-q")))

    def load(
        self, chunks: Iterable[bytes], payload: int, advance: Callable[[int], None] = lambda _count: None
    ) -> frozenset[str]:
        """Import an archive; see `Engine.load`."""
        words = [*self._command, "images", "import", "--no-unpack", "-"]
        ended = self._system.run(words, timeout=SILENCE + payload / SLOWEST, stdin=chunks)
        self._require(ended, "import an image")
        return frozenset()

    def tag(self, image: str, name: str) -> None:
        """Give an image a name; see `Engine.tag`."""
        full, names = qualified(name), [each for each, _, _ in self._rows(image)]
        # Not the kubelet's own name, which it may remove at any time.
        source = min(names, key=lambda each: (bool(_ID.fullmatch(each)), each), default="")
        if not source:
            raise EngineError(f"containerd has no image {image}", where=self.info.address)
        if full in names:
            return
        self._change(f"tag {name}", "images", "tag", "--force", source, full)
        self._change(f"label {name}", "images", "label", full, _PINNED)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a name, and the image with its last one; see `Engine.remove`."""
        rows = self._rows(name)
        names = [each for each, _, _ in rows]
        going = names if _ID.fullmatch(name) else [each for each in names if each == qualified(name)]
        rest = [each for each in names if each not in going and not _ID.fullmatch(each)]
        if not going:
            return
        if not rest:
            if not force and (users := self.users(rows[0][1])):
                raise InUseError(f"container {users[0]} uses it", where=name)
            going = names
        # `--sync` waits until its blobs are removed: what is loaded again must not find damaged ones.
        self._change(f"remove {name}", "images", "rm", "--sync", *going)

    def contents(self, name: str) -> frozenset[str]:
        """Read the blobs of an image; return the digests of those that are sound. See `Engine.contents`."""
        rows = self._rows(name)
        if not rows:
            raise EngineError(f"containerd has no image {name}", where=self.info.address)
        found = set[str]()
        for digest in self._blobs_of(rows[0][1]):
            # A file that is gone or cannot be read is damage, too.
            with suppress(OSError), self._path(digest).open("rb") as file:
                if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest:
                    found.add(digest)
        return frozenset(found)

    def _rows(self, name: str) -> list[tuple[str, str, str]]:
        """Return name, id and status of an image, for each of its names."""
        if not _ID.fullmatch(name):
            found = self._checked(f"name=={qualified(name)}")
            if not found:
                return []
            name = found[0][1]
        return self._checked(f"target.digest=={name}")

    def _checked(self, wanted: str) -> list[tuple[str, str, str]]:
        lines = self._ask("look for an image", "images", "check", wanted)
        rows = [line.split() for line in lines[1:]]
        return [(row[0], row[2], row[3]) for row in rows if len(row) > 3]

    def _diff_ids(self, manifest: str) -> tuple[str, ...]:
        """Return the layers of an image; none where its documents are damaged, or of another form."""
        try:
            config = self._document(str(self._document(manifest)["config"]["digest"]))
            return tuple(map(str, config["rootfs"]["diff_ids"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ()

    def _blobs_of(self, manifest: str) -> list[str]:
        try:
            document = self._document(manifest)
            return [manifest, *(str(each["digest"]) for each in (document["config"], *document["layers"]))]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise EngineError(f"the manifest {manifest} is damaged", where=self.info.address) from error

    def _document(self, digest: str) -> Any:
        with self._path(digest).open("rb") as file:
            data = file.read(LIMITS.document_bytes)
        # What somebody else imported is not signed; what is damaged is not read.
        if oci_digest(data) != digest:
            raise ValueError(digest)
        return json.loads(data)

    def _path(self, digest: str) -> Path:
        if not _ID.fullmatch(digest):
            raise ValueError(digest)
        return self._content / "blobs/sha256" / digest.removeprefix("sha256:")

    def _pairs(self, *words: str, columns: tuple[int, int] = (0, 1)) -> Iterator[tuple[str, str]]:
        """Yield two columns of a list that `ctr` prints, without the lines of plugins that do not work."""
        rows = [line.split() for line in self._ask(f"list its {words[0]}", *words)[1:]]
        first, second = columns
        yield from (
            (row[first], row[second])
            for row in rows
            if len(row) > second and row[-1] not in ("skip", "error")
        )

    def _ask(self, what: str, *words: str) -> list[str]:
        ended = self._run(what, *words)
        if ended.shortened:
            # What is not in it could be in use, or have a name of ours.
            how = f"containerd could not {what}: the list is longer than 1 MiB"
            hint = f"remove what nobody uses: `{self.info.prunes}`"
            raise EngineError(how, where=self.info.address, hint=hint)
        return self._lines(ended)

    @staticmethod
    def _lines(ended: Completed) -> list[str]:
        return ended.stdout.decode("utf-8", "replace").splitlines()

    def _change(self, what: str, *words: str) -> None:
        self._run(what, *words)

    def _run(self, what: str, *words: str) -> Completed:
        return self._require(self._system.run([*self._command, *words], timeout=ANSWER), what)

    def _require(self, ended: Completed, what: str) -> Completed:
        if not ended.ok:
            how = f"containerd could not {what}: {ended.reason(Secrets())}"
            raise EngineError(how, where=self.info.address, hint=_LOG)
        return ended


def connect(system: System, address: str) -> Containerd:
    """Connect to a namespace of the containerd of this host.

    Args:
        system: The facade.
        address: `containerd://`, the path of the socket, and `?namespace=…` if it is not the kubelet's.

    Raises:
        EngineError: It is not there, or does not answer; or the address is not one.
    """
    no_address = EngineError("is not an address of containerd", where=address, hint=_FORM)
    try:
        parts = urlsplit(address)
        asked = parse_qs(parts.query)
    except ValueError as error:
        raise no_address from error
    (namespace,) = asked.get("namespace", [_NAMESPACE])[:1]
    if parts.netloc or not parts.path.startswith("/") or asked.keys() - {"namespace"}:
        raise no_address
    if not _NAMESPACES.fullmatch(namespace):
        raise EngineError(f"namespace {namespace:.80} is not a name", where=address, hint=_FORM)
    tool = next((each for each in _TOOLS if system.which(each[0]) is not None), None)
    if tool is None:
        raise EngineError(
            "ctr, the command line of containerd, is not installed", where=address, hint=_INSTALL
        )
    _probe(parts.path, address)
    command = (*tool, "--address", parts.path, "--namespace", namespace)
    known = _KNOWN.setdefault(system, {})
    if address not in known:
        said = _answer(system, address, command, "version").partition("Server:")[2]
        # Where the blobs are says which disk has to have space, and is synced.
        content = _value(_answer(system, address, command, "plugins", "ls", "-d", "id==content"), "root ")
        known[address] = (_value(said, "Version:"), content)
    version, content = known[address]
    root = content.rpartition("/")[0]
    info = _Info(version, "containerd", root, system.platform(), address, "containerd", namespace)
    return Containerd(system, command, content, info)


def _probe(path: str, address: str) -> None:
    """Connect to the socket and close it again: `ctr` waits for one that is not there."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(REACHED)
            connection.connect(path)
    except OSError as error:
        hint = "run as root" if isinstance(error, PermissionError) else _START
        what = f"containerd cannot be reached: {error.strerror or error}"
        raise EngineError(what, where=address, hint=hint) from error


def _answer(system: System, address: str, command: Sequence[str], *words: str) -> str:
    ended = system.run([*command, *words], timeout=ANSWER)
    if not ended.ok:
        raise EngineError(
            f"containerd does not answer: {ended.reason(Secrets())}", where=address, hint=_START
        )
    return ended.stdout.decode("utf-8", "replace")


def _value(text: str, name: str) -> str:
    """Return the rest of the first line that starts with `name`."""
    lines = (line.strip() for line in text.splitlines())
    return next((line[len(name) :].strip() for line in lines if line.startswith(name)), "")


def _familiar(name: str) -> str:
    return name if _ID.fullmatch(name) or reference_fault(name) else familiar(name)
