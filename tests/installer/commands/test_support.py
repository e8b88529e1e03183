"""`install support`: all that helps, nothing that is secret, on a host of which everything may be broken."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig.bench import Bench, newer, release
from tests.rig.releases import STATE


@pytest.fixture
def ours(bench: Bench) -> Bench:
    """A host with one release, and one that was refused."""
    assert bench.run(str(bench.bundle(release())), "--yes")[0] == 0
    (bench.host / "opt/a").write_text("edited here")
    assert bench.run(newer(bench), "--yes")[0] == 15
    return bench


def collect(bench: Bench) -> dict[str, str]:
    """Collects and gives what is in the file, by name."""
    path = bench.stick / "support.tar"
    path.unlink(missing_ok=True)
    code, document, said = bench.run("support", str(path))
    assert (code, document["path"], said) == (0, str(path), "")
    with tarfile.open(path) as archive:
        found = {each.name: archive.extractfile(each) for each in archive}
        texts = {name: file.read().decode() for name, file in found.items() if file}
    assert document["members"] == [{"name": name, "size": len(text)} for name, text in texts.items()]
    return texts


def test_the_support_archive_has_what_is_asked_for_first(ours: Bench) -> None:
    found = collect(ours)
    assert json.loads(found["about.json"])["environment"] == "production"
    status = json.loads(found["products/lan-chat/status.json"])
    assert (status["installed"]["version"], status["drift"][0]["where"]) == ("1.4.0", "/opt/a")
    assert found["audit.jsonl"] == (ours.host / "var/lib/waybill/audit.jsonl").read_text()
    assert found["audit-check.txt"].startswith("intact: 3 records")
    assert "BEGIN" in found["products/lan-chat/txn/000001.done"]
    assert "waybill_attempts_total" in found["metrics.prom"]
    assert f"/{STATE}/current -> releases/" in found["listing.txt"]


def test_collecting_a_support_archive_changes_nothing_and_only_its_owner_can_read_it(ours: Bench) -> None:
    before = {path: path.lstat().st_mtime_ns for path in ours.host.rglob("*")}
    collect(ours)
    assert {path: path.lstat().st_mtime_ns for path in ours.host.rglob("*")} == before
    assert stat.S_IMODE((ours.stick / "support.tar").stat().st_mode) == 0o600


def test_what_values_and_configuration_name_as_secret_is_nowhere_in_it(ours: Bench) -> None:
    (ours.host / "etc/waybill/lan-chat").mkdir()
    (ours.host / "etc/waybill/lan-chat/values.yaml").write_text('password: tr0ub4dor"3\n')
    rendered = next((ours.host / STATE / "rendered").iterdir()) / "1"
    rendered.write_text("api_token: squeamish-ossifrage\n")
    history = ours.host / STATE / "history.jsonl"
    row = json.loads(history.read_text())
    row["why"] = 'said: tr0ub4dor"3, squeamish-ossifrage and http://u:hunter2@x/'
    history.write_text(json.dumps(row) + "\n")
    found = collect(ours)
    assert json.loads(found["products/lan-chat/history.jsonl"])["why"] == "said: ***, *** and http://u:***@x/"
    everything = (ours.stick / "support.tar").read_bytes()
    for secret in (b"tr0ub4dor", b"ossifrage", b"hunter2"):
        assert secret not in everything


@pytest.mark.parametrize(
    ("spoil", "member", "says"),
    [
        (lambda host: (host / STATE / "state.json").write_text("{"), "status.json", "the state is damaged"),
        (lambda host: (host / STATE / "history.jsonl").write_text("x\ny\n"), "history.json", "is damaged"),
        (lambda host: (host / STATE / "state.json").unlink(), "state.json", "No such file or directory"),
        (lambda host: shutil.rmtree(host / STATE), "", ""),
    ],
    ids=["a damaged state", "a damaged history", "no state", "nothing at all"],
)
def test_what_cannot_be_read_is_a_sentence_and_the_rest_is_there(
    ours: Bench, spoil: Callable[[Path], None], member: str, says: str
) -> None:
    spoil(ours.host)
    found = collect(ours)
    assert "about.json" in found
    assert not member or says in found[f"products/lan-chat/{member}"]


def test_how_much_could_not_be_read_is_said_and_how_to_read_it(ours: Bench, tmp_path: Path) -> None:
    (ours.host / STATE / "state.json").write_text("{")
    code, document, _ = ours.run("support", str(tmp_path / "damaged.tar"))
    assert code == 0
    assert "products/lan-chat/status.json" in document["unread"]
    count, unread = len(document["members"]), len(document["unread"])
    text = ours.text("support", str(tmp_path / "again.tar"))[1]
    how = "the archive says why" if os.geteuid() == 0 else "run as root"
    assert f"{unread} of {count} parts could not be read: {how}\n" in text


def test_a_whole_host_has_nothing_that_could_not_be_read(ours: Bench, tmp_path: Path) -> None:
    assert ours.run("support", str(tmp_path / "whole.tar"))[1]["unread"] == []
    assert "could not be read" not in ours.text("support", str(tmp_path / "again.tar"))[1]


def test_a_host_without_anything_gives_what_it_has(bench: Bench) -> None:
    found = collect(bench)
    assert "the log is empty" in found["audit-check.txt"]
    assert not [name for name in found if name.startswith("products/")]


def test_a_file_that_is_there_is_not_replaced(ours: Bench) -> None:
    there = ours.stick / "there.tar"
    there.write_text("mine")
    code, document, _ = ours.run("support", str(there))
    assert (code, document.what) == (2, "already exists")
    assert there.read_text() == "mine"
    assert ours.run("support", str(ours.stick / "no/such/dir.tar"))[0] == 15


def test_what_a_script_has_saved_of_the_data_is_not_read(ours: Bench) -> None:
    """It may be a whole database; and what stands there is no configuration."""
    saved = next((ours.host / STATE / "rendered").iterdir()) / "snapshot-deploy-migrate.sh"
    saved.mkdir()
    (saved / "1").write_text("password: production\n")
    assert json.loads(collect(ours)["about.json"])["environment"] == "production"
