"""Messages of the two commands use the words of the glossary, and each can be read without the code."""

from __future__ import annotations

import re

from tests.docs.messages import Message, messages
from tests.docs.words import as_pattern, unused

MESSAGES = messages()


def words_in(text: str) -> list[str]:
    """The words of a message that the glossary replaces; code in it does not count."""
    text = re.sub(r"`[^`]*`|\{[^}]*\}", " ", text)
    return [match[0] for word in unused() for match in as_pattern(word).finditer(text)]


def test_the_list_has_messages_of_every_kind() -> None:
    texts = [message.text for message in MESSAGES]
    assert len(texts) > 1000
    for part in ("internal error", "run as root", "disk space"):
        assert any(part in text for text in texts), part


def test_messages_use_the_words_of_the_glossary() -> None:
    assert [f"{message}: {words}" for message in MESSAGES if (words := words_in(message.text))] == []


def test_a_word_that_is_not_used_is_found() -> None:
    assert words_in(str(Message("a.py", 1, "the way back lies beside it"))) == ["way back", "beside"]
