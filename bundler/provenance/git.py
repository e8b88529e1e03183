"""Ask git about the inputs of a release: commit, tag, repository, and uncommitted changes."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundler.provenance.submodules import missing
from bundler.provenance.tags import ReleaseName
from installer.core.format.manifest import Source
from installer.core.timestamps import format_seconds
from installer.shared.child_env import child_environment

_SCP = re.compile(r"(?:[^@/:]+@)?([^/:]+):(?!//)(.+)")
_FOREIGN = re.compile(r"dubious ownership in repository at '(.+)'")
_SECONDS = 60


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
        inputs: Files that go into the bundle.
        name: What the tag has to name; None: no tag is looked for.

    Returns:
        The checkout. Without git, or without a commit, `unknown` has the reason.
    """
    # `--no-show-signature`: a setting of the user would add lines about signatures.
    head, error = _git(directory, "log", "-1", "--no-show-signature", "--format=%H %ct")
    if not head:
        match = _FOREIGN.search(error)
        foreign = match[1] if match else ""
        return Checkout(unknown=_reason(error), foreign=foreign, has_repository=_has_repository(directory))
    commit, _, time = head.partition(" ")
    # All of them, and not the one that `git describe` prefers: it may name another product or version.
    listed, _ = _git(directory, "tag", "--points-at", "HEAD")
    tags = tuple(sorted(listed.splitlines()))
    origin, _ = _git(directory, "config", "--get", "remote.origin.url")
    top, _ = _git(directory, "rev-parse", "--show-toplevel")
    return Checkout(
        commit,
        int(time),
        name.choose(tags) if name else "",
        plain_url(origin),
        _changed(directory, top, inputs),
        tags=tags,
        submodules=tuple(f"{top}/{path}" for path in missing(top, _git)),
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


def _changed(directory: Path, top: str, inputs: Iterable[str]) -> tuple[str, ...]:
    output, error = _git(directory, "status", "--porcelain=v1", "-z", "--untracked-files=all")
    if error:
        return ("(git status failed)",)
    # A repository may have several products: only changes below this one's directory count.
    below = _inside(top, directory)
    rows = list(_rows(output))
    # Untracked files count only if they go into the bundle: build output lies next to the sources.
    changed = {path for state, path in rows if state != "??" and f"{path}/".startswith(below)}
    others = {path for _, path in rows} - changed
    if others:
        listed = {path for each in inputs if (path := _inside(top, Path(each)).rstrip("/"))}
        changed |= others & listed
    return tuple(sorted(changed))


def _rows(output: str) -> Iterable[tuple[str, str]]:
    """Parse `git status -z`; both names of a rename count."""
    words = iter(output.split("\0"))
    for word in words:
        if len(word) < 4:
            continue
        yield word[:2], word[3:]
        # The old name follows as a word of its own.
        if word[0] in "RC":
            yield word[:2], next(words, "")


def _inside(top: str, path: Path) -> str:
    """Return a path from the top of the checkout, with a slash at its end; empty for the top or outside."""
    # The parent is resolved and the name is not: an input that is a link counts as the link.
    relative = os.path.relpath(f"{_real(path.parent)}/{path.name}", top)
    return "" if relative == "." or relative.startswith("..") else f"{relative}/"


@functools.lru_cache(maxsize=4096)
def _real(directory: Path) -> str:
    return os.path.realpath(directory)


def _reason(error: str) -> str:
    if "not a git repository" in error:
        return "not a git repository"
    if "does not have any commits" in error or "bad default revision" in error:
        return "the git repository has no commit yet"
    if "dubious ownership" in error:
        return "git refuses a checkout that belongs to another user"
    return error or "git printed nothing"


def _has_repository(directory: Path) -> bool:
    """Return whether git would find a repository; asked without git, which may not be installed."""
    real = Path(_real(directory))
    return any(os.path.lexists(each / ".git") for each in (real, *real.parents))


def _git(directory: Path, *words: str) -> tuple[str, str]:
    """Run git; return its output, or why it failed. No program of the repository is run."""
    # GIT_DIR and its like would make git look at another repository.
    environment = {key: value for key, value in child_environment().items() if not key.startswith("GIT_")}
    # fsmonitor is a program that the repository's own configuration can name.
    command: Sequence[str] = ["git", "-c", "core.fsmonitor=false", "-C", str(directory), *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            # Messages are compared below; optional locks would write into the repository.
            env=environment | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
        )
    except FileNotFoundError:
        return "", "git is not installed"
    except subprocess.TimeoutExpired:
        return "", f"git did not answer in {_SECONDS} seconds"
    except OSError as error:
        return "", f"git cannot be run: {error.strerror}"
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return "", (lines[0] if lines else f"git ended with exit status {done.returncode}")[:200]
    return done.stdout.decode("utf-8", "backslashreplace").strip("\n"), ""
