"""`bundle verify`: the installer's own verification on the connected side."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from bundler.archive.reading import read_limited
from bundler.signing.secret_source import refuse_private_key
from installer.core.document_file import other_kind
from installer.core.errors import UsageError
from installer.core.format.bundle_source import open_source
from installer.core.format.manifest import Manifest
from installer.core.limits import MIB
from installer.core.trust.approval_sidecar import find_sidecars
from installer.core.trust.policy import Decision, HostFacts
from installer.core.trust.root import RootOrigin
from installer.core.trust.root_json import load_root
from installer.core.trust.verifier import Trust, pinned_key_trust
from installer.core.verify import (
    VerifiedBundle,
    check_approvals,
    open_trusted,
    payload_extent,
    report,
    verify_payload,
)
from installer.shared.command.run_record import release_row
from installer.shared.progress import Progress

_PUBLIC = re.compile(r"-----BEGIN (PGP )?PUBLIC KEY")
_KEY_HINT = (
    "give a public key here: NAME.pub of `bundle keygen` or cosign, or an armored GPG key; "
    "a root.json is given with --root"
)


@dataclass(frozen=True, slots=True)
class Verification:
    """A bundle that passed.

    Attributes:
        verified: What was checked.
        decision: What the policy of the environment decided; None without an environment.
    """

    verified: VerifiedBundle
    decision: Decision | None

    @property
    def warning(self) -> str:
        """What to warn about; empty if nothing."""
        return self.decision.warning() if self.decision else ""

    def as_text(self) -> str:
        """Return it in words for people."""
        return report(self.verified, self.decision)

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        manifest = self.verified.manifest
        return {
            **self.verified.as_json(),
            "product": manifest.product,
            "to": release_row(manifest.version, manifest.sequence, self.verified.identity),
            "policy": self.decision.as_json() if self.decision else None,
        }


def verify_bundle(
    source: str,
    trust: Trust,
    progress: Progress,
    destination: HostFacts | None = None,
    approvals: Sequence[Path] = (),
    check: Callable[[Manifest], None] = lambda _manifest: None,
) -> Verification:
    """Verify a bundle as a host would.

    Args:
        source: The bundle; `-` for stdin.
        trust: The root or the one key to trust.
        progress: Receives the bytes that were checked.
        destination: The environment and host to decide for; None: signatures and payload only.
        approvals: Directories with approvals, besides those in the bundle and in `BUNDLE.approvals`.
        check: Called with the signed manifest before the payload is read; it raises what forbids to go on.

    Raises:
        WaybillError: Whatever a host would refuse it for.
    """
    # Without an environment, no policy is evaluated.
    host = destination or HostFacts()
    beside = find_sidecars(source, approvals)
    with closing(open_source(source)) as medium:
        # From here on nothing of the bundle is read that a trusted signature does not cover.
        opened = open_trusted(medium, trust, lambda _manifest: host)
        check(opened.bundle.manifest)
        decision = None
        # The approvals of a file are checked before its payload, so that a refusal comes at once.
        # A stream has them at its end.
        if host.environment and medium.parallel:
            decision = check_approvals(opened, trust, beside)
        progress.start("verify", payload_extent(opened))
        verified = verify_payload(opened, progress.advance)
        progress.done()
        if host.environment and decision is None:
            decision = check_approvals(opened, trust, beside)
    return Verification(verified, decision)


def load_trust(key: Path | None, root: Path | None) -> Trust:
    """Read what to trust: one pinned public key, or a root.

    Raises:
        UsageError: Neither or both are given, the key cannot be read, or a file is of another kind.
        UntrustedError: There is no such root.
        TamperedError: The root or the key is damaged.
    """
    if root is not None and key is None:
        return Trust(load_root(root)[0], lambda: datetime.now(UTC), origin=_at_the_desk(root))
    if key is None or root is not None:
        raise UsageError(
            "exactly one key or one root is required",
            hint="give either --key NAME.pub or --root root.json",
        )
    # A key has a few hundred bytes; a bundle given by mistake has gigabytes.
    text = read_limited(key, MIB, _KEY_HINT).decode("ascii", "replace")
    refuse_private_key(text, str(key))
    # Only what begins as a key can be a damaged one; all else was mixed up.
    is_json = text.lstrip().startswith("{")
    if is_json or not _PUBLIC.search(text):
        kind = "a JSON document" if is_json else other_kind(text.encode())
        what = f"is {kind}, not a public key" if kind else "is not a public key"
        raise UsageError(what, where=str(key), hint=_KEY_HINT)
    return pinned_key_trust(text, str(key))


def _at_the_desk(path: Path) -> RootOrigin:
    # Here no host is set up: the owners of the root keys are asked, or are the ones who read this.
    file = quote(str(path))
    remedy = (
        f"give the current root.json, or renew this one: `bundle trust rotate {file} --expires 365d`, "
        f"then `bundle trust sign {file} --key KEY`"
    )
    return RootOrigin("the root", str(path), remedy)
