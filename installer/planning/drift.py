"""What was changed on the host since it was installed, and what becomes of it.

Configuration is what is rendered from a template, and everything below /etc. As with a package manager's
conffiles it can be kept: then the version of the release is written next to it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from installer.core.errors import Problem, UsageError
from installer.deploy.file_checks import matches
from installer.deploy.operation import Json
from installer.host.directories import parent
from installer.host.file_systems import FileSystems
from installer.host.host import A_KIND
from installer.host.system import Seen, System
from installer.state.release import Installed

Treatment = Literal["refuse", "keep", "replace"]
TREATMENTS: tuple[str, ...] = get_args(Treatment)
NEW_SUFFIX = ".waybill-new"
"""Suffix of the release's version next to an edited file that is kept."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator chose for files that were edited.

    Attributes:
        default: For all of them; None: nothing was chosen.
        named: For single paths.
    """

    default: Treatment | None = None
    named: Mapping[str, Treatment] = field(default_factory=dict)

    def of(self, path: str) -> Treatment | None:
        """Return the treatment chosen for a path; None for none."""
        return self.named.get(path, self.default)

    @classmethod
    def parse(cls, words: Sequence[str]) -> Policy:
        """Parse `POLICY` and `POLICY:PATH`; the more specific one counts, then the later one.

        Raises:
            UsageError: A word is neither.
        """
        default: Treatment | None = None
        named: dict[str, Treatment] = {}
        for word in words:
            name, _, path = word.partition(":")
            if name not in TREATMENTS or (path and not path.startswith("/")):
                raise UsageError(
                    f"--on-drift {word} is not valid",
                    hint="use refuse, keep or replace; for one file: keep:/etc/product/file.conf",
                )
            if path:
                named[path] = cast(Treatment, name)
            else:
                default = cast(Treatment, name)
        return cls(default, named)


NOTHING_SAID = Policy()


@dataclass(frozen=True, slots=True)
class Drifted:
    """A file or directory that is neither what was installed nor what is to come.

    Attributes:
        path: Where.
        what: How it differs, in words.
        treatment: What becomes of it.
        other: Where its other version lies in the end: the release's where it is kept, a copy of it where it
            is replaced; empty where there is none.
        origin: Its bundle path.
        kind: `file`, or `dir` for a directory that was there before the product.
    """

    path: str
    what: str
    treatment: Treatment
    other: str = ""
    origin: str = ""
    kind: str = "file"

    def text(self) -> str:
        """Return it as a line for people."""
        become = {
            "refuse": "refused",
            "keep": f"kept; the new version is written to {self.other}" if self.other else "stays",
            "replace": f"replaced; a copy is kept: {self.other}",
        }
        if self.kind == "dir":
            become["replace"] = "changed; removing the product changes it back"
        return f"{self.path} {self.what}: {become[self.treatment]}"


def condition(what: Seen | Installed) -> str:
    """Return mode and owner of a directory, as records and plans have them: `0755 0:0`."""
    bits = what.bits if isinstance(what, Seen) else what.mode
    return f"{bits:04o} {what.uid}:{what.gid}"


def restored(item: Installed) -> Installed:
    """Return a directory that was there before the product, as it was then."""
    mode, _, owner = item.was.partition(" ")
    uid, _, gid = owner.partition(":")
    # Where owners were never set, they are not set back either.
    ids = (-1, -1) if item.uid == -1 else (int(uid), int(gid))
    return replace(item, mode=int(mode, 8), uid=ids[0], gid=ids[1], origin="", policy="")


def entry_of(item: Installed, poor: str = "") -> Json:
    """Return the arguments of an operation on files for an item.

    Args:
        item: The item.
        poor: Type of its file system if that keeps no modes and owners: then they are not compared.
    """
    if item.kind == "link":
        return {"path": item.path, "kind": "link", "target": item.target}
    common = {"path": item.path, "kind": item.kind, "mode": item.mode, "uid": item.uid, "gid": item.gid}
    if poor:
        common |= {"uid": -1, "gid": -1, "loose": True}
    if item.kind == "dir":
        return common
    granted = {"capabilities": item.capabilities} if item.capabilities else {}
    return {**common, **granted, "sha256": item.sha256, "source": item.source}


def difference(seen: Seen, item: Installed, poor: str = "") -> str:
    """Return in words how what is on the host differs from an item.

    Args:
        seen: What is there.
        item: What should be there.
        poor: Type of its file system if that keeps no modes and owners: then they are not compared.
    """
    if seen.kind == "absent":
        return "is missing"
    if seen.kind != item.kind:
        return f"is {A_KIND[seen.kind]}, not {A_KIND[item.kind]}"
    if seen.kind == "link":
        return f"points to {seen.target}, not to {item.target}"
    found = ["has different content"] if seen.kind == "file" and seen.sha256 != item.sha256 else []
    if found and poor:
        return found[0]
    found += [f"has mode {seen.bits:04o}, not {item.mode:04o}"] if seen.bits != item.mode else []
    owner = tuple(old if new == -1 else new for old, new in ((seen.uid, item.uid), (seen.gid, item.gid)))
    if (seen.uid, seen.gid) != owner:
        found.append(f"belongs to {seen.uid}:{seen.gid}, not to {owner[0]}:{owner[1]}")
    if item.capabilities and seen.capabilities != item.capabilities:
        found.append(f"has {seen.capabilities or 'no capabilities'}, not {item.capabilities}")
    return " and ".join(found)


def same_content(seen: Seen, item: Installed) -> bool:
    """Return whether a file has the content of an item, so that only its mode or owner differs."""
    return seen.kind == item.kind == "file" and seen.sha256 == item.sha256


def set_back(seen: Seen, item: Installed) -> str:
    """Return the commands that give a file or directory the owner and mode of an item."""
    path = shlex.quote(item.path)
    owner = tuple(old if new == -1 else new for old, new in ((seen.uid, item.uid), (seen.gid, item.gid)))
    # The owner first: chown(2) clears bits of the mode.
    commands = [f"chown {owner[0]}:{owner[1]} {path}"] if (seen.uid, seen.gid) != owner else []
    commands += [f"chmod {item.mode:04o} {path}"] if commands or seen.bits != item.mode else []
    # Last: chown(2) takes them away.
    if item.capabilities and (commands or seen.capabilities != item.capabilities):
        commands.append(f"setcap '{item.capabilities}' {path}")
    return " && ".join(commands)


def drift(system: System, installed: Iterable[Installed]) -> tuple[list[Problem], list[Drifted]]:
    """Return where the host differs from what a release installed.

    Returns:
        Drift, and the files that are kept by policy.
    """
    found: list[Problem] = []
    kept: list[Drifted] = []
    file_systems = FileSystems(system)
    with system.hold_directories():
        for item in installed:
            try:
                seen = system.observe(item.path)
                poor = file_systems.poor(parent(item.path))
            # One path that cannot be read must not hide the drift of the others.
            except OSError as error:
                found.append(Problem(item.path, f"cannot be read: {error.strerror}"))
                continue
            # Directories that only hold others, and copies next to kept files, may change freely.
            if not item.origin or item.policy == "beside" or matches(seen, entry_of(item, poor)):
                continue
            what = difference(seen, item, poor)
            if item.policy == "kept" and seen.kind != "absent":
                there = system.observe(item.path + NEW_SUFFIX, digest=False).kind == "file"
                other = item.path + NEW_SUFFIX if there else ""
                kept.append(Drifted(item.path, what, "keep", other, item.origin))
            else:
                found.append(Problem(item.path, what))
    return found, kept
