"""Every line about signatures and key files in the table of interoperation, with the real tools."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bundler.commands.keygen import generate_key_pair
from bundler.signing.cosign import CosignSigner, encrypt_key
from bundler.signing.gpg import GpgSigner
from installer.core.errors import WaybillError
from installer.core.trust.signatures import Signature, TrustedKey, verify
from tests.interop.table import (
    ED,
    EXCHANGES,
    KEY_FILES,
    NO,
    P256,
    PAGE,
    RSA,
    SUBKEY,
    YES,
    Exchange,
    KeyFile,
    page,
)
from tests.rig.needs import needs
from tests.rig.signing import Cosign, GpgHome, gpg_home, openpgp_verify

DATA = b"0" * 64 + b"  docs/CHANGELOG.md\n"
OTHER = DATA.replace(b"0", b"1", 1)
PASSWORD = "pässword"
MAKE: dict[str, Callable[[], object]] = {
    P256: lambda: ec.generate_private_key(ec.SECP256R1()),
    ED: ed25519.Ed25519PrivateKey.generate,
    RSA: lambda: rsa.generate_private_key(65537, 3072),
}
KINDS = {ED: "ed25519", RSA: "rsa3072", "NIST P-256": "nistp256", SUBKEY: "ed25519"}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", PASSWORD)


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    with gpg_home() as made:
        yield made


def says(act: Callable[[], object]) -> str:
    """Gives what we say of something."""
    try:
        act()
    except WaybillError:
        return NO
    return YES


def real(tool: str, home: Path) -> Cosign:
    return Cosign(needs(tool), 3 if tool == "cosign3" else 2, home)


def pems(private: object, directory: Path, name: str) -> tuple[Path, Path]:
    """Writes a key pair as openssl does: PKCS#8 and SubjectPublicKeyInfo."""
    secret, public = directory / f"{name}.pem", directory / f"{name}.pub"
    secret.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # type: ignore[attr-defined]
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))  # type: ignore[attr-defined]
    return secret, public


def openssl(*words: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([needs("openssl"), *words], cwd=directory, capture_output=True, check=False)


def openssl_verifies(kind: str, public: Path, signature: bytes, data: bytes, directory: Path) -> bool:
    (directory / "F").write_bytes(data)
    (directory / "s64").write_bytes(signature)
    openssl("base64", "-d", "-A", "-in", "s64", "-out", "s", directory=directory)
    command = ["dgst", "-sha256", "-verify", str(public), "-signature", "s", "F"]
    if kind == ED:
        command = ["pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
        command += ["-in", "F", "-sigfile", "s"]
    return openssl(*command, directory=directory).returncode == 0


def openssl_signs(kind: str, secret: Path, directory: Path) -> bytes:
    (directory / "F").write_bytes(DATA)
    command = ["dgst", "-sha256", "-sign", str(secret), "-out", "s", "F"]
    if kind == ED:
        command = ["pkeyutl", "-sign", "-inkey", str(secret), "-rawin", "-in", "F", "-out", "s"]
    assert openssl(*command, directory=directory).returncode == 0
    return openssl("base64", "-A", "-in", "s", directory=directory).stdout


def we_verify(public: str, form: str, signature: bytes, data: bytes) -> str:
    """Gives what we say of a signature, as `install` would."""

    def act() -> None:
        key = TrustedKey.from_public(public, "Ana")
        verify(key, Signature(f"SHA256SUMS.{key.keyid8}{form}", form[1:], key.keyid8, signature), data)

    return says(act)


def cosign_case(case: Exchange, directory: Path) -> tuple[str, str, str]:
    """Gives what is said of a good signature, of other bytes, and with another key."""
    tool, kind = real(case.tool, directory), MAKE[case.key]
    mine = kind()
    public = [pems(mine, directory, "mine")[1], pems(kind(), directory, "other")[1]]
    sealed = directory / "mine.key"
    sealed.write_bytes(encrypt_key(mine, PASSWORD.encode()))  # type: ignore[arg-type]
    if case.signs == "we":
        signature = directory / f"F{case.form}"
        signature.write_bytes(CosignSigner.load(sealed).sign(DATA)[case.form[1:]])
        check = tool.verify_raw if case.form == ".sig" else tool.verify_bundle
        results = []
        for key, data in ((public[0], DATA), (public[0], OTHER), (public[1], DATA)):
            (directory / "F").write_bytes(data)
            results.append(YES if check(key, signature, directory / "F") else NO)
        return results[0], results[1], results[2]
    (directory / "F").write_bytes(DATA)
    raw, bundle = tool.sign(sealed, directory / "F", PASSWORD)
    signature_bytes = raw if case.form == ".sig" else bundle
    mine_text, other_text = (path.read_text() for path in public)
    return (
        we_verify(mine_text, case.form, signature_bytes, DATA),
        we_verify(mine_text, case.form, signature_bytes, OTHER),
        we_verify(other_text, case.form, signature_bytes, DATA),
    )


def openssl_case(case: Exchange, directory: Path) -> tuple[str, str, str]:
    mine, other = MAKE[case.key](), MAKE[case.key]()
    (secret, public), (_, stranger) = pems(mine, directory, "mine"), pems(other, directory, "other")
    if case.signs == "we":
        (directory / "k.key").write_bytes(encrypt_key(mine, PASSWORD.encode()))  # type: ignore[arg-type]
        made = CosignSigner.load(directory / "k.key").sign(DATA)["sig"]
        asked = ((public, DATA), (public, OTHER), (stranger, DATA))
        results = [openssl_verifies(case.key, key, made, data, directory) for key, data in asked]
        return tuple(YES if good else NO for good in results)  # type: ignore[return-value]
    made = openssl_signs(case.key, secret, directory)
    texts = (public.read_text(), stranger.read_text())
    return (
        we_verify(texts[0], ".sig", made, DATA),
        we_verify(texts[0], ".sig", made, OTHER),
        we_verify(texts[1], ".sig", made, DATA),
    )


def pgp_key(home: GpgHome, kind: str) -> str:
    """Makes a key, once for each kind."""
    known = home.run("--with-colons", "--list-keys", f"={kind}", check=False).decode().splitlines()
    if not any(row.startswith("fpr") for row in known):
        home.run(
            "--passphrase",
            "",
            "--quick-gen-key",
            kind,
            KINDS[kind],
            "cert" if kind == SUBKEY else "sign",
            "never",
        )
        known = home.run("--with-colons", "--list-keys", f"={kind}").decode().splitlines()
    primary = next(row.split(":")[9] for row in known if row.startswith("fpr")).lower()
    if kind == SUBKEY and not any(row.startswith("sub") for row in known):
        home.run("--passphrase", "", "--quick-add-key", primary, "ed25519", "sign", "never")
    return primary


def pgp_case(case: Exchange, home: GpgHome, directory: Path) -> tuple[str, str, str]:
    key, other = pgp_key(home, case.key), pgp_key(home, ED if case.key != ED else RSA)
    if case.signs == "we":
        made = GpgSigner(key, home.path).sign(DATA)["asc"]
        asked = ((key, DATA), (key, OTHER), (other, DATA))
        rings = {each: home.run("--export", each) for each in (key, other)}
        codes = [openpgp_verify(case.tool, rings[each], made, data, directory) for each, data in asked]
        return tuple(NO if code else YES for code in codes)  # type: ignore[return-value]
    made = home.sign(key, DATA)
    return (
        we_verify(home.public(key), ".asc", made, DATA),
        we_verify(home.public(key), ".asc", made, OTHER),
        we_verify(home.public(other), ".asc", made, DATA),
    )


@pytest.mark.parametrize("case", EXCHANGES, ids=lambda case: case.name)
def test_tools_verify_signatures_as_the_table_says(case: Exchange, home: GpgHome, tmp_path: Path) -> None:
    needs(case.tool)
    if case.form == ".asc":
        found = pgp_case(case, home, tmp_path)
    else:
        found = (openssl_case if case.tool == "openssl" else cosign_case)(case, tmp_path)
    assert found == (case.good, NO, NO)


def ours(case: KeyFile, directory: Path, password: str, used: str) -> str:
    """We make a key, and they sign with it, or verify what we signed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSIGN_PASSWORD", password)
        pair = generate_key_pair(directory / "ours")
        signature = CosignSigner.load(pair.private).sign(DATA)["sig"]
    if case.used == "openssl":
        return YES if openssl_verifies(P256, pair.public, signature, DATA, directory) else NO
    tool = real(case.used, directory)
    (directory / "F.sig").write_bytes(signature)
    if case.what == "NAME.pub":
        return YES if tool.verify_raw(pair.public, directory / "F.sig", directory / "F") else NO
    try:
        raw, _ = tool.sign(pair.private, directory / "F", used)
    except AssertionError:
        return NO
    return we_verify(pair.public.read_text(), ".sig", raw, DATA)


def cosigns(case: KeyFile, directory: Path, password: str, used: str) -> str:
    """They make a key, and we sign with it, or verify what they signed."""
    tool = real(case.made, directory)
    private, public = tool.keygen("theirs", password), directory / "theirs.pub"
    if case.what == "NAME.pub":
        return we_verify(public.read_text(), ".sig", tool.sign(private, directory / "F", password)[0], DATA)
    made = b""

    def sign() -> None:
        nonlocal made
        made = CosignSigner.load(private).sign(DATA)["sig"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSIGN_PASSWORD", used)
        if says(sign) == NO:
            return NO
    (directory / "F.sig").write_bytes(made)
    return YES if tool.verify_raw(public, directory / "F.sig", directory / "F") else NO


def openssls(case: KeyFile, directory: Path) -> str:
    """A key pair as openssl writes it."""
    secret, public = pems(MAKE[P256](), directory, "mine")
    if "public" in case.what:
        return we_verify(public.read_text(), ".sig", openssl_signs(P256, secret, directory), DATA)
    return says(lambda: CosignSigner.load(secret))


def gpgs(case: KeyFile, home: GpgHome) -> str:
    """A key as gpg exports it."""
    keys = [pgp_key(home, ED), pgp_key(home, RSA)]
    text = home.public(keys[0])
    if "secret" in case.what:
        text = home.run("--armor", "--export-secret-keys", "--passphrase", "", keys[0]).decode()
    elif "two" in case.what:
        text = home.run("--armor", "--export", *keys).decode()
    return says(lambda: TrustedKey.from_public(text, "Ana"))


def key_file(case: KeyFile, home: GpgHome, directory: Path) -> str:
    """Makes a key file on one side and uses it on the other."""
    password = "" if "empty" in case.what else PASSWORD
    used = "wrong" if "another password" in case.what else password
    (directory / "F").write_bytes(DATA)
    if case.made == "gpg":
        return gpgs(case, home)
    if case.made == "openssl":
        return openssls(case, directory)
    return (ours if case.made == "we" else cosigns)(case, directory, password, used)


@pytest.mark.parametrize(
    "case", KEY_FILES, ids=lambda case: f"{case.what}, made by {case.made}, used by {case.used}"
)
def test_tools_read_key_files_as_the_table_says(case: KeyFile, home: GpgHome, tmp_path: Path) -> None:
    for tool in {case.made, case.used} - {"we"}:
        needs(tool)
    assert key_file(case, home, tmp_path) == case.verdict


def test_cosign_3_does_not_verify_its_own_ed25519_bundle(tmp_path: Path) -> None:
    tool, private = real("cosign3", tmp_path), ed25519.Ed25519PrivateKey.generate()
    _, public = pems(private, tmp_path, "mine")
    (tmp_path / "mine.key").write_bytes(encrypt_key(private, PASSWORD.encode()))
    (tmp_path / "F").write_bytes(DATA)
    (tmp_path / "F.sigstore.json").write_bytes(tool.sign(tmp_path / "mine.key", tmp_path / "F", PASSWORD)[1])
    assert not tool.verify_bundle(public, tmp_path / "F.sigstore.json", tmp_path / "F")


def test_the_page_shows_this_table() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.interop.table`"
