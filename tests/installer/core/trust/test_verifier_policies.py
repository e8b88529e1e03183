"""root.json with policies: reader and schema agree, and a policy that nobody can satisfy is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from installer.core.errors import TamperedError
from installer.core.trust.root import PRODUCTION, Policy, ProductRule
from installer.core.trust.root_view import view
from tests.rig.documents import at, validator, without
from tests.rig.trustworld import NOW, parsed, person, root

fits = validator("root")

FULL = root(
    environments={
        "production": Policy(
            PRODUCTION.requires,
            change_id=True,
            rollback_plan=True,
            builders=("https://ci.example/1",),
            repositories=("https://git.example/lan-chat",),
            clean_tree=True,
            max_age_days=14,
            products=("lan-chat",),
            break_glass=True,
        ),
        "lab-2": Policy({}),
    },
    products={"lan-chat": ProductRule(100_040_000_999, 1)},
)
GOOD = FULL.document()
P = ("environments", "production")


def test_what_is_written_is_read_the_same_and_fits() -> None:
    assert parsed(GOOD) == FULL
    assert fits(GOOD)


@pytest.mark.parametrize(
    "change",
    [
        at(*P, value={"requires": {}}),
        at("environments", value={}),
        without("products"),
        at("products", value={"x": {}}),
        at(*P, "max_age_days", value=0),
    ],
    ids=["least policy", "no environments", "no products", "a product without rules", "no age"],
)
def test_reader_and_schema_accept_the_policy(change: Callable[[dict[str, Any]], object]) -> None:
    document = copy.deepcopy(GOOD)
    change(document)
    assert fits(document)
    parsed(document)


BOTH_REFUSE: dict[str, Callable[[dict[str, Any]], object]] = {
    "environments a list": at("environments", value=[]),
    "environment in capitals": at("environments", "Production", value={"requires": {}}),
    "environment without a name": at("environments", "", value={"requires": {}}),
    "environment with a newline": at("environments", "a\n", value={"requires": {}}),
    "environment too long": at("environments", "a" * 33, value={"requires": {}}),
    "no requires": without(*P, "requires"),
    "requires a list": at(*P, "requires", value=["security"]),
    "requires the role root": at(*P, "requires", value={"root": 1}),
    "requires break-glass": at(*P, "requires", value={"break-glass": 1}),
    "requires an unknown role": at(*P, "requires", value={"boss": 1}),
    "requires none of them": at(*P, "requires", "security", value=0),
    "requires true": at(*P, "requires", "security", value=True),
    "unknown field": at(*P, "trusted", value=True),
    "change id a word": at(*P, "change_id", value="yes"),
    "rollback plan 1": at(*P, "rollback_plan", value=1),
    "break glass null": at(*P, "break_glass", value=None),
    "builders a text": at(*P, "builders", value="https://ci"),
    "builder with a space": at(*P, "builders", value=["a b"]),
    "builder empty": at(*P, "builders", value=[""]),
    "builder twice": at(*P, "builders", value=["a", "a"]),
    "repositories a text": at(*P, "repositories", value="https://git"),
    "repository with a space": at(*P, "repositories", value=["a b"]),
    "repository twice": at(*P, "repositories", value=["a", "a"]),
    "clean tree a word": at(*P, "clean_tree", value="yes"),
    "age negative": at(*P, "max_age_days", value=-1),
    "age without end": at(*P, "max_age_days", value=3651),
    "age a text": at(*P, "max_age_days", value="14d"),
    "product in capitals": at(*P, "products", value=["Lan-Chat"]),
    "products a list": at("products", value=[]),
    "floor negative": at("products", "lan-chat", "floor", value=-1),
    "floor a version": at("products", "lan-chat", "floor", value="1.4.0"),
    "rule with a further field": at("products", "lan-chat", "ceiling", value=1),
    "product of a rule in capitals": at("products", "Lan", value={}),
}
READER_REFUSES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "more owners than there are": (at(*P, "requires", "security", value=2), "too few owners for security"),
    "a role that nobody has": (without("roles", "ops"), "which is not in `roles`"),
    "break-glass that nobody has": (without("roles", "break-glass"), "has no role break-glass"),
    "builders without provenance": (without(*P, "requires", "provenance"), "has no effect"),
    "the same person in two roles": (
        lambda d: d["roles"]["security"].update(keys=d["roles"]["ops"]["keys"]),
        "cannot be met",
    ),
    "whoever releases breaks the glass": (
        lambda d: d["roles"]["break-glass"].update(keys=d["roles"]["release"]["keys"]),
        "cannot be met",
    ),
}


@pytest.mark.parametrize("fault", BOTH_REFUSE)
def test_reader_and_schema_refuse_the_same_policies(fault: str) -> None:
    document = copy.deepcopy(GOOD)
    BOTH_REFUSE[fault](document)
    assert not fits(document)
    with pytest.raises(TamperedError):
        parsed(document)


@pytest.mark.parametrize("fault", READER_REFUSES)
def test_the_reader_knows_better_than_the_schema(fault: str) -> None:
    document = copy.deepcopy(GOOD)
    change, words = READER_REFUSES[fault]
    change(document)
    assert fits(document)
    with pytest.raises(TamperedError) as caught:
        parsed(document)
    assert words in str(caught.value)


def test_a_policy_never_asks_for_fewer_than_the_role_itself() -> None:
    document = copy.deepcopy(GOOD)
    extra = person("Sam").key
    document["keys"][extra.keyid] = {"scheme": "cosign", "owner": "Sam", "public": extra.public}
    document["roles"]["security"]["keys"].append(extra.keyid)
    document["roles"]["security"]["threshold"] = 2
    made = parsed(document)
    assert made.needs(made.environments["production"])["security"] == 2


def test_the_view_says_what_the_policy_asks_for() -> None:
    text = view(FULL, b"x", NOW).as_text()
    for words in (
        "environment production",
        "different owners must sign: release 1, provenance 1, security 1, ops 1",
        "approvals are valid for 14 days",
        "built by https://ci.example/1",
        "built from https://git.example/lan-chat",
        "built from a source tree without uncommitted changes",
        "BREAK-GLASS may replace",
        "product lan-chat: security floor at sequence 100040000999",
    ):
        assert words in text
    assert view(FULL, b"x", NOW).as_json()["environments"] == GOOD["environments"]
