"""`bundle approve`: what it adds and where, that it costs nothing, and what it refuses."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.approvals.approval import ApprovalRequest
from bundler.approvals.statements import open_statements
from bundler.commands import approve
from installer.core.errors import BusyError, TamperedError, UnfitInputError, UsageError
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.format.manifest import FileEntry
from installer.core.format.tar_header import BLOCK, END
from installer.core.trust.approval import Approval, group_files, parse
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
from tests.rig import bundlebuild as build
from tests.rig.approving import ASKED, OPS, tail
from tests.rig.bundlebuild import BytesMedium
from tests.rig.hang import ends
from tests.rig.needs import needs
from tests.rig.signing import gpg_home
from tests.rig.trustworld import APPROVALS, NOW, Said, World


class TestGood:
    def test_what_it_adds_is_what_the_policy_lacked(self, world: World, path: Path) -> None:
        before = path.read_bytes()
        done = approve.approve_bundle(path, OPS, ASKED, NOW)
        after = path.read_bytes()
        assert after.startswith(before[: -len(END)])
        assert done.files == tuple(list(tail(after))[-3:])
        _, decision = world.verify(FileSource(path))
        assert decision.filled["ops"] == ("Ops",)
        assert not decision.broken

    def test_the_statement_says_what_was_asked_for(self, path: Path) -> None:
        done = approve.approve_bundle(
            path, OPS, replace(ASKED, targets=("Chat01", "chat02"), expires="2d"), NOW
        )
        said = parse(tail(path.read_bytes())[done.files[0]], "x")
        assert said == done.approval
        assert isinstance(said, Approval)
        assert (said.targets, said.rollback_to, said.notes) == (("chat01", "chat02"), "1.3.0", "ready")
        assert said.expires == NOW + timedelta(days=2)

    def test_the_same_person_may_approve_for_two_environments(self, path: Path) -> None:
        names = [
            approve.approve_bundle(path, OPS, replace(ASKED, environment=each), NOW).files[0]
            for each in ("test", "production")
        ]
        assert names == [f"approvals/ops-{OPS.keyid8}.json", f"approvals/ops-{OPS.keyid8}.2.json"]

    def test_tar_lists_the_payload_and_the_approval(self, path: Path) -> None:
        approve.approve_bundle(path, OPS, ASKED, NOW)
        listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True)
        assert listed.stdout.splitlines()[-3] == f"approvals/ops-{OPS.keyid8}.json"
        assert not listed.stderr

    @pytest.mark.needs("gpgv")
    def test_an_approval_is_signed_by_gpg(self, path: Path) -> None:
        from bundler.signing.gpg import GpgSigner

        needs("gpgv")
        with gpg_home() as home:
            signer = GpgSigner(home.key("Ops"), home.path)
            done = approve.approve_bundle(path, signer, ASKED, NOW)
        assert done.files[1:] == (f"approvals/ops-{signer.keyid8}.json.asc",)


class TestCost:
    def test_an_approval_of_a_large_bundle_takes_no_longer_and_leaves_the_payload(
        self, tmp_path: Path
    ) -> None:
        size = 40 * 2**30
        plan = build.plan({"docs/a": b"a"}, room=512)
        entry = FileEntry("trees/t/big", size, "0" * 64, 0o644, "tree")
        plan = plan.resealed(replace(plan.manifest, files=(*plan.manifest.files, entry)))
        file = tmp_path / "large.tar"
        head = replace(plan, end=b"").tar()
        header = build.encode(build.Header("trees/t/big", 0o644, size, build.CREATED))
        with file.open("wb") as out:
            out.write(head + header)
            out.truncate(len(head) + BLOCK + size + len(END))
        with ends(within=120):
            approve.approve_bundle(file, OPS, ASKED, NOW)
        assert file.stat().st_blocks * 512 < 2**20


class TestBeside:
    def test_an_approval_in_a_sidecar_leaves_the_bundle_as_it_is(self, world: World, path: Path) -> None:
        before = path.read_bytes()
        done = approve.approve_bundle(path, OPS, ASKED, NOW, sidecar=sidecar_path(path))
        assert path.read_bytes() == before
        assert done.directory == sidecar_path(path) == path.with_name("b.tar.approvals")
        files = read_sidecar(sidecar_path(path))
        assert set(files) == set(done.files)
        found, strays = group_files(files, "x")
        assert (len(found), len(found[0].signatures), strays) == (1, 2, [])

    def test_approvals_in_the_bundle_and_beside_it_count_together(self, world: World, path: Path) -> None:
        world.verify(BytesMedium(replace(world, approvals=APPROVALS).tar()))
        both = replace(world, beside=(Said("ops"), Said("security")))
        _, decision = both.verify()
        assert len(decision.counted) == 3

    def test_an_approval_is_written_into_the_directory_that_was_named(
        self, path: Path, tmp_path: Path
    ) -> None:
        done = approve.approve_bundle(path, OPS, ASKED, NOW, sidecar=tmp_path / "out")
        assert done.directory == tmp_path / "out"
        assert len(read_sidecar(tmp_path / "out", required=True)) == 3

    def test_the_second_one_has_another_name(self, path: Path) -> None:
        first = approve.approve_bundle(path, OPS, ASKED, NOW, sidecar=sidecar_path(path))
        second = approve.approve_bundle(path, OPS, ASKED, NOW, sidecar=sidecar_path(path))
        assert not set(first.files) & set(second.files)

    def test_a_bundle_that_cannot_be_written_is_approved_beside_it(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda _path, _mode: False)
        assert approve.approve_bundle(path, OPS, ASKED, NOW).directory == sidecar_path(path)

    def test_what_is_none_is_left_alone_and_what_cannot_be_is_refused(
        self, path: Path, tmp_path: Path
    ) -> None:
        place = tmp_path / "x"
        place.mkdir()
        (place / "README").write_text("hello")
        (place / "sub").mkdir()
        assert read_sidecar(place) == {}
        (place / "ops-00000000.json").symlink_to("/etc/passwd")
        with pytest.raises(TamperedError, match="is a symbolic link, which Waybill does not follow"):
            read_sidecar(place)

    def test_too_large_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "ops-00000000.json").write_bytes(bytes(64 * 1024 + 1))
        with pytest.raises(TamperedError, match="more than 65536"):
            read_sidecar(tmp_path)

    def test_a_sidecar_that_was_named_has_to_be_there(self, tmp_path: Path) -> None:
        assert read_sidecar(tmp_path / "none") == {}
        with pytest.raises(UsageError):
            read_sidecar(tmp_path / "none", required=True)


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "option"),
        [
            ({"role": "release"}, "--role"),
            ({"role": "root"}, "--role"),
            ({"environment": "Production!"}, "--env"),
            ({"targets": ("chat 01",)}, "--target"),
            ({"change_id": "a b"}, "--change-id"),
            ({"rollback_to": "yesterday"}, "--rollback-to"),
            ({"rollback_to": "1.4.0"}, "--rollback-to"),
            ({"notes": "a\x1b[2Jb"}, "--note"),
            ({"notes": "x" * 2001}, "--note"),
            ({"role": "break-glass", "notes": ""}, "--note"),
            ({"expires": "soon"}, "--expires"),
            ({"expires": "2020-01-01T00:00:00Z"}, "--expires"),
        ],
    )
    def test_a_request_that_makes_no_sense_is_refused(
        self, path: Path, change: dict[str, object], option: str
    ) -> None:
        before = path.read_bytes()
        with pytest.raises(UsageError) as caught:
            approve.approve_bundle(path, OPS, replace(ASKED, **change), NOW)
        assert [problem.where for problem in caught.value.problems] == [option]
        assert path.read_bytes() == before

    def test_everything_wrong_is_said_at_once(self, path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            approve.approve_bundle(path, OPS, ApprovalRequest("x", "Y", "soon", ("-",), notes="\n"), NOW)
        assert len(caught.value.problems) == 5

    def test_what_is_no_bundle_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"hello" * 1000)
        with pytest.raises(TamperedError):
            approve.approve_bundle(tmp_path / "x", OPS, ASKED, NOW)
        with pytest.raises(UsageError):
            approve.approve_bundle(tmp_path / "none", OPS, ASKED, NOW)

    def test_a_bundle_that_another_process_signs_is_busy(self, path: Path) -> None:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(BusyError):
                approve.approve_bundle(path, OPS, ASKED, NOW)

    def test_more_approvals_than_fit_are_refused(self, path: Path) -> None:
        bundle = open_bundle(FileSource(path), unsafe_trust_anyone)
        assert bundle.read_tail()
        many = [f"approvals/ops-{OPS.keyid8}.{n}.json" for n in range(2, 100)]
        said = replace(ASKED, rollback_to="1.3.0")
        approval = approve.approve_bundle(path, OPS, said, NOW).approval
        with open_statements(path) as place:
            there = dict.fromkeys([*many, f"approvals/ops-{OPS.keyid8}.json"], b"")
            full = replace(place, places=[(None, there)])
            with pytest.raises(
                UnfitInputError, match="has 64 approvals, or 99 of this key, and hosts accept no more"
            ):
                full.add("ops", OPS.keyid8, approval.to_bytes(), {})
