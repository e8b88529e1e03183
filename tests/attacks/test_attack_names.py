"""Hostile true names and words in signed bundles: each refused, the host as it was.

All of them are signed by the key that the host trusts. The verifier of the documents says the same of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.member_names import encoded_name
from installer.core.jsonio import dumps_lines
from tests.attacks.box import Box, plan
from tests.attacks.makers import Made
from tests.rig.bundlebuild import Part

NAME = "docs/Änderungen 1.md"
MEMBER = "docs/%C3%84nderungen%201.md"


def entry(**fields: str | None) -> Callable[[], Made]:
    """A bundle with a true name, whose entry says something else."""

    def change(document: dict[str, Any]) -> None:
        (found,) = [each for each in document["files"] if each["path"] == NAME]
        found.update(fields)
        for name in [name for name, value in found.items() if value is None]:
            del found[name]

    return edited(change)


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[], Made]:
    """A bundle with a true name, whose manifest is changed, listed and signed."""

    def make() -> Made:
        good = plan({NAME: b"new\n"})
        document = json.loads(manifest_json.dump(good.manifest))
        change(document)
        return good.resealed(document=dumps_lines(document))

    return make


def twins(one: str, other: str) -> Callable[[], Made]:
    """Two names that a person, a tar or a file system takes for one."""
    return lambda: plan(
        dict.fromkeys(sorted((one, other), key=lambda name: encoded_name(name) or name), b"x")
    )


def unlisted() -> Made:
    """A member under the true name, in place of the one under the encoded name."""
    good = plan({NAME: b"new\n"})
    return good.changed(MEMBER, header=Part("docs/x", b"new\n").tar()[:512])


def both(name: str, member: str) -> Callable[[], Made]:
    return entry(path=name, member=member)


ATTACKS: dict[str, tuple[Callable[[], Made], int, str]] = {
    "the encoding of another name": (both(NAME, "docs/x%20y"), 11, "is stored as 'docs/x%20y'"),
    "a name that decodes to a path": (both("docs/a/b", "docs/a%2Fb"), 11, "is stored as 'docs/a%2Fb'"),
    "`..` by encoding": (both("docs/../b c", "docs/%2E%2E/b%20c"), 11, r"`\.\.` component"),
    "an encoded NUL": (both("docs/a\0b", "docs/a%00b"), 11, "control characters"),
    "small hex digits in an encoding": (both(NAME, MEMBER.lower()), 11, "is stored as"),
    "a plain name that is encoded": (both("docs/a", "docs/%61"), 11, "is stored as 'docs/%61'"),
    "a name without its encoding": (entry(member=None), 11, "is stored as ''"),
    "a name not in normal form": (both("docs/e\u0301", "docs/e%CC%81"), 11, "NFC"),
    "an encoded name that runs backwards": (both("docs/\u202ea", "docs/%E2%80%AEa"), 11, r"U\+202E"),
    "an invisible name": (both("docs/\u2060a", "docs/%E2%81%A0a"), 11, r"U\+2060"),
    "a component without end": (both("docs/" + "é" * 128, "docs/%/" + "0" * 64), 11, "255 bytes"),
    "a path without end": (both("docs/" + "é/" * 400, "docs/%/" + "0" * 64), 11, "component|1024"),
    "a digest of another name": (both("docs/" + "é" * 100, "docs/%/" + "0" * 64), 11, "is stored as"),
    "two names that differ in case": (
        twins("docs/Straße", "docs/strasse"),
        11,
        "twice, ignoring case|wrong place",
    ),
    "a name under the encoding of another": (twins("docs/a b", "docs/a%20b"), 11, "wrong place|twice"),
    "a member under another name": (unlisted, 11, "expected member docs/%C3%84"),
    "a destination that runs backwards": (entry(install="/opt/\u202ea"), 11, r"destination .*U\+202E"),
    "a destination not in normal form": (entry(install="/opt/e\u0301"), 11, "destination .*NFC"),
    "names that nobody said": (edited(lambda m: m.pop("requires")), 11, r"requires \[\], but uses"),
    "a list of words that is none": (
        edited(lambda m: m.update(requires="names/1")),
        11,
        "requires: .*a list",
    ),
    "a word that is not known": (edited(lambda m: m.update(requires=["names/1", "x/7"])), 19, "requires x/7"),
    "a word that is not known before nonsense": (
        edited(lambda m: m.update(requires=["x/7"], files=["?"], created=-1.5)),
        19,
        "newer version of Waybill",
    ),
    "a schema that is not known": (
        edited(lambda m: m.update(schema="waybill/bundle/v2")),
        19,
        "newer version of Waybill",
    ),
}


@pytest.mark.parametrize("fault", ATTACKS)
def test_a_hostile_name_is_refused_and_the_host_is_as_it_was(box: Box, fault: str) -> None:
    make, code, words = ATTACKS[fault]
    box.carry(make())
    box.watch()
    box.refused(box.apply(), code, words)
    box.agreed(code)


def test_a_word_of_an_unsigned_bundle_says_nothing(box: Box) -> None:
    make = ATTACKS["a word that is not known"][0]
    made = make()
    assert not isinstance(made, bytes)
    box.carry(made.tar())
    box.watch()
    box.refused(box.apply(), 10, "has no signature")
    box.agreed(10)
