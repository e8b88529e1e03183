"""What is known to be secret is hidden wherever it occurs, however much that is and however it is written."""

from __future__ import annotations

import base64
import json

import pytest

from installer.core.errors import HostNotReadyError, Problem
from installer.shared.secrecy.known import MOST, Secrets
from installer.shared.secrecy.redaction import diff
from tests.rig.hang import ends


def known(*values: str, public: frozenset[str] = frozenset()) -> Secrets:
    secrets = Secrets(public)
    secrets.add(values)
    return secrets


def test_a_value_is_hidden_in_every_spelling() -> None:
    secret = 'p<a"s s/+&1'
    shown = known(secret).hide(
        f'{secret} p&lt;a&quot;s s/+&amp;1 p%3Ca%22s%20s%2F%2B%261 "p<a\\"s s/+&1" '
        f"{base64.b64encode(secret.encode()).decode()} {json.dumps(json.dumps(secret))}"
    )
    assert shown == '*** *** *** "***" *** "\\"***\\""'


@pytest.mark.parametrize(
    "text",
    [
        "pässwörtchen",
        '"p\\u00e4ssw\\u00f6rtchen"',
        "p%C3%A4ssw%C3%B6rtchen",
        base64.urlsafe_b64encode("pässwörtchen".encode()).decode().rstrip("="),
    ],
)
def test_a_secret_with_letters_of_other_languages_is_hidden_in_every_spelling(text: str) -> None:
    assert known("pässwörtchen").hide(text).strip('"') == "***"


def test_half_of_a_surrogate_pair_in_a_secret_stops_nothing() -> None:
    assert known("hunter22\ud800").hide("a hunter22\ud800 b") == "a *** b"


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("1", "port 1 of 11, version 1.0", "port 1 of 11, version 1.0"),
        ("abc", "abc", "abc"),
        ("data", "data database /var/lib/data", "*** database /var/lib/***"),
        ("hunter22", "xhunter22y", "x***y"),
    ],
)
def test_short_and_common_values_blank_no_other_text(secret: str, text: str, shown: str) -> None:
    assert known(secret).hide(text) == shown


def test_a_short_secret_is_hidden_where_its_name_stands() -> None:
    assert known("1").hide_all(["password: 1", "port: 1"]) == ["password: ***", "port: 1"]


def test_a_longer_secret_is_hidden_before_one_within_it() -> None:
    assert known("hunter22", "hunter22-and-more").hide("hunter22-and-more hunter22") == "*** ***"


def test_the_name_of_the_product_is_never_hidden() -> None:
    assert known("lan-chat", public=frozenset({"lan-chat"})).hide("lan-chat 1.4.0") == "lan-chat 1.4.0"


def test_lines_of_a_secret_key_are_hidden_one_by_one() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"
    assert known(key).hide("read MIGHAgEAMBMGByqGSM49\n") == "read ***\n"


def test_documents_keep_their_form() -> None:
    document = {"password hunter22": ["hunter22", 1, {"a": "x hunter22"}], "ok": True, "no": None}
    hidden = {"password hunter22": ["***", 1, {"a": "x ***"}], "ok": True, "no": None}
    assert known("hunter22").hide_in(document) == hidden


def test_errors_are_hidden_in_all_their_parts() -> None:
    error = HostNotReadyError(
        "ended with hunter22",
        where="/x/hunter22",
        hint="not hunter22",
        problems=[Problem("a", "hunter22", "hunter22")],
    )
    error.output = ("said hunter22", "and --token xyz-1")
    known("hunter22").hide_error(error)
    assert error.output == ("said ***", "and --token ***")
    assert "hunter22" not in f"{error} {error.as_json()} {error.args}"


def test_thousands_of_secrets_are_looked_for_at_once() -> None:
    secrets = [f"{at:06d}-{'pqrstuvw' * (1 + at % 3)}" for at in range(4_000)]
    text = "".join(f"{each[:-1]} is not {each};\n" for each in secrets) * 60
    with ends():
        shown = known(*secrets).hide(text)
    assert shown == "".join(f"{each[:-1]} is not ***;\n" for each in secrets) * 60


def test_secrets_that_begin_alike_are_looked_for_at_once() -> None:
    common = "eyJhbGciOiJSUzI1NiJ9." * 4
    secrets = [f"{common}{at:06d}" for at in range(4_000)]
    with ends():
        shown = known(*secrets).hide(f"{common}x {secrets[7]} {common * 200}")
    assert shown == f"{common}x *** {common * 200}"


def test_nothing_is_shown_with_more_secrets_than_can_be_looked_for() -> None:
    secrets = known(*(f"{at:08d}" for at in range(MOST)))
    assert secrets.hide("x 00000001") == "x ***"
    secrets.add(["hunter22"])
    assert (
        secrets.hide("x 00000001, hunter22")
        == "*** (not shown: more than 100000 values of this host are secret)"
    )
    assert secrets.hide_all(["x 00000001", "", "hunter22"]) == ["***", "", "***"]
    assert "hunter22" not in str(diff("/x", b"", b"a hunter22\n", secrets=secrets))


def test_all_of_a_long_secret_is_hidden() -> None:
    secret = "".join(f"{at:x}." for at in range(30_000))
    assert known(secret).hide(f"a {secret} b") == "a *** b"


def test_secrets_that_overlap_are_hidden_together() -> None:
    assert known("abcd1234", "1234efgh").hide("x abcd1234efgh y") == "x *** y"


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    assert known("open\nsesame\n").hide_all(["say", "open", "sesame", "now"]) == ["say", "***", "***", "now"]


def test_further_secrets_of_one_file_are_hidden_besides_those_that_are_known() -> None:
    secrets = known("hunter22")
    assert secrets.also(["hunter22-and-more"]).hide("hunter22-and-more hunter22") == "*** ***"
    assert secrets.hide("hunter22-and-more") == "***-and-more"


def test_what_becomes_public_later_is_shown() -> None:
    secrets = known("lan-chat", "hunter22")
    assert secrets.hide("lan-chat hunter22") == "*** ***"
    secrets.allow(["lan-chat"])
    assert secrets.hide("lan-chat hunter22") == "lan-chat ***"


def test_secrets_that_become_known_later_are_hidden() -> None:
    secrets = known("hunter22")
    assert secrets.hide("hunter22 hunter33") == "*** hunter33"
    secrets.add(["hunter33"])
    assert secrets.hide("hunter22 hunter33") == "*** ***"


def test_a_source_that_a_signal_stops_is_asked_again_and_so_are_those_behind_it() -> None:
    secrets, signals = Secrets(), [KeyboardInterrupt()]

    def stopped() -> list[str]:
        if signals:
            raise signals.pop()
        return ["hunter22"]

    for source in (lambda: ["hunter11"], stopped, lambda: ["hunter33"]):
        secrets.add_source(source)
    with pytest.raises(KeyboardInterrupt):
        secrets.hide("x")
    assert secrets.hide("hunter11 hunter22 hunter33") == "*** *** ***"


def test_nothing_is_shown_once_a_source_fails() -> None:
    secrets = Secrets()

    def broken() -> list[str]:
        raise RecursionError

    secrets.add_source(broken)
    assert (
        secrets.hide("hunter22") == "*** (not shown: the secrets of this host cannot be read: RecursionError)"
    )
    assert secrets.hide("") == ""


def test_sources_are_asked_once_and_only_when_something_is_hidden() -> None:
    asked = []
    secrets = Secrets()
    secrets.add_source(lambda: asked.append(1) or ["hunter22"])  # type: ignore[func-returns-value]
    assert not asked
    assert [secrets.hide("hunter22"), secrets.hide("a hunter22")] == ["***", "a ***"]
    assert asked == [1]


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("plain=hunter11", "plain=hunter22", "-plain=***\n+plain=***"),
        ("login hunter11 now", "login hunter22 now", "-login *** now\n+login *** now"),
        ("hunter11", "hunter22", "-***\n+***"),
        ("a hunter11 b pass c", "a hunter22 b hunter22 c", "-a *** b *** c\n+a *** b *** c"),
        ("one\nx=hunter11", "x=hunter22", "-one\n-x=***\n+x=***"),
        ("x=hunter11\ny hunter11", "x=hunter22\ny", "-x=***\n-y ***\n+x=***\n+y"),
        ("other=hunter11", "plain=hunter22", "-other=hunter11\n+plain=***"),
    ],
)
def test_what_stood_where_a_secret_stands_now_is_secret_too(old: str, new: str, shown: str) -> None:
    made = diff("/x", f"{old}\n".encode(), f"{new}\n".encode(), secrets=Secrets().also(["hunter22"])).text
    assert made.partition("@@\n")[2] == shown


def test_long_texts_full_of_secrets_are_compared_in_the_time_of_their_size() -> None:
    old = "".join(f"k{number} hunter11 a a\nx\n" for number in range(4000))
    made = diff(
        "/x", old.encode(), old.replace("ter11", "ter22").encode(), secrets=Secrets().also(["hunter22"])
    )
    assert "hunter" not in made.text
