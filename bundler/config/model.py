"""The checked content of bundle.yaml: the only input of `create`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from bundler.config.globs import Glob
from bundler.config.secrets.allowances import Allowances, Allowed
from bundler.config.used_images.use import ImageUse
from bundler.image_sources.base import ImageEntry
from installer.core.errors import Problem
from installer.core.format.entries.config_file import NOTHING, OnChange
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
        validate: The command that checks it on the host; empty for none.
        on_change: What happens once it has changed on the host.
        timeout: Seconds that each of these commands may take; 0 where bundle.yaml does not say it.
        capabilities: That it gets on the host, as `setcap` takes them; empty for none.
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
    validate: tuple[str, ...] = ()
    on_change: OnChange = NOTHING
    timeout: int = 0
    capabilities: str = ""


# Named tuples: a tree may have 250,000 of them, and they sort by path.
class TreeFile(NamedTuple):
    """A regular file of a tree: its path in the tree, its size, and what it has on the host."""

    path: str
    size: int
    mode: int
    owner: str = ""
    capabilities: str = ""


class TreeLink(NamedTuple):
    """A symbolic link of a tree: its path in the tree, and its relative target."""

    path: str
    target: str


class TreeDirectory(NamedTuple):
    """A directory of a tree: its path in the tree, its mode and owner, and whether nothing is in it."""

    path: str
    mode: int
    empty: bool
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an entry of `attributes` says of files and directories of a tree.

    Attributes:
        glob: Which ones.
        where: `bundle.yaml:LINE`.
        mode: Their permission bits, for directories with setgid and sticky bit; None where it says none.
        owner: `user:group`; empty where it says none.
        capabilities: Of files, as `setcap` takes them; empty for none.
    """

    glob: Glob
    where: str
    mode: int | None = None
    owner: str = ""
    capabilities: str = ""


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
        attributes: What is said of modes and the like; where several match, the last one counts.
        private: Files that others cannot read here, and can on the host.
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
    attributes: tuple[Attributes, ...] = ()
    private: tuple[str, ...] = ()


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
        for_images: The exceptions for files of images.
        skip_images: Why images are not searched for secrets; empty if they are.
        pins: Uses of images by their digests, which are compared when the images are found.
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
    for_images: Allowances = field(default_factory=Allowances)
    skip_images: str = ""
    pins: tuple[ImageUse, ...] = ()

    @property
    def exceptions(self) -> tuple[Allowed, ...]:
        """All exceptions, for the record in the bundle.

        What one for images lets through is known when they are packed. The record is written before, and
        names the exception itself.
        """
        skipped = (
            (Allowed("images", "not searched for secrets", self.skip_images),) if self.skip_images else ()
        )
        return (*self.allowed, *(entry.in_images() for entry in self.for_images.entries), *skipped)
