"""bundle.json as data: what a bundle carries and how it is deployed.

The dataclasses are the format. `manifest_json.parse` accepts exactly their keys, types and limits;
`schemas/v1/bundle.schema.json` describes the same for editors and other languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from installer.core.format.entries.config_file import NOTHING, OnChange

SCHEMA = "waybill/bundle/v1"
SUMS = "SHA256SUMS"
MANIFEST = "bundle.json"
BLOBS = "images/blobs/sha256/"
"""The directory of image blobs, in the bundle and in the directory of a release."""
SECTIONS = ("sbom", "docs", "config", "deploy", "bin", "trees", "images")
"""The sections of the tar in their order, after SHA256SUMS and bundle.json."""

MAJORITY = "majority"
"""The quorum of more than half of the peers."""

Kind = Literal[
    "binary", "tree", "template", "values", "schema", "doc", "unit", "compose", "script", "deploy", "image",
    "sbom", "sysusers", "tmpfiles", "modules", "sysctl", "udev", "podman", "user-unit",
    "chart", "playbook", "tool", "licence", "ansible-core", "kubernetes",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
LayerOf = Literal["environment", "cluster"]
LAYERS_OF: tuple[str, ...] = get_args(LayerOf)
SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
"""The name of an environment or a cluster."""
SITE_NAME_FORM = "a name of at most 32 lower-case letters, digits and hyphens"


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
        validate: The command that checks a template as it was rendered, before anything is changed; empty for
            none.
        on_change: What happens once a rendered template has changed on the host.
        timeout: Seconds that each of these commands may take; 0 where the file does not say it.
        capabilities: That the file gets on the host, in the one form of `capabilities.canonical`.
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
    validate: tuple[str, ...] = ()
    on_change: OnChange = NOTHING
    timeout: int = 0
    capabilities: str = ""

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
    """A directory of a tree with its mode; only those that are empty, not 0755, or not of root are listed."""

    path: str
    mode: int
    install: str = ""
    owner: str = ""


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
class Attachment:
    """A manifest that belongs to an image and is none, such as a signature or an attestation.

    Attributes:
        manifest: Its digest.
        blobs: Digests of its configuration and layers, each once.
        tag: The tag by which tools find it next to the image; empty for none.
        subject: Digest of what it refers to by OCI 1.1, by which registries find it; empty where it does not,
            or where a tag or the index of the image leads to it.
    """

    manifest: str
    blobs: tuple[str, ...]
    tag: str = ""
    subject: str = ""

    @property
    def is_listed(self) -> bool:
        """Whether the index of the image lists it."""
        return not self.tag and not self.subject


@dataclass(frozen=True, slots=True)
class WholeImage:
    """An image as its maker pushed it: for all its platforms, with what belongs to it.

    Attributes:
        reference: The name and tag of its entries in `images`, one for each platform.
        digest: Of its index; of its manifest where it has none, being for one platform.
        attached: What belongs to it and is no image.
    """

    reference: str
    digest: str
    attached: tuple[Attachment, ...] = ()

    @property
    def documents(self) -> tuple[str, ...]:
        """Digests of its index and of the manifests that belong to it."""
        return (self.digest, *(each.manifest for each in self.attached))


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
        kind: `http`, `tcp`, `command`, `container`, `unit` or `prometheus`.
        target: URL, `host:port`, or the name of a container or unit; empty for a command.
        command: The words of a command; empty for the others.
        within: Seconds in which it has to pass for the first time.
        stable: Seconds for which it then has to keep passing.
        status: Expected HTTP status, where `statuses` is empty.
        when: Probed only if this method is run; empty for always.
        statuses: Expected HTTP statuses, each a number or a range such as `200-299`.
        body: Text that the body of the answer contains; empty for any body.
        headers: `Name: text` each; the header of the answer contains the text.
        ca: Host path of the certificates that may have signed the server's own; empty for those of the host.
        unix: Host path of the socket that the request is sent to; empty for the address in the URL.
        query: The query that a Prometheus server answers.
        min: The least value that each sample of the result may have, a decimal number; empty for any.
        max: The largest one.
        equals: The only one.
        start_period: Seconds after the start that `within` does not count, nor does a restart of a service.
    """

    kind: Literal["http", "tcp", "command", "container", "unit", "prometheus"]
    target: str
    command: tuple[str, ...] = ()
    within: int = 60
    stable: int = 0
    status: int = 200
    when: str = ""
    statuses: tuple[str, ...] = ()
    body: str = ""
    headers: tuple[str, ...] = ()
    ca: str = ""
    unix: str = ""
    query: str = ""
    min: str = ""
    max: str = ""
    equals: str = ""
    start_period: int = 0


@dataclass(frozen=True, slots=True)
class ValuesLayer:
    """Values for the hosts of one environment or cluster; they override the defaults.

    Attributes:
        layer: Whether `name` is that of an environment or of a cluster.
        name: Its name.
        path: Bundle path of the values file.
    """

    layer: LayerOf
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ClusterNeeds:
    """What a release expects of the cluster that its host belongs to.

    Attributes:
        peers: The key, with dots, of the value that lists the peers.
        node: The key of the value that names this host among them; empty: they know it by its host name.
        port: The port of a peer that has none of its own; 0: each peer has to have one.
        check: What is looked at of each peer before a change: `resolve` its address, `connect` to its port,
            or whether it is `seen` by mDNS.
        quorum: How many peers have to answer: a number, or `majority`; empty: not checked.
        mdns: The type of the service that peers announce, such as `_lan-chat._tcp`; empty: none.
    """

    peers: str
    node: str = ""
    port: int = 0
    check: Literal["resolve", "connect", "seen"] = "connect"
    quorum: str = ""
    mdns: str = ""

    def quorum_of(self, count: int) -> int:
        """Return how many of `count` peers have to answer; 0 where that is not checked."""
        if self.quorum == MAJORITY:
            return count // 2 + 1
        return int(self.quorum or 0)


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
        whole_images: Those of them that are as their makers pushed them.
        deploy: In the order in which methods run.
        health: Probes.
        rollback: Bundle path of the rollback plan; empty where there is none.
        values: Bundle path of the values' defaults; empty where there is none.
        values_schema: Bundle path of the values' schema; empty where there is none.
        values_layers: Values for single environments and clusters, by `layer`, then by `name`.
        source: The source it was created from.
        upgrade_from: The lowest version that can be upgraded to this one; empty: any.
        cluster: What it expects of the cluster of its host; None for nothing.
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
    whole_images: tuple[WholeImage, ...] = ()
    deploy: tuple[Deployment, ...] = ()
    health: tuple[HealthCheck, ...] = ()
    rollback: str = ""
    values: str = ""
    values_schema: str = ""
    values_layers: tuple[ValuesLayer, ...] = ()
    source: Source = Source()
    upgrade_from: str = ""
    cluster: ClusterNeeds | None = None

    def for_platform(self, platform: str) -> Iterator[FileEntry]:
        """Return the files that a host of `platform` (`os/arch`) needs."""
        return (entry for entry in self.files if entry.platform in ("", platform))

    def of_kind(self, *kinds: Kind) -> Iterator[FileEntry]:
        """Return the files of these kinds, in order."""
        return (entry for entry in self.files if entry.kind in kinds)


def blob_path(digest: str) -> str:
    """Return the bundle path of an OCI blob from its `sha256:…` digest."""
    return BLOBS + digest.removeprefix("sha256:")
