"""Proposals for misspelt words: near words only."""

from __future__ import annotations

import pytest

from installer.cli.words import COMMANDS
from installer.core.schema_errors import did_you_mean, spelling_hint


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("stauts", "status"),  # two letters changed places
        ("statu", "status"),
        ("Status", "status"),
        ("verfy", "verify"),
        ("hist", "history"),  # the beginning of one word
        ("rolback", "rollback"),
    ],
)
def test_a_near_word_is_proposed(word: str, meant: str) -> None:
    assert did_you_mean(word, COMMANDS) == meant


@pytest.mark.parametrize("word", ["update", "lan-chat", "re", "x", "", "list", "start", "deploy", "s" * 5000])
def test_an_unrelated_word_is_not(word: str) -> None:
    assert did_you_mean(word, COMMANDS) == ""
    assert spelling_hint(word, COMMANDS, "use one of them") == "use one of them"
