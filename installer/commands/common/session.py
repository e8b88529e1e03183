"""What every command works with: the host, the terminal, and the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from installer.core.errors import HostNotReadyError, UsageError, os_errors_as
from installer.core.schema_errors import spelling_hint
from installer.core.trust.verifier import Trust
from installer.host.context import Context
from installer.host.layout import STATE, Layout
from installer.host.system import System
from installer.shared.command.ui import Ui
from installer.shared.secrecy.known import Secrets
from installer.shared.terminal import interrupts
from installer.state.state import host_readable
from installer.state.trust_store import known_time, load_trust

SILENT = Ui()
_PRODUCT_FILES = frozenset({"lock", "state.json", "txn", "releases", "history.jsonl"})
"""Files of a product's directory; any one of them marks it, since an operator may have removed others."""


def utc_now() -> datetime:
    """Return the time of this machine, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Session:
    """Where commands run and how they talk to people.

    Attributes:
        system: The host, or the directory that stands for one.
        ui: Takes reports and answers questions; silent by default.
        clock: Returns the time, with its zone.
        wait: Seconds to wait where another install is running.
        secrets: What neither `ui` nor a record may get of what programs and files say.
    """

    system: System
    ui: Ui = SILENT
    clock: Callable[[], datetime] = utc_now
    wait: float = 0.0
    secrets: Secrets = field(default_factory=Secrets, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Let whoever talks to people know what not to say."""
        self.ui.conceal(self.secrets)

    @classmethod
    def open(
        cls, root: Path | str = "/", ui: Ui = SILENT, clock: Callable[[], datetime] = utc_now
    ) -> Session:
        """Return a session for the host whose root directory is `root`.

        Raises:
            UsageError: It is not a directory.
        """
        # A typo in --root must not create a new host.
        if not Path(root).is_dir():
            raise UsageError(
                "is not a directory",
                where=str(root),
                hint="create it first: --root needs an existing directory",
            )
        return cls(System(Path(root)), ui, clock)

    def context(self, product: str) -> Context:
        """Return the context of one product."""
        layout = Layout(product)
        self.secrets.allow([product])

        def known() -> Iterable[str]:
            from installer.state.known_secrets import known_secrets

            return known_secrets(self.system, layout)

        # Read only once there is something to hide: a command may end before.
        self.secrets.add_source(known)
        return Context(self.system, layout, self.ui.progress(), secrets=self.secrets)

    def trust(self) -> Trust:
        """Return what this host trusts.

        Raises:
            UntrustedError: No trust is set up.
            TamperedError: Its file is damaged.
        """
        return self.trust_and_root()[0]

    def trust_and_root(self) -> tuple[Trust, bytes]:
        """Return what this host trusts, and the exact bytes of the root that says so.

        Raises:
            UntrustedError: No trust is set up.
            TamperedError: Its file is damaged.
        """
        root, data = load_trust(self.system)
        return Trust(root, self.clock, known_time(self.system)), data

    def products(self) -> list[str]:
        """Return the products that this host knows.

        Raises:
            HostNotReadyError: This user may not look, or something else is where the state should be.
        """
        with host_readable():
            # A product never has a dot in its name; files and directories of Waybill's own do.
            return [name for name in self.system.names(STATE) if "." not in name and self._is_product(name)]

    def product(self, name: str | None) -> str:
        """Return the product that is meant: the named one, or the only one.

        Raises:
            UsageError: This host does not know it, or knows none or several.
        """
        known = self.products()
        listed = ", ".join(known)
        if name is not None and name not in known:
            hint = spelling_hint(name, known, f"products here: {listed or 'none'}")
            raise UsageError(f"{name} was never installed here", hint=hint)
        if not known:
            raise UsageError("no product was ever installed here", hint="install a bundle first")
        if name is None and len(known) > 1:
            what = f"several products are installed here: {listed}"
            raise UsageError(what, hint="choose one: --product NAME")
        return name or known[0]

    def _is_product(self, name: str) -> bool:
        base = Layout(name).base
        kind = self.system.observe(base, digest=False).kind
        # Its state may lie on another disk. A link that leads nowhere or counts for nothing is no reason to
        # say that nothing is installed: whoever looks at the product is told.
        if kind == "link":
            with suppress(OSError):
                return not self.system.is_dir(base) or not _PRODUCT_FILES.isdisjoint(self.system.names(base))
            return True
        return kind == "dir" and not _PRODUCT_FILES.isdisjoint(self.system.names(base))


_WRITE_HINT = "give a path in a directory that exists and that you can write to, with enough free space"


def write_output(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that the operator asked for, which only this user can read.

    Raises:
        UsageError: It exists already.
        HostNotReadyError: It cannot be written.
    """
    # Half of a file must not stay under the name of a whole one, whenever a signal comes.
    with os_errors_as(HostNotReadyError, "cannot write", str(path), _WRITE_HINT), interrupts.deferred():
        try:
            System().write_new(str(path.absolute()), interrupts.pieces(pieces), 0o600)
        except FileExistsError:
            raise UsageError("already exists", where=str(path), hint="choose another name") from None
