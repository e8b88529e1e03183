"""A release pipeline: a product in a checkout, provenance by its key, and hosts that ask for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bundler.signing.bundle import sign
from installer.core.format.bundle_source import FileSource
from installer.core.trust.policy import Decision, HostFacts
from installer.core.trust.root import Policy
from installer.core.trust.signatures import TrustedKey
from installer.core.trust.verifier import Trust
from installer.core.verify import check_approvals, open_trusted, verify_payload
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.gitcheckout import commit_all
from tests.rig.product import Product
from tests.rig.trustworld import person, root

PIPELINE = "https://ci.example/lan-chat/release"
ORIGIN = "https://git.example/lan-chat"
NEEDS = {"release": 1, "provenance": 1}
STRICT = Policy(NEEDS, builders=(PIPELINE,), repositories=(ORIGIN,), clean_tree=True)


class Pipeline:
    """A product in a checkout, and the keys with which it is built and released."""

    def __init__(self, directory: Path, keys: Path) -> None:
        self.product = Product.make(directory / "product")
        (self.product.directory / ".gitignore").write_text("build/\ndist/\n")
        self.keys = keys
        self.commit = ""

    def committed(self, tag: str = "v1.4.0", origin: str = f"{ORIGIN}.git") -> Pipeline:
        self.commit = commit_all(self.product.directory, tag, origin)
        return self

    def create(self, *words: str, key: str = "ci", **environment: str) -> dict[str, Any]:
        """Runs `bundle create` as a pipeline does; gives its document."""
        given = ["--provenance-key", str(self.keys / f"{key}.key")] if key else []
        said = ["--builder", PIPELINE] if "--builder" not in words else []
        done = self.product.run(
            "create", "v1.4.0", "--json", *said, *given, *words, **{"COSIGN_PASSWORD": "pw", **environment}
        )
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def statement(self, created: dict[str, Any]) -> dict[str, Any]:
        """Gives the statement, from the bundle or from beside it."""
        name = created["provenance"][0]
        beside = name.endswith(".provenance.json")
        data = (self.product.directory / name).read_bytes() if beside else self.tail()[name]
        document: dict[str, Any] = json.loads(data)
        return document

    def path(self) -> Path:
        return self.product.target

    def tail(self) -> dict[str, bytes]:
        return build.read(self.path().read_bytes()).read_tail()

    def trust(self, policy: Policy = STRICT, role_key: str = "ci") -> Trust:
        """A root in which Rea releases and the pipeline's key has the role `provenance`."""
        base = root(environments={"plant": policy}, expires=datetime.now(UTC) + timedelta(days=90))
        key = TrustedKey.from_public((self.keys / f"{role_key}.pub").read_text(), "Pipeline")
        held = replace(base.roles["provenance"], keys=(key.keyid,))
        made = replace(base, keys={**base.keys, key.keyid: key}, roles={**base.roles, "provenance": held})
        return Trust(made, lambda: datetime.now(UTC))

    def released(self) -> Pipeline:
        sign(self.path(), person("Rea").signer)
        return self

    def decide(self, trust: Trust | None = None, data: bytes | None = None) -> Decision:
        """Decides as hosts of the environment `plant` do.

        Raises:
            WaybillError: They refuse it.
        """
        medium = BytesMedium(data) if data is not None else FileSource(self.path())
        chosen = trust or self.trust()
        opened = open_trusted(medium, chosen, lambda _manifest: HostFacts("plant"))
        decision = check_approvals(opened, chosen)
        verify_payload(opened)
        return decision
