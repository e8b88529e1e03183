"""The current `install` brings what the baseline's left when it was killed to exactly old or exactly new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rig.compatrelease import FIRST, SECOND, bundle
from tests.rig.desk import Desk
from tests.rig.executables import Executables
from tests.rig.hostdir import PRODUCT, STATE, Files, HostDir
from tests.rig.killpoints import KillPoint, kill_points, run_and_kill
from tests.rig.share import share

SHARE = 3
"""Points of each story in `make test`; WAYBILL_FAULTS=all tries every one."""
METHODS = ("--yes", "--only", "files,script,images")


@dataclass(frozen=True)
class Story:
    """A command that is killed.

    Attributes:
        name: For people.
        verb: apply, rollback or remove.
        before: How many releases were installed one after the other.
        step: What the second release does besides placing files and images, as in compatrelease.STEPS.
    """

    name: str
    verb: str
    before: int
    step: str = "undo"

    def __str__(self) -> str:
        return self.name


STORIES = [
    Story("first install", "apply", 0),
    Story("upgrade", "apply", 1),
    Story("upgrade that restores a snapshot", "apply", 1, "restore"),
    Story("upgrade with a point of no return", "apply", 1, "forward"),
    Story("rollback", "rollback", 2),
    Story("remove", "remove", 2),
]


@dataclass(frozen=True)
class Site:
    """A host before a story, and how the story may end.

    Attributes:
        world: The host before it.
        words: The command.
        ends: All files of others on the host, by the version that is installed.
        retry: An apply that succeeds on either end.
        reapplied: The files after that.
        points: Where the command can be killed.
    """

    world: HostDir
    words: tuple[str | Path, ...]
    ends: dict[str, Files]
    retry: tuple[str | Path, ...]
    reapplied: Files
    points: list[KillPoint]


@pytest.fixture(scope="module")
def worlds(desk: Desk, fast: Path, trusting: Callable[[str], HostDir]) -> list[HostDir]:
    """Hosts on which the baseline installed no release, the first one, and both."""
    made = [trusting("world 0")]
    for version in (FIRST, SECOND):
        made.append(made[-1].copy(fast / f"world {len(made)}", made[-1].install))
        made[-1].check(bundle(desk, version, "undo", images=True), *METHODS)
    return made


@pytest.fixture(scope="module")
def site_of(desk: Desk, worlds: list[HostDir], fast: Path) -> Callable[[Story], Site]:
    """Make the site of a story with the baseline alone; made once."""
    made = dict[str, Site]()

    def make(story: Story) -> Site:
        if story.name not in made:
            made[story.name] = _make(story, desk, worlds[story.before], fast / f"golden {story}")
        return made[story.name]

    return make


def _make(story: Story, desk: Desk, world: HostDir, golden: Path) -> Site:
    version, step = (SECOND, story.step) if story.before else (FIRST, "undo")
    retry = (bundle(desk, version, step, images=True), *METHODS)
    words: tuple[str | Path, ...] = {
        "apply": retry,
        "rollback": ("rollback", "--yes"),
        "remove": ("remove", PRODUCT, "--yes"),
    }[story.verb]
    done = world.copy(golden, world.install)
    points = kill_points(done, *words)
    ends = {world.version: world.outside(), done.version: done.outside()}
    assert len(ends) == 2
    return Site(world, words, ends, retry, ends[version], points)


def finish(host: HostDir, site: Site, how: str) -> list[str]:
    """Bring a killed transaction to its end with the current executable; say what is wrong then."""
    if how == "apply":
        host.check(*site.retry)
        ends = {host.version: site.reapplied}
    else:
        if how == "status":
            # It only looks at the unfinished transaction.
            host.check("status")
        host.check("recover")
        ends = site.ends
    found = sound(host)
    if host.version not in ends:
        return [*found, f"{host.version or 'nothing'} is installed"]
    now, wanted = host.outside(), ends[host.version]
    differ = sorted(path for path in now.keys() | wanted.keys() if now.get(path) != wanted.get(path))
    return (
        [*found, f"{host.version or 'nothing'} is installed, and these differ: {differ}"] if differ else found
    )


def sound(host: HostDir) -> list[str]:
    """Say what is wrong with a host on which nothing is unfinished."""
    found = [f"left behind: {left}"] if (left := host.leftovers()) else []
    chain = [(record["n"], record["prev"]) for record in host.records]
    due = [(number, record["hash"]) for number, record in enumerate(host.records, 2)]
    found += (
        ["a record of the audit log does not follow from the one before it"] if chain[1:] != due[:-1] else []
    )
    opened = ""
    for record in host.records:
        number = record.get("transaction", "")
        if record["event"] == "begun":
            found += [f"{opened} began and never ended"] if opened else []
            opened = number
        elif record["event"] == "ended":
            found += [f"{number} ended without a beginning"] if number != opened else []
            opened = ""
    return found + ([f"{opened} began and never ended"] if opened else [])


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_killed_command_ends_old_or_new(
    story: Story, site_of: Callable[[Story], Site], new: Executables, hosts: Path
) -> None:
    site, killed, broken, ended = site_of(story), 0, list[str](), set[str]()
    tried = share(site.points, SHARE)
    for number, point in enumerate(tried):
        host = site.world.copy(hosts / "host", site.world.install)
        killed += run_and_kill(host, point, *site.words)
        how = ("recover", "apply", "status")[number % 3]
        host = HostDir(host.root, new.install)
        problems = finish(host, site, how)
        broken += [f"{point}, then {how}: {problem}" for problem in problems]
        ended.add(host.version)
        if number % SHARE == SHARE - 1:
            host.check("audit")
        shutil.rmtree(host.root)
    assert broken == []
    assert killed >= len(tried) * 2 // 3, "most points are reached in each run"
    assert len(ended) == 2, "the first point is before the change, the last one after it"


def kinds(host: HostDir) -> dict[str, list[str]]:
    """Return the kinds of operations that the open journal has begun, by the record's type."""
    (journal,) = (host.root / STATE / "txn").glob("*.log")
    records = [json.loads(line[65:]) for line in journal.read_bytes().rstrip(b"\0").splitlines()]
    begun = {each["n"]: each["op"]["kind"] for each in records if each["type"] == "INTENT"}
    done = [begun[each["of"]] for each in records if each["type"] == "DONE"]
    return {"INTENT": list(begun.values()), "DONE": done, "types": [each["type"] for each in records]}


@pytest.mark.parametrize("story", [STORIES[1], *STORIES[4:]], ids=str)
def test_an_unfinished_image_store_is_brought_to_its_end(
    story: Story, site_of: Callable[[Story], Site], new: Executables, hosts: Path
) -> None:
    """Whatever becomes of the store itself: the journal can be finished, and releases keep their blobs."""
    site, open_ = site_of(story), 0
    inside = [point for point in site.points if f"{STATE}/images" in point.arguments]
    for point in share(inside, 2):
        host = site.world.copy(hosts / "host", site.world.install)
        assert run_and_kill(host, point, *site.words), point
        open_ += "image.store" in kinds(host)["INTENT"]
        host = HostDir(host.root, new.install)
        assert finish(host, site, "recover") == [], point
        for release in (host.state or {}).get("releases", []):
            here = host.root / STATE / "releases" / release["name"]
            listed = [line.split("  ", 1) for line in (here / "SHA256SUMS").read_text().splitlines()]
            blobs = [name for _, name in listed if name.startswith("images/blobs/")]
            assert blobs
            assert [name for name in blobs if not (here / name).is_file()] == [], point
        shutil.rmtree(host.root)
    assert open_ > 0


@pytest.mark.parametrize(
    ("step", "script", "how", "end"),
    [
        ("undo", "apply", "recover", FIRST),
        ("restore", "save", "apply", SECOND),
        ("restore", "migrate", "recover", FIRST),
        ("forward", "migrate", "recover", SECOND),
        ("forward", "migrate", "apply", SECOND),
    ],
)
def test_an_upgrade_that_is_killed_in_a_script_is_undone_or_goes_on(
    step: str,
    script: str,
    how: str,
    end: str,
    site_of: Callable[[Story], Site],
    new: Executables,
    hosts: Path,
) -> None:
    story = next(story for story in STORIES if (story.before, story.step) == (1, step))
    site = site_of(story)
    host = site.world.copy(hosts / "host", site.world.install)
    (host.root / f"srv/kill-in-{script}").touch()
    assert host.run(*site.words).rc == -9
    assert kinds(host)["INTENT"][-1].startswith("script.")
    host = HostDir(host.root, new.install)
    assert finish(host, site, how) == []
    assert host.version == end
    (found,) = host.document("status")["products"]
    assert found["drift"] == []
