"""What all commands of `install` share: the console, and the options that several of them take."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from installer.cli.documents import SHAPES
from installer.core.errors import Problem, UsageError, os_errors_as
from installer.core.format.methods import ON_THIS_MACHINE
from installer.shared.command.console import Console

if TYPE_CHECKING:
    from installer.commands.common.bundle_verifier import BundleInput
    from installer.commands.common.session import Session
    from installer.planning.plan import Options
    from installer.shared.values import Layer

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Wait = Annotated[
    int,
    typer.Option(
        "--wait", metavar="SECONDS", min=0, max=86400, help="Seconds to wait if another install is running."
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed", help="Apply the release even if it failed and was rolled back on this host before."
    ),
]
AllowQuorumLoss = Annotated[
    bool,
    typer.Option(
        "--allow-quorum-loss",
        help="Go on even if too few peers of the cluster are left while the services of this host restart. "
        "The audit log records it.",
    ),
]
BundleName = Annotated[
    str,
    typer.Argument(
        metavar="BUNDLE",
        help="The bundle file, - for standard input, or the address of a published one (oci:// or https://).",
        show_default=False,
    ),
]
Product = Annotated[
    str | None,
    typer.Option(
        "--product", metavar="PRODUCT", help="The product, if several are installed.", show_default=False
    ),
]
OnDrift = Annotated[
    list[str] | None,
    typer.Option(
        "--on-drift",
        metavar="POLICY[:PATH]",
        help="What to do with files that were edited on this host: refuse; keep (configuration only; the new "
        "version is written next to the file); or replace (a copy is kept). May be repeated.",
        show_default=False,
    ),
]
WorkDir = Annotated[
    Path | None,
    typer.Option(
        "--work-dir",
        metavar="DIR",
        help="Directory for container images until the engine has loaded them, if the main disk is small.",
        show_default=False,
    ),
]
Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        metavar="N",
        min=1,
        max=100,
        help="Number of releases to retain, including the installed one (default 3).",
        show_default=False,
    ),
]
TrustRoot = Annotated[
    Path | None,
    typer.Option(
        "--trust-root",
        metavar="ROOT",
        help="Plan a first installation with this root.json, on a host that trusts nothing yet.",
        show_default=False,
    ),
]
RootFingerprint = Annotated[
    str,
    typer.Option(
        "--fingerprint",
        metavar="SHA256",
        help="With --trust-root: its fingerprint, from the trust sheet.",
        show_default=False,
    ),
]
Methods = list[str] | None

console = Console("install", shapes=SHAPES)
_ON_THIS_MACHINE = f"{', '.join(ON_THIS_MACHINE[:-1])} and {ON_THIS_MACHINE[-1]}"


@dataclass(frozen=True, slots=True)
class Where:
    """Options of every command: the host, and how the result is printed."""

    root: Annotated[
        Path,
        typer.Option(
            "--root",
            metavar="DIR",
            help="Directory to use in place of / on this host. Nothing outside it is changed, except by "
            f"the steps {_ON_THIS_MACHINE}: only these can run with it, on this machine, if --only names "
            "them.",
        ),
    ] = Path("/")
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False

    def session(self, wait: float = 0.0) -> Session:
        """Return the session of this run, and have the console print as asked.

        Args:
            wait: Seconds to wait where another install is running.

        Raises:
            UsageError: `--root` is not a directory.
        """
        from installer.commands.common import session
        from installer.state.host_identity import host_name

        # Known only now, after Typer has parsed the words.
        console.json_output = self.json
        console.tell(root=str(self.root))
        opened = session.Session.open(self.root, console, session.utc_now)
        # As it was typed: a hint is to be typed on the same terminal.
        console.root = "/" if opened.system.live else str(self.root)
        console.tell(root=opened.system.root, host=host_name(opened.system))
        return replace(opened, wait=wait)


@dataclass(frozen=True)
class WhereListed(Where):
    """Options of every command that may list thousands of files."""

    # Declared for the help: every command takes it, and it is read before Typer sees it.
    all: Annotated[
        bool,
        typer.Option("--all", help="Show every file and every difference, however many there are."),
    ] = False


@dataclass(frozen=True, slots=True)
class Verification:
    """Options of every command that verifies a bundle."""

    env: Annotated[
        str,
        typer.Option(
            "--env",
            metavar="ENV",
            help="Environment to verify for, if /etc/waybill/environment does not set it. Before an "
            "installation, set it with trust init.",
            show_default=False,
        ),
    ] = ""
    approvals: Annotated[
        list[Path] | None,
        typer.Option(
            "--approvals",
            metavar="DIR",
            help="Directory with additional approvals. Those in the bundle and in BUNDLE.approvals "
            "are always read.",
            show_default=False,
        ),
    ] = None

    def source(self, bundle: str, root: Path | None = None, fingerprint: str = "") -> BundleInput:
        """Return a bundle with what was chosen about its verification.

        Raises:
            UsageError: Of `--trust-root` and `--fingerprint` only one is given.
        """
        from installer.commands.common.bundle_verifier import BundleInput

        # A root without its fingerprint is a file that somebody brought.
        if (root is None) != (not fingerprint):
            missing = "--fingerprint" if root else "--trust-root"
            raise UsageError(
                f"{missing} is missing", hint="give --trust-root ROOT and --fingerprint F together"
            )
        return BundleInput(bundle, self.env, tuple(self.approvals or ()), root, fingerprint)


@dataclass(frozen=True, slots=True)
class Values:
    """Options of every command that merges the values of a release."""

    values: Annotated[
        list[Path] | None,
        typer.Option(
            "--values",
            metavar="FILE",
            help="Values that override those of the host. May be repeated; the last one wins.",
            show_default=False,
        ),
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One value that overrides all files, such as ports.client=14222; VALUE is YAML. No secrets: "
            "every user can read a command line. May be repeated.",
            show_default=False,
        ),
    ] = None

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers, from the weakest.

        Raises:
            UsageError: A file cannot be read, or a setting is not valid.
        """
        return (*_files(self.values or ()), *_settings(self.set_ or ()))


@dataclass(frozen=True, slots=True)
class Choice:
    """Options of every command that plans how a release becomes the running one."""

    only: Annotated[
        Methods,
        typer.Option(
            "--only",
            metavar="METHOD",
            help="Run only these deployment steps. May be repeated.",
            show_default=False,
        ),
    ] = None
    skip: Annotated[
        Methods,
        typer.Option(
            "--skip",
            metavar="METHOD",
            help="Skip these deployment steps. May be repeated.",
            show_default=False,
        ),
    ] = None
    on_drift: OnDrift = None

    def options(
        self, values: Values | None = None, keep: int | None = None, data_restored: bool = False
    ) -> Options:
        """Return what the operator chose, as a plan takes it.

        Raises:
            UsageError: A word is not understood, or a file cannot be read.
        """
        from installer.planning.drift import Policy
        from installer.planning.plan import Options

        return Options(
            only=_names(self.only),
            skip=_names(self.skip),
            drift=Policy.parse(self.on_drift or ()),
            values=values.layers() if values else (),
            keep=keep or 0,
            data_restored=data_restored,
        )


def _names(words: list[str] | None) -> frozenset[str]:
    """Return the names of repeated and comma-separated words."""
    return frozenset(word.strip() for each in words or () for word in each.split(",") if word.strip())


_VALUES_HINT = "give the path of a YAML file; site values belong in /etc/waybill/<product>/values.yaml"


def _files(values: Sequence[Path]) -> list[Layer]:
    from installer.shared.strict_yaml import MAX_BYTES
    from installer.shared.values import Layer

    layers = []
    for path in values:
        with (
            os_errors_as(UsageError, "cannot read the values", str(path), _VALUES_HINT),
            path.open("rb") as file,
        ):
            # One byte more than allowed, so that it is refused.
            data, mode = file.read(MAX_BYTES + 1), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            layers.append(Layer(str(path), data, mode, "values"))
    return layers


def _settings(words: Sequence[str]) -> list[Layer]:
    from installer.shared.configuration.set_option import FORM
    from installer.shared.values import Layer

    layers: list[Layer] = []
    problems: list[Problem] = []
    for number, word in enumerate(words, 1):
        key, sign, text = word.partition("=")
        if not sign:
            # Not repeated: it may be a secret without its key.
            raise UsageError(f"the --set at place {number} has no =", hint=FORM)
        layers.append(Layer.setting(key, text))
        problems += layers[-1].parse().problems
    if problems:
        first, *rest = problems
        raise UsageError(first.what, where=first.where, hint=first.hint, problems=rest)
    return layers
