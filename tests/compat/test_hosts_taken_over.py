"""The current `install` takes over a host that the baseline's left, and does the very same to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.rig.compatrelease import FIRST, SECOND, bundle
from tests.rig.desk import Desk
from tests.rig.executables import Executables
from tests.rig.hostdir import PRODUCT, HostDir, without_times

METHODS = ("--yes", "--only", "files,script")
CONFIG = "etc/lan-chat/chatd.conf"
Words = tuple[str | Path, ...]


@dataclass(frozen=True)
class Commands:
    """Command lines by a short name, for bundles of the baseline."""

    desk: Desk

    def __getitem__(self, name: str) -> Words:
        verb, _, rest = name.partition(" ")
        if verb != "apply":
            return (*name.split(), "--yes") if verb != "recover" else (verb,)
        version, *options = rest.split()
        step = "forward" if version == "forward" else "undo"
        version = SECOND if version == "forward" else version
        return (bundle(self.desk, version, step), *METHODS, *options)


EDIT, FAIL = "edit", "fail"
STATES: dict[str, tuple[str, ...]] = {
    "trust alone": (),
    "installed": (f"apply {FIRST}",),
    "upgraded": (f"apply {FIRST}", f"apply {SECOND}"),
    "rolled back": (f"apply {FIRST}", f"apply {SECOND}", "rollback"),
    "removed": (f"apply {FIRST}", f"apply {SECOND}", f"remove {PRODUCT}"),
    "drifted": (f"apply {FIRST}", f"apply {SECOND}", EDIT),
    "drift kept": (f"apply {FIRST}", EDIT, f"apply {SECOND} --on-drift keep"),
    "staged only": (f"apply {FIRST}", EDIT, f"apply {SECOND}"),
    "incomplete": (f"apply {FIRST}", FAIL, "apply forward"),
}
"""What the baseline did on a host, by what that makes of the host."""
NEXT = [
    ("trust alone", f"apply {SECOND}", 0),
    ("installed", f"apply {SECOND}", 0),
    ("upgraded", "rollback", 0),
    ("upgraded", f"remove {PRODUCT}", 0),
    ("removed", f"apply {FIRST}", 13),
    ("drifted", "rollback", 15),
    ("drifted", "rollback --on-drift replace", 0),
    ("drift kept", "rollback", 0),
    ("staged only", f"apply {SECOND} --on-drift keep", 0),
    ("staged only", "recover", 0),
    ("incomplete", "apply forward", 0),
    ("incomplete", "rollback --data-fits", 0),
]


@pytest.fixture(scope="module")
def commands(desk: Desk) -> Commands:
    return Commands(desk)


@pytest.fixture(scope="module")
def left(commands: Commands, trusting: Callable[[str], HostDir], fast: Path) -> Callable[[str], HostDir]:
    """Give a host in one of the states; each is made once, from the one before it."""
    made = {(): trusting("trust alone")}

    def make(steps: tuple[str, ...]) -> HostDir:
        if steps not in made:
            before = make(steps[:-1])
            made[steps] = before.copy(fast / f"state {len(made)}", before.install)
            do(made[steps], commands, steps[-1])
        return made[steps]

    return lambda state: make(STATES[state])


def do(host: HostDir, commands: Commands, step: str) -> int:
    if step == EDIT:
        (host.root / CONFIG).write_text("edited\n")
    elif step == FAIL:
        (host.root / "srv/fail-migrate").touch()
    else:
        return host.run(*commands[step]).rc
    return 0


@pytest.mark.parametrize(("state", "command", "exit_code"), NEXT)
def test_the_next_command_does_the_same(
    state: str,
    command: str,
    exit_code: int,
    left: Callable[[str], HostDir],
    commands: Commands,
    old: Executables,
    new: Executables,
    hosts: Path,
) -> None:
    done = []
    for programs, name in ((old, "one"), (new, "two")):
        host = left(state).copy(hosts / name, programs.install)
        (host.root / "srv/fail-migrate").unlink(missing_ok=True)
        assert host.run(*commands[command]).rc == exit_code
        done.append(host)
    one, two = done
    assert two.outside() == one.outside()
    assert without_times(two.state) == without_times(one.state)
    assert two.journals() == one.journals()
    assert two.inside() == one.inside()
    assert [audited(record) for record in two.records] == [audited(record) for record in one.records]


def audited(record: dict[str, object]) -> dict[str, object]:
    """Return a record of the audit log without hashes, times and words for people."""
    varying = {"hash", "time", "seconds", "evidence", "why", "what", "hint", "problems", "reason", "check"}
    found = {key: value for key, value in without_times(record).items() if key not in varying}
    if "stays" in found:
        # A path and, after a colon, the reason. A script that ran went with its release: it counts as gone
        # since the baseline, which had it here.
        paths = [str(text).partition(": ")[0] for text in found["stays"]]
        found["stays"] = [path for path in paths if "/releases/" not in path]
    if "gone" in found:
        found["gone"] = {kind: count for kind, count in found["gone"].items() if kind != "script"}
    return found


@pytest.mark.parametrize("state", STATES)
def test_status_says_the_same(
    state: str, left: Callable[[str], HostDir], old: Executables, new: Executables
) -> None:
    said = []
    for programs in (old, new):
        products = HostDir(left(state).root, programs.install).document("status")["products"]
        said.append(
            [
                (
                    each["product"],
                    # Older executables call them `current` and `kept`, and have -1 for none.
                    (each.get("installed", each.get("current")) or {}).get("version"),
                    [kept["version"] for kept in each.get("retained", each.get("kept"))],
                    [drift["where"] for drift in each["drift"]],
                    -1 if each["highest"] is None else each["highest"],
                    bool(each["unfinished"]),
                )
                for each in products
            ]
        )
    assert said[0] == said[1]
    assert bool(said[0]) == (state != "trust alone")


@pytest.fixture(scope="module")
def shared(
    desk: Desk, commands: Commands, trusting: Callable[[str], HostDir], old: Executables, new: Executables
) -> list[HostDir]:
    """One host that both executables have changed by turns, as each of them sees it."""
    root = trusting("shared").root
    hosts = [HostDir(root, programs.install) for programs in (old, new)]
    good = bundle(desk, SECOND, "undo")
    damaged = good.with_name("damaged.tar")
    data = bytearray(good.read_bytes())
    data[-2000] ^= 1
    damaged.write_bytes(data)
    refused: Words = (damaged, "--yes")
    story = [commands[f"apply {FIRST}"], refused, commands[f"apply {SECOND}"], commands["rollback"]]
    story += [commands[f"apply {SECOND}"], refused, commands[f"remove {PRODUCT}"]]
    codes = [hosts[number % 2].run(*words).rc for number, words in enumerate(story)]
    assert codes == [0, 11, 0, 0, 0, 11, 0]
    return hosts


def test_the_audit_log_goes_on_under_either_executable(shared: list[HostDir]) -> None:
    records = shared[0].records
    done = ["begun", "ended"]
    assert [record["event"] for record in records] == [
        *("trust", *done, "refused", *done, *done, *done, "refused", *done)
    ]
    assert [record["n"] for record in records] == list(range(1, len(records) + 1))
    for host in shared:
        host.check("audit")


def test_history_and_evidence_are_read_by_either_executable(shared: list[HostDir]) -> None:
    host = shared[0]
    folder = host.root / "var/lib/waybill/evidence.d"
    digests = {sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    audited = {record["evidence"] for record in host.records if record.get("evidence")}
    assert len(audited) >= 5
    assert audited <= digests
    for history in (each.document("history") for each in shared):
        events = [(each["transaction"], each["version"] or "") for each in history["events"]]
        versions = (FIRST, SECOND, FIRST, SECOND, "")
        assert events == [(f"{number:06}", version) for number, version in enumerate(versions, 1)]
        assert len(history["refusals"]) == 2
        named = [each["evidence"] for each in history["events"] if each["evidence"]]
        assert len(named) >= 3
        assert all((host.root / path.lstrip("/")).is_file() for path in named)
