"""The commands for checking a bundle by hand, word for word from the document, on good and bad bundles."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.docs import transcript
from tests.rig.needs import needs

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "check-without-waybill.md"
FILES = {"bundle.json": b"{}\n", "docs/CHANGELOG.md": b"# 1.4.0\n", "images/oci-layout": b"{}"}
Members = list[tuple[tarfile.TarInfo, bytes]]


def regular(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    return entry, data


class Bundle:
    """A small bundle as a list of members, and the key that signed it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        sums = "".join(
            f"{hashlib.sha256(FILES[name]).hexdigest()}  {name}\n" for name in sorted(FILES)
        ).encode()
        self.identity = hashlib.sha256(sums).hexdigest()
        self.signature = f"SHA256SUMS.{hashlib.sha256(der).hexdigest()[:8]}.sig"
        self.members: Members = [
            regular("SHA256SUMS", sums),
            regular(self.signature, base64.b64encode(self.key.sign(sums, ec.ECDSA(SHA256())))),
            regular("SHA256SUMS.room", bytes(512)),
            *(regular(name, data) for name, data in FILES.items()),
            regular("approvals/security-00000000.json", b"{}"),
        ]

    def replace(self, name: str, data: bytes) -> None:
        self.members = [regular(name, data) if e.name == name else (e, d) for e, d in self.members]

    def check(self) -> tuple[int, str]:
        """Writes the bundle and runs the document's script on it."""
        document = transcript.read(PAGE)
        (script,) = [step.text for step in document.steps if step.target == "check.sh"]
        (self.directory / "check.sh").write_text(script)
        (self.directory / "release.pub").write_bytes(self.public)
        with tarfile.open(self.directory / "b.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for entry, data in self.members:
                tar.addfile(entry, io.BytesIO(data))
        done = subprocess.run(
            ["bash", "check.sh", "b.tar", "release.pub"],
            cwd=self.directory,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(self.directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    needs("openssl")
    return Bundle(tmp_path)


def test_a_good_bundle_is_good_and_its_identity_is_named(bundle: Bundle) -> None:
    code, said = bundle.check()
    assert code == 0, said
    assert said.endswith(f"OK: 3 files, identity {bundle.identity}\n")


def second_member(bundle: Bundle) -> None:
    bundle.members.append(regular("docs/CHANGELOG.md", FILES["docs/CHANGELOG.md"]))


def extra_script(bundle: Bundle) -> None:
    bundle.members.append(regular("deploy/evil.sh", b"#!/bin/sh\n"))


def missing_file(bundle: Bundle) -> None:
    bundle.members = [(entry, data) for entry, data in bundle.members if entry.name != "images/oci-layout"]


def symbolic_link(bundle: Bundle) -> None:
    entry = tarfile.TarInfo("deploy")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
    bundle.members.append((entry, b""))


def directory(bundle: Bundle) -> None:
    entry = tarfile.TarInfo("docs")
    entry.type = tarfile.DIRTYPE
    bundle.members.append((entry, b""))


def changed_file(bundle: Bundle) -> None:
    bundle.replace("docs/CHANGELOG.md", b"# 1.4.1\n")


def changed_list(bundle: Bundle) -> None:
    bundle.replace("SHA256SUMS", bundle.members[0][1].replace(b"docs", b"cods"))


def stripped_signature(bundle: Bundle) -> None:
    del bundle.members[1]


def foreign_signature(bundle: Bundle) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    bundle.replace(
        bundle.signature, base64.b64encode(stranger.sign(bundle.members[0][1], ec.ECDSA(SHA256())))
    )


@pytest.mark.parametrize(
    ("attack", "complaint"),
    [
        (second_member, "BAD: there twice: docs/CHANGELOG.md"),
        (extra_script, "BAD: files and list differ"),
        (missing_file, "BAD: files and list differ"),
        (symbolic_link, "BAD: not a regular file"),
        (directory, "BAD: not a regular file"),
        (changed_file, "BAD: changed: docs/CHANGELOG.md"),
        (changed_list, "BAD: the signature does not fit"),
        (stripped_signature, "BAD: no signature by this key"),
        (foreign_signature, "BAD: the signature does not fit"),
    ],
)
def test_a_hostile_bundle_is_called_bad(
    bundle: Bundle, attack: Callable[[Bundle], None], complaint: str
) -> None:
    attack(bundle)
    code, said = bundle.check()
    assert code == 1, said
    assert complaint in said
    assert "OK:" not in said
