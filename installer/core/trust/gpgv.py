"""OpenPGP signatures: verification by `gpgv` against one pinned key.

Exit code 0 and VALIDSIG are not enough: expired and revoked keys give both. Every status line is read, on a
pipe of its own, and exactly the lines of a valid signature are required. User ids, trust levels and key ids
are not used; the pinned primary fingerprint decides.

The child process is run here and not by `installer.shared.child.process`: it gets none of the user's
environment, a status pipe, and more output than expected is an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from installer.core.errors import CheckFailedError, ExpiredError, TamperedError, UntrustedError, os_errors_as
from installer.core.limits import KIB, LIMITS

TIMEOUT_SECONDS = 60.0
"""A signature of SHA256SUMS takes milliseconds; a hanging gpgv must not hang an installation."""
OUTPUT_BYTES = 64 * KIB
_ARMOR = re.compile(
    r"\s*-----BEGIN PGP (PUBLIC KEY BLOCK|SIGNATURE)-----\r?\n(?:[A-Za-z]+: [^\r\n]*\r?\n)*\r?\n"
    r"([A-Za-z0-9+/\r\n]+=*)\r?\n(?:=[A-Za-z0-9+/]{4}\r?\n)?-----END PGP \1-----\s*"
)
_ONCE = ("NEWSIG", "GOODSIG", "VALIDSIG")
_STALE = {
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key has expired",
    "REVKEYSIG": "the key was revoked by its owner",
    "KEYREVOKED": "the key was revoked by its owner",
}
_BAD = ("BADSIG", "ERRSIG", "NODATA", "FAILURE", "NO_PUBKEY", "UNEXPECTED", *_STALE)
_HASHES = {"8": "SHA-256", "9": "SHA-384", "10": "SHA-512"}
_SIGNATURE, _PUBLIC_KEY, _SECRET_KEYS = 2, 6, (5, 7)


def load_public_key(armored: str, where: str = "") -> tuple[str, bytes]:
    """Read an exported public key.

    Args:
        armored: What `gpg --armor --export FINGERPRINT` printed.
        where: How errors name it.

    Returns:
        The fingerprint of its one primary key, 40 lower-case hex digits, and the binary keyring.

    Raises:
        TamperedError: It is not one armored public key, is secret, or is not of version 4.
    """
    ring = _dearmor(armored, "PUBLIC KEY BLOCK", where)
    primaries = []
    for tag, body in _packets(ring, where):
        if tag in _SECRET_KEYS:
            raise TamperedError(
                "contains a SECRET key",
                where=where,
                hint="do not copy this file, and treat the key as leaked; export the public key "
                "with `gpg --export`",
            )
        if tag == _PUBLIC_KEY:
            primaries.append(body)
    if len(primaries) != 1:
        raise TamperedError(
            f"contains {len(primaries)} keys, not one",
            where=where,
            hint="export one key only: `gpg --armor --export FINGERPRINT`",
        )
    # Other versions compute fingerprints in other ways, and gpgv 2.2 does not know them.
    if primaries[0][:1] != b"\x04":
        raise TamperedError("is not an OpenPGP key of version 4", where=where)
    # RFC 4880, 12.2: the fingerprint of a version 4 key.
    head = b"\x99" + len(primaries[0]).to_bytes(2, "big")
    return hashlib.sha1(head + primaries[0], usedforsecurity=False).hexdigest(), ring


def _dearmor(text: str, label: str, where: str) -> bytes:
    match = _ARMOR.fullmatch(text)
    if match is None or match[1] != label:
        hint = "create it with `gpg --armor --export FINGERPRINT`" if label.startswith("PUBLIC") else ""
        raise TamperedError(f"is not one armored OpenPGP {label.lower()}", where=where, hint=hint)
    try:
        return base64.b64decode("".join(match[2].split()), validate=True)
    except binascii.Error:
        raise TamperedError("has damaged base64", where=where) from None


def _packets(ring: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """Split OpenPGP data into packets (RFC 4880, 4.2), tag and body; indefinite lengths are refused."""
    at = 0
    while at < len(ring):
        first, octet = ring[at], ring[at + 1] if at + 1 < len(ring) else 255
        if first & 0xC0 == 0xC0:
            tag = first & 0x3F
            skip, width, base = (
                (0, 1, 0) if octet < 192 else (1, 4, 0) if octet == 255 else (0, 2, 192 - (192 << 8))
            )
            definite = not 224 <= octet < 255
        else:
            tag, skip, width, base = first >> 2 & 0x0F, 0, 1 << (first & 3), 0
            definite = bool(first & 0x80) and first & 3 != 3
        start = at + 1 + skip + width
        end = start + int.from_bytes(ring[start - width : start], "big") + base
        if not definite or start > len(ring) or end > len(ring):
            raise TamperedError("is not well-formed OpenPGP", where=f"{where}@{at}")
        yield tag, ring[start:end]
        at = end


def verify(fingerprint: str, keyring: bytes, signature: bytes, data: bytes, where: str = "") -> None:
    """Verify an `.asc` file.

    Args:
        fingerprint: The pinned primary fingerprint, 40 lower-case hex digits.
        keyring: The pinned key as a binary keyring.
        signature: The file's bytes: one armored, detached signature.
        data: Exactly the signed bytes.
        where: How errors name the file.

    Raises:
        CheckFailedError: `gpgv` is not installed, cannot run, hangs, or its output is not understood.
        UntrustedError: The signature is by another key.
        TamperedError: It is malformed, weak, of another kind, or not a signature of these bytes.
        ExpiredError: The key or the signature is expired or revoked.
    """
    if len(signature) > LIMITS.signature_bytes:
        raise TamperedError(
            f"is larger than {LIMITS.signature_bytes} bytes, the limit of a signature", where=where
        )
    packets = _dearmor(signature.decode("ascii", "replace"), "SIGNATURE", where)
    if [tag for tag, _ in _packets(packets, where)] != [_SIGNATURE]:
        raise TamperedError("is not exactly one detached signature", where=where)
    # Exactly one packet: of two signatures gpgv would report both, and a valid one could hide the other.
    program = find_program()
    if program is None:
        raise CheckFailedError(
            "cannot be checked: gpgv is not installed on this host",
            where=where,
            hint="install it (Debian: package gpgv; Red Hat: gnupg2), or sign with a cosign key too",
        )
    files = {"ring.gpg": keyring, "data.sig": packets, "data": data}
    hint = "free some space in TMPDIR: gpgv needs a copy of SHA256SUMS there"
    with (
        os_errors_as(CheckFailedError, "cannot be checked", where, hint=hint),
        tempfile.TemporaryDirectory(prefix="waybill-gpgv-") as name,
    ):
        for part, content in files.items():
            Path(name, part).write_bytes(content)
        ring, *inputs = (str(Path(name, part)) for part in files)
        code, status, log = _run([program, "--homedir", name, "--keyring", ring, *inputs], Path(name), where)
    check_status(code, status, fingerprint, where, log)


def find_program() -> str | None:
    """Return the path of gpgv, or None if it is not installed."""
    # The PATH of a systemd unit or of sudo may be short.
    return shutil.which("gpgv") or shutil.which("gpgv", path="/usr/local/bin:/usr/bin:/bin")


def check_status(code: int, status: str, fingerprint: str, where: str = "", log: str = "") -> None:
    """Decide by what one run of gpgv reported.

    Args:
        code: Its exit code.
        status: What it wrote to its status pipe.
        fingerprint: The pinned primary fingerprint, lower case.
        where: How errors name the signature.
        log: What it wrote to stderr, for errors without a status line.

    Raises:
        CheckFailedError: The output is not understood.
        UntrustedError: The signature is by another key.
        TamperedError: It is malformed, weak, of another kind, or not a signature of these bytes.
        ExpiredError: The key or the signature is expired or revoked.
    """
    lines = [line.split(" ")[1:] for line in status.split("\n") if line.startswith("[GNUPG:] ")]
    words = [line[0] for line in lines if line]
    # 1. Lines that must not be there: looked for first, since VALIDSIG comes with an expired key too.
    if words.count("NEWSIG") > 1:
        raise TamperedError("contains more than one signature", where=where)
    if "BADSIG" in words:
        raise TamperedError(
            f"is not a signature of these bytes by key {fingerprint[-8:]}",
            where=where,
            hint="the bundle was changed after it was signed, or the signature is damaged: copy it again",
        )
    if "NO_PUBKEY" in words:
        raise UntrustedError(f"was not made by the trusted key {fingerprint}", where=where)
    for word, what in _STALE.items():
        if word in words:
            raise ExpiredError(what, where=where, hint="ask for a bundle that is signed with a valid key")
    found = next((word for word in _BAD if word in words), None)
    if found is not None:
        raise TamperedError(f"is not one valid detached signature (gpgv reports {found})", where=where)
    # 2. Lines that must be there, exactly once, and exit code 0.
    if code != 0 or any(words.count(word) != 1 for word in _ONCE):
        tail = log.strip().splitlines()[-1:] or ["no reason given"]
        raise CheckFailedError(
            f"could not be checked: gpgv exited with {code}: {tail[0][:200]!r}", where=where
        )
    valid = next(line for line in lines if line[0] == "VALIDSIG")[1:]
    if len(valid) < 10:
        raise CheckFailedError(
            "could not be checked: this version of gpgv writes its output in an unknown form", where=where
        )
    # 3. The pinned key, a strong hash and the right kind of signature.
    if valid[9].lower() != fingerprint:
        raise UntrustedError(
            f"was made by key {valid[9].lower()[:64]}, not by the trusted key {fingerprint}", where=where
        )
    if valid[7] not in _HASHES:
        raise TamperedError(
            f"uses a weak hash (OpenPGP algorithm {valid[7][:8]})",
            where=where,
            hint="sign again with --digest-algo SHA256",
        )
    if valid[8] != "00":
        raise TamperedError(
            f"is a signature of class {valid[8][:8]}, not a signature of a binary document", where=where
        )


def _run(command: list[str], home: Path, where: str) -> tuple[int, str, str]:
    """Run gpgv with a clean environment, a time-out and bounded output; return exit code, status and log."""
    # Nothing of the user's: GNUPGHOME, LANG or LD_PRELOAD could change what gpgv says.
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(home), "GNUPGHOME": str(home)}
    status_read, status_write = os.pipe()
    try:
        command = [command[0], "--status-fd", str(status_write), *command[1:]]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(status_write,),
            env=environment,
            cwd=home,
            start_new_session=True,
        )
    except OSError as error:
        os.close(status_read)
        raise CheckFailedError(
            f"could not be checked: {command[0]}: {error.strerror}", where=where
        ) from error
    finally:
        os.close(status_write)
    with os.fdopen(status_read, "rb", buffering=0) as status, _ended(child):
        assert child.stderr is not None  # noqa: S101 - it was asked for
        pipes = {status.fileno(): b"", child.stderr.fileno(): b""}
        _drain(pipes, where)
        try:
            code = child.wait(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise _hangs(where) from None
        texts = [pipe.decode("utf-8", "replace") for pipe in pipes.values()]
    return code, texts[0], texts[1]


def _drain(pipes: dict[int, bytes], where: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise _hangs(where)
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 16 * KIB)
                if not chunk:
                    selector.unregister(key.fd)
                pipes[key.fd] += chunk
                if len(pipes[key.fd]) > OUTPUT_BYTES:
                    raise CheckFailedError("could not be checked: gpgv wrote too much output", where=where)


@contextmanager
def _ended(child: subprocess.Popen[bytes]) -> Iterator[None]:
    with child:  # at its end it is waited for, and its pipe is closed
        try:
            yield
        finally:
            child.kill()  # what has ended is left alone


def _hangs(where: str) -> CheckFailedError:
    return CheckFailedError(
        f"could not be checked: gpgv did not finish within {TIMEOUT_SECONDS:.0f} seconds", where=where
    )
