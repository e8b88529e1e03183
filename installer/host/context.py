"""What every step works with: the host, the layout of a product, and progress."""

from __future__ import annotations

from dataclasses import dataclass, field

from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.progress import Progress
from installer.shared.secrecy.known import Secrets


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the host, whose manager of services is asked.

    Attributes:
        name: Their name.
        uid: Their number.
        gid: The number of their first group.
        home: Their home directory; empty for `/`.
    """

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class Context:
    """What every step works with.

    Attributes:
        system: The host.
        layout: The paths of this product.
        progress: Receives progress and notes.
        transaction: Its id; empty while planning.
        resume: Identity of the bundle whose staged files must not be cleared; empty for none.
        user: Whose units `systemctl` acts on; None for those of the system.
        secrets: What must not be shown or recorded of what programs and files say.
    """

    system: System
    layout: Layout
    progress: Progress
    transaction: str = ""
    resume: str = ""
    user: Account | None = None
    secrets: Secrets = field(default_factory=Secrets, compare=False, repr=False)

    @property
    def live(self) -> bool:
        """Whether this is the running host, not a directory below `--root`."""
        return self.system.live
