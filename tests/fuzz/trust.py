"""Targets of what decides about trust: roots, policies, owners, approvals, signatures, keys."""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bundler.signing.cosign import generate, parse_key
from installer.core.errors import (
    CheckFailedError,
    ExpiredError,
    MediaError,
    NotApprovedError,
    TamperedError,
    UntrustedError,
    UsageError,
)
from installer.core.format.archive import Bundle
from installer.core.intoto import make_statement
from installer.core.jsonio import dumps
from installer.core.trust import approval, approval_sidecar, cosign, gpgv
from installer.core.trust.policy import Decision
from installer.core.trust.provenance import PREDICATE, Provenance, parse_predicate, why_rejected
from installer.core.trust.quorum import assign_owners
from installer.core.trust.root_json import parse_root
from installer.core.trust.signatures import TrustedKey
from installer.core.verify import OpenedBundle, check_approvals, open_trusted
from tests.fuzz.target import Target, refusal, same
from tests.rig.bundlebuild import BytesMedium
from tests.rig.trustworld import APPROVALS, World, person, root

DATA = b"0" * 64 + b"  docs/CHANGELOG.md\n"
FPR = "0" * 32 + "11223344"
PACKET = bytes.fromhex("c2050401080000")  # a signature packet of five octets


@functools.cache
def signed() -> dict[str, bytes]:
    """Gives the two files of one real signature of `DATA`."""
    return person("Rea").signer.sign(DATA)


@functools.cache
def _public_key() -> cosign.PublicKey:
    """Gives the key that verifies it."""
    return cosign.load_public_key(person("Rea").signer.public)


def check_raw(data: bytes) -> None:
    """Only the signature itself is taken, with or without its newline."""
    with refusal(TamperedError):
        cosign.verify_raw(_public_key(), data, DATA)
        same(data.removesuffix(b"\n"), signed()["sig"])


def check_bundle(data: bytes) -> None:
    """A document that is taken carries the one signature."""
    with refusal(TamperedError):
        cosign.verify_bundle(_public_key(), data, DATA)
        same(json.loads(data)["messageSignature"]["signature"].encode(), signed()["sig"])


def check_public(data: bytes) -> None:
    """A public key that is taken is written back to itself: it has one id. The host's root is read so too."""
    text = data.decode("latin-1")
    with refusal(TamperedError):
        key = cosign.load_public_key(text)
        same(cosign.load_public_key(key.pem()), replace(key, key=cosign.load_public_key(key.pem()).key))
    with refusal(TamperedError):
        trusted = TrustedKey.from_public(text, "Ana")
        same(TrustedKey.from_public(trusted.public, "Ana"), trusted)


def publics() -> list[bytes]:
    """Gives public keys, PEM and armor."""
    pem = person("Rea").signer.public.encode()
    body = bytes([4]) + bytes(4) + bytes([22]) + bytes(40)
    packet = bytes([0x98, len(body)]) + body
    return [
        pem,
        pem.replace(b"\n", b"\r\n"),
        armor("PUBLIC KEY BLOCK", packet),
        armor("PUBLIC KEY BLOCK", PACKET),
    ]


def armor(label: str, packets: bytes) -> bytes:
    """Gives OpenPGP armor."""
    text = base64.b64encode(packets).decode()
    return f"-----BEGIN PGP {label}-----\n\n{text}\n-----END PGP {label}-----\n".encode()


def check_sealed(data: bytes) -> None:
    """A sealed private key that is read asks for no more work than is allowed."""
    with refusal(UsageError):
        found = parse_key(data, "k.key")
        same((len(found.salt), len(found.nonce), found.cost <= 131072), (32, 24, True))


def sealed() -> list[bytes]:
    """Gives private keys under a password."""
    good = generate(b"")[0]
    return [good, good.replace(b"SIGSTORE", b"COSIGN"), good[:200], person("Rea").signer.public.encode()]


def check_armor(data: bytes) -> None:
    """The framing of a signature: what is no single signature packet never reaches gpgv."""
    found = gpgv.find_program
    gpgv.find_program = lambda: None
    try:
        with refusal(TamperedError, CheckFailedError):
            gpgv.verify(FPR, b"", data, DATA, "SHA256SUMS.x.asc")
            raise AssertionError("accepted without gpgv")
    finally:
        gpgv.find_program = found
    with refusal(TamperedError):
        gpgv.load_public_key(data.decode("latin-1"), "k.asc")


GOOD = f"""[GNUPG:] NEWSIG
[GNUPG:] GOODSIG 0000000011223344 User
[GNUPG:] VALIDSIG {FPR.upper()} 2026-01-01 1767225600 0 4 0 22 8 00 {FPR.upper()}
"""


def check_status(data: bytes) -> None:
    """What gpgv says is good only in the one shape."""
    status = data.decode("utf-8", "replace")
    with refusal(TamperedError, CheckFailedError, UntrustedError, ExpiredError):
        gpgv.check_status(0, status, FPR, "SHA256SUMS.x.asc")
        words = [line.split(" ") for line in status.split("\n") if line.startswith("[GNUPG:] ")]
        kinds = [word[1] for word in words]
        bad = {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "KEYREVOKED", "NODATA", "FAILURE"}
        same(
            ([kinds.count(kind) for kind in ("NEWSIG", "GOODSIG", "VALIDSIG")], bad & {*kinds}),
            ([1, 1, 1], set()),
        )
        valid = words[kinds.index("VALIDSIG")]
        same((valid[9] in ("8", "9", "10"), valid[10], valid[11].lower()), (True, "00", FPR))


def check_root(data: bytes) -> None:
    """A root that is read is read the same again once we have written it, and all its policies can be met."""
    with refusal(TamperedError):
        found = parse_root(data)
        same(parse_root(dumps(found.document())).document(), found.document())
        for policy in found.environments.values():
            if not found.needs(policy).keys() <= found.roles.keys():
                raise AssertionError("a policy that nobody can meet")


def roots() -> list[bytes]:
    """Gives roots."""
    full = root()
    bare = replace(full, environments={})
    return [dumps(full.document()), dumps(bare.document()), b'{"schema":"waybill/root/v1"}', b"{}"]


def check_approval(data: bytes) -> None:
    """A statement that is read is written back to the same; what provenance says fits into one line."""
    with refusal(TamperedError):
        found = approval.parse(data, "approvals/ops-00000000.json")
        if isinstance(found, approval.Approval):
            same(approval.parse(found.to_bytes(), "again"), found)
            return
        same(parse_predicate(predicate(found), "again", found.identity), found)
        same(f"{found.builder} {found.source()}".isprintable(), True)
        same(why_rejected(found, [found.builder], [found.repository], found.clean is True, found.commit), "")
        if not why_rejected(found, [f"{found.builder}/"], [], clean=False, commit=""):
            raise AssertionError("another builder counts")


def predicate(found: Provenance) -> dict[str, Any]:
    """Gives a predicate that says what was found."""
    said = {"tag": found.tag} | ({} if found.clean is None else {"dirty": not found.clean})
    source = {
        "uri": f"git+{found.repository}",
        "digest": {"gitCommit": found.commit},
        "annotations": said,
    }
    return {
        "buildDefinition": {"resolvedDependencies": [source] if found.commit else []},
        "runDetails": {"builder": {"id": found.builder}},
    }


def statements() -> list[bytes]:
    """Gives approvals and provenance."""
    world = World()
    source = Provenance(
        world.identity, "https://ci.example/runner", "https://git.example/chat", "c" * 40, "v1.4.0", True
    )
    said = [
        replace(source, commit="", repository="", tag="", clean=None),
        source,
        replace(source, clean=False),
    ]
    return [
        *(data for name, data in world.files(APPROVALS).items() if name.endswith(".json")),
        *(dumps(make_statement(PREDICATE, predicate(each), world.identity)) for each in said),
    ]


def check_names(data: bytes) -> None:
    """Approvals beside a bundle, names and all: each file is part of an approval, a stray, or refused."""
    folder = Path(directory())
    names = ("security-0a1b2c3d.json", "security-0a1b2c3d.json.sig", "ops-0a1b2c3d.2.json", "notes.txt")
    pieces = data.split(b"\n")[:8]
    for number, piece in enumerate(pieces):
        name, _, content = piece.partition(b"=")
        plain = bytes(byte for byte in name if byte not in b"/\0")[:80] or names[number % len(names)].encode()
        if plain not in (b".", b".."):
            (folder / plain.decode("utf-8", "surrogateescape")).write_bytes(content)
    try:
        with refusal(TamperedError, MediaError):
            files = approval_sidecar.read_sidecar(folder)
            found, strays = approval.group_files(files)
            listed = {each.name for each in found} | {s.name for each in found for s in each.signatures}
            same(listed | {*strays}, set(files))
    finally:
        for each in folder.iterdir():
            each.unlink()


@functools.cache
def directory() -> str:
    """Gives a directory of this process."""
    return mkdtemp(prefix="waybill-fuzz-")


def check_owners(data: bytes) -> None:
    """As many places are filled as can be: counted against plain search."""
    roles = ("release", "security", "ops")
    needs = {role: data[at] % 3 for at, role in enumerate(roles) if at < len(data)}
    pairs = {(roles[byte % 3], chr(97 + byte // 3 % 5)) for byte in data[3:16]}
    signed_by = {role: frozenset(owner for each, owner in pairs if each == role) for role in roles}
    filled = assign_owners(needs, signed_by)
    seated = [(role, owner) for role, owners in filled.items() for owner in owners]
    if len({owner for _, owner in seated}) != len(seated) or not {*seated} <= pairs:
        raise AssertionError(f"somebody counts twice, or for what is not theirs: {filled}")
    places = [role for role, count in needs.items() for _ in range(count)]
    same(len(seated), _most(places, signed_by, frozenset()))


def _most(places: list[str], signed_by: dict[str, frozenset[str]], used: frozenset[str]) -> int:
    if not places:
        return 0
    first, *rest = places
    best = _most(rest, signed_by, used)
    for owner in signed_by[first] - used:
        best = max(best, 1 + _most(rest, signed_by, used | {owner}))
    return best


@functools.cache
def opened() -> tuple[World, OpenedBundle, dict[str, bytes], Decision]:
    """Gives a good world after step 14, its approvals, and what they decide."""
    world = World()
    found = open_trusted(BytesMedium(world.tar()), world.trust(), lambda _: world.host)
    return world, found, world.files(APPROVALS), check_approvals(found, world.trust())


def check_decision(data: bytes) -> None:
    """One of the approvals' files is another: what is then decided is the same, or the bundle is refused."""
    world, _, files, good = opened()
    name = sorted(files)[data[0] % len(files)] if data else ""
    changed = {**files, name: data[1:]} if name else files
    with refusal(TamperedError, NotApprovedError):
        decision = check_approvals(bare(), world.trust(), approval_sidecar.Sidecars([("", changed)]))
        same(
            (decision.filled, decision.rollback_to, decision.change_id),
            (good.filled, good.rollback_to, good.change_id),
        )


def bare() -> OpenedBundle:
    """Gives the good world's bundle without the approvals that it carries."""
    found = opened()[1]
    bundle = Bundle(
        found.bundle.medium, found.bundle.head, found.bundle.manifest_bytes, found.bundle.manifest
    )
    bundle._tail = {}
    return OpenedBundle(bundle, found.evidence, found.destination)


def changes() -> list[bytes]:
    """Gives each file of an approval, marked with its number."""
    files = opened()[2]
    return [bytes([at]) + files[name] for at, name in enumerate(sorted(files))]


JSON = (
    b'"_type":',
    b'"subject":',
    b'"predicate":',
    b'"digest":',
    b"null",
    b"true",
    b"-1",
    b"1e9",
    b"\\ud800",
    b"[]",
    b"{}",
)
PGP = (
    b"-----BEGIN PGP SIGNATURE-----\n",
    b"-----END PGP SIGNATURE-----\n",
    b"\n\n",
    b"Version: x\n",
    b"=AAAA\n",
    b"wgFB",
)
STATUS = tuple(
    f"[GNUPG:] {word} ".encode()
    for word in (
        "NEWSIG",
        "GOODSIG",
        "VALIDSIG",
        "BADSIG",
        "EXPKEYSIG",
        "REVKEYSIG",
        "NO_PUBKEY",
        "NODATA",
        "ERRSIG",
    )
)
SIDECARS = [
    b"security-0a1b2c3d.json={}\nsecurity-0a1b2c3d.json.sig=AAAA\nnotes.txt=x",
    b"ops-0a1b2c3d.2.json.asc=x",
    b"a=\n",
]
TARGETS = (
    Target("root", check_root, roots, runs=600, most=8192, words=JSON),
    Target("approval", check_approval, statements, words=JSON),
    Target("decision", check_decision, changes, runs=300),
    Target("owners", check_owners, lambda: [bytes(range(16)), b"\2\2\2" + bytes(12)], most=16),
    Target(
        "sidecar",
        check_names,
        lambda: SIDECARS,
        runs=800,
        most=1024,
        words=(b".json", b".sig", b".asc", b"=", b"\n"),
    ),
    Target(
        "sig", check_raw, lambda: [signed()["sig"], signed()["sig"] + b"\n", b"AAAA"], runs=3000, most=256
    ),
    Target("sigstore-json", check_bundle, lambda: [signed()["sigstore.json"], b"{}"], words=JSON),
    Target("asc", check_armor, lambda: [armor("SIGNATURE", PACKET), *publics()[2:]], words=PGP),
    Target("gpgv-status", check_status, lambda: [GOOD.encode(), b""], most=2048, words=STATUS),
    Target("public-key", check_public, publics, runs=3000, most=2048),
    Target("cosign-key", check_sealed, sealed, most=2048),
)
