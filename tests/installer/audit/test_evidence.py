"""The evidence of verifications: of every install and every refusal; durable, bounded, never written over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from installer.audit import evidence
from installer.audit.evidence import DIRECTORY, EvidenceRecorder, Refusal, record, refusals
from installer.commands.common.session import Session
from installer.commands.history import Event, HistoryResult, history
from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.trust.root import PRODUCTION
from installer.core.trust.steps import STEPS
from installer.core.vsa import VerificationTrace
from installer.host.system import System
from tests.rig.bench import Bench, newer, release
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.needs import needs
from tests.rig.trustworld import APPROVALS, NOW, Said, person, root

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/v1/evidence.schema.json").read_text())
OPEN_MEDIUM = "installer.commands.common.published_source.open_source"
CHECK = Draft202012Validator(SCHEMA)


def found(place: Path) -> list[dict[str, Any]]:
    """Gives all records of a host, each checked against the schema."""
    documents = []
    for path in sorted((place / DIRECTORY[1:]).glob("[0-9]*")):
        documents.append(json.loads(path.read_bytes()))
        CHECK.validate(documents[-1])
        assert path.stat().st_mode & 0o777 == 0o600
    return documents


class TestContent:
    def test_an_install_leaves_evidence(self, bench: Bench) -> None:
        world = release()
        path = bench.bundle(world)
        assert bench.run(str(path), "--yes")[0] == 0
        (said,) = found(bench.host)
        assert said["subject"] == [{"name": "SHA256SUMS", "digest": {"sha256": world.identity}}]
        predicate = said["predicate"]
        assert predicate["verificationResult"] == "PASSED"
        assert predicate["verifiedLevels"] == ["SLSA_BUILD_LEVEL_0"]
        assert predicate["resourceUri"] == f"urn:waybill:bundle:{world.identity}"
        assert predicate["timeVerified"] == NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
        root_file = bench.host / "etc/waybill/trust/root.json"
        assert predicate["policy"]["digest"]["sha256"] == sha256_hex(root_file.read_bytes())
        assert predicate["policy"]["annotations"] == {"version": 1, "environment": "production"}
        counted = {
            (row["annotations"]["role"], row["annotations"]["owner"], row["annotations"]["keyid"])
            for row in predicate["inputAttestations"]
        }
        team = {"release": "Rea", "provenance": "Ci", "security": "Sec", "ops": "Ops"}
        assert counted == {(role, name, person(name).key.keyid) for role, name in team.items()}
        bundle = predicate["waybill_bundle"]
        assert (bundle["version"], bundle["change_id"]) == ("1.4.0", "CHG-7")

    def test_the_digests_are_of_the_files_in_the_bundle(self, bench: Bench, tmp_path: Path) -> None:
        path = bench.bundle(release())
        bench.run(str(path), "--yes")
        (place := tmp_path / "x").mkdir()
        subprocess.run(["tar", "-xf", path, "-C", place], check=True)
        rows = found(bench.host)[0]["predicate"]["inputAttestations"]
        assert {row["annotations"]["role"] for row in rows} == {"release", "provenance", "security", "ops"}
        for row in rows:
            assert row["digest"]["sha256"] == sha256_hex((place / row["uri"]).read_bytes())

    def test_a_refusal_leaves_evidence_with_the_step_and_its_words(self, bench: Bench) -> None:
        path = bench.bundle(replace(release(), approvals=APPROVALS[:1]))
        assert bench.run(str(path), "--yes")[0] == 14
        predicate = found(bench.host)[0]["predicate"]
        assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("FAILED", ["FAILED"])
        refusal = predicate["waybill_refusal"]
        assert (refusal["step"], refusal["words"], refusal["exit"]) == (18, STEPS[18], 14)
        assert "missing: 1 approval in role security" in {problem["what"] for problem in refusal["problems"]}
        by_role = {row["annotations"]["role"]: row["annotations"] for row in predicate["inputAttestations"]}
        assert by_role["provenance"]["counted"]
        assert by_role["provenance"]["owner"] == "Ci"

    def test_a_bundle_that_nobody_trusted_signed_leaves_evidence(self, bench: Bench) -> None:
        world = replace(release(), signers=("Eve",))
        assert bench.run(str(bench.bundle(world)), "--yes")[0] == 10
        said = found(bench.host)[0]
        assert said["subject"][0]["digest"]["sha256"] == world.identity
        assert said["predicate"]["waybill_refusal"]["step"] == 6
        assert "product" not in said["predicate"]["waybill_bundle"]
        assert {row["annotations"]["counted"] for row in said["predicate"]["inputAttestations"]} == {False}

    def test_a_file_that_is_no_bundle_leaves_evidence(self, bench: Bench) -> None:
        path = bench.stick / "x.tar"
        path.write_bytes(b"x" * 5000)
        assert bench.run(str(path), "--yes")[0] == 11
        said = found(bench.host)[0]
        assert said["subject"] == []
        assert said["predicate"]["waybill_bundle"] == {"file": str(path)}
        assert (bench.host / DIRECTORY[1:] / "000001-refused-unknown.json").exists()

    def test_a_payload_that_is_not_what_was_signed_leaves_evidence(self, bench: Bench) -> None:
        data = release().tar()
        at = data.rindex(b"betabeta")
        path = bench.stick / "b.tar"
        path.write_bytes(data[:at] + b"B" + data[at + 1 :])
        assert bench.run(str(path), "--yes")[0] == 11
        assert found(bench.host)[0]["predicate"]["waybill_refusal"]["step"] == 19

    def test_break_glass_is_loud(self, bench: Bench) -> None:
        bench.trust(root(environments={"production": replace(PRODUCTION, break_glass=True)}))
        said = Said("break-glass", fields={"notes": "plant stands still"})
        path = bench.bundle(replace(release(), approvals=(said,)))
        assert bench.run(str(path), "--yes")[0] == 0
        predicate = found(bench.host)[0]["predicate"]
        assert predicate["verifiedLevels"] == ["SLSA_BUILD_LEVEL_0", "WAYBILL_BREAK_GLASS"]
        assert "plant stands still" in predicate["waybill_breakGlass"]["warning"]
        assert any("role security" in what for what in predicate["waybill_breakGlass"]["missing"])

    def test_a_name_that_is_no_text_is_recorded_as_text(self, bench: Bench) -> None:
        path = os.fsdecode(os.fsencode(bench.stick) + b"/\xff\xfe.tar")
        Path(path).write_bytes(b"x" * 5000)
        assert bench.run(path, "--yes")[0] == 11
        assert found(bench.host)[0]["predicate"]["waybill_bundle"]["file"].endswith("/??.tar")


class TestWhen:
    def test_verify_plan_and_nothing_to_do_write_none(self, bench: Bench) -> None:
        good, bad = bench.bundle(release()), bench.bundle(replace(release(), signers=("Eve",)), "bad.tar")
        for words in (("verify", str(good)), ("plan", str(good)), ("verify", str(bad)), ("plan", str(bad))):
            bench.run(*words)
        assert found(bench.host) == []
        bench.run(str(good), "--yes")
        assert bench.run(str(good), "--yes")[0] == 0
        assert len(found(bench.host)) == 1

    def test_wrong_usage_is_no_refusal(self, bench: Bench) -> None:
        assert bench.run(str(bench.stick / "nowhere.tar"), "--yes")[0] == 2
        assert found(bench.host) == []

    def test_a_host_that_trusts_nobody_refuses_with_its_own_code_and_says_so(self, bench: Bench) -> None:
        path = bench.bundle(release())
        (bench.host / "etc/waybill/trust/root.json").unlink()
        assert bench.run(str(path), "--yes")[0] == 10
        policy = found(bench.host)[0]["predicate"]["policy"]
        assert "digest" not in policy
        assert policy["annotations"] == {"version": 0, "environment": "production"}

    def test_a_refusal_stays_what_it_is_where_its_evidence_cannot_be_written(
        self,
        bench: Bench,
    ) -> None:
        (bench.host / "var").write_text("in the way")
        code, document, said = bench.run(str(bench.bundle(replace(release(), signers=("Eve",)))), "--yes")
        assert (code, document["code"]) == (10, "untrusted")
        assert "cannot write the evidence to /var/lib/waybill/evidence.d" in said

    def test_an_install_that_is_refused_by_the_pipe_s_end(
        self,
        bench: Bench,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from tests.rig import bundlebuild as build

        data = replace(release(), approvals=APPROVALS[:1]).tar()
        monkeypatch.setattr(OPEN_MEDIUM, lambda _name: build.stream(data))
        assert bench.run("-", "--yes")[0] == 14
        assert found(bench.host)[0]["predicate"]["waybill_bundle"]["file"] == "-"


class TestHistory:
    def test_the_history_says_where_the_evidence_is_and_what_was_refused(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(release())), "--yes")
        bench.run(str(bench.bundle(release("1.3.0", 100_030_000_999))), "--yes")
        code, document, _ = bench.run("history")
        assert code == 0
        event, refused = document["events"][0], document["refusals"][0]
        assert (bench.host / event["evidence"][1:]).is_file()
        assert (refused["version"], refused["verification_step"]) == ("1.3.0", 12)
        assert (bench.host / refused["evidence"][1:]).is_file()

    def test_the_history_has_lines_for_people(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(release())), "--yes")
        bench.run(str(bench.bundle(replace(release(), signers=("Eve",)))), "--yes")
        shown = history(Session(System(bench.host))).text()
        assert f"evidence: {DIRECTORY}/000001-passed-" in shown
        assert "REFUSED at step 6" in shown

    def test_what_happened_within_a_second_stands_in_its_order(self) -> None:
        when = "2026-11-24T01:00:00Z"
        refused = Refusal(
            when, "a.tar", "", "", "", 0, "nobody is trusted", f"{DIRECTORY}/000001-refused-x.json"
        )
        began = int(refused.when)
        event = Event(
            "000001", "apply", "done", began, began, "1.0.0", "", evidence=f"{DIRECTORY}/000002-y.json"
        )
        assert [line.split()[2] for line in HistoryResult((event,), (refused,)).text().splitlines()[::2]] == [
            "REFUSED",
            "000001",
        ]

    def test_a_host_with_refusals_only_has_a_history(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(replace(release(), signers=("Eve",)))), "--yes")
        _, document, _ = bench.run("history")
        assert (document["events"], len(document["refusals"])) == ([], 1)

    def test_the_history_keeps_path_and_digest(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(release())), "--yes")
        kept = bench.run("status")[1]["products"][0]["installed"]["evidence"]
        assert sha256_hex((bench.host / kept["path"][1:]).read_bytes()) == kept["sha256"]

    def test_the_audit_log_has_the_digest_of_it(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(release())), "--yes")
        bench.run(str(bench.bundle(replace(release(), signers=("Eve",)))), "--yes")
        (bench.host / "etc/waybill/trust/root.json").unlink()
        bench.run(str(bench.bundle(release())), "--yes")
        lines = (bench.host / "var/lib/waybill/audit.jsonl").read_text().splitlines()
        told = [json.loads(line)["evidence"] for line in lines if "evidence" in json.loads(line)]
        files = sorted((bench.host / DIRECTORY[1:]).iterdir())
        assert told == [sha256_hex(path.read_bytes()) for path in files]
        assert len(told) == 3

    @pytest.mark.parametrize(
        "change",
        [
            {"timeVerified": 1},
            {"resourceUri": None},
            {"waybill_bundle": {"file": 1}},
            {"waybill_bundle": {"file": "b.tar", "version": []}},
            {"waybill_refusal": {"what": "x", "step": "7"}},
            {"waybill_refusal": {"what": None}},
        ],
        ids=str,
    )
    def test_a_record_of_other_types_is_passed_over(self, tmp_path: Path, change: dict[str, Any]) -> None:
        system = System(tmp_path)
        good = {
            "timeVerified": "2026-11-24T01:00:00Z",
            "resourceUri": "urn:waybill:bundle:unknown",
            "waybill_bundle": {"file": "b.tar"},
            "waybill_refusal": {"what": "nobody is trusted"},
        }
        for said in (good, good | change):
            record(system, json.dumps({"predicate": said}).encode(), "refused", "")
        (tmp_path / DIRECTORY[1:] / "000003-refused-unknown.json").symlink_to("000001-refused-unknown.json")
        assert [each.what for each in refusals(system)] == ["nobody is trusted"]

    def test_a_damaged_record_is_passed_over(self, bench: Bench) -> None:
        bench.run(str(bench.bundle(replace(release(), signers=("Eve",)))), "--yes")
        place = bench.host / DIRECTORY[1:]
        for number, data in enumerate((b"", b"[]", b"{}", b'{"predicate":[]}', b"\xff"), 2):
            (place / f"{number:06d}-refused-unknown.json").write_bytes(data)
        assert len(refusals(System(bench.host))) == 1


class TestWriting:
    @pytest.fixture
    def system(self, tmp_path: Path) -> System:
        (tmp_path / "h").mkdir()
        return System(tmp_path / "h")

    def names(self, system: System) -> list[str]:
        return sorted(system.names(DIRECTORY))

    def test_each_record_of_evidence_has_its_own_number_and_none_is_overwritten(self, system: System) -> None:
        made = [record(system, b"%d" % n, "refused" if n % 2 else "passed", "ab" * 32) for n in range(4)]
        assert [each.path.rpartition("/")[2] for each in made] == [
            "000001-passed-abababababab.json",
            "000002-refused-abababababab.json",
            "000003-passed-abababababab.json",
            "000004-refused-abababababab.json",
        ]
        assert [system.read(each.path, 9) for each in made] == [b"0", b"1", b"2", b"3"]
        assert made[3].sha256 == sha256_hex(b"3")

    def test_refusals_never_push_out_what_passed(
        self, system: System, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evidence, "KEEP", 3)
        record(system, b"good", "passed", "a" * 64)
        for _ in range(10):
            record(system, b"bad", "refused", "")
        assert self.names(system) == [
            "000001-passed-aaaaaaaaaaaa.json",
            "000009-refused-unknown.json",
            "000010-refused-unknown.json",
            "000011-refused-unknown.json",
        ]

    def test_the_evidence_of_retained_releases_stays_however_old_it_is(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evidence, "KEEP", 1)
        assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
        assert bench.run(newer(bench), "--yes")[0] == 0
        system = System(bench.host)
        for _ in range(4):
            record(system, b"another product", "passed", "b" * 64)
        kept = [name.partition("-")[0] for name in self.names(system)]
        assert kept == ["000001", "000002", "000006"], "two releases are retained, and the newest of all"
        assert bench.run("remove", "lan-chat", "--yes")[0] == 0
        record(system, b"another product", "passed", "b" * 64)
        assert [name for name in self.names(system) if "-passed-" in name] == [
            "000008-passed-bbbbbbbbbbbb.json"
        ]
        _, document, _ = bench.run("history")
        assert [event["pruned"] for event in document["events"]] == [True, True, False]
        assert "(removed since: the newest are kept)" in bench.text("history")[1]
        assert bench.run("audit")[0] == 0, "the audit log has the digest of each"

    def test_no_evidence_is_removed_while_a_state_cannot_be_read(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evidence, "KEEP", 1)
        assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
        (bench.host / "var/lib/waybill/lan-chat/state.json").write_text("{")
        for _ in range(3):
            record(System(bench.host), b"another product", "passed", "b" * 64)
        assert len(self.names(System(bench.host))) == 4

    def test_two_records_of_evidence_at_the_same_moment_are_both_kept(self, system: System) -> None:
        made: list[str] = []

        def write() -> None:
            made.extend(record(System(system.root), b"x", "passed", "").path for _ in range(15))

        record(system, b"x", "passed", "")
        code = (
            "import sys; from installer.host.system import System;"
            "from installer.audit.evidence import record;"
            "[print(record(System(sys.argv[1]), b'x', 'passed', '').path) for _ in range(15)]"
        )
        beside = subprocess.Popen(
            [sys.executable, "-c", code, str(system.root)], stdout=subprocess.PIPE, text=True
        )
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        made += beside.communicate()[0].split()
        assert beside.returncode == 0
        assert len(set(made)) == 30

    @pytest.mark.parametrize("fault", ["kill before", "kill half", "kill after", "ENOSPC", "EIO", "short"])
    def test_whatever_fails_a_record_is_whole_or_not_there(self, tmp_path: Path, fault: str) -> None:
        for number in range(1, 100):
            place = tmp_path / f"{number}"
            place.mkdir()
            victim = FaultySystem(place, number, fault)
            with suppress(Killed, OSError):
                record(victim, b"whole", "passed", "")
            again = System(place)
            whole = [name for name in again.names(DIRECTORY) if name[0] != "."]
            assert {again.read(f"{DIRECTORY}/{name}", 9) for name in whole} <= {b"whole"}
            assert record(again, b"next", "passed", "").path.rpartition("/")[2] not in whole
            if len(victim.trace) < number:
                assert number > 10
                return
        pytest.fail("it never came to its end")

    def test_what_a_kill_left_is_removed_later(self, system: System) -> None:
        record(system, b"x", "passed", "")
        system.write_new(f"{DIRECTORY}/.000001.77.new", b"half", 0o600)
        for _ in range(12):
            record(system, b"x", "passed", "")
        assert not [name for name in self.names(system) if name.startswith(".")]

    def test_evidence_is_written_once(self, system: System) -> None:
        recorder = EvidenceRecorder(system, lambda: NOW, pytest.fail, VerificationTrace(file="b.tar"))
        with pytest.raises(TamperedError), recorder.record_refusals(), recorder.record_refusals():
            raise TamperedError("x")
        assert len(self.names(system)) == 1


def test_a_read_only_host_still_refuses(tmp_path: Path) -> None:
    """A truly read-only mount, in a mount namespace of its own."""
    place = tmp_path / "ro"
    place.mkdir()
    needs("unshare")
    (tmp_path / "b.tar").write_bytes(release().tar())
    script = 'mount -t tmpfs -o ro none "$1" && exec "$2" -c "$3" "$4" --root "$1" --yes'
    main = "from installer.cli.main import main; main()"
    words = ["sh", "-c", script, "sh", str(place), sys.executable, main, str(tmp_path / "b.tar")]
    done = subprocess.run(
        ["unshare", "--mount", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert done.returncode == 10, done.stderr
    assert "cannot write the evidence to /var/lib/waybill/evidence.d" in done.stderr
    assert "Read-only file system" in done.stderr
