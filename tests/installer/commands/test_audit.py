"""`install audit`: checked from the first record to the last, shown, exported, sealed."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from installer.audit import log as audit_log
from installer.audit import recorder
from installer.audit.log import opened
from installer.commands.audit import audit, moment
from installer.core.errors import HostNotReadyError
from installer.core.timestamps import format_time
from installer.core.trust.root import fingerprint
from installer.host.system import System
from tests.rig.auditlogs import break_log, records
from tests.rig.bench import Bench, release
from tests.rig.needs import needs
from tests.rig.trustworld import NOW


def test_the_command_shows_checks_and_finds_what_was_noted(bench: Bench, tmp_path: Path) -> None:
    bench.run(str(bench.bundle(release())), "--yes")
    code, document, _ = bench.run("audit")
    assert (code, document["intact"], document["count"]) == (0, True, 2)
    head = document["head"]["hash"]
    bench.run("remove", "lan-chat", "--yes")
    code, document, _ = bench.run("audit", "--anchor", head, "--anchor", head[:16])
    assert (code, document["anchors"]) == (0, [{"number": 2, "hash": head}] * 2)
    assert bench.run("audit", "--anchor", "ab" * 32)[0] == 11
    assert bench.run("audit", "--anchor", "short")[0] == 2
    assert bench.run("audit", "--since", "2999-01-01")[1]["records"] == []
    assert len(bench.run("audit", "--since", "36500d")[1]["records"]) == 4
    assert bench.run("audit", "--since", "yesterday")[0] == 2
    out = tmp_path / "out.jsonl"
    assert bench.run("audit", "--export", str(out))[0] == 0
    assert out.read_bytes() == (bench.host / audit_log.LOG[1:]).read_bytes()
    assert bench.run("audit", "--export", str(out))[0] == 2


def test_a_selection_without_records_says_so(bench: Bench) -> None:
    bench.run(str(bench.bundle(release())), "--yes")
    code, document, said = bench.run("audit", "--product", "lan-chta")
    assert (code, document["records"], document["intact"]) == (0, [], True)
    told = "--product lan-chta: no record of the audit log is about this product"
    assert said == f"warning: {told}\n  hint: did you mean lan-chat?\n"
    _, _, said = bench.run("audit", "--product", "x")
    assert "hint: products in the log: lan-chat\n" in said
    for words, none in (
        (("--product", "lan-chat", "--since", "2999-01-01"), "no record of lan-chat since 2999-01-01"),
        (("--since", "2999-01-01"), "no record since 2999-01-01"),
    ):
        code, document, said = bench.run("audit", *words)
        assert (code, document["records"], said) == (0, [], f"{none}\n")
    assert bench.run("audit", "--product", "lan-chat")[2] == ""


def test_a_broken_log_is_named_with_record_file_and_remedy(bench: Bench) -> None:
    bench.run(str(bench.bundle(release())), "--yes")
    log = bench.host / audit_log.LOG[1:]
    log.write_bytes(log.read_bytes().replace(b'"verb":"apply"', b'"verb":"remov"', 1))
    code, document, _ = bench.run("audit")
    assert (code, document["intact"], document["records"]) == (11, False, [])
    assert document["problems"][0]["where"] == audit_log.LOG
    assert document["problems"][0]["what"].startswith("record 1 is damaged")
    code, said = bench.text("audit")
    assert code == 11
    assert f"error: {audit_log.LOG}: record 1 is damaged" in said
    assert "hint: " in said


def test_a_log_that_was_removed_is_noticed_by_what_was_done_here(bench: Bench) -> None:
    bench.run(str(bench.bundle(release())), "--yes")
    for path in bench.host.glob("var/lib/waybill/audit.*"):
        path.unlink()
    code, document, _ = bench.run("audit")
    assert code == 11
    assert "does not contain transaction 000001 of lan-chat" in document["problems"][0]["what"]
    code, _, said = bench.run("audit", "--seal", "was removed")
    assert (code, said) == (0, "warning: started a new log: the old log was missing\n")
    assert bench.run("audit")[0] == 0


def remove_log(bench: Bench) -> None:
    for path in bench.host.glob("var/lib/waybill/audit.*"):
        path.unlink()


def test_nothing_is_done_that_would_hide_that_the_log_was_removed(bench: Bench) -> None:
    bench.run(str(bench.bundle(release())), "--yes")
    remove_log(bench)
    later = str(bench.bundle(release("1.5.0", 100_050_000_999), "later.tar"))
    code, document, said = bench.run(later, "--yes")
    assert (code, document["code"], document.where) == (15, "audit", audit_log.LOG)
    assert document.what == "is missing, but lan-chat was installed here"
    assert "install audit --seal REASON" in document.hint
    assert "NOT in the audit log" in said
    assert not (bench.host / audit_log.LOG[1:]).exists()
    assert bench.run("audit", "--seal", "somebody removed it")[0] == 0
    assert bench.run(later, "--yes")[0] == 0
    code, document, _ = bench.run("audit")
    assert (code, document["records"][0]["event"]) == (0, "sealed")


def test_a_log_that_was_begun_anew_is_noticed_by_what_the_history_has(bench: Bench, tmp_path: Path) -> None:
    bench.run(str(bench.bundle(release())), "--yes")
    remove_log(bench)
    history = bench.host / "var/lib/waybill/lan-chat/history.jsonl"
    history.rename(tmp_path / "aside")
    assert bench.run(str(bench.bundle(release("1.5.0", 100_050_000_999), "later.tar")), "--yes")[0] == 0
    history.write_bytes((tmp_path / "aside").read_bytes() + history.read_bytes())
    code, document, _ = bench.run("audit")
    assert code == 11
    assert "does not contain transaction 000001 of lan-chat" in document["problems"][0]["what"]


def test_a_head_that_is_no_head_is_named_also_where_the_log_is_gone(bench: Bench) -> None:
    bench.run(str(bench.bundle(release())), "--yes")
    (bench.host / audit_log.LOG[1:]).unlink()
    (bench.host / audit_log.HEAD[1:]).write_text("no head")
    code, document, _ = bench.run("audit")
    assert (code, document.where) == (11, audit_log.HEAD)


def test_a_sealed_log_is_kept_as_it_was_and_named(bench: Bench) -> None:
    bench.run(str(bench.bundle(release())), "--yes")
    break_log(bench.host)
    broken = (bench.host / audit_log.LOG[1:]).read_bytes()
    assert bench.run("audit", "--seal", "cut short")[0] == 0
    (row,) = records(bench.host)
    assert (row["event"], row["records"], row["reason"]) == ("sealed", 1, "cut short")
    assert "record 2 is damaged" in row["problem"]
    assert (bench.host / row["file"][1:]).read_bytes() == broken


def test_trust_is_told_by_version_and_fingerprint(bench: Bench, tmp_path: Path) -> None:
    stored = bench.host / "etc/waybill/trust/root.json"
    path = tmp_path / "root.json"
    path.write_bytes(stored.read_bytes())
    stored.unlink()
    assert bench.run("trust", "init", str(path), "--fingerprint", "12 34")[0] == 10
    digits = bench.run("verify", str(path))  # no trust yet: only looking
    assert digits[0] == 10
    assert bench.run("trust", "init", str(path), "--fingerprint", fingerprint(path.read_bytes()))[0] == 0
    refused, trusted = records(bench.host)
    assert (refused["event"], refused["verb"], refused["exit"]) == ("refused", "trust init", 10)
    assert (trusted["event"], trusted["version"]) == ("trust", "1")
    assert trusted["fingerprint"] == fingerprint(path.read_bytes())


def test_a_user_who_may_not_read_the_log_is_told_so() -> None:
    needs("root")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        system = System(name)
        Path(name).chmod(0o755)
        with opened(system) as log:
            log.append({**recorder.common(system), "event": "unchanged"})
        os.seteuid(65534)
        try:
            with pytest.raises(HostNotReadyError, match="cannot be read by this user") as caught:
                audit(system)
        finally:
            os.seteuid(0)
        assert (caught.value.where, caught.value.hint) == (audit_log.LOG, "run as root")


def test_since_is_counted_from_now() -> None:
    assert moment("7d", NOW) == NOW - timedelta(days=7)
    assert moment("12h", NOW) == NOW - timedelta(hours=12)
    assert format_time(moment("2026-11-24", NOW)) == "2026-11-24T00:00:00Z"
