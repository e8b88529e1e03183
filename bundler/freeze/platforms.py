"""The platforms that executables are built for: their wheels, and what their hosts must have."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from installer.core.errors import UsageError

GLIBC_FLOOR = (2, 17)
"""The oldest that is in use: Red Hat Enterprise Linux 7."""

MUSL_FLOOR = (1, 2, 5)
"""The oldest with every function that the interpreter uses: preadv2 and pwritev2 came with it."""

ALL = "all"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an executable is built for.

    Attributes:
        name: As the options write it, for example `linux/amd64-musl`.
        triplet: How the files of Python name it.
        wheels: The platform tags of the wheels that pip takes, the best first.
        libz: The same for the wheel with libz, whose tag asks for more than the library needs.
    """

    name: str
    triplet: str
    wheels: tuple[str, ...]
    libz: tuple[str, ...]

    @property
    def machine(self) -> str:
        """The architecture as `uname -m` says it."""
        return self.triplet.partition("-")[0]

    @property
    def is_musl(self) -> bool:
        """Whether its C library is musl, not glibc."""
        return self.triplet.endswith("-musl")


# pip takes manylinux2014 for manylinux2010 and manylinux1, too.
_MANYLINUX = ("manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux_2_5")
_MUSLLINUX = ("musllinux_1_2", "musllinux_1_1")

PLATFORMS = {
    each.name: each
    for each in (
        Platform("linux/amd64", "x86_64-linux-gnu", _MANYLINUX, ("manylinux_2_28",)),
        Platform("linux/amd64-musl", "x86_64-linux-musl", _MUSLLINUX, ("musllinux_1_2",)),
        Platform("linux/arm64", "aarch64-linux-gnu", _MANYLINUX[:2], ("manylinux_2_28",)),
        Platform("linux/arm64-musl", "aarch64-linux-musl", _MUSLLINUX, ("musllinux_1_2",)),
    )
}
"""In the order in which an executable has their parts."""


def native(machine: str = "") -> Platform | None:
    """Return the platform that a machine freezes for, which is one with glibc; None if there is none."""
    machine = machine or platform.machine()
    found = [each for each in PLATFORMS.values() if each.machine == machine and not each.is_musl]
    return found[0] if found else None


def chosen(words: str) -> list[str]:
    """Return the platforms that an option names, in their order.

    Args:
        words: Names between blanks or commas, or `all`.

    Raises:
        UsageError: There is no such platform.
    """
    names = words.replace(",", " ").split()
    if names == [ALL]:
        return list(PLATFORMS)
    if odd := [name for name in names if name not in PLATFORMS]:
        raise UsageError(
            f"{odd[0]} is no platform of the executables",
            hint=f"choose from {', '.join(PLATFORMS)}, or {ALL}",
        )
    return [name for name in PLATFORMS if name in names]
