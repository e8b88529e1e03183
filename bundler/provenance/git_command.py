"""Run git so that no settings, of the user or of the repository, change its answers or start programs.

Whoever made a repository wrote its configuration, too: hooks, filters, monitors and transports in it are
programs. None of them is run.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from installer.shared.child.environment import child_environment

_SECONDS = 60
_MOST_FILTERS = 100
_SETTINGS = (
    "core.fsmonitor=false",  # a program that is asked for changes
    "core.hooksPath=/dev/null",  # `post-index-change` runs whenever an index is written
    "core.untrackedCache=false",  # what an earlier git remembered of other files
    "core.splitIndex=false",  # a part of a private index would be written into the repository
)
_ENVIRONMENT = {
    "LC_ALL": "C",  # messages are compared
    "GIT_OPTIONAL_LOCKS": "0",  # a refreshed index would be written into the repository
    "GIT_NO_REPLACE_OBJECTS": "1",  # `git replace` shows another commit in place of the recorded one
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone would fetch what it lacks
    "GIT_ALLOW_PROTOCOL": "",  # the same for a git older than 2.45: it connects by no protocol
    "GIT_TERMINAL_PROMPT": "0",
}


class GitError(Exception):
    """Git could not answer; the text is the first line of its reason.

    Attributes:
        status: Its exit status; -1 if it has none.
    """

    def __init__(self, reason: str, status: int = -1) -> None:
        super().__init__(reason)
        self.status = status


def run(directory: Path | str, *words: str, stdin: bytes = b"", index: Path | None = None) -> str:
    """Run a git command that starts no program of the repository.

    Args:
        directory: Where it runs.
        words: The command. It must not compare the content of files: see `without_filters`.
        stdin: Its standard input.
        index: Another index than that of the repository.

    Returns:
        Its output without the last line feed; bytes that are not UTF-8 as `os.fsdecode` has them.

    Raises:
        GitError: It failed, is not installed, or did not end within a minute.
    """
    # GIT_DIR and its like would make git look at another repository.
    environment = {key: value for key, value in child_environment().items() if not key.startswith("GIT_")}
    environment |= _ENVIRONMENT | ({"GIT_INDEX_FILE": str(index)} if index else {})
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    command = ["git", "--no-pager", *settings, "-C", os.fspath(directory), *words]
    return _output(command, environment, stdin)


def _output(command: list[str], environment: Mapping[str, str], stdin: bytes) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_SECONDS, check=False, env=environment, input=stdin
        )
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git did not answer in {_SECONDS} seconds") from None
    except (OSError, ValueError) as error:
        raise GitError(f"git cannot be run: {getattr(error, 'strerror', None) or error}") from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[0] if lines else f"git ended with exit status {done.returncode}"
        raise GitError(reason[:200], done.returncode)
    return os.fsdecode(done.stdout).removesuffix("\n")


def ask(directory: Path | str, *words: str) -> str:
    """Run a git command whose failure means that there is nothing to say; arguments as `run`."""
    try:
        return run(directory, *words)
    except GitError:
        return ""


def without_filters(directory: Path | str) -> tuple[str, ...]:
    """Return options of git that turn off all filters, which are programs that convert the content of files.

    Filters of the user are turned off, too: that of Git LFS runs what the repository's configuration names.

    Args:
        directory: A directory of the checkout.

    Raises:
        GitError: Git cannot list them, one has a name that no option can give, or there are too many.
    """
    try:
        listed = run(directory, "config", "-z", "--name-only", "--get-regexp", r"^filter\.")
    except GitError as error:
        # 1 says that there are none. After any other failure a filter could stay on.
        if error.status != 1:
            raise
        listed = ""
    names = set(_filters(listed))
    # `-c` ends the name of a setting at the first `=`; such a filter would stay on.
    if len(names) > _MOST_FILTERS or any("=" in name for name in names):
        raise GitError("the configuration of git has filters that cannot be turned off")
    # A required filter that does nothing is an error.
    values = (("clean", ""), ("process", ""), ("required", "false"))
    return tuple(
        word for name in sorted(names) for key, value in values for word in ("-c", f"{name}.{key}={value}")
    )


def _filters(listed: str) -> Iterator[str]:
    for key in listed.split("\0"):
        name = key.rpartition(".")[0]
        # `filter.clean` has no name in between, and is no filter.
        if "." in name:
            yield name


def contains(top: Path | str, directory: Path | str) -> bool:
    """Return whether a directory is the top of a checkout or below it; both without links."""
    return os.path.commonpath([os.fspath(top), os.fspath(directory)]) == os.fspath(top)
