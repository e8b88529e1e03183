"""bundle.json as data: what a bundle carries and how it is deployed.

The dataclasses are the format. `manifest_json.parse` accepts exactly their keys, types and limits;
`schemas/v1/bundle.schema.json` describes the same for editors and other languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

SCHEMA = "waybill/bundle/v1"
SUMS = "SHA256SUMS"
MANIFEST = "bundle.json"
BLOBS = "images/blobs/sha256/"
"""The directory of image blobs, in the bundle and in the directory of a release."""
SECTIONS = ("sbom", "docs", "config", "deploy", "bin", "trees", "images")
"""The sections of the tar in their order, after SHA256SUMS and bundle.json."""

Kind = Literal[
    "binary", "tree", "template", "values", "schema", "doc", "unit", "compose", "script", "deploy", "image",
    "sbom",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One regular file of the bundle.

    Attributes:
        path: Its true name: what people see, what others refer to, and where it is in a release's directory.
        size: Bytes in the bundle.
        sha256: Of those bytes, in hex.
        mode: Permission bits; masked 0755 in the tar, on the host exactly these. Never setuid or the like.
        kind: What it is for.
        install: Its destination on the host; empty if it stays in the directory of the release.
        owner: `user:group` on the host; empty for root.
        platform: `os/arch` that it is for; empty for all.
        expanded: Bytes after decompression, for compressed image layers; 0 otherwise.
        member: Its encoded name, where `path` does not fit a tar header (`member_names.encode_name`).
    """

    path: str
    size: int
    sha256: str
    mode: int
    kind: Kind
    install: str = ""
    owner: str = ""
    platform: str = ""
    expanded: int = 0
    member: str = ""

    @property
    def tar_name(self) -> str:
        """Its name in the tar and in SHA256SUMS."""
        return self.member or self.path


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A symbolic link: `path` in the release's directory, or `install` on the host, points to `target`."""

    path: str
    target: str
    install: str = ""


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A directory of a tree with its mode; only those that are empty or not 0755 are listed."""

    path: str
    mode: int
    install: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an image.

    Attributes:
        digest: Of the stored bytes, `sha256:…`; the blob is `images/blobs/sha256/…`.
        size: Of the stored bytes.
        media_type: OCI or Docker media type of the stored bytes.
        diff_id: Digest of the uncompressed layer.
        expanded: Size of the uncompressed layer.
    """

    digest: str
    size: int
    media_type: str
    diff_id: str
    expanded: int


@dataclass(frozen=True, slots=True)
class Image:
    """One image for one platform.

    Attributes:
        reference: The name and tag it is known by, `name:tag`.
        platform: `os/arch` or `os/arch/variant`.
        config: Digest of its configuration: the image id of Docker's classic store.
        manifest: Digest of its manifest: the image id of the containerd store.
        layers: From the lowest to the uppermost.
    """

    reference: str
    platform: str
    config: str
    manifest: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry of `deploy`, in order.

    Attributes:
        method: One of `methods.NAMES`.
        options: What the method is told; paths are bundle paths. Keys are checked by the method.
        optional: Run only if `--only` names it.
    """

    method: str
    options: dict[str, Any]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One probe.

    Attributes:
        kind: `http`, `tcp`, `command` or `container`.
        target: URL, `host:port` or container name; empty for a command.
        command: The words of a command; empty for the others.
        within: Seconds in which it has to pass for the first time.
        stable: Seconds for which it then has to keep passing.
        status: Expected HTTP status.
        when: Probed only if this method is run; empty for always.
    """

    kind: Literal["http", "tcp", "command", "container"]
    target: str
    command: tuple[str, ...] = ()
    within: int = 60
    stable: int = 0
    status: int = 200
    when: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The source of the release according to git; empty without git.

    Attributes:
        commit: Full commit id.
        tag: Tag that points to it.
        dirty: Whether the work tree had changes.
    """

    commit: str = ""
    tag: str = ""
    dirty: bool = False

    def text(self) -> str:
        """Return it in words."""
        if not self.commit:
            return "not recorded"
        tag = f", tag {self.tag}" if self.tag else ""
        return f"commit {self.commit}{tag}" + (", with uncommitted changes" if self.dirty else "")


@dataclass(frozen=True, slots=True)
class Manifest:
    """bundle.json.

    Attributes:
        product: Name, `[a-z0-9][a-z0-9-]*`.
        version: Semantic version without `v`.
        sequence: Number that rises with every release; a lower one is a downgrade.
        created: Seconds since 1970, UTC; the mtime of every member.
        expires: Seconds since 1970, UTC; after it the bundle is not installed any more.
        platforms: `os/arch` each.
        files: In the order of the tar.
        links: Symbolic links.
        directories: Directories with modes of their own.
        images: Images, in the order of bundle.yaml.
        deploy: In the order in which methods run.
        health: Probes.
        rollback: Bundle path of the rollback plan; empty where there is none.
        values: Bundle path of the values' defaults; empty where there is none.
        values_schema: Bundle path of the values' schema; empty where there is none.
        source: The source it was created from.
        upgrade_from: The lowest version that can be upgraded to this one; empty: any.
    """

    product: str
    version: str
    sequence: int
    created: int
    expires: int
    platforms: tuple[str, ...]
    files: tuple[FileEntry, ...]
    links: tuple[LinkEntry, ...] = ()
    directories: tuple[DirectoryEntry, ...] = ()
    images: tuple[Image, ...] = ()
    deploy: tuple[Deployment, ...] = ()
    health: tuple[HealthCheck, ...] = ()
    rollback: str = ""
    values: str = ""
    values_schema: str = ""
    source: Source = Source()
    upgrade_from: str = ""

    def for_platform(self, platform: str) -> Iterator[FileEntry]:
        """Return the files that a host of `platform` (`os/arch`) needs."""
        return (entry for entry in self.files if entry.platform in ("", platform))

    def of_kind(self, *kinds: Kind) -> Iterator[FileEntry]:
        """Return the files of these kinds, in order."""
        return (entry for entry in self.files if entry.kind in kinds)


def blob_path(digest: str) -> str:
    """Return the bundle path of an OCI blob from its `sha256:…` digest."""
    return BLOBS + digest.removeprefix("sha256:")
