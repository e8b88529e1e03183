"""Ask git about the inputs of a release: commit, tag, repository, and uncommitted changes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundler.provenance.changes import changed_paths
from bundler.provenance.git_command import GitError, ask, contains, run
from bundler.provenance.submodules import missing
from bundler.provenance.tags import ReleaseName
from installer.core.format.manifest import Source
from installer.core.timestamps import format_seconds

_SCP = re.compile(r"(?:[^@/:]+@)?([^/:]+):(?!//)(.+)")
_FOREIGN = re.compile(r"dubious ownership in repository at '(.+)'")


@dataclass(frozen=True, slots=True)
class Checkout:
    """The git checkout of bundle.yaml.

    Attributes:
        commit: Full commit id; empty if there is none.
        time: The commit's time, in seconds since 1970; None if there is none.
        tag: The tag of the commit that names this release.
        repository: The URL of `origin`, without a user's name, password or token; empty if there is none.
        changed: Tracked files below the directory that differ from the commit, and inputs that git neither
            tracks nor ignores; paths from the top of the checkout, sorted.
        unknown: Why nothing is recorded; empty otherwise.
        tags: All tags of the commit, sorted.
        submodules: Submodules that are not initialised, as absolute paths, sorted.
        foreign: The checkout that git refuses to read because of its owner; empty otherwise.
        is_clone: Whether it has an `origin`.
        has_repository: Whether there is a repository, even if git cannot read it.
    """

    commit: str = ""
    time: int | None = None
    tag: str = ""
    repository: str = ""
    changed: tuple[str, ...] = ()
    unknown: str = ""
    tags: tuple[str, ...] = ()
    submodules: tuple[str, ...] = ()
    foreign: str = ""
    is_clone: bool = False
    has_repository: bool = False

    @property
    def source(self) -> Source:
        """The entry in the manifest."""
        return Source(self.commit, self.tag, bool(self.changed))

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        names = ("commit", "tag", "repository", "unknown")
        return {
            **{name: getattr(self, name) or None for name in names},
            "time": None if self.time is None else format_seconds(self.time),
            "changed": list(self.changed),
            "tags": list(self.tags),
        }

    def as_text(self) -> str:
        """Return it as a line for people."""
        if not self.commit:
            return f"not recorded: {self.unknown}"
        names = ", ".join(self.changed[:5]) + (", …" if len(self.changed) > 5 else "")
        tag = f", tag {self.tag}" if self.tag else ", no tag"
        return f"commit {self.commit}{tag}, " + (f"uncommitted changes: {names}" if names else "clean")


def inspect_checkout(
    directory: Path, inputs: Iterable[str] = (), name: ReleaseName | None = None
) -> Checkout:
    """Ask git about the checkout of a directory.

    Args:
        directory: Of bundle.yaml.
        inputs: Files that go into the bundle or decide about it, and directories of which all may go in.
        name: What the tag has to name; None: no tag is looked for.

    Returns:
        The checkout. Without git, or without a commit, `unknown` has the reason.
    """
    try:
        # The files are looked at last: what is wrong with the repository is the better reason.
        time, _, commit = run(directory, "rev-list", "--timestamp", "--max-count=1", "HEAD", "--").partition(
            " "
        )
    except GitError as error:
        match = _FOREIGN.search(str(error))
        foreign = match[1] if match else ""
        return Checkout(
            unknown=_reason(str(error)), foreign=foreign, has_repository=_has_repository(directory)
        )
    top = ask(directory, "rev-parse", "--show-toplevel")
    # `core.worktree` can name other files: what git says of them would be said of these.
    if not top or not contains(top, os.path.realpath(directory)):
        return Checkout(unknown="the git repository is that of other files", has_repository=True)
    # All of them, and not the one that `git describe` prefers: it may name another product or version. No
    # setting changes this output, unlike that of `git tag`.
    listed = ask(directory, "for-each-ref", "--points-at=HEAD", "--format=%(refname:strip=2)", "refs/tags")
    # A name that is not UTF-8 could not be printed; it names no version.
    tags = tuple(sorted(os.fsencode(tag).decode("utf-8", "backslashreplace") for tag in listed.splitlines()))
    origin = ask(directory, "config", "--get", "remote.origin.url")
    return Checkout(
        commit,
        int(time),
        name.choose(tags) if name else "",
        plain_url(origin),
        changed_paths(directory, top, inputs),
        tags=tags,
        submodules=tuple(f"{top}/{path}" for path in missing(top)),
        is_clone=bool(origin),
        has_repository=True,
    )


def plain_url(origin: str) -> str:
    """Return the URL of a repository in one form, without anything secret in it; empty for a local path.

    Args:
        origin: As git has it: `https://token@host/path.git`, `user@host:path.git`, `/srv/git/path`.
    """
    if not origin.isprintable() or " " in origin:
        return ""
    if "://" not in origin:
        match = _SCP.fullmatch(origin)
        if match is None:
            return ""
        # One form for one repository: a policy compares text.
        origin = f"ssh://{match[1]}/{match[2].lstrip('/')}"
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("https", "http", "ssh", "git") or not host:
        return ""
    at = f"{host}:{port}" if port else host
    # Rebuilt from its parts: user, password and token are left out, and query and fragment, too.
    return f"{parts.scheme}://{at}{parts.path.rstrip('/').removesuffix('.git')}"


def _reason(error: str) -> str:
    if "not a git repository" in error:
        return "not a git repository"
    if "bad revision 'HEAD'" in error:
        return "the git repository has no commit yet"
    if "dubious ownership" in error:
        return "git refuses a checkout that belongs to another user"
    return error


def _has_repository(directory: Path) -> bool:
    """Return whether git would find a repository; asked without git, which may not be installed."""
    real = Path(os.path.realpath(directory))
    return any(os.path.lexists(each / ".git") for each in (real, *real.parents))
