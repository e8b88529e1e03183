"""You need not trust our code: tar, openssl and sha256sum agree with us, and catch what an attacker adds."""

from __future__ import annotations

import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import TamperedError
from tests.docs import transcript
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import Part, Plan, raw_header
from tests.rig.needs import needs

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "check-without-waybill.md"


@pytest.fixture(scope="module")
def plan() -> Plan:
    files = build.FILES | {"trees/web/" + "d" * 60 + "/" + "f" * 90: b"long name\n"}
    return build.signed(build.plan(dict(sorted(files.items(), key=lambda item: _order(item[0])))))


def _order(path: str) -> tuple[int, str]:
    from installer.core.manifestrules import section_rank

    return section_rank(path), path


def check(directory: Path, data: bytes) -> tuple[int, str]:
    """Runs the document's procedure, word for word."""
    needs("openssl")
    (script,) = [step.text for step in transcript.read(PAGE).steps if step.target == "check.sh"]
    (directory / "check.sh").write_text(script)
    (directory / "release.pub").write_text(build.key()[1])
    (directory / "b.tar").write_bytes(data)
    done = subprocess.run(
        ["bash", "check.sh", "b.tar", "release.pub"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_tar_lists_the_members_that_we_read(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(plan.tar())
    done = subprocess.run(["tar", "-tf", "b.tar"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [part.name for part in plan.parts]
    bundle = build.read(plan.tar())
    assert done.stdout.splitlines()[-len(bundle.members) :] == [
        member.entry.path for member in bundle.members
    ]


def test_python_and_tar_extract_what_we_hash(plan: Plan, tmp_path: Path) -> None:
    medium = build.on_disk(tmp_path, plan.tar())
    sink = build.Digests()
    from installer.core.archive import open_bundle, unsafe_no_decision
    from installer.core.payload import check_payload

    check_payload(open_bundle(medium, unsafe_no_decision), sink)
    medium.close()
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.pax_headers == {}
        for member in tar.getmembers():
            assert (member.isreg(), member.uid, member.gid, member.uname, member.gname) == (
                True,
                0,
                0,
                "",
                "",
            )
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", "../b.tar"], cwd=tmp_path / "out", check=True)
    done = subprocess.run(
        ["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert len(sink.found) == len(plan.payload)


def test_the_procedure_of_the_docs_says_ok_to_our_bundle(plan: Plan, tmp_path: Path) -> None:
    code, said = check(tmp_path, plan.tar())
    assert code == 0, said
    assert (
        said.splitlines()[-1]
        == f"OK: {len(plan.payload) + 1} files, identity {build.read(plan.tar()).identity}"
    )


def duplicate(plan: Plan) -> Plan:
    return replace(plan, payload=(*plan.payload, Part("docs/CHANGELOG.md", b"evil")))


def extra_script(plan: Plan) -> Plan:
    return replace(plan, payload=(*plan.payload, Part("deploy/evil.sh", b"#!/bin/sh\n", 0o755)))


def symlink(plan: Plan) -> Plan:
    block = Part("deploy/x", b"").tar()
    return replace(
        plan, payload=(*plan.payload, Part("x", b"", header=raw_header(block, type=b"2", link=b"/etc")))
    )


def device(plan: Plan) -> Plan:
    block = Part("deploy/x", b"").tar()
    return replace(plan, payload=(*plan.payload, Part("x", b"", header=raw_header(block, type=b"3"))))


def changed(plan: Plan) -> Plan:
    return plan.changed("docs/CHANGELOG.md", data=b"# Changes\n\n## 1.4.0\n\nSlower.\n")


def missing(plan: Plan) -> Plan:
    return plan.without("trees/web/empty")


def other_list(plan: Plan) -> Plan:
    return plan.resealed(replace(plan.manifest, version="1.4.1"))


@pytest.mark.parametrize("attack", [duplicate, extra_script, symlink, device, changed, missing, other_list])
def test_both_the_procedure_and_we_catch(attack: object, plan: Plan, tmp_path: Path) -> None:
    assert callable(attack)
    data = attack(plan).tar()
    code, said = check(tmp_path, data)
    assert code != 0, said
    if attack is not other_list:  # that one only the signature can tell
        with pytest.raises(TamperedError):
            build.read(data)
