"""The comparison with the verifier of the documents takes place, and a difference fails the test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from installer.core.errors import MediaError, TamperedError
from tests.rig import bundlebuild as build
from tests.rig import independent

GOOD = build.signed().tar()
BAD = build.signed().changed("docs/CHANGELOG.md", data=b"other").tar()
DIFFERS = r"(?s)^the reader says .*, the verifier of the documents "


@pytest.mark.parametrize(
    ("data", "error"),
    [(GOOD, TamperedError("x")), (BAD, None)],
    ids=["only the reader refuses", "only the verifier refuses"],
)
def test_a_difference_fails_the_test(data: bytes, error: Exception | None) -> None:
    with pytest.raises(AssertionError, match=DIFFERS):
        independent.compare(data, error)


def test_another_exit_code_is_a_difference_too() -> None:
    independent.compare(BAD, TamperedError("x"))
    pem = build.key()[1]
    with pytest.raises(AssertionError, match=DIFFERS):
        independent.compare(build.plan().tar(), TamperedError("x"), pem)  # nobody signed it: 10


def test_faults_of_the_media_are_not_in_the_bytes() -> None:
    independent.compare(GOOD, MediaError("x"))


@pytest.mark.parametrize("read", [build.read, build.verified])
@pytest.mark.parametrize("form", [bytes, build.BytesMedium, build.stream])
def test_whoever_reads_a_bundle_asks_both_readers(
    read: object, form: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {GOOD: 11, BAD: 0}
    asked = []

    def other(data: bytes, *_words: object, **_more: object) -> tuple[int, str]:
        asked.append(data)
        return answers[data], "the opposite"

    monkeypatch.setattr(independent, "answer", other)
    independent._last.cache_clear()
    for data in (GOOD, BAD):
        with pytest.raises(AssertionError, match=DIFFERS):
            read(form(data))  # type: ignore[operator]
    assert asked == [GOOD, BAD]
    independent._last.cache_clear()


def test_bytes_that_are_read_again_are_not_asked_for_again_and_others_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(independent, "answer", lambda data, *_, **__: asked.append(data) or (0, ""))
    independent._last.cache_clear()
    other = build.signed(build.plan(version="1.4.1")).tar()
    for data in (GOOD, GOOD, other, GOOD):
        independent.compare(data, None)
    assert asked == [GOOD, other, GOOD]
    independent._last.cache_clear()


def test_every_hostile_bundle_at_the_prompt_is_shown_to_both_readers() -> None:
    """Where the host or an approval is what is refused, both have to accept the bundle."""
    attacks = Path(__file__).parents[1] / "attacks"
    found = []
    for path in sorted(attacks.glob("test_attack_*.py")):
        for test in ast.parse(path.read_text()).body:
            text = ast.unparse(test)
            if "box.apply()" in text and "box.agreed(" not in text:
                found.append(f"{path.stem}: {text.splitlines()[1]}")
    assert found == []
