"""OpenPGP signatures by the real gpg, judged by the real gpgv: every state that SIGNING names."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from installer.core.errors import CheckFailedError, ExpiredError, TamperedError, UntrustedError, WaybillError
from installer.core.limits import LIMITS
from installer.core.trust import gpgv
from tests.rig.hang import ends
from tests.rig.needs import needs
from tests.rig.signing import GpgHome, gpg_home

DATA = b"0" * 64 + b"  docs/CHANGELOG.md\n"
FPR = "0" * 32 + "11223344"


@dataclass(frozen=True)
class World:
    home: GpgHome
    good: str
    other: str


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    needs("gpgv")
    with gpg_home() as home:
        yield World(home, home.key("Release <r@example.org>"), home.key("Somebody Else <e@example.org>"))


def check(world: World, signature: bytes, data: bytes = DATA, key: str = "") -> None:
    fingerprint, ring = gpgv.load_public_key(world.home.public(key or world.good))
    gpgv.verify(fingerprint, ring, signature, data, "SHA256SUMS.x.asc")


def refused(
    error: type[WaybillError], world: World, signature: bytes, data: bytes = DATA, key: str = ""
) -> str:
    with pytest.raises(error) as caught:
        check(world, signature, data, key)
    assert type(caught.value) is error
    return str(caught.value)


class TestPublicKey:
    def test_the_fingerprint_of_a_public_key_is_what_gpg_says(self, world: World) -> None:
        assert gpgv.load_public_key(world.home.public(world.good))[0] == world.good

    def test_an_rsa_key_with_subkeys_is_read_too(self, world: World) -> None:
        world.home.run("--passphrase", "", "--quick-gen-key", "Rsa", "rsa3072", "cert", "never")
        rows = world.home.run("--with-colons", "--list-keys", "=Rsa").decode().splitlines()
        primary = next(row.split(":")[9] for row in rows if row.startswith("fpr")).lower()
        world.home.run("--passphrase", "", "--quick-add-key", primary, "rsa2048", "sign", "never")
        assert gpgv.load_public_key(world.home.public(primary))[0] == primary
        signature = world.home.sign(primary, DATA)
        check(world, signature, key=primary)

    def test_a_secret_key_is_refused_loudly(self, world: World) -> None:
        secret = world.home.run("--armor", "--export-secret-keys", "--passphrase", "", world.good).decode()
        with pytest.raises(TamperedError, match="SECRET"):
            gpgv.load_public_key(secret.replace("PRIVATE KEY BLOCK", "PUBLIC KEY BLOCK"))
        with pytest.raises(TamperedError, match="not one armored"):
            gpgv.load_public_key(secret)

    def test_two_keys_are_refused(self, world: World) -> None:
        both = world.home.run("--armor", "--export", world.good, world.other).decode()
        with pytest.raises(TamperedError, match="contains 2 keys"):
            gpgv.load_public_key(both)

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: "",
            lambda text: text + text,
            lambda text: text[:80] + text[200:],
            lambda text: text.replace("\n\n", "\n\nAAAA", 1),
        ],
        ids=["empty", "twice", "cut", "foreign packet"],
    )
    def test_what_is_not_one_key_is_refused(self, world: World, change: Callable[[str], str]) -> None:
        with pytest.raises(TamperedError):
            gpgv.load_public_key(change(world.home.public(world.good)))


class TestGood:
    def test_a_detached_signature_is_accepted(self, world: World) -> None:
        check(world, world.home.sign(world.good, DATA))

    @pytest.mark.parametrize("algorithm", ["SHA256", "SHA384", "SHA512"])
    def test_a_signature_with_any_strong_hash_is_good(self, world: World, algorithm: str) -> None:
        check(world, world.home.sign(world.good, DATA, "--digest-algo", algorithm))

    def test_a_signature_by_a_subkey_of_the_pinned_key_is_good(self, world: World) -> None:
        with gpg_home() as home:
            primary = home.key("With Subkey")
            home.run("--passphrase", "", "--quick-add-key", primary, "ed25519", "sign", "never")
            signature = home.sign(primary, DATA)
            packets = home.run("--list-packets", data=signature).decode()
            assert primary[-16:].upper() not in packets
            check(World(home, primary, ""), signature)


class TestRefused:
    def test_a_signature_over_other_bytes_is_refused(self, world: World) -> None:
        signature = world.home.sign(world.good, DATA)
        assert "not a signature of these bytes" in refused(TamperedError, world, signature, DATA + b"x")

    def test_a_signature_by_an_unknown_key_is_refused(self, world: World) -> None:
        assert "not made by the trusted key" in refused(
            UntrustedError, world, world.home.sign(world.other, DATA)
        )

    def test_a_signature_by_another_key_of_the_keyring_is_refused(self, world: World) -> None:
        both = [gpgv.load_public_key(world.home.public(key))[1] for key in (world.good, world.other)]
        signature = world.home.sign(world.other, DATA)
        with pytest.raises(UntrustedError, match=world.other):
            gpgv.verify(world.good, b"".join(both), signature, DATA)

    def test_a_signature_by_an_expired_key_is_refused(self) -> None:
        with gpg_home() as home:
            key = home.key("Expired", expires="1d", at="20200101T000000")
            signature = home.sign(key, DATA, "--faked-system-time", "20200101T010000")
            assert "key has expired" in refused(ExpiredError, World(home, key, ""), signature)

    def test_an_expired_signature_is_refused(self, world: World) -> None:
        with gpg_home() as home:
            key = home.key("Old", at="20200101T000000")
            signature = home.sign(
                key, DATA, "--faked-system-time", "20200101T010000", "--default-sig-expire", "1d"
            )
            assert "signature has expired" in refused(ExpiredError, World(home, key, ""), signature)

    def test_a_signature_by_a_revoked_key_is_refused(self) -> None:
        with gpg_home() as home:
            key = home.key("Revoked")
            signature = home.sign(key, DATA)
            check(World(home, key, ""), signature)
            home.revoke(key)
            assert "revoked" in refused(ExpiredError, World(home, key, ""), signature)

    def test_two_signatures_in_one_file_whichever_is_last(self, world: World) -> None:
        for first, second in ((world.good, world.other), (world.other, world.good), (world.good, world.good)):
            parts = [world.home.run("--dearmor", data=world.home.sign(key, DATA)) for key in (first, second)]
            both = world.home.run("--enarmor", data=b"".join(parts))
            both = both.replace(b"PGP ARMORED FILE", b"PGP SIGNATURE")
            assert "not exactly one detached" in refused(TamperedError, world, both)

    def test_two_armored_blocks_in_one_file_are_refused(self, world: World) -> None:
        good, other = (world.home.sign(key, DATA) for key in (world.good, world.other))
        for both in (good + other, other + good, good + good):
            refused(TamperedError, world, both)

    def test_an_inline_signature_is_refused(self, world: World) -> None:
        inline = world.home.sign(world.good, DATA, "--sign")
        refused(TamperedError, world, inline)

    def test_an_inline_signature_under_the_label_of_a_detached_one_is_refused(self, world: World) -> None:
        inline = world.home.sign(world.good, b"something harmless", "--sign", "--compress-algo", "none")
        relabelled = inline.replace(b"PGP MESSAGE", b"PGP SIGNATURE")
        assert "not exactly one detached" in refused(TamperedError, world, relabelled)

    def test_a_clear_signed_text_is_refused(self, world: World) -> None:
        refused(TamperedError, world, world.home.sign(world.good, DATA, "--clear-sign"))

    def test_a_clear_signed_text_after_a_good_signature_is_refused(self, world: World) -> None:
        clear = world.home.sign(world.good, b"x", "--clear-sign")
        for data in (DATA, b"x"):
            refused(TamperedError, world, world.home.sign(world.good, DATA) + clear, data)

    @pytest.mark.parametrize("algorithm", ["SHA1", "RIPEMD160", "SHA224"])
    def test_a_weak_hash_is_refused(self, world: World, algorithm: str) -> None:
        world.home.run("--passphrase", "", "--quick-gen-key", f"Weak {algorithm}", "rsa2048", "sign", "never")
        rows = world.home.run("--with-colons", "--list-keys", f"=Weak {algorithm}").decode().splitlines()
        key = next(row.split(":")[9] for row in rows if row.startswith("fpr")).lower()
        signature = world.home.sign(key, DATA, "--digest-algo", algorithm, "--allow-weak-digest-algos")
        assert "weak hash" in refused(TamperedError, world, signature, key=key)

    def test_a_text_signature_is_refused(self, world: World) -> None:
        signature = world.home.sign(world.good, DATA, "--textmode")
        assert "class 01" in refused(TamperedError, world, signature)

    @pytest.mark.parametrize(
        "change",
        [
            lambda asc: b"",
            lambda asc: b"text\n" + asc,
            lambda asc: asc + b"text\n",
            lambda asc: asc.replace(b"\n\n", b"\n\nAAAA", 1),
            lambda asc: asc.replace(b"\n\n", b"\n\n====", 1),
            lambda asc: asc[: len(asc) // 2],
            lambda asc: asc[:60] + b"\n-----END PGP SIGNATURE-----\n",
            lambda asc: b"-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n",
            lambda asc: asc + b"x" * LIMITS.signature_bytes,
        ],
        ids=[
            "empty",
            "text before",
            "text after",
            "foreign packet",
            "no base64",
            "cut",
            "cut and closed",
            "hollow",
            "huge",
        ],
    )
    def test_a_malformed_file_is_refused(self, world: World, change: Callable[[bytes], bytes]) -> None:
        refused(TamperedError, world, change(world.home.sign(world.good, DATA)))


GOOD = f"""[GNUPG:] NEWSIG
[GNUPG:] KEY_CONSIDERED {FPR.upper()} 0
[GNUPG:] GOODSIG 0000000011223344 User
[GNUPG:] VALIDSIG {FPR.upper()} 2026-01-01 1767225600 0 4 0 22 8 00 {FPR.upper()}
"""


class TestJudgement:
    def test_the_one_good_shape_is_accepted(self) -> None:
        gpgv.check_status(0, GOOD, FPR)

    @pytest.mark.parametrize("word", ["NEWSIG", "GOODSIG", "VALIDSIG"])
    def test_each_word_is_needed_exactly_once(self, word: str) -> None:
        lines = GOOD.splitlines(keepends=True)
        without = "".join(line for line in lines if f" {word}" not in line)
        twice = "".join(line * 2 if f" {word}" in line else line for line in lines)
        for status in (without, twice):
            with pytest.raises((CheckFailedError, TamperedError)):
                gpgv.check_status(0, status, FPR)

    @pytest.mark.parametrize(
        "word",
        [
            "BADSIG",
            "ERRSIG",
            "EXPSIG",
            "EXPKEYSIG",
            "REVKEYSIG",
            "KEYREVOKED",
            "NODATA",
            "FAILURE",
            "NO_PUBKEY",
        ],
    )
    def test_none_of_the_bad_words_may_stand_beside_good_ones(self, word: str) -> None:
        kinds = {"NO_PUBKEY": UntrustedError, **dict.fromkeys(gpgv._STALE, ExpiredError)}
        for status in (GOOD + f"[GNUPG:] {word} x\n", f"[GNUPG:] {word} x\n" + GOOD):
            with pytest.raises(WaybillError) as caught:
                gpgv.check_status(0, status, FPR)
            assert type(caught.value) is kinds.get(word, TamperedError)

    def test_two_signatures_are_tampering_and_not_a_tool_that_failed(self) -> None:
        with pytest.raises(TamperedError, match="contains more than one signature"):
            gpgv.check_status(0, GOOD + "[GNUPG:] NEWSIG\n", FPR)

    def test_lines_that_are_no_status_mean_nothing(self) -> None:
        gpgv.check_status(0, "gpgv: BADSIG\n" + GOOD + "[GNUPG]: NO_PUBKEY x\n", FPR)

    def test_what_nothing_else_explains_is_told_with_the_last_line_of_the_log(self) -> None:
        with pytest.raises(CheckFailedError, match="gpgv exited with 2: 'out of memory'"):
            gpgv.check_status(2, GOOD, FPR, log="first\nout of memory\n")
        with pytest.raises(CheckFailedError, match="gpgv exited with 2: 'no reason given'"):
            gpgv.check_status(2, GOOD, FPR)

    @pytest.mark.parametrize("code", [1, 2, -9, 127])
    def test_another_exit_code_is_never_good(self, code: int) -> None:
        with pytest.raises(CheckFailedError):
            gpgv.check_status(code, GOOD, FPR)

    def test_another_primary_fingerprint_is_refused_though_the_short_id_is_the_same(self) -> None:
        with pytest.raises(UntrustedError):
            gpgv.check_status(0, GOOD.replace(FPR.upper() + "\n", "F" * 32 + "11223344\n"), FPR)

    def test_words_in_a_user_id_mean_nothing(self) -> None:
        gpgv.check_status(0, GOOD.replace("User", "[GNUPG:] BADSIG 0 Mallory"), FPR)

    def test_a_short_validsig_is_a_dialect(self) -> None:
        with pytest.raises(CheckFailedError, match="this version of gpgv"):
            gpgv.check_status(0, GOOD.replace(f" 22 8 00 {FPR.upper()}", ""), FPR)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def install(script: str) -> None:
        bash = shutil.which("bash")  # dash knows no file descriptors beyond 9
        path = tmp_path / "bin" / "gpgv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{bash}\n{script}")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")

    return install


class TestTheProgram:
    """These need a gpgv that misbehaves, so they bring one."""

    SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n\nwgFB\n-----END PGP SIGNATURE-----\n"

    def verify(self) -> None:
        gpgv.verify(FPR, b"ring", self.SIGNATURE, DATA, "SHA256SUMS.x.asc")

    def test_absent_names_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpgv, "find_program", lambda: None)
        with pytest.raises(CheckFailedError, match="Debian: package gpgv"):
            self.verify()

    def test_a_host_without_room_for_it_is_told(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        signature = world.home.sign(world.good, DATA)
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
        assert "No such file or directory" in refused(CheckFailedError, world, signature)

    def test_a_gpgv_that_hangs_is_ended(
        self, program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        program(f"echo $$ > {tmp_path}/pid; exec sleep 600\n")
        monkeypatch.setattr(gpgv, "TIMEOUT_SECONDS", 0.9)
        with pytest.raises(CheckFailedError, match="gpgv did not finish"):
            self.verify()
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()

    def test_a_gpgv_that_closes_its_pipes_and_hangs_is_ended(
        self, program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program('eval "exec $2>&- 2>&-"; exec sleep 600\n')
        monkeypatch.setattr(gpgv, "TIMEOUT_SECONDS", 0.5)
        with ends(), pytest.raises(CheckFailedError, match="gpgv did not finish"):
            self.verify()

    @pytest.mark.parametrize("stream", ["$2", "2"])
    def test_a_gpgv_that_never_stops_writing_is_ended(
        self, program: Callable[[str], None], stream: str
    ) -> None:
        program(f'eval "exec yes >&{stream}"\n')
        with pytest.raises(CheckFailedError, match="too much output"):
            self.verify()

    def test_a_gpgv_that_cannot_start_is_named(self, program: Callable[[str], None], tmp_path: Path) -> None:
        program("")
        (tmp_path / "bin" / "gpgv").write_bytes(b"\x7fELFgarbage")
        before = os.listdir("/proc/self/fd")
        with pytest.raises(CheckFailedError, match="could not be checked"):
            self.verify()
        assert os.listdir("/proc/self/fd") == before

    @pytest.mark.parametrize("stream", ["$2", "2"])
    def test_a_gpgv_that_prints_no_text_is_named(self, program: Callable[[str], None], stream: str) -> None:
        program(f"eval \"printf '\\\\377\\\\n' >&{stream}\"; exit 2\n")
        with pytest.raises(CheckFailedError, match="gpgv exited with 2"):
            self.verify()

    def test_gpgv_is_found_in_the_usual_directories_also_without_a_path(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        needs("gpgv")
        monkeypatch.setenv("PATH", "/nowhere")
        assert gpgv.find_program() == shutil.which("gpgv", path="/usr/local/bin:/usr/bin:/bin")
        assert gpgv.find_program() is not None

    def test_what_it_says_on_stderr_is_not_status(
        self, program: Callable[[str], None], tmp_path: Path
    ) -> None:
        (tmp_path / "status").write_text(GOOD)
        program(f"cat {tmp_path}/status >&2; cat {tmp_path}/status\n")
        with pytest.raises(CheckFailedError):
            self.verify()

    def test_gpgv_sees_a_clean_environment_and_leaves_no_file(
        self, program: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LD_LIBRARY_PATH", "/planted")
        monkeypatch.setenv("GNUPGHOME", "/planted")
        program(
            f"env > {tmp_path}/env; pwd > {tmp_path}/cwd; ls -ld . > {tmp_path}/mode\n"
            f"cut -d' ' -f1,6 /proc/$$/stat > {tmp_path}/session; exit 3\n"
        )
        with pytest.raises(CheckFailedError):
            self.verify()
        home = (tmp_path / "cwd").read_text().strip()
        of_bash = {"PWD", "SHLVL", "_"}
        seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
        assert {name: value for name, value in seen.items() if name not in of_bash} == {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "HOME": home,
            "GNUPGHOME": home,
        }
        assert (tmp_path / "mode").read_text().startswith("drwx------")
        assert not Path(home).exists()
        itself, session = (tmp_path / "session").read_text().split()
        assert session == itself
