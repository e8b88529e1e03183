"""With --root, the commands and paths of a hint are those of that host, as they can be typed."""

from __future__ import annotations

import pytest

from installer.core.errors import Problem, RefusedError
from installer.core.remedies import below, point_below


@pytest.mark.parametrize(
    ("hint", "wanted"),
    [
        ("run `install recover`: it goes on", "run `install recover --root /srv/h`: it goes on"),
        ("run `install trust init R --env E`", "run `install trust init R --env E --root /srv/h`"),
        ("run `install status --root /x`", "run `install status --root /x`"),
        ("remove /var/lib/waybill/trusted-time", "remove /srv/h/var/lib/waybill/trusted-time"),
        ("`chmod go-w /srv/h/etc/waybill`", "`chmod go-w /srv/h/etc/waybill`"),
        ("read /etc/waybill/environment.", "read /srv/h/etc/waybill/environment."),
        ("use another `install`, or /etc/waybillx", "use another `install`, or /etc/waybillx"),
    ],
)
def test_a_hint(hint: str, wanted: str) -> None:
    assert below(hint, "/srv/h") == wanted
    assert below(below(hint, "/srv/h"), "/srv/h") == wanted


def test_a_directory_with_a_space_can_be_typed() -> None:
    assert below("run `install recover`", "/srv/my host") == "run `install recover --root '/srv/my host'`"


def test_all_hints_of_an_error_and_none_of_the_machine_itself() -> None:
    error = RefusedError("x", hint="`install a`", problems=[Problem("", "y", "`install b`")])
    point_below(error, "/")
    assert (error.hint, error.problems[0].hint) == ("`install a`", "`install b`")
    point_below(error, "/srv")
    assert (error.hint, error.problems[0].hint) == ("`install a --root /srv`", "`install b --root /srv`")


@pytest.mark.parametrize(
    ("hint", "wanted"),
    [
        ("restore the data, then run: install rollback --data-restored", "{} --root /srv/h"),
        ("run: install recover --product lan-chat", "{} --root /srv/h"),
        ("fix it, then check again: install remove lan-chat", "{} --root /srv/h"),
        (
            "run: install rollback VERSION; retained releases: 1.4.0",
            "run: install rollback VERSION --root /srv/h; retained releases: 1.4.0",
        ),
        ("1.3.0 (install rollback VERSION)", "1.3.0 (install rollback VERSION --root /srv/h)"),
        ("run: install recover --root /x", "run: install recover --root /x"),
        ("install the bundle again", "install the bundle again"),
    ],
)
def test_a_command_at_the_end_of_a_sentence(hint: str, wanted: str) -> None:
    assert below(hint, "/srv/h") == wanted.format(hint)
    assert below(below(hint, "/srv/h"), "/srv/h") == wanted.format(hint)
