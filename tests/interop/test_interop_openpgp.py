"""Every state of an OpenPGP signature in the table: gpg, gpgv, and we, on the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from installer.core.errors import WaybillError
from installer.core.trust import gpgv
from tests.interop.table import STATES, State
from tests.rig.needs import needs
from tests.rig.signing import GpgHome, gpg_home, openpgp_verify

DATA = b"0" * 64 + b"  docs/CHANGELOG.md\n"
THEN, SOON = "20200101T000000", "20200101T010000"


@dataclass(frozen=True, slots=True)
class Case:
    """A signature, and who is asked about it.

    Attributes:
        pinned: Fingerprint of the key that is trusted.
        signature: The file.
        others: Further keys of the keyring.
        data: The bytes that the signature is said to be of.
    """

    pinned: str
    signature: bytes
    others: tuple[str, ...] = ()
    data: bytes = DATA


def signed(*options: str) -> Callable[[GpgHome], Case]:
    """A signature by the pinned key."""

    def make(home: GpgHome) -> Case:
        key = home.key("Release")
        return Case(key, home.sign(key, DATA, *options))

    return make


def weak(algorithm: str) -> Callable[[GpgHome], Case]:
    """A signature with a hash that nobody should use; Ed25519 takes none of those."""

    def make(home: GpgHome) -> Case:
        key = home.key("Release", kind="rsa3072")
        return Case(key, home.sign(key, DATA, "--digest-algo", algorithm, "--allow-weak-digest-algos"))

    return make


def changed(change: Callable[[bytes], bytes]) -> Callable[[GpgHome], Case]:
    """A file that was a good signature once."""

    def make(home: GpgHome) -> Case:
        key = home.key("Release")
        return Case(key, change(home.sign(key, DATA)))

    return make


def beside_others(home: GpgHome) -> Case:
    key, other = home.key("Release"), home.key("Other")
    return Case(key, home.sign(key, DATA), (other,))


def of_other_bytes(home: GpgHome) -> Case:
    key = home.key("Release")
    return Case(key, home.sign(key, DATA), data=DATA.replace(b"0", b"1", 1))


def by_another(*, known: bool) -> Callable[[GpgHome], Case]:
    def make(home: GpgHome) -> Case:
        key, other = home.key("Release"), home.key("Other")
        return Case(key, home.sign(other, DATA), (other,) if known else ())

    return make


def expired_key(home: GpgHome) -> Case:
    key = home.key("Release", expires="1d", at=THEN)
    return Case(key, home.sign(key, DATA, "--faked-system-time", SOON))


def revoked_key(home: GpgHome) -> Case:
    key = home.key("Release")
    signature = home.sign(key, DATA)
    home.revoke(key)
    return Case(key, signature)


def subkey(state: str) -> Callable[[GpgHome], Case]:
    def make(home: GpgHome) -> Case:
        expired = state == "expired"
        key = home.key("Release", kind="ed25519", usage="cert", at=THEN)
        when = ("--faked-system-time", THEN)
        home.run(
            *when,
            "--passphrase",
            "",
            "--quick-add-key",
            key,
            "ed25519",
            "sign",
            "1d" if expired else "never",
        )
        signature = home.sign(key, DATA, "--faked-system-time", SOON)
        if state == "revoked":
            said = b"key 1\nrevkey\ny\n0\n\ny\nsave\n"
            home.run("--command-fd", "0", "--edit-key", key, data=said)
        return Case(key, signature)

    return make


def expired_signature(home: GpgHome) -> Case:
    key = home.key("Release", at=THEN)
    return Case(key, home.sign(key, DATA, "--faked-system-time", SOON, "--default-sig-expire", "1d"))


def two(*, known: bool) -> Callable[[GpgHome], Case]:
    """Two signatures in one armored file."""

    def make(home: GpgHome) -> Case:
        key, other = home.key("Release"), home.key("Other")
        both = b"".join(home.run("--dearmor", data=home.sign(each, DATA)) for each in (key, other))
        armored = home.run("--enarmor", data=both).replace(b"PGP ARMORED FILE", b"PGP SIGNATURE")
        return Case(key, armored, (other,) if known else ())

    return make


CASES: dict[str, Callable[[GpgHome], Case]] = {
    "good": signed(),
    "good, the keyring holds other keys too": beside_others,
    "by a subkey": subkey("good"),
    "with a notation": signed("--sig-notation", "note@example.org=x"),
    "with a critical notation that nobody knows": signed("--sig-notation", "!note@example.org=x"),
    "of other bytes": of_other_bytes,
    "by another key, which the keyring lacks": by_another(known=False),
    "by another key, which the keyring holds": by_another(known=True),
    "by a key that has expired since": expired_key,
    "by a key that its owner has revoked": revoked_key,
    "by a subkey that has expired since": subkey("expired"),
    "by a subkey that its owner has revoked": subkey("revoked"),
    "that has expired itself": expired_signature,
    "two in one file, both good": two(known=True),
    "two in one file, one by a stranger": two(known=False),
    "inline: the signed bytes in the same file": signed("--sign"),
    "clear text": signed("--clear-sign"),
    "with SHA-1": weak("SHA1"),
    "with MD5": weak("MD5"),
    "in text mode": signed("--textmode"),
    "armor truncated": changed(lambda armored: armored[: len(armored) // 2]),
    "armor of nothing": changed(lambda _: b"-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"),
}


def we(case: Case, ring: bytes) -> int:
    """Gives what we end with."""
    try:
        gpgv.verify(case.pinned, ring, case.signature, case.data, "SHA256SUMS.00000000.asc")
    except WaybillError as error:
        return error.exit_code
    return 0


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.what)
def test_gpg_gpgv_and_we_judge_each_state_as_the_table_says(state: State, tmp_path: Path) -> None:
    needs("gpgv")
    with gpg_home() as home:
        case = CASES[state.what](home)
        ring = home.run("--export", case.pinned, *case.others)
    codes = [openpgp_verify(tool, ring, case.signature, case.data, tmp_path) for tool in ("gpg", "gpgv")]
    assert (*codes, we(case, ring)) == (state.gpg, state.gpgv, state.we)


def test_every_state_is_made() -> None:
    assert [state.what for state in STATES] == list(CASES)
