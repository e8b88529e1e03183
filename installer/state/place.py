"""Where the state of a product lies: in `/var/lib/waybill`, or on another disk by a link or a mount.

`/var/lib/waybill` and `/var/lib/waybill/PRODUCT` may be links that root made, or mount points. The
directories below have to be on one file system: a release is put in place by renames.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from installer.core.errors import HostNotReadyError, Problem
from installer.core.remedies import remedy
from installer.host.layout import Layout
from installer.host.ownership import unsafe_part
from installer.host.system import System


def check_place(system: System, layout: Layout) -> None:
    """Refuse a state that others could change, that is not there, or that is on several file systems.

    Args:
        system: The host.
        layout: Of the product.

    Raises:
        HostNotReadyError: With the path, the reason and what to do.
    """
    for problem in _problems(system, layout):
        raise HostNotReadyError(problem.what, where=problem.where, hint=problem.hint)


def _problems(system: System, layout: Layout) -> Iterator[Problem]:
    for path in (layout.state, layout.base):
        yield from _link_problem(system, path)
    if not system.is_dir(layout.base):
        return
    device = system.space(layout.base).device
    for path in (layout.releases, layout.staging, layout.rendered, layout.transactions, layout.preserved):
        if system.observe(path, digest=False).kind == "absent":
            continue
        yield from _link_problem(system, path)
        # A bind mount of the same file system cannot be renamed across either.
        if system.space(path).device != device or path in system.mounts(path):
            yield Problem(
                path,
                f"is on another file system than {layout.base}, but releases are put in place by renames",
                f"put all of {layout.base} on one file system: move the whole directory to the larger disk, "
                "and make it a link or a mount point there",
            )


def _link_problem(system: System, path: str) -> Iterator[Problem]:
    """Yield what is wrong with a path that may be a link, or be below one."""
    try:
        real = system.real(path)
    except PermissionError as error:  # a link of somebody else
        hint = f"only links that root made are followed: `chown -h root:root {shlex.quote(path)}`"
        yield Problem(path, str(error.strerror), hint)
        return
    except (FileNotFoundError, NotADirectoryError):
        real = ""  # a link that leads nowhere, or nothing is there yet
    except OSError as error:
        yield Problem(path, f"cannot be read: {error.strerror}", remedy(error))
        return
    resolved = "/" + real.removeprefix(system.root).lstrip("/")
    if resolved == path:
        return
    if not real or not system.is_dir(resolved):
        seen = system.observe(path, digest=False)
        if seen.kind == "link":
            what = f"is a link to {seen.target}, which is not a directory"
            yield Problem(path, what, "mount the disk that holds it, or correct the link")
        return
    if (found := unsafe_part(system, resolved)) is not None:
        yield Problem(path, f"is a link to {resolved}, and {found.what}", found.hint)
