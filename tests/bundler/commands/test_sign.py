"""`bundle sign` adds in place: the payload stays, and a kill at any moment leaves a bundle that verifies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from bundler.archive import reading
from bundler.archive.head import make_head, size_for
from bundler.signing import Signer
from bundler.signing.bundle import sign
from bundler.signing.cosign import CosignSigner, generate
from installer.core.errors import BusyError, TamperedError, UnfitInputError, UsageError
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.format.manifest import MANIFEST, SUMS
from installer.core.format.tar_header import END
from installer.core.limits import LIMITS
from installer.core.trust.signatures import Signature
from installer.core.trust.verifier import pinned_key_trust
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium


@pytest.fixture(scope="module")
def other() -> CosignSigner:
    return generate(b"")[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An unsigned bundle as `create` makes it."""
    plan = build.plan()
    sums, manifest = plan.head[0].data, plan.head[-1].data
    head = b"".join(make_head(sums, {}, manifest, build.CREATED, size_for(len(sums), len(manifest))))
    path = tmp_path / "b.tar"
    path.write_bytes(head + b"".join(part.tar() for part in plan.payload) + END)
    return path


def signatures(path: Path | bytes) -> list[str]:
    medium = BytesMedium(path) if isinstance(path, bytes) else FileSource(path)
    try:
        return list(build.read(medium).head.signatures)
    finally:
        medium.close()


def trusted(data: bytes, signer: CosignSigner) -> None:
    trust = pinned_key_trust(signer.public)
    open_bundle(
        BytesMedium(data),
        lambda sums, files: (
            trust.check_release(sums, [Signature.parse(*item) for item in files.items()]) and None
        ),
    )


def payload(path: Path) -> bytes:
    data = path.read_bytes()
    return data[data.index(MANIFEST.encode() + b"\0") :]


def test_signing_keeps_size_place_and_payload(path: Path) -> None:
    before, size, inode = payload(path), path.stat().st_size, path.stat().st_ino
    signer = build.key()[0]
    result = sign(path, signer)
    assert result.added == (f"{SUMS}.{signer.keyid8}.sig", f"{SUMS}.{signer.keyid8}.sigstore.json")
    assert (payload(path), path.stat().st_size, path.stat().st_ino) == (before, size, inode)
    assert tuple(signatures(path)) == result.added
    trusted(path.read_bytes(), signer)


def test_signing_again_with_the_same_key_changes_nothing(path: Path) -> None:
    signer = build.key()[0]
    first = sign(path, signer)
    before = path.read_bytes()
    second = sign(path, signer)
    assert (second.added, second.identity, second.signatures) == ((), first.identity, first.signatures)
    assert path.read_bytes() == before


@pytest.mark.parametrize("turned", [False, True])
def test_two_signers_stand_beside_each_other_in_either_order(
    path: Path, other: CosignSigner, turned: bool
) -> None:
    signers = [build.key()[0], other]
    signers.sort(key=lambda each: each.keyid8, reverse=turned)
    for signer in signers:
        sign(path, signer)
    assert [name.split(".")[1] for name in signatures(path)][::2] == [each.keyid8 for each in signers]
    for signer in signers:
        trusted(path.read_bytes(), signer)


def test_the_identity_does_not_change(path: Path, other: CosignSigner) -> None:
    assert sign(path, build.key()[0]).identity == sign(path, other).identity


class Stub(Signer):
    """A signer of any number, whose signature is as large as one likes."""

    keyid = keyid8 = public = ""

    def __init__(self, keyid8: str, size: int = 96) -> None:
        self.keyid8, self.size = keyid8, size

    def sign(self, data: bytes) -> dict[str, bytes]:
        return {"sig": b"x" * self.size}


def test_room_that_is_used_up_is_said_and_the_bundle_stays_as_it_was(path: Path) -> None:
    for count in range(100):
        before = path.read_bytes()
        try:
            sign(path, Stub(f"{count:08x}"))
        except UnfitInputError as error:
            refused = error
            break
    assert refused.what.startswith("no space for another signature: it needs 1024 bytes")
    assert "create the bundle again" in refused.hint
    assert count >= 30
    assert path.read_bytes() == before
    assert len(signatures(path)) == count


def test_not_more_signatures_are_added_than_the_reader_takes(tmp_path: Path) -> None:
    plan = build.plan(room=200 * 1024)
    path = tmp_path / "b.tar"
    path.write_bytes(plan.tar())
    for number in range(LIMITS.signatures):
        sign(path, Stub(f"{number:08x}"))
    with pytest.raises(UnfitInputError, match="64 of at most 64"):
        sign(path, Stub("ffffffff"))
    assert len(signatures(path)) == LIMITS.signatures


def test_a_bundle_without_room_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(build.plan(room=-1).tar())
    with pytest.raises(UnfitInputError, match="0 are free"):
        sign(path, Stub("00000000"))


def test_the_last_of_the_room_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(build.plan(room=1024).tar())
    sign(path, Stub("00000000"))
    medium = FileSource(path)
    assert build.read(medium).head.reserved == 0
    medium.close()


def writes(path: Path, signer: object, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes] | str]:
    """What signing does to the file, in order."""
    done: list[tuple[int, bytes] | str] = []
    real_write, real_sync = os.pwrite, os.fsync

    def write(fd: int, data: bytes, offset: int) -> int:
        done.append((offset, bytes(data)))
        return real_write(fd, data, offset)

    def sync(fd: int) -> None:
        done.append("sync")
        real_sync(fd)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fsync", sync)
    sign(path, signer)  # type: ignore[arg-type]
    monkeypatch.undo()
    return done


def test_a_kill_at_any_byte_leaves_the_bundle_as_before_or_as_signed(
    path: Path, other: CosignSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of the bytes of each write may have reached the disk, in any order between two fsyncs."""
    sign(path, build.key()[0])
    before, names = path.read_bytes(), signatures(path)
    steps = writes(path, other, monkeypatch)
    after = signatures(path)
    assert [step if isinstance(step, str) else "write" for step in steps] == [
        "write",
        "sync",
        "write",
        "sync",
    ]
    behind, first = steps[0], steps[2]
    assert isinstance(behind, tuple)
    assert isinstance(first, tuple)
    # the write that counts is one block at a block's place: a disk writes that whole or not at all
    assert (len(first[1]), first[0] % 512) == (512, 0)
    offset, data = behind
    for begin in range(0, len(data), 256):
        for part in (data[:begin], bytes(begin) + data[begin:]):
            torn = bytearray(before)
            torn[offset : offset + len(part)] = part
            assert signatures(bytes(torn)) == names
            trusted(bytes(torn), build.key()[0])
    whole = bytearray(before)
    whole[offset : offset + len(data)] = data
    assert signatures(bytes(whole)) == names
    whole[first[0] : first[0] + 512] = first[1]
    assert signatures(bytes(whole)) == after
    assert bytes(whole) == path.read_bytes()


def test_a_signature_that_was_interrupted_can_be_made_again(
    path: Path, other: CosignSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(_fd: int) -> None:
        raise Killed

    monkeypatch.setattr(os, "fsync", kill)
    with pytest.raises(Killed):
        sign(path, other)
    monkeypatch.undo()
    assert signatures(path) == []
    sign(path, build.key()[0])
    sign(path, other)
    assert len(signatures(path)) == 4
    trusted(path.read_bytes(), other)


def test_short_writes_are_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:100], offset))
    sign(path, build.key()[0])
    monkeypatch.undo()
    trusted(path.read_bytes(), build.key()[0])


def test_a_disk_that_fails_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> int:
        raise OSError(5, "Input/output error")

    before = path.read_bytes()
    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(UnfitInputError, match="cannot be written: Input/output error"):
        sign(path, build.key()[0])
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_a_bundle_that_is_signed_at_the_same_time_is_busy(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(BusyError):
        sign(path, build.key()[0])
    os.close(fd)
    sign(path, build.key()[0])


def test_what_is_no_bundle_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(b"precious" * 1000)
    with pytest.raises(TamperedError):
        sign(path, build.key()[0])
    assert path.read_bytes() == b"precious" * 1000


def test_a_bundle_that_is_not_there_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such bundle"):
        sign(tmp_path / "none.tar", build.key()[0])


def test_a_bundle_that_may_not_be_written_to_is_said(path: Path) -> None:
    path.chmod(0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(UnfitInputError, match="cannot be signed in place: Permission denied"):
            sign(path, build.key()[0])
    finally:
        os.seteuid(user)


def test_reading_a_bundle_decides_nothing_about_trust() -> None:
    assert reading.open_bundle is open_bundle
    assert reading.unsafe_trust_anyone is unsafe_trust_anyone
