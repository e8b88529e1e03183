"""Runs kubectl, always for the cluster of this host, with nothing of the environment of a person."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.deploy.kubernetes.site import SETTINGS, Site
from installer.deploy.kubernetes.tools import runnable
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.host.system import Completed

QUICK = 60.0
"""Seconds for a command that only asks."""
_REQUEST = "--request-timeout=20s"
WIDTH = 300
"""Characters of a line of their output that is shown."""
_ENVIRONMENT: Mapping[str, str | None] = {
    # No plugins, repositories and caches: those of root are not part of the release.
    "HOME": "/nonexistent",
    "HELM_PLUGINS": "/nonexistent",
    "HELM_DRIVER": "secret",
}
_WORDS = (
    (
        re.compile(r"context .* does not exist|no context exists", re.IGNORECASE),
        "correct `context` in " + SETTINGS,
    ),
    (
        re.compile(r"Unauthorized|must be logged in|expired", re.IGNORECASE),
        "the login of the kubeconfig is not valid any more: ask for a new one",
    ),
    (re.compile(r"x509|certificate", re.IGNORECASE), "correct the certificate authority in the kubeconfig"),
    (
        re.compile(r"refused|no route|timed out|timeout|no such host|deadline", re.IGNORECASE),
        "look whether the API server runs, and whether the address in the kubeconfig is right",
    ),
)


@dataclass(frozen=True, slots=True)
class Client:
    """The program, for one namespace.

    Attributes:
        context: The host.
        site: The cluster and the program.
        namespace: The namespace of the release.
    """

    context: Context
    site: Site
    namespace: str

    @property
    def _kubeconfig(self) -> str:
        # The programs run outside of --root.
        return self.context.system.real(self.site.kubeconfig)

    def kubectl(self, *words: str, timeout: float = QUICK, stdin: bytes = b"") -> Completed:
        """Run kubectl."""
        # An address that swallows packets must not hold up a plan for minutes.
        where = ["--kubeconfig", self._kubeconfig, "--namespace", self.namespace, _REQUEST]
        where += ["--context", self.site.context] if self.site.context else []
        return self._run(self.site.kubectl, [*where, *words], timeout, stdin)

    def _run(self, program: str, words: Sequence[str], timeout: float, stdin: bytes) -> Completed:
        system, sha256 = self.context.system, self.site.carried.get(program)
        with runnable(system, program, sha256) if sha256 else nullcontext(program) as path:
            return system.run([path, *words], timeout=timeout, env=_ENVIRONMENT, stdin=stdin)

    def programs(self) -> str:
        """Return which programs are used, with their versions, and where they come from."""
        return self._from_where("kubectl", self._version(), self.site.kubectl)

    def _version(self) -> str:
        asked = self.kubectl("version", "--client", "--output", "json").stdout
        try:
            return str(json.loads(asked)["clientVersion"]["gitVersion"])
        except (ValueError, KeyError, TypeError):
            return ""

    def _from_where(self, name: str, version: str, path: str) -> str:
        where = "release" if path in self.site.carried else "host"
        return f"{name} {version.strip().removeprefix('v')[:40] or '(version not known)'} from the {where}"

    def answer(self, *words: str, stdin: bytes = b"") -> list[Any]:
        """Return the JSON documents that kubectl prints; the items of a list are documents of their own.

        Raises:
            StepError: It failed, or printed more than is kept.
        """
        ended = self.kubectl(*words, stdin=stdin)
        if not ended.ok:
            raise self.failure(f"kubectl {words[0]}", ended)
        return documents(ended)

    def failure(self, what: str, ended: Completed, where: str = "") -> StepError:
        """Return the error for a program that failed, with the last lines that it wrote."""
        # Programs write why they failed to the one or the other.
        secrets = self.context.secrets
        text = (ended.stderr.strip() or ended.stdout.strip()).decode("utf-8", "replace")
        said = secrets.last_lines(text, 6, WIDTH)
        problems = [Problem(where or "cluster", line) for line in said[:-1]]
        error = StepError(
            f"{what}: {ended.reason(secrets)}", where=where, hint=hint_for(text), problems=problems
        )
        return error.of(ended, secrets)

    def server(self) -> str:
        """Return the address of the cluster, as the kubeconfig has it; empty where it has none."""
        ended = self.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        return ended.stdout.decode("utf-8", "replace").strip() if ended.ok else ""

    def versions(self) -> Problem | tuple[str, str]:
        """Return the versions of kubectl and of the server, or why the server cannot be asked."""
        # The cheapest request that needs the address, the certificate and the login to be right.
        ended = self.kubectl("version", "-o", "json")
        try:
            said = json.loads(ended.stdout)
            return str(said["clientVersion"]["gitVersion"]), str(said["serverVersion"]["gitVersion"])
        except (ValueError, KeyError, TypeError):
            text = ended.stderr.decode("utf-8", "replace")
            what = f"does not answer: {ended.reason(self.context.secrets)}"
            return Problem(self.server() or self.site.kubeconfig, what, hint_for(text))


def documents(ended: Completed) -> list[Any]:
    """Return the JSON documents of an output, one after the other; the items of a list in its place.

    Raises:
        StepError: It is no JSON, or only the end of it was kept.
    """
    # The start of the output is what was dropped: what is left may be JSON of something else.
    if ended.shortened:
        raise StepError(
            "kubectl printed more than 1 MiB", hint="install a release with fewer or smaller objects"
        )
    text, found, decoder = ended.stdout.decode("utf-8", "replace").strip(), list[Any](), json.JSONDecoder()
    try:
        while text:
            value, end = decoder.raw_decode(text)
            text = text[end:].lstrip()
            found += (
                value["items"] if value.get("kind", "").endswith("List") and "items" in value else [value]
            )
    except (ValueError, AttributeError):
        raise StepError("kubectl printed no JSON", hint="run it by hand to see what it says") from None
    return found


def hint_for(text: str) -> str:
    """Return what to do about a failure, from what was said."""
    return next((hint for pattern, hint in _WORDS if pattern.search(text)), "")
