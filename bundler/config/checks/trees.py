"""List the content of a tree, and report what cannot be shipped."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from bundler.config.attributes import Sources
from bundler.config.checks.inputs import (
    carried_fault,
    misread_fault,
    name_hint,
    on_one_line,
    unknown_character_fault,
)
from bundler.config.globs import Glob
from bundler.config.model import InputTree, TreeDirectory, TreeFile, TreeLink
from bundler.config.secrets.allowances import Allowances
from installer.core.errors import Problem
from installer.core.format.member_names import encoded_name, fold_name, link_target_fault

_PROGRAM, _FILE, _DIRECTORY = 0o755, 0o644, 0o755
"""Modes of files and directories of trees, as git records them: other bits come from the builder's umask."""
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
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


def is_leftover(name: str) -> bool:
    """Return whether a name is that of what a desktop or an editor leaves in a directory."""
    return _LEFTOVER.fullmatch(name) is not None


def leftovers_warning(tree: InputTree, where: str) -> Problem | None:
    """Return the warning about leftovers of desktops and editors in a tree, or None if it has none."""
    if not tree.left_out:
        return None
    return Problem(
        where,
        f"{tree.given} has files of desktops or editors, which are not shipped: "
        f"{len(tree.left_out)} ({_first(tree.left_out)})",
        "remove them; if the product needs one, rename it, or ship it inside an archive file",
        "leftovers",
    )


def excluded_warning(tree: InputTree, where: str) -> Problem | None:
    """Return the warning about patterns that exclude nothing, or None if all of them do."""
    if not tree.idle:
        return None
    what = f"exclude matches nothing in {tree.given}: {_first(tree.idle)}"
    return Problem(where, what, "correct the pattern, or remove it", "exclude-matches-nothing")


def private_warning(tree: InputTree, where: str) -> Problem | None:
    """Return the warning about files that others can read on the host and not here, or None without any."""
    if not tree.private:
        return None
    what = (
        f"{tree.given} has files that others cannot read here: {len(tree.private)} ({_first(tree.private)}); "
        "on the host they can, because modes of a checkout do not count"
    )
    hint = 'declare their mode: attributes: [{path: PATTERN, mode: "0600"}]'
    return Problem(where, what, hint, "private-files")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


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
    walk.walk()
    problems = walk.problems[:_MOST]
    if len(walk.problems) > _MOST:
        problems.append(
            Problem(where, f"{tree.given} has {len(walk.problems) - _MOST} more such problems", "")
        )
    problems += [
        Problem(rule.where, f"attributes: {rule.glob.pattern} matches nothing in {tree.given}", "correct it")
        for number, rule in enumerate(tree.attributes)
        if number not in walk.applied
    ]
    if not walk.files and not problems:
        problems.append(Problem(where, f"{tree.given} contains no files", "check that the build completed"))
    surveyed = replace(
        tree,
        files=tuple(sorted(walk.files)),
        links=tuple(sorted(walk.links)),
        directories=tuple(sorted(walk.directories)),
        left_out=tuple(sorted(walk.left_out)),
        excluded=tuple(sorted(walk.excluded)),
        idle=tuple(glob.pattern for glob in walk.globs if glob.pattern not in walk.used),
        # Where all are closed, it is the umask that closed them.
        private=tuple(sorted(walk.private)) if walk.any_open else (),
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
        self.applied: set[int] = set()
        self.private: list[str] = []
        self.any_open = False
        self._folded: dict[str, str] = {}
        # Directories that were found and not yet looked into, with what they get.
        self._below: list[tuple[str, int, str]] = []
        self._sources = Sources()
        self._inherited = 0
        with suppress(OSError):  # said where it is listed
            self._inherited = tree.source.stat().st_mode & stat.S_ISGID

    def walk(self) -> None:
        """Add everything in the tree. Not recursive: a path may have 500 directories."""
        self._directory("")
        while self._below:
            path, mode, owner = self._below.pop()
            filled = self._directory(path)
            self.directories.append(TreeDirectory(path, mode, not filled, owner))

    def _directory(self, relative: str) -> bool:
        """Add what is in one directory; return whether anything is."""
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
            if is_leftover(entry.name):
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
            fault = link_target_fault(f"{self.tree.member}/{path}", target, self.tree.member)
            hint = "make it relative and keep it inside the tree, or ship its target"
            # A target is read like a name, and checked like one by every host.
            if not fault and (fault := misread_fault(target) or unknown_character_fault(target)):
                hint = name_hint(fault)
            if fault:
                self._problem(path, f"is a link to {target!r:.120}, which {fault}", hint)
            else:
                self.links.append(TreeLink(path, target))
        elif stat.S_ISDIR(status.st_mode):
            self._found_directory(path, status.st_mode)
        elif stat.S_ISREG(status.st_mode):
            self._file(entry, path, status)
        else:
            self._problem(
                path,
                "is a device, pipe or socket",
                "remove it: a bundle has files, links and directories only",
            )

    def _found_directory(self, path: str, bits: int) -> None:
        mode, owner, _ = self._declared(path, is_directory=True)
        # A directory that is made in a setgid one is setgid, too: that says nothing.
        lost = bits & (stat.S_ISVTX | stat.S_ISGID) & ~self._inherited
        if mode is None and lost:
            bit = "the sticky bit" if lost & stat.S_ISVTX else "the setgid bit"
            hint = 'declare its mode under attributes, such as mode: "2775", or run `chmod g-s,-t`'
            self._problem(path, f"has {bit}, which would be lost", hint)
        for what, hint in self._sources.lost(f"{self.tree.source}/{path}"):
            self._problem(path, what, hint)
        # In the directory of the release nobody but root has anything.
        owner = owner if self.tree.install else ""
        self._below.append((path, _DIRECTORY if mode is None else mode, owner))

    def _file(self, entry: os.DirEntry[str], path: str, status: os.stat_result) -> None:
        if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
            hint = "run `chmod ug-s`; grant privileges in the unit of the service instead"
            self._problem(path, "is setuid or setgid", hint)
        if not os.access(entry.path, os.R_OK):
            self._problem(path, "cannot be read: Permission denied", "check its owner and permissions")
        mode, owner, capabilities = self._declared(path, is_directory=False)
        if mode is None:
            mode = _PROGRAM if status.st_mode & stat.S_IXUSR else _FILE
            if status.st_mode & stat.S_IROTH:
                self.any_open = True
            else:
                self.private.append(path)
        for what, hint in self._sources.lost(entry.path, capabilities):
            self._problem(path, what, hint)
        self.files.append(TreeFile(path, status.st_size, mode, owner, capabilities))

    def _declared(self, path: str, *, is_directory: bool) -> tuple[int | None, str, str]:
        """Return the declared mode, owner and capabilities; None and empty for what is not declared."""
        mode, owner, capabilities = None, "", ""
        for number, rule in enumerate(self.tree.attributes):
            if not rule.glob.matches(path, is_directory=is_directory):
                continue
            self.applied.add(number)
            mode = mode if rule.mode is None else rule.mode
            owner, capabilities = rule.owner or owner, rule.capabilities or capabilities
        what = ""
        if is_directory and capabilities:
            what = "is a directory, which cannot have capabilities"
        elif not is_directory and mode is not None and mode & _SPECIAL:
            what = f"is a file, and mode {mode:04o} is for directories only"
        if what:
            self._problem(path, f"{what}: see attributes", "end the pattern with / for directories only")
        return mode, owner, capabilities

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
        shown = on_one_line(f"{self.tree.given}/{path}".rstrip("/"))
        self.problems.append(
            Problem("".join(c if c.isprintable() else repr(c)[1:-1] for c in shown), what, hint)
        )
