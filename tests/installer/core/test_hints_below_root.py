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
def test_a_hint_names_the_host_below_root(hint: str, wanted: str) -> None:
    assert below(hint, "/srv/h") == wanted
    assert below(below(hint, "/srv/h"), "/srv/h") == wanted


def test_a_directory_with_a_space_can_be_typed() -> None:
    assert below("run `install recover`", "/srv/my host") == "run `install recover --root '/srv/my host'`"


def test_all_hints_of_an_error_name_the_host_and_those_of_the_machine_itself_stay() -> None:
    error = RefusedError("x", hint="`install a`", problems=[Problem("", "y", "`install b`")])
    point_below(error, "/")
    assert (error.hint, error.problems[0].hint) == ("`install a`", "`install b`")
    point_below(error, "/srv")
    assert (error.hint, error.problems[0].hint) == ("`install a --root /srv`", "`install b --root /srv`")


@pytest.mark.parametrize(
    "text",
    [
        "install the bundle again",
        "the script said: `install -m 0644 a /etc/b`",
        "it has an `install`, and `installer status`",
        "`bundle trust show root.json`",
    ],
)
def test_what_is_no_command_of_ours_stays_as_it_is(text: str) -> None:
    assert below(text, "/srv/h") == text


def test_a_path_in_a_command_is_quoted_with_the_root_before_it() -> None:
    hint = "`chmod go-w /etc/waybill/trust`, or see /etc/waybill/trust; `rm '/var/lib/waybill/a b'`"
    assert below(hint, "/srv/my host") == (
        "`chmod go-w '/srv/my host/etc/waybill/trust'`, or see /srv/my host/etc/waybill/trust; "
        "`rm '/srv/my host/var/lib/waybill/a b'`"
    )
