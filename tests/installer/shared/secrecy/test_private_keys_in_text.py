"""Private keys are hidden in text, on lines of their own, on one line, and where only a part is left."""

from __future__ import annotations

import pytest

from installer.shared.secrecy.notations import mask
from installer.shared.secrecy.redaction import diff
from tests.rig.hang import ends

KEY = "MIGHAgEAMBMGByqGSM49AwEHBG0wawIBAQQg"
ONE_LINE_KEYS = {
    "a service account": f'"private_key": "-----BEGIN PRIVATE KEY-----\\n{KEY}\\n-----END PRIVATE KEY-----"',
    "an environment file": f'TLS="-----BEGIN EC PRIVATE KEY-----\\n{KEY}\\n-----END EC PRIVATE KEY-----"',
    "a name that says nothing": f"x: -----BEGIN PRIVATE KEY-----\\n{KEY}\\n-----END PRIVATE KEY-----",
    "after text": f"read -----BEGIN PRIVATE KEY----- {KEY} -----END PRIVATE KEY----- as the key",
    "without an end": f"chatd: bad key -----BEGIN RSA PRIVATE KEY-----\\n{KEY}",
    "without a beginning": f"…\\n{KEY}\\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("form", ONE_LINE_KEYS)
def test_a_private_key_on_one_line_is_hidden(form: str) -> None:
    assert KEY not in "".join(mask([ONE_LINE_KEYS[form]]))


def test_what_stands_around_a_private_key_on_one_line_stays() -> None:
    line = f"read -----BEGIN PRIVATE KEY----- {KEY} -----END PRIVATE KEY----- as x"
    assert list(mask([line])) == ["read -----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY----- as x"]
    assert list(mask([line, "port: 1"]))[1] == "port: 1"


def test_lines_of_a_key_on_one_line_are_hidden_where_they_stand_alone() -> None:
    line = ONE_LINE_KEYS["a service account"]
    assert KEY not in diff("/x", f"{line}\n".encode(), f"{KEY}\n".encode()).text


def test_the_end_of_a_key_whose_beginning_was_cut_off_is_hidden() -> None:
    lines = ["started", KEY, KEY, "Zg==", "-----END PRIVATE KEY-----", "port: 1"]
    assert list(mask(lines)) == ["started", "***", "***", "***", "-----END PRIVATE KEY-----", "port: 1"]


def test_the_name_of_a_form_of_keys_is_shown() -> None:
    line = 'expected "-----BEGIN RSA PRIVATE KEY-----"'
    assert list(mask([line])) == [line]


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----" * 40_000,
        "-----END PRIVATE KEY-----" * 40_000,
        "-----BEGIN " + "A " * 500_000,
        "A" * 1_000_000 + "-----END PRIVATE KEY-----",
        "-----END PRIVATE KEY-----\n" * 40_000,
        "AAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n" * 20_000,
    ],
)
def test_a_megabyte_of_marks_of_keys_is_searched_soon(text: str) -> None:
    with ends():
        assert list(mask(text.split("\n")))
