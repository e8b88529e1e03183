"""`remove --purge` deletes the volumes that are certainly the product's own, and nothing before COMMIT."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jsonschema
import pytest

from installer.commands.common.session import Session
from installer.commands.remove import remove
from installer.core.errors import DeclinedError, UsageError
from installer.core.format.manifest import Deployment
from installer.host.context import Context
from installer.host.system import Completed
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from installer.shared.command.ui import Ui
from installer.state.state import load
from tests.rig.auditlogs import records
from tests.rig.composed import composed
from tests.rig.engine import Engine
from tests.rig.faulty import Killed
from tests.rig.livedir import LiveDir
from tests.rig.releases import PRODUCT, Member, ReleaseSpec, context, install, plan_for, recovered, root

T = TypeVar("T")
pytestmark = pytest.mark.needs("docker", "compose", "busybox")
SCHEMA = json.loads((Path(__file__).parents[4] / "schemas/v1/removal.schema.json").read_text())
PURGE = Options(purge=True)
FILE = """
services:
  db:
    image: rig/box:1
    network_mode: none
    stop_grace_period: 0s
    volumes: [{mounts}]
volumes:
{volumes}
"""
OWN = {"data": "", "cache": ""}
FULL = {
    **OWN,
    "elsewhere": "driver_opts: {type: none, o: bind, device: /srv}",
    "older": "name: purge-older",
    "theirs": "external: true, name: purge-theirs",
}
DATA, CACHE = f"{PRODUCT}_data", f"{PRODUCT}_cache"


def release(number: int, volumes: Mapping[str, str] = OWN, product: str = PRODUCT) -> ReleaseSpec:
    """Return a release of one service that mounts volumes."""
    mounts = ", ".join(f'"{name}:/{name}"' for name in volumes)
    declared = "\n".join(f"  {name}: {{{text}}}" for name, text in volumes.items())
    file = Member(FILE.format(mounts=mounts, volumes=declared).encode(), kind="compose")
    step = Deployment("compose", {"file": "deploy/compose.yaml"})
    members = {"deploy/compose.yaml": file}
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=(step,), product=product)


class Answers(Ui):
    """Answers every question, and keeps what was shown and asked."""

    def __init__(self, answer: str) -> None:
        self.answer, self.shown, self.asked = answer, "", ""

    def show(self, name: str, text: str, document: Any) -> None:
        self.shown += text

    def ask(self, question: str, flag: str) -> str:
        self.asked = question
        return self.answer


@pytest.fixture
def live(docker_engine: Engine, tmp_path: Path) -> Iterator[Context]:
    with composed(docker_engine, tmp_path) as host:
        for name in ("purge-older", "purge-theirs"):
            docker_engine.docker("volume", "create", name)
        yield host
        docker_engine.docker("rm", "-f", "purge-foreign", check=False)
        docker_engine.docker("volume", "rm", "purge-older", "purge-theirs", check=False)


def volumes(engine: Engine) -> set[str]:
    found = engine.text("volume", "ls", "-q").split()
    return {name for name in found if name.startswith((PRODUCT, "purge-"))}


def lines(live: Context, options: Options = PURGE) -> list[str]:
    plan = plan_remove(live, load(live.system, live.layout), options)
    return [line for each in plan.methods for line in each.lines if "volume" in line]


def use(engine: Engine, volume: str) -> None:
    engine.docker("create", "--name", "purge-foreign", "-v", f"{volume}:/x", "rig/box:1")


def purge(live: Context, ui: Ui | None = None, *, yes: bool = True) -> Any:
    session = Session(live.system, ui or Ui())
    return remove(session, PRODUCT, yes=yes, purge=True)


def stays(done: Any) -> dict[str, str]:
    return {row.name: row.what for row in done.removal.of("stays") if row.kind == "volume"}


def test_a_removal_deletes_its_own_volumes_and_says_why_others_stay(
    live: Context, docker_engine: Engine
) -> None:
    install(live, release(1, FULL))
    use(docker_engine, CACHE)
    assert lines(live) == [
        f"volume {CACHE} stays: it is used by container purge-foreign, which is not of project {PRODUCT}",
        f"DELETE volume {DATA} and its data: nothing brings them back",
        f"volume {PRODUCT}_elsewhere stays: it has its data in /srv, outside of the engine",
        f"volume purge-older stays: it was not created by project {PRODUCT}",
    ]
    ui = Answers("no")
    with pytest.raises(DeclinedError):
        purge(live, ui, yes=False)
    assert f"Its data are deleted: {DATA}." in ui.asked
    assert DATA in volumes(docker_engine)
    before = volumes(docker_engine)
    done = purge(live)
    assert before - volumes(docker_engine) == {DATA}
    assert done.removal.exit_code == 0
    gone = {row.name: row.what for row in done.removal.of("gone") if row.kind == "volume"}
    assert gone == {DATA: "its data were deleted"}
    assert sorted(stays(done)) == sorted([CACHE, f"{PRODUCT}_elsewhere", "purge-older"])
    begun, ended = records(root(live))[-2:]
    assert (begun["purged"], ended["purged"], ended["gone"]["volume"]) == ([DATA], [DATA], 1)


def test_data_of_an_earlier_removal_are_deleted_by_a_second_one(live: Context, docker_engine: Engine) -> None:
    install(live, release(1))
    assert lines(live, Options())[0] == f"volume {CACHE} stays; it has the data of the project"
    first = remove(Session(live.system), PRODUCT, yes=True).removal
    assert first is not None
    (row, _) = [row for row in first.of("stays") if row.kind == "volume"]
    assert row.what.endswith(f"to delete it: `install remove {PRODUCT} --purge`")
    assert not remove(Session(live.system), PRODUCT, yes=True).changed
    assert DATA in volumes(docker_engine)
    ui = Answers("yes")
    with pytest.raises(UsageError):
        purge(live, yes=False)
    done = purge(live, ui, yes=False)
    assert ui.shown.startswith(f"{PRODUCT} is removed; its data will be deleted")
    assert f"DELETE volume {DATA}" in ui.shown
    assert ui.asked.startswith(f"Delete the data of {PRODUCT} on ")
    assert DATA not in volumes(docker_engine)
    assert (done.changed, done.removal.counts["volume"], done.old.version) == (True, 2, "1.0.0")
    evidence = sorted((root(live) / "var/lib/waybill/evidence.d").rglob("*removed*"))[-1]
    jsonschema.validate(json.loads(evidence.read_text()), SCHEMA)
    # Nothing is left to delete; the check still has it.
    again = purge(live)
    assert (again.changed, again.removal.counts["volume"]) == (False, 2)


class Dying(LiveDir):
    """A live host that dies just before a command with these words."""

    def __init__(self, path: Path, *words: str) -> None:
        super().__init__(path)
        self._words = {*words}

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        if name == "run" and self._words <= {*args[0]}:
            self._die()
        return super().around(name, args, call)


@pytest.mark.parametrize(
    ("words", "left", "outcome", "then"),
    [
        (("down",), {DATA, CACHE}, "undone", {DATA, CACHE}),
        (("volume", "rm", DATA), {DATA}, "finished", set()),
    ],
    ids=["before the commit", "between two volumes"],
)
def test_a_killed_removal_deletes_all_volumes_or_none(
    live: Context,
    docker_engine: Engine,
    words: tuple[str, ...],
    left: set[str],
    outcome: str,
    then: set[str],
) -> None:
    install(live, release(1))
    with pytest.raises(Killed):
        purge(context(Dying(root(live), *words)))
    assert {DATA, CACHE} & volumes(docker_engine) == left
    (done,) = recovered(live)
    assert done.outcome == outcome
    assert {DATA, CACHE} & volumes(docker_engine) == then
    assert records(root(live))[-1].get("purged", []) == sorted({DATA, CACHE} - then)


class Using(LiveDir):
    """A live host on which somebody else uses a volume as soon as the first one is deleted."""

    engine: Engine

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        if name == "run" and args[0][-2:] == ["rm", CACHE]:
            use(self.engine, DATA)
        return super().around(name, args, call)


def test_a_volume_that_cannot_be_deleted_is_reported_and_the_rest_is_deleted(
    live: Context, docker_engine: Engine
) -> None:
    install(live, release(1))
    using = Using(root(live))
    using.engine = docker_engine
    done = purge(context(using))
    assert done.removal.exit_code == 21
    (row,) = done.removal.of("left")
    assert (row.name, row.hint) == (DATA, f"run `install remove {PRODUCT} --purge`")
    assert row.what == f"is used by container purge-foreign, which is not of project {PRODUCT}"
    assert volumes(docker_engine) & {DATA, CACHE} == {DATA}
    assert records(root(live))[-1]["exit"] == 21
    # A removal that does not ask for it never deletes data, and neither does a recovery.
    docker_engine.docker("rm", "-f", "purge-foreign")
    assert recovered(live) == []
    assert remove(Session(live.system), PRODUCT, yes=True).removal.exit_code == 21  # type: ignore[union-attr]
    assert DATA in volumes(docker_engine)


@pytest.mark.parametrize("is_purged", [True, False], ids=["with --purge", "without it"])
def test_a_volume_that_was_in_use_at_the_removal_is_deleted_once_nothing_uses_it(
    live: Context, docker_engine: Engine, *, is_purged: bool
) -> None:
    install(live, release(1, {"data": ""}))
    use(docker_engine, DATA)
    used = f"is used by container purge-foreign, which is not of project {PRODUCT}"
    if is_purged:
        notes = plan_remove(live, load(live.system, live.layout), PURGE).notes
        assert "--purge: all data stay, for the reasons above" in notes
        assert not [note for note in notes if "no data" in note]
    done = remove(Session(live.system), PRODUCT, yes=True, purge=is_purged)
    assert (done.changed, stays(done)) == (True, {DATA: used})
    done = purge(live)
    assert (done.changed, stays(done), done.removal.exit_code) == (False, {DATA: used}, 0)
    docker_engine.docker("rm", "-f", "purge-foreign")
    again = f"data of project {PRODUCT}; to delete it: `install remove {PRODUCT} --purge`"
    assert stays(remove(Session(live.system), PRODUCT, yes=True)) == {DATA: again}
    done = purge(live)
    assert (done.changed, done.removal.counts["volume"], volumes(docker_engine) & {DATA}) == (True, 1, set())


def test_a_volume_that_came_into_use_after_the_removal_stays_and_says_why(
    live: Context, docker_engine: Engine
) -> None:
    install(live, release(1))
    remove(Session(live.system), PRODUCT, yes=True)
    use(docker_engine, DATA)
    ui = Answers("yes")
    done = purge(live, ui, yes=False)
    used = f"is used by container purge-foreign, which is not of project {PRODUCT}"
    assert f"volume {DATA} stays: it {used}" in ui.shown
    assert f"Its data are deleted: {CACHE}." in ui.asked
    assert (done.changed, stays(done), volumes(docker_engine) & {DATA, CACHE}) == (True, {DATA: used}, {DATA})
    # Once more with nothing to delete: the reason is that of today.
    assert (purge(live).changed, stays(purge(live))) == (False, {DATA: used})


def test_a_volume_that_the_release_has_no_more_stays_and_every_plan_says_so(
    live: Context, docker_engine: Engine
) -> None:
    install(live, release(1))
    (upgrade,) = [each for each in plan_for(live, release(2, {"data": ""})).methods if each.name == "compose"]
    assert f"volume {CACHE} stays, with its data: this release no longer has it" in upgrade.lines
    install(live, release(2, {"data": ""}))
    why = f"it has data of project {PRODUCT}, but is no volume of this release"
    assert lines(live) == [
        f"DELETE volume {DATA} and its data: nothing brings them back",
        f"volume {CACHE} stays: {why}; to delete it: `docker volume rm {CACHE}`",
    ]
    done = purge(live)
    assert (stays(done).keys(), volumes(docker_engine) & {DATA, CACHE}) == ({CACHE}, {CACHE})


def test_a_volume_that_another_product_uses_stays_even_if_its_project_is_down(
    live: Context, docker_engine: Engine
) -> None:
    install(live, release(1))
    theirs = {"data": f"external: true, name: {DATA}"}
    install(context(live.system, "other"), release(1, theirs, "other"))
    docker_engine.docker("rm", "-f", "other-db-1")
    assert lines(live) == [
        f"DELETE volume {CACHE} and its data: nothing brings them back",
        f"volume {DATA} stays: it is used by other, too",
    ]
    assert purge(live).removal.counts["volume"] == 1
    assert DATA in volumes(docker_engine)


class Silent(LiveDir):
    """A live host whose engine does not answer the first questions about a volume."""

    questions = 0

    def run(self, argv: Sequence[str], **more: Any) -> Completed:
        if self.questions and "inspect" in argv and argv[-1] == DATA:
            self.questions -= 1
            more["env"] = {**more["env"], "DOCKER_HOST": f"unix://{self.root}/nobody.sock"}
        return super().run(argv, **more)


@pytest.mark.parametrize("is_purged", [True, False], ids=["was to be deleted", "was left"])
def test_a_volume_that_another_product_uses_stays_although_the_engine_does_not_answer_at_first(
    live: Context, docker_engine: Engine, *, is_purged: bool
) -> None:
    install(live, release(1))
    using = Using(root(live))
    using.engine = docker_engine
    remove(Session(using if is_purged else live.system), PRODUCT, yes=True, purge=is_purged)
    docker_engine.docker("rm", "-f", "purge-foreign", check=False)
    theirs = {"data": f"external: true, name: {DATA}"}
    install(context(live.system, "other"), release(1, theirs, "other"))
    docker_engine.docker("rm", "-f", "other-db-1")
    silent = Silent(root(live))
    silent.questions = 2
    purge(context(silent))
    assert (silent.questions, DATA in volumes(docker_engine)) == (0, True)
