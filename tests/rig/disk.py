"""A model of a disk below a directory: what was synced is there after a power cut; the rest may be, or not.

It is stricter than any real file system. Each write, each name and each mode that was not synced may be lost
by itself, in any order; a file's name needs a sync of its directory, its bytes and its mode one of itself.
Only a rename is one thing. Every crash state can be written out into a directory and recovered there.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

SECTOR = 512
PIECES = 6
"""A write that is not synced is torn into at most so many pieces."""
Name = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Node:
    """A file, a link or a directory, whatever its names are."""

    kind: str
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    data: bytes = b""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that the disk was told; `covered` are the nodes whose sync makes it last."""

    kind: str  # names, data, size, meta, sync
    covered: frozenset[int] = frozenset()
    names: tuple[tuple[Name, int | None], ...] = ()
    node: int = 0
    at: int = 0
    data: bytes = b""
    size: int = 0
    meta: tuple[int, tuple[int, int]] = (0, (0, 0))

    def torn(self) -> list[Change]:
        """Gives the pieces of a write that reach the disk one by one."""
        if self.kind != "data" or len(self.data) <= SECTOR - self.at % SECTOR:
            return [self]
        ends = [*range(SECTOR - self.at % SECTOR, len(self.data), SECTOR), len(self.data)]
        ends = ends[: PIECES - 1] + ends[-1:] if len(ends) > PIECES else ends
        starts = [0, *ends[:-1]]
        return [
            replace(self, at=self.at + start, data=self.data[start:end])
            for start, end in zip(starts, ends, strict=True)
        ]


@dataclass
class Disk:
    """The disk, all of it synced at first, and everything it was told since."""

    root: Path
    nodes: dict[int, Node] = field(default_factory=dict)
    before: dict[Name, int] = field(default_factory=dict)
    now: dict[Name, int] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    """Changes whose sync failed: the kernel forgot them, and says nothing the next time."""
    inodes: dict[tuple[int, int], int] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self.top = self._scan(self.root)
        self.now = dict(self.before)

    def _scan(self, path: Path) -> int:
        status = path.lstat()
        key = (status.st_dev, status.st_ino)
        if key in self.inodes and not stat.S_ISDIR(status.st_mode):
            return self.inodes[key]
        number = self.register(key)
        mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        if stat.S_ISLNK(status.st_mode):
            self.nodes[number] = Node("link", target=os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            self.nodes[number] = Node("dir", mode, owner)
            for child in path.iterdir():
                self.before[number, child.name] = self._scan(child)
        else:
            self.nodes[number] = Node("file", mode, owner, path.read_bytes())
        return number

    def register(self, key: tuple[int, int]) -> int:
        """Gives a node that came up a number of its own."""
        self.count += 1
        self.inodes[key] = self.count
        return self.count

    # -- what happens ------------------------------------------------------------------------------

    def name(self, *names: tuple[Name, int | None]) -> None:
        """Names come, go or move, all at once."""
        for name, node in names:
            if node is None:
                self.now.pop(name, None)
            else:
                self.now[name] = node
        self.log.append(Change("names", frozenset(name[0] for name, _ in names), names))

    def write(self, node: int, at: int, data: bytes) -> None:
        """Bytes are written."""
        self.log.append(Change("data", frozenset({node}), node=node, at=at, data=data))

    def cut(self, node: int, size: int) -> None:
        """A file ends elsewhere."""
        self.log.append(Change("size", frozenset({node}), node=node, size=size))

    def set(self, node: int, mode: int, owner: tuple[int, int]) -> None:
        """Mode or owner change."""
        self.log.append(Change("meta", frozenset({node}), node=node, meta=(mode, owner)))

    def sync(self, node: int | None) -> None:
        """A node is synced; None: everything."""
        self.log.append(Change("sync", frozenset() if node is None else frozenset({node})))

    def sync_failed(self, node: int | None) -> None:
        """A sync failed: what it was to save never reaches the disk."""
        self.lost |= {
            each for each in self.pending(len(self.log)) if node is None or node in self.log[each].covered
        }

    # -- what is left ------------------------------------------------------------------------------

    def pending(self, end: int) -> list[int]:
        """Gives the changes before `end` that no sync has made sure of."""
        found, synced, everything = [], set[int](), False
        for index in range(end - 1, -1, -1):
            change = self.log[index]
            if change.kind == "sync":
                everything = everything or not change.covered
                synced |= change.covered
            elif index not in self.lost and not everything and not change.covered & synced:
                found.append(index)
        return found[::-1]

    def power_cuts(self, end: int, chance: random.Random, samples: int) -> Iterator[list[Change]]:
        """Gives what the disk may have taken in when the power went before `end`: whole sets of changes."""
        open_ = set(self.pending(end))
        pieces: list[tuple[Change, bool]] = []
        for index, change in enumerate(self.log[:end]):
            if index not in self.lost and change.kind != "sync":
                parts = change.torn() if index in open_ else [change]
                pieces += [(part, index in open_) for part in parts]
        loose = [place for place, (_, free) in enumerate(pieces) if free]
        choices = [frozenset(loose), frozenset[int]()]
        for each in loose:
            choices += [frozenset({each}), frozenset(loose) - {each}]
        for _ in range(samples if len(loose) > 2 else 0):
            choices.append(frozenset(each for each in loose if chance.random() < 0.5))
        for kept in dict.fromkeys(choices):
            yield [part for place, (part, free) in enumerate(pieces) if not free or place in kept]

    def cut_before(
        self, end: int, chance: random.Random, samples: int, seen: set[int] | None = None
    ) -> Iterator[State]:
        """Gives what a power cut before `end` can leave; each once, and none of what was `seen`."""
        seen = set() if seen is None else seen
        for kept in self.power_cuts(end, chance, samples):
            state = self.state(kept)
            if (key := state.key()) not in seen:
                seen.add(key)
                yield state

    def cuts(self, samples: int, start: int = 0) -> Iterator[tuple[int, State]]:
        """Gives what a power cut before each sync from `start` on, and at the end, can leave; each once."""
        chance, seen = random.Random(20261124), set[int]()
        syncs = [place for place, change in enumerate(self.log) if change.kind == "sync" and place >= start]
        for end in [*syncs, len(self.log)]:
            for state in self.cut_before(end, chance, samples, seen):
                yield end, state

    def kills(self) -> Iterator[tuple[int, State]]:
        """Gives every state that a kill can leave, each once, and after how many changes."""
        seen = set[int]()
        for end in range(len(self.log) + 1):
            for half in (False, True):
                state = self.state(self.so_far(end, half))
                if (key := state.key()) not in seen:
                    seen.add(key)
                    yield end, state

    def so_far(self, end: int, half: bool = False) -> list[Change]:
        """Gives all changes before `end`, as a kill leaves them; of the one at `end` half if asked for."""
        return [change for change in self._until(end, half) if change.kind != "sync"]

    def _until(self, end: int, half: bool) -> list[Change]:
        done = self.log[:end]
        if half and end < len(self.log) and self.log[end].kind == "data":
            change = self.log[end]
            done.append(replace(change, data=change.data[: len(change.data) // 2]))
        return done

    def left(self, root: Path, end: int, half: bool = False) -> Disk:
        """Writes out what a kill leaves: all of it is seen there, and what was not synced can still be lost.

        Returns:
            The disk, which goes on from there.
        """
        state = self.state(self.so_far(end, half))
        state.write(root)
        disk = Disk(root)
        disk.top, disk.nodes, disk.before, disk.now = self.top, dict(self.nodes), self.before, state.names
        disk.log, disk.lost, disk.count = self._until(end, half), set(self.lost), self.count
        disk.inodes = {}
        for path, node in [("", self.top), *state.paths()]:
            status = (root / path).lstat()
            disk.inodes[status.st_dev, status.st_ino] = node
        return disk

    def state(self, changes: Iterable[Change]) -> State:
        """Gives the disk with these changes."""
        nodes, names = dict(self.nodes), dict(self.before)
        data: dict[int, bytearray] = {}
        for change in changes:
            if change.kind == "names":
                for name, node in change.names:
                    if node is None:
                        names.pop(name, None)
                    else:
                        names[name] = node
                continue
            node, content = nodes[change.node], data.get(change.node)
            if change.kind == "meta":
                nodes[change.node] = replace(node, mode=change.meta[0], owner=change.meta[1])
                continue
            if content is None:
                content = data[change.node] = bytearray(node.data)
            size = change.size if change.kind == "size" else change.at + len(change.data)
            if change.kind == "size" or size > len(content):
                content[size:] = bytes(max(0, size - len(content)))
            if change.kind == "data":
                content[change.at : size] = change.data
        for number, content in data.items():
            nodes[number] = replace(nodes[number], data=bytes(content))
        return State(self.top, nodes, names)


@dataclass(frozen=True)
class State:
    """What is on the disk at one moment."""

    top: int
    nodes: dict[int, Node]
    names: dict[Name, int]

    def paths(self) -> list[tuple[str, int]]:
        """Gives what can be reached from the root, parents first."""
        children: dict[int, list[tuple[str, int]]] = {}
        for (directory, name), node in sorted(self.names.items()):
            children.setdefault(directory, []).append((name, node))
        found, todo = [], [("", self.top)]
        while todo:
            path, number = todo.pop()
            for name, node in children.get(number, ()):
                below = f"{path}/{name}".lstrip("/")
                found.append((below, node))
                if self.nodes[node].kind == "dir":
                    todo.append((below, node))
        return sorted(found)

    def key(self) -> int:
        """Tells states apart; hard links count."""
        first: dict[int, str] = {}
        return hash(
            tuple((path, first.setdefault(node, path), self.nodes[node]) for path, node in self.paths())
        )

    def write(self, root: Path) -> None:
        """Writes it out."""
        written: dict[int, Path] = {}
        modes = []
        root.mkdir()
        for path, number in self.paths():
            node, target = self.nodes[number], root / path
            if number in written:
                os.link(written[number], target, follow_symlinks=False)
                continue
            if node.kind == "dir":
                target.mkdir()
                modes.append((target, node))
                continue
            written[number] = target
            if node.kind == "link":
                target.symlink_to(node.target)
            else:
                target.write_bytes(node.data)
                _set(target, node)
        for target, node in reversed(modes):
            _set(target, node)


def _set(path: Path, node: Node) -> None:
    if os.geteuid() == 0:
        os.chown(path, *node.owner)
    path.chmod(node.mode)
