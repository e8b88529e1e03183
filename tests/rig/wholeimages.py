"""An image as a vendor pushes it: for two platforms, with an attestation in its index, signed by cosign."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from installer.core.oci import documents
from installer.shared.http.faults import Server
from installer.shared.http.session import client_tls, new_session
from installer.shared.registry.connection import Connection, Login
from installer.shared.registry.repository import Document, Repository
from tests.rig.imagebuild import Built, descriptor, dumps, index, layer
from tests.rig.needs import needs
from tests.rig.registry import Registry

AMD = Built("app:1", [layer("base"), layer("amd", 30_000)], form="gzip")
ARM = Built("app:1", [layer("base"), layer("arm")], "linux/arm64", form="zstd")
STATEMENT = b'{"_type":"https://in-toto.io/Statement/v0.1"}'
ATTESTATION = dumps(
    {
        "schemaVersion": 2,
        "mediaType": documents.MANIFEST,
        "config": descriptor(b"{}", documents.CONFIG),
        "layers": [descriptor(STATEMENT, "application/vnd.in-toto+json")],
    }
)
ATTESTED = {
    **descriptor(ATTESTATION, documents.MANIFEST),
    "platform": {"os": "unknown", "architecture": "unknown"},
    "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
}
INDEX = index([ARM.platform_entry(), AMD.platform_entry(), ATTESTED])
BLOBS = (*AMD.blobs, *ARM.blobs, AMD.config, ARM.config, b"{}", STATEMENT)
PLAIN = "--allow-insecure-registry"


def repository(registry: Registry, name: str) -> Repository:
    """Return a repository of a registry without a login."""
    server = Server("registry", registry.url, "127.0.0.1", "", "")
    return Repository(Connection(server, new_session(client_tls(None), 20), Login(), 20), name)


def push(repository: Repository, tag: str = "1") -> str:
    """Push the image, and return its digest."""
    for blob in BLOBS:
        repository.put_blob(blob)
    for manifest in (AMD.manifest, ARM.manifest, ATTESTATION):
        document = Document(manifest, documents.MANIFEST)
        repository.put(document.digest, document)
    top = Document(INDEX, documents.INDEX)
    repository.put(tag, top)
    return top.digest


@dataclass
class Signer:
    """A cosign of either version with a key, in a directory.

    Attributes:
        home: The directory.
        program: The component.
    """

    home: Path
    program: str = "cosign"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run cosign."""
        environment = {"COSIGN_PASSWORD": "", "HOME": str(self.home), "PATH": "/usr/bin:/bin"}
        command = [needs(self.program), *words]
        return subprocess.run(
            command, cwd=self.home, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def sign(self, reference: str) -> None:
        """Sign an image, with a new key the first time."""
        if not (self.home / "k.key").exists():
            assert self.run("generate-key-pair", "--output-key-prefix", "k").returncode == 0
        # cosign 3 would ask a service for its settings.
        more = ["--use-signing-config=false"] if self.program == "cosign3" else []
        done = self.run("sign", "--yes", "--key", "k.key", "--tlog-upload=false", *more, PLAIN, reference)
        assert done.returncode == 0, done.stderr

    def verifies(self, reference: str) -> bool:
        """Return whether cosign finds a signature of the key at an image, and accepts it."""
        words = ["--key", "k.pub", "--insecure-ignore-tlog", PLAIN]
        words += ["--private-infrastructure"] if self.program == "cosign" else []
        return self.run("verify", *words, reference).returncode == 0
