"""Identify who runs `bundle create`: the builder and the run in provenance.

The identity is a claim. It counts because a key with the role `provenance` signs it, and that key is the
runner's alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from installer.core.errors import UsageError
from installer.core.trust.root import BUILDER

LOCAL = "urn:waybill:builder:unnamed"
"""The builder without any information: a person's own machine."""
VARIABLE = "WAYBILL_BUILDER_ID"
INFLUENCES = (
    "COSIGN_PASSWORD", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST",
    "DOCKER_TLS_VERIFY", "GNUPGHOME", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SOURCE_DATE_EPOCH",
    "SSL_CERT_FILE", "WAYBILL_BUILDER_ID", "WAYBILL_GPG_PASSPHRASE", "WAYBILL_INSECURE_REGISTRIES",
    "WAYBILL_PROVENANCE_KEY", "WAYBILL_PROVENANCE_PASSWORD",
)  # fmt: skip
"""Variables that can change what `create` does. Provenance names those that are set, never their values."""


@dataclass(frozen=True, slots=True)
class Builder:
    """The builder.

    Attributes:
        identity: Its id, a URI.
        invocation: The URL of this run; empty if unknown.
        variables: Names of the variables that are set and can change what `create` does.
    """

    identity: str
    invocation: str = ""
    variables: tuple[str, ...] = ()


def find_builder(given: str, environ: Mapping[str, str]) -> Builder:
    """Find the builder: `--builder`, then WAYBILL_BUILDER_ID, then the variables of a CI system.

    Args:
        given: The value of `--builder`; may be empty.
        environ: The environment.

    Raises:
        UsageError: The given id is not valid.
    """
    known = _github(environ) or _gitlab(environ) or Builder(LOCAL)
    # The option wins over the variable, as everywhere in this command.
    chosen = given or environ.get(VARIABLE, "")
    if chosen and not BUILDER.fullmatch(chosen):
        raise UsageError(
            f"{chosen!r:.80} is not a builder id",
            where="--builder" if given else VARIABLE,
            hint="use a URI of the pipeline, such as https://ci.example/lan-chat/release",
        )
    # Names only: values may be secret, and provenance is public.
    names = tuple(name for name in INFLUENCES if name in environ)
    return Builder(chosen or known.identity, known.invocation, names)


def _github(environ: Mapping[str, str]) -> Builder | None:
    """GitHub Actions, and Gitea's and Forgejo's: the workflow, without the branch or tag it ran for."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return None
    server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
    # The reference differs with each branch and tag; a policy pins the workflow.
    workflow, _, _ = environ.get("GITHUB_WORKFLOW_REF", "").partition("@")
    run, attempt = environ.get("GITHUB_RUN_ID", ""), environ.get("GITHUB_RUN_ATTEMPT", "1")
    return _known(f"{server}/{workflow}", f"{server}/{repository}/actions/runs/{run}/attempts/{attempt}")


def _gitlab(environ: Mapping[str, str]) -> Builder | None:
    """GitLab CI, as its own provenance names it: the runner of the project."""
    if environ.get("GITLAB_CI") != "true":
        return None
    project, runner = environ.get("CI_PROJECT_URL", ""), environ.get("CI_RUNNER_ID", "")
    return _known(f"{project}/-/runners/{runner}", environ.get("CI_JOB_URL", ""))


def _known(identity: str, invocation: str) -> Builder | None:
    """Return the builder if its URL is complete; else None."""
    # A variable that is missing would leave a gap in the URL, and a policy could match too much.
    whole = re.fullmatch(r"https?://[^/]+(/[^/\s]+)+", identity) and BUILDER.fullmatch(identity)
    return Builder(identity, invocation if BUILDER.fullmatch(invocation) else "") if whole else None
