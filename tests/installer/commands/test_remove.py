"""`remove` takes away what was installed and nothing else, looks again, and says what it found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from installer.audit.removal_check import LeftBehindError, RemovalCheck
from installer.commands.audit import audit
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.commands.remove import remove as remove_product
from installer.core.digest import sha256_hex
from installer.core.format.manifest import DirectoryEntry
from installer.host.context import Context
from installer.host.system import System
from installer.planning.drift import Policy
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from installer.transaction import finalize
from tests.rig.bench import Bench, release
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.releases import PRODUCT, STATE, Member, Notes, ReleaseSpec, context, install, remove

pytestmark = pytest.mark.host(directories=("etc", "opt"))

MEMBERS = {
    "bin/linux-amd64/d": Member(b"one", "/opt/chat/d", 0o755),
    "config/c": Member(b"as shipped", "/etc/chat/c", 0o644),
}
ONE = ReleaseSpec("1.0.0", 1, MEMBERS)
TWO = replace(ONE, version="2.0.0", sequence=2)
SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/v1/removal.schema.json").read_text())


def on(host: Context, path: str) -> Path:
    return Path(host.system.root, path.lstrip("/"))


def proof_of(host: Context, options: Options | None = None) -> RemovalCheck:
    found = remove(host, options).removal
    assert found is not None
    return found


def again(host: Context) -> RemovalCheck:
    """Give the command a second time."""
    found = remove_product(Session(host.system), PRODUCT, yes=True).removal
    assert found is not None
    return found


def named(proof: RemovalCheck, how: str) -> dict[str, str]:
    return {row.name: row.what for row in proof.of(how)}


def test_every_file_directory_and_release_is_looked_for_again(host: Context) -> None:
    install(host, ONE)
    install(host, TWO)
    proof = proof_of(host)
    assert proof.counts == {"file": 2, "directory": 2, "release": 2}
    assert {"/opt/chat", "/opt/chat/d", "/etc/chat", "/etc/chat/c"} <= named(proof, "gone").keys()
    assert named(proof, "left") == {}
    assert "removed 2 files, 2 directories, 2 releases" in proof.text()
    assert "problems  none" in proof.text()


def test_a_directory_with_files_of_others_stays_and_says_which(host: Context) -> None:
    install(host, ONE)
    on(host, "/opt/chat/mine").write_text("the operator's")
    proof = proof_of(host)
    assert named(proof, "stays")["/opt/chat"] == "contains mine, not installed by Waybill"
    assert proof.exit_code == 0
    assert on(host, "/opt/chat/mine").read_text() == "the operator's"


def test_a_directory_that_others_had_files_in_is_removed_by_a_second_removal_once_it_is_empty(
    host: Context,
) -> None:
    install(host, replace(ONE, members={**MEMBERS, "config/x": Member(b"x", "/opt/chat/deep/x", 0o644)}))
    for path in ("/opt/chat/deep/mine", "/etc/chat/mine"):
        on(host, path).write_text("the operator's")
    assert named(proof_of(host), "stays")["/opt/chat"] == "contains deep, not installed by Waybill"
    on(host, "/opt/chat/deep/mine").unlink()
    proof = again(host)
    assert {"/opt/chat", "/opt/chat/deep"} <= named(proof, "gone").keys()
    assert (named(proof, "left"), proof.exit_code) == ({}, 0)
    assert not on(host, "/opt/chat").exists()
    assert named(proof, "stays")["/etc/chat"] == "contains mine, not installed by Waybill"


def test_a_second_removal_that_removes_something_is_a_change_and_no_further_transaction(
    host: Context,
) -> None:
    install(host, ONE)
    on(host, "/opt/chat/mine").write_text("the operator's")
    proof_of(host)
    session, seen = Session(host.system), list[bool]()
    for does in (lambda: None, on(host, "/opt/chat/mine").unlink, lambda: None):
        does()
        seen.append(remove_product(session, PRODUCT, yes=True).changed)
        last = audited(host)[-1]
        assert (last["event"], last["exit"]) == ("unchanged", 0)
    assert seen == [False, True, False]
    # A transaction ends once: what went now, the removal has recorded as its own.
    (end,) = [row for row in audited(host) if row["event"] == "ended" and row["verb"] == "remove"]
    assert end["transaction"] == "000002"
    assert audit(host.system).problems == ()


def test_a_directory_that_another_product_has_by_now_is_not_removed_by_a_second_removal(
    host: Context,
) -> None:
    install(host, ONE)
    on(host, "/opt/chat/mine").write_text("the operator's")
    proof_of(host)
    members = {"config/e": Member(b"e", "/etc/other", 0o644)}
    directories = (DirectoryEntry("trees/t/d", 0o755, "/opt/chat"),)
    theirs = ReleaseSpec("1.0.0", 1, members, product="other", directories=directories)
    install(context(host.system, "other"), theirs)
    on(host, "/opt/chat/mine").unlink()
    again(host)
    assert on(host, "/opt/chat").is_dir()


def test_an_edited_file_goes_and_its_copy_is_named(host: Context) -> None:
    install(host, ONE)
    on(host, "/etc/chat/c").write_text("as edited")
    proof = proof_of(host)
    copy = f"/{STATE}/kept/000002/etc/chat/c"
    assert named(proof, "stays")[copy] == "/etc/chat/c as edited on this host"
    assert on(host, copy).read_text() == "as edited"


def test_an_edited_file_that_the_operator_keeps_stays_and_so_does_its_directory(host: Context) -> None:
    install(host, ONE)
    on(host, "/etc/chat/c").write_text("as edited")
    stays = named(proof_of(host, Options(drift=Policy.parse(["keep"]))), "stays")
    assert stays["/etc/chat/c"] == "edited on this host, kept"
    assert stays["/etc/chat"] == "contains c, edited on this host and kept"


def test_the_plan_of_a_removal_says_whose_file_keeps_a_directory(host: Context) -> None:
    install(host, ONE)
    on(host, "/etc/chat/c").write_text("as edited")
    options = Options(drift=Policy.parse(["keep"]))
    with exclusive(host) as (state, _):
        notes = plan_remove(host, state, options).notes
    assert "/etc/chat is not removed: it contains c, edited on this host and kept" in notes
    on(host, "/etc/chat/zz").write_text("of somebody else")
    with exclusive(host) as (state, _):
        notes = plan_remove(host, state, options).notes
    assert "/etc/chat is not removed: it contains zz and 1 more, not installed by Waybill" in notes


def test_history_audit_log_and_site_values_stay_and_say_why(host: Context) -> None:
    install(host, ONE)
    values = on(host, "/etc/waybill/lan-chat/values.yaml")
    values.parent.mkdir(parents=True)
    values.write_text("a: 1\n")
    stays = named(proof_of(host), "stays")
    assert "prevent an unnoticed downgrade" in stays[f"/{STATE}"]
    assert stays["/etc/waybill/lan-chat/values.yaml"] == "the values of this site"
    assert "audit log" in stays["/var/lib/waybill"]


def test_secrets_and_files_of_the_site_stay_and_are_named(host: Context) -> None:
    install(host, ONE)
    on(host, "/etc/waybill/lan-chat/secrets").mkdir(parents=True)
    on(host, "/etc/waybill/lan-chat/compose.override.yaml").write_text("services: {}\n")
    stays = named(proof_of(host), "stays")
    assert stays["/etc/waybill/lan-chat/secrets"] == "secrets of this site"
    assert stays["/etc/waybill/lan-chat/compose.override.yaml"] == "configuration of this site"


def test_what_is_still_there_is_left_behind_and_no_success(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(host, ONE)
    after = finalize.after_commit

    def put_back(*words: object) -> object:
        state = after(*words)  # type: ignore[arg-type]
        on(host, "/opt/chat").mkdir()
        on(host, "/opt/chat/d").write_bytes(b"one")
        return state

    monkeypatch.setattr(finalize, "after_commit", put_back)
    proof = proof_of(host)
    assert named(proof, "left") == {"/opt/chat/d": "is still there"}
    assert "LEFT   /opt/chat/d is still there" in proof.text()
    with pytest.raises(LeftBehindError, match="1 problem is left") as raised:
        proof.require_clean()
    assert raised.value.exit_code == 21
    assert [each.where for each in raised.value.problems] == ["/opt/chat/d"]
    (line,) = [row for row in audited(host) if row["event"] == "ended" and row["verb"] == "remove"]
    assert (line["exit"], line["left"]) == (21, ["/opt/chat/d: is still there"])


def audited(host: Context) -> list[dict[str, object]]:
    lines = on(host, "/var/lib/waybill/audit.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_proof_is_kept_as_evidence_and_the_audit_log_has_its_digest(host: Context) -> None:
    install(host, ONE)
    proof = proof_of(host)
    (path,) = on(host, "/var/lib/waybill/evidence.d").glob("*-removed-*.json")
    kept = json.loads(path.read_text())
    jsonschema.validate(kept, SCHEMA)
    assert {name: kept["predicate"][name] for name in proof.as_json()} == proof.as_json()
    ended = audited(host)[-1]
    assert ended["gone"] == proof.counts
    assert ended["evidence"] == sha256_hex(path.read_bytes())


def test_a_removal_that_was_killed_is_proved_by_whoever_ends_it(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    host = context(System(tmp_path))
    install(host, ONE)

    class Dying(FaultySystem):
        def around(self, name: str, args: tuple[object, ...], call: object) -> object:  # type: ignore[override]
            result = super().around(name, args, call)  # type: ignore[arg-type]
            if name == "write_at" and any(isinstance(each, bytes) and b'"COMMIT"' in each for each in args):
                self._die()
            return result

    with pytest.raises(Killed):
        remove(context(Dying(tmp_path)))
    with exclusive(host):
        pass
    ended = audited(host)[-1]
    assert (ended["verb"], ended["recovered"], ended["left"]) == ("remove", True, [])
    assert isinstance(host.progress, Notes)
    assert any("problems  none" in line for line in host.progress.lines)


def test_the_plan_says_beforehand_what_goes_and_what_stays(host: Context) -> None:
    install(host, ONE)
    install(host, TWO)
    on(host, "/opt/chat/mine").write_text("the operator's")
    with exclusive(host) as (state, _):
        plan = plan_remove(host, state)
    assert {change.path for change in plan.changes.changes} == {"/opt/chat/d", "/etc/chat/c"}
    assert any(note.startswith("retained release 1.0.0 will be deleted") for note in plan.notes)
    assert "/opt/chat is not removed: it contains mine, not installed by Waybill" in plan.notes


def test_the_document_of_a_removal_that_left_something_lists_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    file, after = bench.host / "opt/a", finalize.after_commit
    saved = file.read_bytes(), file.stat().st_mode

    def put_back(*words: object) -> object:
        state = after(*words)  # type: ignore[arg-type]
        file.parent.mkdir()
        file.write_bytes(saved[0])
        file.chmod(saved[1])
        return state

    monkeypatch.setattr(finalize, "after_commit", put_back)
    code, document, _ = bench.run("remove", "lan-chat", "--yes")
    assert code == 21
    assert [row["name"] for row in document["removal"]["left"]] == ["/opt/a"]
    assert [problem["where"] for problem in document["problems"][1:]] == ["/opt/a"]


def test_the_command_prints_it_and_looks_again_when_it_is_typed_again(bench: Bench) -> None:
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    code, said = bench.text("remove", "lan-chat", "--yes")
    assert (code, "removed 1 file, 1 directory, 1 release" in said) == (0, True)
    code, document, _ = bench.run("remove", "lan-chat", "--yes")
    assert (code, document["removal"]["left"]) == (0, [])
    bench.host.joinpath("opt").mkdir(exist_ok=True)
    bench.host.joinpath("opt/a").write_bytes(b"mine")
    assert "/opt/a" in [row["name"] for row in bench.run("remove", "lan-chat")[1]["removal"]["stays"]]
