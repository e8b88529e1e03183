"""The real signing tools in tests: GPG homes with keys of every state, and cosign without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.rig.needs import needs

PASSPHRASE = "correct horse"


@dataclass(frozen=True, slots=True)
class GpgHome:
    """A GnuPG home of its own, in a short path, since GnuPG's sockets need one."""

    path: Path

    def run(self, *arguments: str, data: bytes = b"", check: bool = True) -> bytes:
        """Runs gpg without asking anybody anything."""
        command = [
            "gpg",
            "--homedir",
            str(self.path),
            "--batch",
            "--yes",
            "--no-tty",
            "--pinentry-mode",
            "loopback",
        ]
        done = subprocess.run(
            [*command, *arguments], input=data, capture_output=True, check=False, timeout=60
        )
        if check and done.returncode:
            raise AssertionError(f"gpg {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout

    def key(
        self,
        name: str,
        *,
        passphrase: str = "",
        expires: str = "never",
        at: str = "",
        kind: str = "ed25519",
        usage: str = "sign",
    ) -> str:
        """Makes a signing key, Ed25519 unless told; gives its fingerprint in lower case."""
        when = ["--faked-system-time", at] if at else []
        self.run(*when, "--passphrase", passphrase, "--quick-gen-key", name, kind, usage, expires)
        rows = self.run("--with-colons", "--list-keys", f"={name}").decode().splitlines()
        return next(row.split(":")[9] for row in rows if row.startswith("fpr")).lower()

    def public(self, fingerprint: str) -> str:
        """Exports a public key."""
        return self.run("--armor", "--export", fingerprint).decode()

    def sign(self, fingerprint: str, data: bytes, *options: str, passphrase: str = "") -> bytes:
        """Makes an armored, detached signature, unless the options say otherwise."""
        mode = () if {"--sign", "--clear-sign"} & set(options) else ("--detach-sign",)
        users = ("--local-user", fingerprint)
        return self.run(*options, "--passphrase", passphrase, "--armor", *users, *mode, data=data)

    def revoke(self, fingerprint: str) -> None:
        """Revokes a key with the certificate that GnuPG made beside it."""
        kept = (self.path / "openpgp-revocs.d" / f"{fingerprint.upper()}.rev").read_text()
        self.run("--import", data=kept.replace(":-----BEGIN", "-----BEGIN").encode())


@contextmanager
def gpg_home() -> Iterator[GpgHome]:
    """Makes a GnuPG home and removes it, its agent ended."""
    needs("gpg")
    path = Path(tempfile.mkdtemp(prefix="wg-", dir="/tmp"))
    try:
        yield GpgHome(path)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(path), "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(path, ignore_errors=True)


def openpgp_verify(tool: str, ring: bytes, signature: bytes, data: bytes, directory: Path) -> int:
    """Gives what gpg or gpgv ends with about a detached signature, in a home that has only this keyring."""
    directory.chmod(0o700)
    keyring, *files = (directory / name for name in ("ring.gpg", "F.asc", "F"))
    for path, content in zip((keyring, *files), (ring, signature, data), strict=True):
        path.write_bytes(content)
    words = ["--homedir", str(directory), "--keyring", str(keyring)]
    words += ["--batch", "--no-default-keyring", "--verify"] if tool == "gpg" else []
    return subprocess.run(
        [needs(tool), *words, *map(str, files)], capture_output=True, check=False
    ).returncode


@dataclass(frozen=True, slots=True)
class Cosign:
    """One real cosign, with the network taken away."""

    program: str
    major: int
    home: Path

    def run(
        self, *arguments: str, password: str = "", data: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs cosign in its own home directory."""
        nowhere = "http://127.0.0.1:9"
        environment: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TUF_ROOT": str(self.home / "tuf"),
            "COSIGN_PASSWORD": password,
            "HTTP_PROXY": nowhere,
            "HTTPS_PROXY": nowhere,
        }
        without = ["unshare", "--net"] if os.geteuid() == 0 and shutil.which("unshare") else []
        return subprocess.run(
            [*without, self.program, *arguments],
            input=data,
            env=environment,
            cwd=self.home,
            capture_output=True,
            check=False,
            timeout=60,
        )

    def keygen(self, name: str, password: str) -> Path:
        """Makes NAME.key and NAME.pub in the home; gives the private one."""
        done = self.run("generate-key-pair", "--output-key-prefix", name, password=password)
        assert done.returncode == 0, done.stderr
        return self.home / f"{name}.key"

    def verify_raw(self, public: Path, signature: Path, data: Path) -> bool:
        """Tells whether cosign takes a `.sig` file."""
        private = ["--private-infrastructure=true"] if self.major == 2 else []
        common = ["--key", str(public), "--insecure-ignore-tlog", *private]
        return self.run("verify-blob", *common, "--signature", str(signature), str(data)).returncode == 0

    def verify_bundle(self, public: Path, bundle: Path, data: Path) -> bool:
        """Tells whether cosign takes a `.sigstore.json` file."""
        offline = []
        if self.major == 2:  # it fetches a trusted root from the network unless it is given one
            (self.home / "none.json").write_text(
                '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
            )
            offline = ["--new-bundle-format", "--trusted-root", "none.json"]
        common = ["--key", str(public), "--insecure-ignore-tlog", *offline]
        return self.run("verify-blob", *common, "--bundle", str(bundle), str(data)).returncode == 0

    def sign(self, key: Path, data: Path, password: str) -> tuple[bytes, bytes]:
        """Signs; gives the raw signature and the Sigstore bundle."""
        raw, bundle = self.home / "out.sig", self.home / "out.sigstore.json"
        common = ["sign-blob", "--key", str(key), "--yes", "--tlog-upload=false"]
        offline = ["--use-signing-config=false"] if self.major > 2 else []
        for options in (
            ["--new-bundle-format=false", "--output-signature", str(raw)],
            ["--new-bundle-format", "--bundle", str(bundle)],
        ):
            done = self.run(*common, *offline, *options, str(data), password=password)
            assert done.returncode == 0, done.stderr
        return raw.read_bytes(), bundle.read_bytes()
