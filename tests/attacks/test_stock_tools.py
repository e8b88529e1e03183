"""You need not trust our code: tar, openssl and sha256sum agree with us, and catch what an attacker adds."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import Plan

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "check-without-waybill.md"


@pytest.fixture(scope="module")
def plan() -> Plan:
    files = build.FILES | {"trees/web/" + "d" * 60 + "/" + "f" * 90: b"long name\n"}
    return build.signed(build.plan(dict(sorted(files.items(), key=lambda item: _order(item[0])))))


def _order(path: str) -> tuple[int, str]:
    from installer.core.format.manifest_rules import section_rank

    return section_rank(path), path


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
    from installer.core.format.archive import open_bundle, unsafe_trust_anyone
    from installer.core.format.payload import check_payload

    check_payload(open_bundle(medium, unsafe_trust_anyone), sink)
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
