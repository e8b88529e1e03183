"""Runs Helm, always for the cluster of this host, with nothing of the environment of a person."""

from __future__ import annotations

import re
from dataclasses import dataclass

from installer.core.errors import Problem
from installer.deploy.kubernetes.client import QUICK, Client
from installer.host.system import Completed

_OLDEST = (3, 13)
"""The first version of Helm that renders with a server, and labels a release."""


@dataclass(frozen=True, slots=True)
class HelmClient(Client):
    """Helm and kubectl, for one namespace."""

    def helm(self, *words: str, timeout: float = QUICK, stdin: bytes = b"") -> Completed:
        """Run Helm."""
        where = ["--kubeconfig", self._kubeconfig, "--namespace", self.namespace]
        where += ["--kube-context", self.site.context] if self.site.context else []
        return self._run(self.site.helm, [*words, *where], timeout, stdin)

    def programs(self) -> str:
        """Return which programs are used, with their versions, and where they come from."""
        version = self.helm("version", "--short").stdout.decode("utf-8", "replace").partition("+")[0]
        return f"{self._from_where('helm', version, self.site.helm)}, {Client.programs(self)}"

    def merging(self) -> list[str]:
        """Return the words by which every Helm merges on this side, as Helm 3 does.

        Helm 4 leaves it to the server, which refuses fields that a person has changed: then neither an
        upgrade nor the undo of one could put them back.
        """
        return ["--server-side=false"] if _version(self.helm("version", "--short")) >= (4, 0) else []

    def old_helm(self) -> Problem | None:
        """Return why this Helm cannot be used."""
        ended = self.helm("version", "--short")
        if _version(ended) >= _OLDEST:
            return None
        said = ended.stdout.decode("utf-8", "replace").strip()
        what = (
            f"is version {said[:40]}" if ended.ok else f"does not run: {ended.reason(self.context.secrets)}"
        )
        return Problem(self.site.helm, what, "install Helm 3.13 or later, or Helm 4")


def _version(ended: Completed) -> tuple[int, int]:
    match = re.match(rb"v(\d+)\.(\d+)\.", ended.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
