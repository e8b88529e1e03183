"""List the content of a tree, and report what cannot be shipped."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace

from bundler.config.checks.inputs import carried_fault, name_hint
from bundler.config.globs import Glob
from bundler.config.model import InputTree, TreeDirectory, TreeFile, TreeLink
from bundler.config.secrets.allowances import Allowances
from installer.core.errors import Problem
from installer.core.format.member_names import encoded_name, fold_name, link_target_fault

# Setuid and setgid never travel; the sticky bit and write access for all would be a risk on the host.
_MODE_BITS = 0o775
_LEFTOVER = re.compile(
    r"\.DS_Store|\._.*|__MACOSX|\.Spotlight-V100|\.Trashes|\.fseventsd"  # macOS
    r"|Thumbs\.db|ehthumbs\.db|desktop\.ini"  # Windows
    r"|\..*\.sw[a-p]|.*~|\.#.*"  # Vim and Emacs
    r"|\.nfs[0-9a-f]{8,}|\.fuse_hidden[0-9a-f]+|\.directory"  # open files on network file systems, KDE
)
"""Names of what desktops and editors leave in a directory. No release means to ship it, and it tells names,
folders and unsaved text of whoever built the release."""
_HISTORIES = (".git", ".hg", ".svn", ".bzr")
_BARE_REPOSITORY = {"HEAD", "objects", "refs"}
# The same mistake in a thousand files is one mistake.
_MOST = 25


def leftovers_warning(tree: InputTree, where: str) -> Problem | None:
    """Return the warning about leftovers of desktops and editors in a tree, or None if it has none."""
    if not tree.left_out:
        return None
    shown = ", ".join(tree.left_out[:3]) + (", …" if len(tree.left_out) > 3 else "")
    return Problem(
        where,
        f"{tree.given} has files of desktops or editors, which are not shipped: "
        f"{len(tree.left_out)} ({shown})",
        "remove them; if the product needs one, rename it, or ship it inside an archive file",
        "leftovers",
    )


def excluded_warning(tree: InputTree, where: str) -> Problem | None:
    """Return the warning about patterns that exclude nothing, or None if all of them do."""
    if not tree.idle:
        return None
    shown = ", ".join(tree.idle[:3]) + (", …" if len(tree.idle) > 3 else "")
    what = f"exclude matches nothing in {tree.given}: {shown}"
    return Problem(where, what, "correct the pattern, or remove it", "exclude-matches-nothing")


def survey(tree: InputTree, where: str, allowances: Allowances) -> tuple[InputTree, list[Problem]]:
    """Walk a tree once.

    Args:
        tree: The tree, without its content.
        where: `bundle.yaml:LINE`, for problems of the tree as a whole.
        allowances: The exceptions of `secrets_allow`, here for repositories.

    Returns:
        The tree with its content, sorted bytewise, and at most 25 problems.
    """
    walk = _Walk(tree, allowances)
    walk.directory("")
    problems = walk.problems[:_MOST]
    if len(walk.problems) > _MOST:
        problems.append(
            Problem(where, f"{tree.given} has {len(walk.problems) - _MOST} more such problems", "")
        )
    if not walk.files and not problems:
        problems.append(Problem(where, f"{tree.given} contains no files", "check that the build completed"))
    surveyed = replace(
        tree,
        files=tuple(sorted(walk.files)),
        links=tuple(sorted(walk.links)),
        directories=tuple(sorted(walk.directories)),
        left_out=tuple(walk.left_out),
        excluded=tuple(walk.excluded),
        idle=tuple(glob.pattern for glob in walk.globs if glob.pattern not in walk.used),
    )
    return surveyed, problems


class _Walk:
    def __init__(self, tree: InputTree, allowances: Allowances) -> None:
        self.tree = tree
        self.globs = [Glob(pattern) for pattern in tree.exclude]
        self.used: set[str] = set()
        self.excluded: list[str] = []
        self._allowances = allowances
        self.files: list[TreeFile] = []
        self.links: list[TreeLink] = []
        self.directories: list[TreeDirectory] = []
        self.problems: list[Problem] = []
        self.left_out: list[str] = []
        self._folded: dict[str, str] = {}

    def directory(self, relative: str) -> bool:
        """Add one directory; return whether anything is in it."""
        any_entry = False
        entries = list(self._entries(relative))
        if self._history(relative, {entry.name for entry in entries}):
            return True
        for entry in entries:
            path = f"{relative}/{entry.name}" if relative else entry.name
            # Before anything else is said of it: what the author excludes can be as it likes.
            if self._is_excluded(entry, path):
                self.excluded.append(path)
                continue
            # Such a file is nobody's mistake.
            if _LEFTOVER.fullmatch(entry.name):
                self.left_out.append(path)
                continue
            any_entry = True
            if not self._name_fits(path):
                continue
            try:
                self._entry(entry, path)
            except OSError as error:
                self._problem(path, f"cannot be read: {error.strerror}", "check its owner and permissions")
        return any_entry

    def _is_excluded(self, entry: os.DirEntry[str], path: str) -> bool:
        if not self.globs:
            return False
        is_directory = entry.is_dir(follow_symlinks=False)
        # All of them are asked: none is called idle because an earlier one matched, too.
        matching = [glob.pattern for glob in self.globs if glob.matches(path, is_directory=is_directory)]
        self.used.update(matching)
        return bool(matching)

    def _history(self, relative: str, names: set[str]) -> bool:
        """Report a directory that is the repository of a checkout, or a bare one; nothing in it is read."""
        shown = f"{self.tree.given}/{relative}" if relative else self.tree.given
        is_named = relative.rpartition("/")[2] in _HISTORIES
        if not is_named and not _BARE_REPOSITORY.issubset(names):
            return False
        # It has every version of every file, also what was removed because it was secret.
        if self._allowances.let_through(shown, ["the history of a repository"]):
            return False
        name = relative.rpartition("/")[2]
        hint = f"leave it out with exclude: [{name}/]" if relative else "ship a checkout of the repository"
        self._problem(
            relative,
            "contains the history of a repository, with everything that was ever committed",
            f"{hint}; if it must be shipped, list it under secrets_allow with a reason",
        )
        return True

    def _entries(self, relative: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.tree.source / relative) as entries:
                # Bytewise: the order of a directory listing differs between file systems and locales.
                yield from sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self._problem(relative, f"cannot be read: {error.strerror}", "check its owner and permissions")

    def _entry(self, entry: os.DirEntry[str], path: str) -> None:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            # Checked as text, never followed: what it leads to here says nothing about the host.
            target = os.readlink(entry.path)  # noqa: PTH115  Path would lose a final "/."
            if fault := link_target_fault(f"{self.tree.member}/{path}", target, self.tree.member):
                hint = "make it relative and keep it inside the tree, or ship its target"
                self._problem(path, f"is a link to {target!r:.120}, which {fault}", hint)
            else:
                self.links.append(TreeLink(path, target))
        elif stat.S_ISDIR(status.st_mode):
            filled = self.directory(path)
            self.directories.append(TreeDirectory(path, status.st_mode & _MODE_BITS, not filled))
        elif stat.S_ISREG(status.st_mode):
            if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
                self._problem(
                    path,
                    "is setuid or setgid",
                    "run `chmod ug-s`; grant privileges in the unit of the service instead",
                )
            if not os.access(entry.path, os.R_OK):
                self._problem(path, "cannot be read: Permission denied", "check its owner and permissions")
            self.files.append(TreeFile(path, status.st_size, status.st_mode & _MODE_BITS))
        else:
            self._problem(
                path,
                "is a device, pipe or socket",
                "remove it: a bundle has files, links and directories only",
            )

    def _name_fits(self, path: str) -> bool:
        full = f"{self.tree.member}/{path}"
        fault = carried_fault(full)
        # Two names that differ only in case become one file on some file systems. An encoded name may be the
        # plain name of another file.
        for key in () if fault else {fold_name(full), (encoded_name(full) or full).lower()}:
            first_path = self._folded.setdefault(key, path)
            if first_path != path and fold_name(first_path) == fold_name(path):
                fault = f"differs from {first_path} only in upper and lower case"
            elif first_path != path:
                fault = fault or f"would have the same encoded name in the tar as {first_path}"
        if fault:
            self._problem(path, f"has a name that is not allowed in a bundle: it {fault}", name_hint(fault))
        return not fault

    def _problem(self, path: str, what: str, hint: str) -> None:
        shown = f"{self.tree.given}/{path}".rstrip("/").encode("utf-8", "backslashreplace").decode()
        self.problems.append(
            Problem("".join(c if c.isprintable() else repr(c)[1:-1] for c in shown), what, hint)
        )
