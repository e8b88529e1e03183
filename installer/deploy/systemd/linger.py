"""`systemd.linger`: lets the manager of a user run without a login, and ends that when no product needs it.

A user may linger for reasons of the site. So what Waybill began is remembered next to its state, in a
directory of the user with a file for each product that has units of theirs: there is none where the user
lingered before, and only the last product ends it.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace

from installer.deploy.inventory import Residue
from installer.deploy.operation import Handler, Json, StepError
from installer.deploy.systemctl import require
from installer.deploy.user_manager import LINGER, account
from installer.host.context import Context

_SECONDS = 60.0


def lingers(context: Context, user: str) -> bool:
    """Return whether the manager of a user runs without a login."""
    return context.system.observe(f"{LINGER}/{user}", digest=False).kind != "absent"


def ends(context: Context, user: str) -> bool:
    """Return whether a user lingers for this product alone."""
    return context.system.names(_mark(context, user)) == [context.layout.product]


def residue(context: Context, user: str) -> Residue:
    """Return what a removal has left of the lingering of a user."""
    if not lingers(context, user):
        return Residue("gone", "lingering user", user)
    others = context.system.names(_mark(context, user))
    if context.layout.product in others:
        hint = f"run `loginctl disable-linger {user}`"
        return Residue("left", "lingering user", user, "still lingers", hint)
    why = f"{', '.join(others)} needs it" if others else "this user lingered before"
    return Residue("stays", "lingering user", user, why)


def wake(context: Context, name: str) -> None:
    """Start the manager of a user who exists, and wait until it answers.

    Raises:
        StepError: It does not start.
    """
    if name and (user := account(context, name)):
        require(replace(context, user=None), "start", f"user@{user.uid}.service")


class Linger(Handler):
    """`systemd.linger`: `on` lets a user linger and starts their manager; else ends what Waybill began."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return whether the user lingers, and what Waybill remembers."""
        mark = _mark(context, args["user"])
        return {
            "lingers": lingers(context, args["user"]),
            "began": context.system.is_dir(mark),
            "products": list(context.system.names(mark)),
        }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Let the user linger, or end it if no other product needs it."""
        user, mine = args["user"], context.layout.product
        if not args["on"]:
            if preimage["products"] == [mine]:
                _set(context, user, on=False)
            return
        if preimage["began"] or not preimage["lingers"]:
            # Remembered before: what is not remembered would never end.
            self._remember(context, user)
            _set(context, user, on=True)
        wake(context, user)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Let the user linger as before, and forget what was not remembered before."""
        user = args["user"]
        # A user who was removed meanwhile cannot linger.
        if lingers(context, user) != preimage["lingers"] and account(context, user):
            _set(context, user, on=preimage["lingers"])
        if args["on"] and context.layout.product not in preimage["products"]:
            self._forget(context, user)
        if preimage["lingers"]:
            wake(context, user)

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Forget a user who has no units of the product any more."""
        if not args["on"]:
            self._forget(context, args["user"])

    def places(self, args: Json) -> list[str]:
        """Return where systemd and Waybill remember it."""
        return [LINGER]

    def _remember(self, context: Context, user: str) -> None:
        system, mark = context.system, _mark(context, user)
        if not system.is_dir(mark):
            system.mkdir(mark, 0o700)
        if context.layout.product not in system.names(mark):
            system.write_new(f"{mark}/{context.layout.product}", b"", 0o600)
        system.sync_dir(mark)
        system.sync_dir(context.layout.state)

    def _forget(self, context: Context, user: str) -> None:
        system, mark = context.system, _mark(context, user)
        with suppress(FileNotFoundError, NotADirectoryError):
            system.unlink(f"{mark}/{context.layout.product}")
        try:
            system.rmdir(mark)
        except OSError as error:
            # Another product needs it, or it never was remembered.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
        system.sync_dir(context.layout.state)


def _set(context: Context, user: str, *, on: bool) -> None:
    if lingers(context, user) == on:
        return
    words = ["loginctl", "enable-linger" if on else "disable-linger", user]
    ended = context.system.run(words, timeout=_SECONDS)
    if not ended.ok:
        raise StepError(f"{' '.join(words)}: {ended.reason(context.secrets)}").of(ended, context.secrets)
    # logind does not sync.
    context.system.sync_all([LINGER])


def _mark(context: Context, user: str) -> str:
    # Names of products have no dot.
    return f"{context.layout.state}/linger.{user}"


HANDLERS: dict[str, Handler] = {"systemd.linger": Linger()}
