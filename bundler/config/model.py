"""The checked content of bundle.yaml: the only input of `create`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from bundler.config.secrets.allowances import Allowed
from bundler.image_sources.base import ImageEntry
from installer.core.errors import Problem
from installer.core.format.manifest import Kind, Manifest


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
        left_out: Leftovers of desktops and editors, which are not shipped.
        exclude: The patterns of `exclude`.
        excluded: Files and directories that a pattern excluded.
        idle: Patterns that excluded nothing.
    """

    given: str
    source: Path
    member: str
    install: str = ""
    line: int = 0
    files: tuple[TreeFile, ...] = ()
    links: tuple[TreeLink, ...] = ()
    directories: tuple[TreeDirectory, ...] = ()
    left_out: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """bundle.yaml for one version, with every check passed.

    Attributes:
        directory: Directory of bundle.yaml.
        manifest: What the manifest has from bundle.yaml; time, files and images come later.
        expires: Seconds from creation.
        compression: Of image layers that come uncompressed.
        items: All single files, unique by member, in the order of bundle.yaml.
        trees: Directories.
        images: Image sources.
        release_notes: The changelog's section of this version.
        sha256: Of the bytes of bundle.yaml, in hex.
        warnings: What should be known, but does not prevent a bundle.
        allowed: Findings that `secrets_allow` lets through.
    """

    directory: Path
    manifest: Manifest
    expires: int
    compression: Literal["zstd", "gzip", "none"]
    items: tuple[InputFile, ...]
    trees: tuple[InputTree, ...]
    images: tuple[ImageEntry, ...]
    release_notes: str = ""
    sha256: str = ""
    warnings: tuple[Problem, ...] = ()
    allowed: tuple[Allowed, ...] = ()
