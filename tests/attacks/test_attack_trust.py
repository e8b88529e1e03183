"""Hostile roots, approvals and sidecars at the prompt: each refused, the host's trust as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from installer.core.jsonio import dumps
from installer.core.limits import LIMITS
from installer.core.trust.root import ROOT_BYTES, Root, fingerprint
from tests.attacks.box import DAY, Box, now, plan
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import Part
from tests.rig.trustworld import APPROVALS, FILES, TEAM, Said, headed, person
from tests.rig.trustworld import root as full_root

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> Callable[[Root], bytes]:
    """A root in which something is another thing."""

    def make(root: Root) -> bytes:
        document = json.loads(dumps(root.document()))
        change(document)
        return dumps(document)

    return make


def text(old: bytes, new: bytes) -> Callable[[Root], bytes]:
    def make(root: Root) -> bytes:
        data = dumps(root.document())
        assert old in data
        return data.replace(old, new, 1)

    return make


def first(document: dict[str, Any], part: str = "keys") -> dict[str, Any]:
    found: dict[str, Any] = next(iter(document[part].values()))
    return found


def many_owners(count: int) -> Change:
    """Policies that ask for more people than there are."""
    return lambda d: d["environments"].update(x={"requires": {"release": count}})


ROOTS: dict[str, tuple[Callable[[Root], bytes], str]] = {
    "no JSON": (lambda _: b"\x7fELF", r"root\.json(@|:)"),
    "nested without end": (
        lambda _: b'{"keys":' * 50_000,
        r"root\.json: is nested more than \d+ levels deep|root\.json:1",
    ),
    "larger than a root may be": (
        lambda _: b" " * (ROOT_BYTES + 9),
        r"root\.json: is .*(bytes, more than|larger than)",
    ),
    "a key twice": (
        text(b'"version":', b'"version":9,"version":'),
        r"root\.json: has the key 'version' twice",
    ),
    "a version that is no number": (text(b'"version":1', b'"version":1e9'), r"root\.json: .*not an integer"),
    "a version without end": (text(b'"version":1', b'"version":' + b"9" * 5000), r"root\.json: .*2\^53"),
    "more keys than a root may have": (
        changed(lambda d: d["keys"].update({f"{n:064x}": first(d) for n in range(300)})),
        r"keys: has 302 entries, at least one and at most 256",
    ),
    "a version below one": (changed(lambda d: d.update(version=0)), r"root\.json: version"),
    "a lone surrogate": (text(b'"Ann"', b'"\\udead"'), r"root\.json: .*surrogate"),
    "an owner with an escape sequence": (
        changed(lambda d: first(d).update(owner="\x1b[2J")),
        r"keys\..*owner",
    ),
    "an owner that runs backwards": (changed(lambda d: first(d).update(owner="\u202enna")), r"keys\..*owner"),
    "a key under the id of another": (
        changed(lambda d: d["keys"].update({"0" * 64: d["keys"].popitem()[1]})),
        r"keys\.0000.*does not match the key",
    ),
    "a secret key": (
        changed(
            lambda d: first(d).update(public="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        ),
        r"public",
    ),
    "a key of a weak kind": (
        changed(lambda d: first(d).update(public=weak())),
        r"public: is a key of a type that is not supported",
    ),
    "a role that names nobody": (
        changed(lambda d: d["roles"]["release"].update(keys=["f" * 64])),
        r"roles\.release\.keys",
    ),
    "a threshold that nobody can meet": (
        changed(lambda d: d["roles"]["release"].update(threshold=2)),
        r"roles\.release\.threshold",
    ),
    "a threshold of nobody": (
        changed(lambda d: d["roles"]["release"].update(threshold=0)),
        r"roles\.release\.threshold",
    ),
    "a threshold of all the world": (changed(many_owners(2**53)), r"environments\.x: cannot be met"),
    "a policy of an unknown role": (
        changed(lambda d: d["environments"].update(x={"requires": {"emperor": 1}})),
        r"environments\.x.*emperor",
    ),
    "an environment that climbs": (
        changed(lambda d: d["environments"].update({"../x": {"requires": {}}})),
        r"environments\.\.\./x",
    ),
    "a product that climbs": (changed(lambda d: d.update(products={"../x": {}})), r"products\.\.\./x"),
    "a field that nobody knows": (changed(lambda d: d.update(trust="everybody")), r"trust: is not a field"),
    "a schema of the future": (changed(lambda d: d.update(schema="waybill/root/v2")), r"schema"),
    "a day that is none": (changed(lambda d: d.update(expires="2030-02-31T00:00:00Z")), r"expires"),
}


def weak() -> str:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = rsa.generate_private_key(65537, 2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("fault", ROOTS)
def test_a_first_root_is_refused_even_with_its_fingerprint(box: Box, fault: str) -> None:
    make, words = ROOTS[fault]
    data = make(box.root())
    (box.host / "etc/waybill/trust/root.json").unlink()
    path = box.home / "stick/root.json"
    path.write_bytes(data)
    box.watch()
    said = box.install("trust", "init", str(path), "--fingerprint", fingerprint(data), "--json")
    box.refused(said, 11, words)


def signed_root(box: Box, data: bytes, *names: str) -> Path:
    """Lays a root and its signatures on the stick."""
    path = box.home / "stick/root.json"
    path.write_bytes(data)
    for name in names:
        signer = person(name).signer
        for form, content in signer.sign(data).items():
            Path(f"{path}.{signer.keyid8}.{form}").write_bytes(content)
    return path


@pytest.mark.parametrize("fault", ROOTS)
def test_a_next_root_is_refused_though_the_right_person_signed_it(box: Box, fault: str) -> None:
    make, words = ROOTS[fault]
    try:
        data = make(box.root(version=2))
    except AssertionError:
        data = make(box.root(version=1))
    path = signed_root(box, data, "Ann")
    box.watch()
    box.refused(box.install("trust", "update", str(path), "--json"), 11, words)


def later(box: Box, **fields: Any) -> bytes:
    return dumps(box.root(version=2, **fields).document())


def edited(box: Box) -> Path:
    path = signed_root(box, later(box), "Ann")
    path.write_bytes(path.read_bytes() + b"\n")
    return path


def piped(box: Box) -> Path:
    os.mkfifo(box.home / "stick/root.json")
    return box.home / "stick"


def linked(box: Box) -> Path:
    (box.home / "stick/root.json").symlink_to("/etc/passwd")
    return box.home / "stick"


def endless(box: Box) -> Path:
    for number in range(2, 1000):
        path = box.home / f"stick/{number}.root.json"
        path.touch()
        os.truncate(path, 1 << 40)
    return box.home / "stick"


def crowded(box: Box) -> Path:
    path = signed_root(box, later(box), "Ann")
    for number in range(1000):
        Path(f"{path}.{number:08x}.asc").write_bytes(b"x")
    return path


UPDATES: dict[str, tuple[Callable[[Box], Path], int, str]] = {
    "nobody has signed": (lambda box: signed_root(box, later(box)), 10, "none of the 1 owners"),
    "a stranger has signed": (lambda box: signed_root(box, later(box), "Eve"), 10, "none of the 1 owners"),
    "a releaser has signed": (lambda box: signed_root(box, later(box), "Rea"), 10, "none of the 1 owners"),
    "it skips one": (
        lambda box: signed_root(box, dumps(box.root(version=3).document()), "Ann"),
        13,
        "version 3",
    ),
    "it is older": (
        lambda box: signed_root(
            box,
            dumps(replace(box.root(), version=1, expires=box.root().expires - timedelta(days=1)).document()),
            "Ann",
        ),
        13,
        "version 1",
    ),
    "it is expired": (
        lambda box: signed_root(
            box, later(box, expires=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)), "Ann"
        ),
        12,
        "expired",
    ),
    "it hands over to whom has not signed": (
        lambda box: signed_root(box, dumps(replace(headed(2, "Ben"), environments={}).document()), "Ann"),
        10,
        "new version itself",
    ),
    "its signature is of other bytes": (edited, 11, r"root\.json\..*sig"),
    "a pipe is in its place": (piped, 11, r"root\.json: is not a regular file"),
    "a link is in its place": (linked, 11, r"root\.json: is a symbolic link"),
    "a thousand of them are without end": (endless, 11, r"2\.root\.json: is larger than 1048576 bytes"),
    "a thousand signatures are next to it": (crowded, 11, r"root\.json: has more than 64 signatures"),
}


@pytest.mark.parametrize("fault", UPDATES)
def test_a_next_root_is_refused_where(box: Box, fault: str) -> None:
    make, code, words = UPDATES[fault]
    path = make(box)
    box.watch()
    box.refused(box.install("trust", "update", str(path), "--json"), code, words)


@pytest.mark.parametrize(
    ("part", "mode"),
    [
        ("etc/waybill/trust/root.json", 0o666),
        ("etc/waybill/trust", 0o777),
        ("etc", 0o775),
        ("etc/waybill/environment", 0o646),
        ("var/lib/waybill", 0o777),
    ],
)
def test_trust_that_others_can_change_is_refused(box: Box, part: str, mode: int) -> None:
    belongs(box)
    box.carry(plan(FILES))
    (box.host / part).chmod(mode)
    box.watch()
    said = box.apply()
    box.refused(said, 10, rf"host/{part}: can be written by")
    box.agreed(0)
    assert f"chmod go-w {box.host / part}" in said.error["problems"][0]["hint"]


@pytest.mark.parametrize("verb", ["init", "ensure"])
@pytest.mark.parametrize("has", [False, True], ids=["new", "known"])
def test_a_wrong_fingerprint_is_refused_whatever_the_host_has(box: Box, verb: str, has: bool) -> None:
    here = box.host / "etc/waybill/trust/root.json"
    path = box.home / "stick/root.json"
    path.write_bytes(here.read_bytes())
    if not has:
        here.unlink()
    box.watch()
    said = box.install("trust", verb, str(path), "--fingerprint", "0" * 64, "--json")
    box.refused(said, 10, r"root\.json: the fingerprint does not match")


def approved(box: Box, *more: Said) -> None:
    """A bundle of today for `production`, approved by everybody but ops."""
    made = datetime.fromtimestamp(now() - DAY, UTC).replace(microsecond=0)
    today = {"not_before": made, "expires": made + timedelta(days=9)}
    world = plan(dict(sorted(FILES.items())), rollback="docs/ROLLBACK.md")
    root = full_root(expires=made + timedelta(days=99))
    good = build.signed(world)
    key = box.root().roles["release"].keys[0]
    root = replace(
        root,
        keys={**root.keys, key: box.root().keys[key]},
        roles={**root.roles, "release": replace(root.roles["release"], keys=(key,))},
    )
    box.trust(root)
    identity = build.sha256_hex(good.head[0].data)
    said = [replace(each, fields={**today, **each.fields}) for each in (*APPROVALS[:2], *more)]
    files = {name: data for each in said for name, data in each.files(identity, good.manifest).items()}
    tail = tuple(Part(name, data, mtime=good.manifest.created) for name, data in files.items())
    box.carry(replace(good, tail=tail).tar())


def ops(box: Box) -> str:
    return f"ops-{person(TEAM['ops']).key.keyid8}.json"


def beside(make: Callable[[Path, str], object]) -> Callable[[Box], None]:
    """Something in `BUNDLE.approvals/` where the approval of ops would lie."""

    def arrange(box: Box) -> None:
        approved(box)
        folder = Path(f"{box.bundle}.approvals")
        folder.mkdir()
        make(folder, ops(box))

    return arrange


def within(**fields: Any) -> Callable[[Box], None]:
    return lambda box: approved(box, Said("ops", fields=fields))


def statement(data: bytes) -> Callable[[Box], None]:
    """A statement that ops has signed, whatever it says."""
    return lambda box: approved(box, Said("ops", data=data))


APPROVING: dict[str, tuple[Callable[[Box], None], int, str]] = {
    "a link in the sidecar": (
        beside(lambda top, name: (top / name).symlink_to("/etc/passwd")),
        11,
        r"approvals/ops-.*is a symbolic link",
    ),
    "a pipe in the sidecar": (
        beside(lambda top, name: os.mkfifo(top / name)),
        11,
        r"approvals/ops-.*not a regular file",
    ),
    "a directory in the sidecar": (
        beside(lambda top, name: (top / name).mkdir()),
        11,
        r"approvals/ops-.*not a regular file",
    ),
    "a file without end in the sidecar": (
        beside(lambda top, name: ((top / name).touch(), os.truncate(top / name, 1 << 40))),
        11,
        r"approvals/ops-.*65536 bytes",
    ),
    "a sidecar of a thousand files": (
        beside(lambda top, _: [(top / f"ops-{n:08x}.json").write_bytes(b"{}") for n in range(1000)]),
        11,
        r"more than 64 approvals",
    ),
    "an approval that nobody signed": (
        beside(lambda top, name: (top / name).write_bytes(b"{}")),
        14,
        r"role ops",
    ),
    "an approval by a stranger under the name of ops": (
        lambda box: approved(box, Said("ops", by="Eve", name=f"approvals/{ops(box)}")),
        11,
        r"ops-.*(sig|sigstore)",
    ),
    "an approval that is expired": (within(expires=datetime.fromtimestamp(now() - 60, UTC)), 14, r"role ops"),
    "an approval for another environment": (within(environment="staging"), 14, r"role ops"),
    "an approval of another bundle": (within(identity="0" * 64), 14, r"role ops"),
    "an approval for another host": (within(targets=("elsewhere.example",)), 13, r"elsewhere"),
    "a statement nested without end": (statement(b'{"a":' * 9000), 14, r"role ops"),
    "a statement with a key twice": (statement(b'{"_type":1,"_type":2}'), 14, r"role ops"),
    "a statement of numbers without end": (statement(b'{"_type":' + b"9" * 5000 + b"}"), 14, r"role ops"),
    "a statement that is no text": (statement(b"\xff\xfe"), 14, r"role ops"),
    "a note with an escape sequence": (within(notes="\x1b]0;evil\x07"), 14, r"role ops"),
}


def belongs(box: Box) -> None:
    (box.host / "etc/waybill/environment").write_text("production\n")


@pytest.mark.parametrize("fault", APPROVING)
def test_an_approval_is_refused_or_counts_for_nothing(box: Box, fault: str) -> None:
    arrange, code, words = APPROVING[fault]
    arrange(box)
    belongs(box)
    box.watch()
    box.refused(box.apply(), code, words)
    # The format carries approvals; what they say is not its matter.
    box.agreed(0)


def test_a_bundle_with_a_good_approval_is_installed(box: Box) -> None:
    approved(box, Said("ops"))
    belongs(box)
    said = box.apply()
    assert said.code == 0, said.err
    box.agreed(0)
    assert LIMITS.approvals == 64
