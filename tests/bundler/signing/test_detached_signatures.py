"""`bundle sign --prepare` and `--attach`: keys elsewhere, and nothing attached that does not verify."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from bundler.commands.sign import attach_signatures, prepare_sums
from bundler.signing.bundle import sign
from bundler.trust.root_files import root_bytes
from installer.core.digest import file_digest
from installer.core.errors import UsageError
from installer.core.format.bundle_source import FileSource
from tests.rig import bundlebuild as build
from tests.rig.needs import needs
from tests.rig.signing import Cosign, gpg_home
from tests.rig.trustworld import World, person, root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "b.tar"
    file.write_bytes(build.plan(room=8192).tar())
    return file


def names(path: Path) -> list[str]:
    medium = FileSource(path)
    try:
        return sorted(build.read(medium).head.signatures)
    finally:
        medium.close()


def made(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_the_bytes_to_sign_are_the_list_and_hash_to_the_identity(path: Path) -> None:
    done = prepare_sums(path)
    assert done.path == path.with_name("b.tar.SHA256SUMS")
    assert file_digest(done.path) == done.identity
    assert prepare_sums(path) == done


def test_what_is_there_is_not_written_over(path: Path) -> None:
    path.with_name("b.tar.SHA256SUMS").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        prepare_sums(path)


@pytest.mark.parametrize("form", ["sig", "sigstore.json"])
def test_a_signature_is_attached_as_if_it_had_been_made_here(path: Path, tmp_path: Path, form: str) -> None:
    ann = person("Ann")
    data = ann.signer.sign(prepare_sums(path).path.read_bytes())[form]
    done = attach_signatures(
        path, [made(tmp_path / "SIG", data)], made(tmp_path / "k.pub", ann.signer.public.encode())
    )
    assert done.added == (f"SHA256SUMS.{ann.key.keyid8}.{form}",)
    assert names(path) == list(done.added)
    assert attach_signatures(path, [tmp_path / "SIG"], tmp_path / "k.pub").added == ()


def test_the_key_may_be_one_of_a_root(tmp_path: Path) -> None:
    world = World(signers=(), approvals=())
    path = made(tmp_path / "b.tar", world.tar())
    data = person("Rea").signer.sign(world.sums)["sig"]
    with pytest.raises(UsageError):
        attach_signatures(
            path, [made(tmp_path / "x", b"AAAA")], made(tmp_path / "root.json", root_bytes(root()))
        )
    path = made(tmp_path / "c.tar", build.plan(room=8192).tar())
    data = person("Rea").signer.sign(prepare_sums(path).path.read_bytes())["sig"]
    assert attach_signatures(path, [made(tmp_path / "x", data)], tmp_path / "root.json").added


def test_both_forms_are_attached_one_after_the_other_beside_our_own(path: Path, tmp_path: Path) -> None:
    ann = person("Ann")
    public = made(tmp_path / "k.pub", ann.signer.public.encode())
    forms = ann.signer.sign(prepare_sums(path).path.read_bytes())
    sign(path, person("Ben").signer)
    attach_signatures(path, [made(tmp_path / form, data) for form, data in forms.items()], public)
    assert len(names(path)) == 4


@pytest.mark.parametrize("fault", ["other bytes", "other key", "garbage", "empty", "absent", "too large"])
def test_what_does_not_fit_never_gets_in(path: Path, tmp_path: Path, fault: str) -> None:
    before, ann = path.read_bytes(), person("Ann")
    sums = prepare_sums(path).path.read_bytes()
    data = {
        "other bytes": ann.signer.sign(b"other")["sig"],
        "other key": person("Eve").signer.sign(sums)["sig"],
        "garbage": b"\xff" * 80,
        "empty": b"",
        "absent": b"",
        "too large": b"A" * 70_000,
    }[fault]
    file = tmp_path / "SIG"
    if fault != "absent":
        file.write_bytes(data)
    with pytest.raises(UsageError):
        attach_signatures(path, [file], made(tmp_path / "k.pub", ann.signer.public.encode()))
    assert path.read_bytes() == before


def test_a_public_key_that_is_none_is_refused(path: Path, tmp_path: Path) -> None:
    for text in (b"hello", b"{}", b""):
        with pytest.raises(UsageError):
            attach_signatures(path, [made(tmp_path / "SIG", b"AAAA")], made(tmp_path / "k.pub", text))


def test_a_signature_of_gpg_on_another_machine_is_attached(path: Path, tmp_path: Path) -> None:
    needs("gpgv")
    with gpg_home() as home:
        key = home.key("Gi")
        data = home.sign(key, prepare_sums(path).path.read_bytes())
        public = made(tmp_path / "k.asc", home.public(key).encode())
    assert attach_signatures(path, [made(tmp_path / "SIG", data)], public).added == (
        f"SHA256SUMS.{key[-8:]}.asc",
    )


def test_a_signature_of_openssl_with_a_key_of_its_own_is_attached(path: Path, tmp_path: Path) -> None:
    needs("openssl")

    def openssl(*words: str) -> bytes:
        return subprocess.run(["openssl", *words], capture_output=True, check=True, cwd=tmp_path).stdout

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "hsm.pem")
    openssl("ec", "-in", "hsm.pem", "-pubout", "-out", "hsm.pub")
    raw = openssl("dgst", "-sha256", "-sign", "hsm.pem", str(prepare_sums(path).path))
    assert attach_signatures(
        path, [made(tmp_path / "SIG", base64.b64encode(raw))], tmp_path / "hsm.pub"
    ).added


def test_a_signature_by_an_ed25519_key_of_its_own_is_attached(path: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    made_elsewhere = base64.b64encode(key.sign(prepare_sums(path).path.read_bytes()))
    signature, pub = made(tmp_path / "SIG", made_elsewhere), made(tmp_path / "k.pub", public)
    assert attach_signatures(path, [signature], pub).added


@pytest.mark.needs("cosign3")
def test_a_signature_of_cosign_on_another_machine_is_attached(
    path: Path, tmp_path: Path, cosign3: str
) -> None:
    tool = Cosign(cosign3, 3, tmp_path)
    key = tool.keygen("far", "pw")
    raw, bundle = tool.sign(key, prepare_sums(path).path, "pw")
    done = attach_signatures(
        path, [made(tmp_path / "a", raw), made(tmp_path / "b", bundle)], tmp_path / "far.pub"
    )
    assert len(done.added) == 2
