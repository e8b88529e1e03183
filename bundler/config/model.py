"""The checked content of bundle.yaml: the only input of `create`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from bundler.image_sources.base import ImageEntry
from installer.core.errors import Problem
from installer.core.format.manifest import Deployment, HealthCheck, Kind
from installer.core.semver import Version


@dataclass(frozen=True, slots=True)
class InputFile:
    """A single file of the bundle.

    Attributes:
        given: Its path in bundle.yaml, placeholders filled in, for messages.
        source: Its path on this machine.
        member: Its bundle path.
        kind: Its purpose.
        mode: Permission bits on the host.
        install: Its path on the host; empty if it stays in the release directory.
        owner: `user:group`; empty for root.
        platform: `os/arch`; empty for all.
        line: Of bundle.yaml.
    """

    given: str
    source: Path
    member: str
    kind: Kind
    mode: int = 0o644
    install: str = ""
    owner: str = ""
    platform: str = ""
    line: int = 0


# Named tuples: a tree may have 250,000 of them, and they sort by path.
class TreeFile(NamedTuple):
    """A regular file of a tree: its path in the tree, size and mode."""

    path: str
    size: int
    mode: int


class TreeLink(NamedTuple):
    """A symbolic link of a tree: its path in the tree, and its relative target."""

    path: str
    target: str


class TreeDirectory(NamedTuple):
    """A directory of a tree: its path in the tree, its mode, and whether nothing is in it."""

    path: str
    mode: int
    empty: bool


@dataclass(frozen=True, slots=True)
class InputTree:
    """A directory of the bundle with its content, each list sorted bytewise.

    Attributes:
        given: Its path in bundle.yaml, placeholders filled in.
        source: Its path on this machine.
        member: `trees/<name>`.
        install: The directory on the host; empty if it stays in the release directory.
        line: Of bundle.yaml.
        files: Regular files.
        links: Symbolic links.
        directories: Directories below the tree's own.
    """

    given: str
    source: Path
    member: str
    install: str = ""
    line: int = 0
    files: tuple[TreeFile, ...] = ()
    links: tuple[TreeLink, ...] = ()
    directories: tuple[TreeDirectory, ...] = ()


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """bundle.yaml for one version, with every check passed.

    Attributes:
        directory: Directory of bundle.yaml.
        product: The product's name.
        version: The version.
        sequence: The sequence number, given or implied by the version.
        platforms: `os/arch` each; limited by `--platform`.
        expires: Seconds from creation.
        compression: Of image layers that come uncompressed.
        items: All single files, unique by member, in the order of bundle.yaml.
        trees: Directories.
        images: Image sources.
        deploy: Steps, with bundle paths in their options.
        health: Probes.
        rollback: Bundle path of the rollback plan; empty if there is none.
        values: Bundle path of the defaults; empty if there is none.
        values_schema: Bundle path of the values' schema; empty if there is none.
        release_notes: The changelog's section of this version.
        upgrade_from: The least version that a host must run to be upgraded; empty: any.
        sha256: Of the bytes of bundle.yaml, in hex.
        warnings: What should be known, but does not prevent a bundle.
    """

    directory: Path
    product: str
    version: Version
    sequence: int
    platforms: tuple[str, ...]
    expires: int
    compression: Literal["zstd", "gzip", "none"]
    items: tuple[InputFile, ...]
    trees: tuple[InputTree, ...]
    images: tuple[ImageEntry, ...]
    deploy: tuple[Deployment, ...]
    health: tuple[HealthCheck, ...]
    rollback: str = ""
    values: str = ""
    values_schema: str = ""
    release_notes: str = ""
    upgrade_from: str = ""
    sha256: str = ""
    warnings: tuple[Problem, ...] = ()
