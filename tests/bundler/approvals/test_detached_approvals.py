"""`--prepare` and `--attach` for approvals and roots: signed by the real tools, and nothing unfit gets in."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.approvals.approval import ApprovalRequest
from bundler.commands import trust_sign
from bundler.commands.approve import attach_approval, prepare_approval
from bundler.signing.cosign import generate
from bundler.trust.root_files import root_bytes
from installer.core import jsonio
from installer.core.digest import file_digest, sha256_hex
from installer.core.errors import UsageError
from installer.core.format.bundle_source import FileSource
from installer.core.trust.approval import Approval
from installer.core.trust.approval_sidecar import sidecar_path
from installer.core.trust.root import Role
from installer.core.trust.rotation import check_successor
from installer.core.trust.signatures import TrustedKey
from tests.rig import bundlebuild as build
from tests.rig.needs import needs
from tests.rig.product import Product
from tests.rig.signing import Cosign, gpg_home
from tests.rig.trustworld import NOW, World, headed, person

ASKED = ApprovalRequest("ops", "production", change_id="CHG-7", rollback_to="v1.3.0", notes="ready")
OPS = person("Ops")
Holder = Callable[[Path], bytes]


def made(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def public(tmp_path: Path, name: str = "Ops") -> Path:
    return made(tmp_path / f"{name}.pub", person(name).signer.public.encode())


def signed(tmp_path: Path, statement: Path, name: str = "Ops", form: str = "sig") -> Path:
    return made(tmp_path / f"{name}.{form}", person(name).signer.sign(statement.read_bytes())[form])


def tail(path: Path) -> dict[str, bytes]:
    return build.read(path.read_bytes()).read_tail()


@contextmanager
def openssl(place: Path) -> Iterator[Holder]:
    needs("openssl")

    def run(*words: str) -> bytes:
        return subprocess.run(["openssl", *words], capture_output=True, check=True, cwd=place).stdout

    run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "hsm.pem")
    run("ec", "-in", "hsm.pem", "-pubout", "-out", "key.pub")
    yield lambda data: base64.b64encode(run("dgst", "-sha256", "-sign", "hsm.pem", str(data)))


@contextmanager
def gpg(place: Path) -> Iterator[Holder]:
    needs("gpgv")
    with gpg_home() as home:
        key = home.key("Gi")
        (place / "key.pub").write_text(home.public(key))
        yield lambda data: home.sign(key, data.read_bytes())


@contextmanager
def cosign(place: Path) -> Iterator[Holder]:
    tool = Cosign(needs("cosign3"), 3, place)
    key = tool.keygen("key", "pw")
    yield lambda data: tool.sign(key, data, "pw")[1]


@pytest.fixture(params=[openssl, gpg, cosign])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Holder]]:
    """A key that only another tool has: its public half, and how that tool signs a file."""
    place = tmp_path / "far"
    place.mkdir()
    with request.param(place) as sign:
        yield place / "key.pub", sign


def instead(world: World, pub: Path) -> World:
    """Gives the world with another key for Ops."""
    key = TrustedKey.from_public(pub.read_text(), "Ops")
    old = world.root
    roles = {**old.roles, "ops": Role((key.keyid,), 1)}
    keys = {keyid: each for keyid, each in old.keys.items() if each.owner != "Ops"} | {key.keyid: key}
    return replace(world, root=replace(old, keys=keys, roles=roles))


class TestApprovals:
    def test_an_approval_that_another_tool_signed_counts(
        self, world: World, path: Path, tmp_path: Path, far: tuple[Path, Holder]
    ) -> None:
        prepared = prepare_approval(path, ASKED, NOW)
        assert prepared.path == tmp_path / "b.tar.ops.json"
        assert file_digest(prepared.path) == prepared.sha256
        done = attach_approval(path, [made(tmp_path / "SIG", far[1](prepared.path))], far[0])
        assert done.files[0].startswith("approvals/ops-")
        assert tail(path)[done.files[0]] == prepared.path.read_bytes()
        _, decision = instead(world, far[0]).verify(FileSource(path))
        assert decision.filled["ops"] == ("Ops",)

    def test_the_bundle_is_as_if_it_had_been_approved_here(self, path: Path, tmp_path: Path) -> None:
        from bundler.commands.approve import approve_bundle

        other = made(tmp_path / "c.tar", path.read_bytes())
        here = approve_bundle(other, OPS.signer, ASKED, NOW)
        statement = prepare_approval(path, ASKED, NOW).path
        forms = [signed(tmp_path, statement, form=form) for form in ("sig", "sigstore.json")]
        there = attach_approval(path, forms, public(tmp_path))
        assert (here.files, here.approval) == (there.files, there.approval)
        assert tail(other)[here.files[0]] == tail(path)[there.files[0]]

    def test_an_approval_that_is_attached_twice_is_there_once(self, path: Path, tmp_path: Path) -> None:
        statement = prepare_approval(path, ASKED, NOW).path
        signature = signed(tmp_path, statement)
        attach_approval(path, [signature], public(tmp_path))
        before = path.read_bytes()
        assert attach_approval(path, [signature], public(tmp_path)).files == ()
        assert path.read_bytes() == before

    def test_a_statement_that_is_prepared_again_is_the_same_and_nothing_is_overwritten(
        self, path: Path
    ) -> None:
        first = prepare_approval(path, ASKED, NOW)
        assert prepare_approval(path, ASKED, NOW) == first
        # Signed meanwhile, perhaps: the time alone makes it no other statement.
        assert prepare_approval(path, ASKED, NOW + timedelta(seconds=1)) == first
        with pytest.raises(UsageError, match="exists"):
            prepare_approval(path, replace(ASKED, notes="ready, after all"), NOW)

    def test_the_signature_chooses_among_several_statements(self, path: Path, tmp_path: Path) -> None:
        security = prepare_approval(path, replace(ASKED, role="security"), NOW).path
        prepare_approval(path, ASKED, NOW)
        done = attach_approval(path, [signed(tmp_path, security)], public(tmp_path))
        assert isinstance(done.approval, Approval)
        assert done.approval.role == "security"

    def test_an_approval_is_attached_beside_the_bundle(self, path: Path, tmp_path: Path) -> None:
        before = path.read_bytes()
        statement = prepare_approval(path, ASKED, NOW, tmp_path / "said.json").path
        attach_approval(
            path, [signed(tmp_path, statement)], public(tmp_path), statement, sidecar=sidecar_path(path)
        )
        assert path.read_bytes() == before
        assert (
            tmp_path / f"b.tar.approvals/ops-{OPS.key.keyid8}.json"
        ).read_bytes() == statement.read_bytes()

    @pytest.mark.parametrize("fault", ["other bytes", "other key", "garbage", "empty", "absent", "too large"])
    def test_what_does_not_fit_never_gets_in(self, path: Path, tmp_path: Path, fault: str) -> None:
        statement = prepare_approval(path, ASKED, NOW).path
        before, signature = path.read_bytes(), tmp_path / "SIG"
        contents = {
            "other bytes": OPS.signer.sign(b"other")["sig"],
            "other key": person("Eve").signer.sign(statement.read_bytes())["sig"],
            "garbage": b"\xff" * 80,
            "empty": b"",
            "too large": b"A" * 70_000,
        }
        if fault in contents:
            signature.write_bytes(contents[fault])
        with pytest.raises(UsageError):
            attach_approval(path, [signature], public(tmp_path))
        assert path.read_bytes() == before

    @pytest.mark.parametrize("fault", ["another bundle", "no statement", "not json", "changed after", "huge"])
    def test_a_statement_that_is_none_of_this_bundle_is_refused(
        self, path: Path, tmp_path: Path, fault: str
    ) -> None:
        statement = prepare_approval(path, ASKED, NOW).path
        data = statement.read_bytes()
        identity = World().identity
        bad = {
            "another bundle": data.replace(identity.encode(), sha256_hex(b"x").encode()),
            "no statement": jsonio.dumps({"hello": 1}),
            "not json": b"hello",
            "changed after": data,
            "huge": b"x" * 70_000,
        }[fault]
        statement.write_bytes(bad)
        signature = signed(tmp_path, statement)
        if fault == "changed after":
            statement.write_bytes(data.replace(b"ready", b"Ready"))
        before = path.read_bytes()
        with pytest.raises(UsageError):
            attach_approval(path, [signature], public(tmp_path), statement)
        assert path.read_bytes() == before

    def test_signatures_by_two_people_are_attached_one_after_the_other(
        self, path: Path, tmp_path: Path
    ) -> None:
        statement = prepare_approval(path, ASKED, NOW).path
        both = [signed(tmp_path, statement), signed(tmp_path, statement, "Sec")]
        root = made(tmp_path / "root.json", root_bytes(World().root))
        with pytest.raises(UsageError, match="different statements"):
            attach_approval(path, both, root)
        for each in both:
            attach_approval(path, [each], root)
        assert len([name for name in tail(path) if name.startswith("approvals/ops-")]) == 4

    def test_a_signature_without_a_prepared_statement_is_refused(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no statement"):
            attach_approval(path, [made(tmp_path / "SIG", b"AAAA")], public(tmp_path))


def test_provenance_that_create_left_unsigned_is_signed_elsewhere(tmp_path: Path) -> None:
    product = Product.make(tmp_path / "p")
    assert product.run("create", "v1.4.0", "--builder", "https://ci").returncode == 0
    statement = product.directory / "dist/lan-chat-1.4.0.tar.provenance.json"
    with openssl(tmp_path) as sign:
        signature = made(tmp_path / "SIG", sign(statement))
    done = product.run(
        "approve", str(product.target), "--attach", str(signature), "--public", str(tmp_path / "key.pub")
    )
    assert done.returncode == 0, done.stderr
    assert "provenance   built by https://ci" in done.stdout
    assert next(iter(tail(product.target))).startswith("approvals/provenance-")


def test_the_commands_say_what_to_do(path: Path) -> None:
    product, (secret, signer) = Product.make(path.parent / "p"), generate(b"")
    private = made(path.parent / "release.key", secret)
    assert product.run("create", "v1.4.0", "--key", str(private), COSIGN_PASSWORD="").returncode == 0
    released = made(path.parent / "release.pub", signer.public.encode())
    path, trusted = product.target, ("--release-key", str(released))
    words = ("approve", str(path), "--role", "ops", "--env", "production", "--prepare")
    unverified = product.run(*words)
    assert (unverified.returncode, "give --root root.json" in unverified.stderr) == (2, True)
    done = product.run(*words, *trusted)
    assert done.returncode == 0, done.stderr
    for words in (
        "wrote ",
        "cosign sign-blob",
        "gpg --armor",
        "openssl dgst",
        "bundle approve",
        "--attach SIG",
    ):
        assert words in done.stdout
    words = ("approve", str(path), "--role", "security", "--env", "test", "--prepare", "--json")
    assert json.loads(product.run(*words, *trusted).stdout)["path"].endswith(".tar.security.json")
    bare = product.run("approve", str(path), "--attach", "x")
    assert (bare.returncode, "--public" in bare.stderr) == (2, True)


class TestRoots:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return made(tmp_path / "root.json", root_bytes(headed(1, "Ruth", "Rob", threshold=2)))

    def test_several_people_elsewhere_make_a_root_that_hosts_take(self, tmp_path: Path, root: Path) -> None:
        before = headed(1, "Ruth", "Rob", threshold=2)
        made(tmp_path / "1.root.json", root.read_bytes())
        root.write_bytes(root_bytes(replace(before, version=2)))
        prepared = trust_sign.prepare_root(root).path
        for name in ("Ruth", "Rob"):
            done = trust_sign.attach_to_root(root, [signed(tmp_path, prepared, name)], None, NOW)
            assert done.added == (f"root.json.{person(name).key.keyid8}.sig",)
        file = done.file
        assert file.complete(NOW)
        assert check_successor(before, file.data, file.signatures, "root.json", NOW).version == 2

    def test_the_holder_of_the_role_signs_with_any_tool(
        self, tmp_path: Path, far: tuple[Path, Holder]
    ) -> None:
        key = TrustedKey.from_public(far[0].read_text(), "Far")
        base = headed(1, "Ruth")
        keys, roles = {**base.keys, key.keyid: key}, {**base.roles, "root": Role((key.keyid,), 1)}
        path = made(tmp_path / "root.json", root_bytes(replace(base, keys=keys, roles=roles)))
        prepared = trust_sign.prepare_root(path).path
        assert (prepared.name, prepared.read_bytes()) == ("root.json.unsigned", path.read_bytes())
        done = trust_sign.attach_to_root(path, [made(tmp_path / "SIG", far[1](prepared))], None, NOW)
        assert done.file.complete(NOW)
        again = trust_sign.attach_to_root(path, [tmp_path / "SIG"], far[0], NOW)
        assert again.added == ()

    def test_a_key_without_the_role_signs_no_root(
        self, tmp_path: Path, root: Path, far: tuple[Path, Holder]
    ) -> None:
        signature = made(tmp_path / "SIG", far[1](trust_sign.prepare_root(root).path))
        with pytest.raises(UsageError, match="does not have the role root"):
            trust_sign.attach_to_root(root, [signature], far[0], NOW)
        assert not list(tmp_path.glob("root.json.????????.*"))

    @pytest.mark.parametrize("fault", ["other bytes", "stranger", "garbage"])
    def test_what_does_not_fit_is_not_put_there(self, tmp_path: Path, root: Path, fault: str) -> None:
        prepared = trust_sign.prepare_root(root).path
        data = {
            "other bytes": person("Ruth").signer.sign(b"x")["sig"],
            "stranger": person("Eve").signer.sign(prepared.read_bytes())["sig"],
            "garbage": b"\xff",
        }[fault]
        with pytest.raises(UsageError):
            trust_sign.attach_to_root(root, [made(tmp_path / "SIG", data)], None, NOW)
        assert not list(tmp_path.glob("root.json.????????.*"))

    def test_a_root_is_prepared_and_attached_by_the_command(self, tmp_path: Path, root: Path) -> None:
        product = Product.make(tmp_path / "p")
        done = product.run("trust", "sign", str(root), "--prepare")
        assert (done.returncode, f"trust sign {root} --attach SIG" in done.stdout) == (0, True)
        signature = signed(tmp_path, Path(f"{root}.unsigned"), "Ruth")
        put = product.run("trust", "sign", str(root), "--attach", str(signature))
        assert put.returncode == 0, put.stderr
        assert "1 of 2 owners of version 1 have signed (Ruth)" in put.stdout
