"""Secrets in what travels besides files: the texts of bundle.yaml, and names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from installer.core.errors import UnfitInputError
from installer.shared.secrecy.tokens import token_rules
from tests.rig.products import add, make_product, put
from tests.rig.tokens import token

TOKEN = token(next(rule for rule in token_rules().rules if rule.name == "github-pat")).decode()
WHAT = "a credential (rule github-pat)"
COMMAND = (
    f"health:\n- {{command: [/bin/curl, -H, 'Authorization: Bearer {TOKEN}', 'http://h/'], within: 1s}}\n"
)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return make_product(tmp_path)


def refused(product: Path) -> list[str]:
    """What is wrong with a product; no message has the token."""
    with pytest.raises(UnfitInputError) as caught:
        load(product, "1.4.0")
    shown = [str(each) for each in caught.value.problems]
    assert not any(TOKEN in each for each in shown)
    return shown


TEXTS = {
    "a word of a command": (COMMAND, f"bundle.yaml:9: health[0].command[2] contains {WHAT}"),
    "a header": (
        f"health:\n- {{http: 'http://h/', body: ok, header: {{Authorization: 'Bearer {TOKEN}'}}}}\n",
        f"health[0].header.Authorization contains {WHAT}",
    ),
    "a query": (f"health:\n- {{http: 'http://h/?token={TOKEN}'}}\n", f"health[0].http contains {WHAT}"),
    "a password behind its option": (
        "health:\n- {command: [/bin/mysql, --password, hunter22]}\n",
        "health[0].command contains a literal password",
    ),
    "a reason": (
        f"secrets_skip_images: the registry searches with {TOKEN}\nimages: ['a:1']\n",
        f"secrets_skip_images contains {WHAT}",
    ),
}


@pytest.mark.parametrize(("more", "said"), TEXTS.values(), ids=TEXTS)
def test_a_secret_in_a_text_of_bundle_yaml_is_refused_and_named_by_its_key(
    product: Path, more: str, said: str
) -> None:
    add(product, more)
    assert any(said in each for each in refused(product))


def test_a_text_is_let_through_by_its_place_and_only_there(product: Path) -> None:
    place = "bundle.yaml: health[0].command[2]"
    allowed = f"secrets_allow:\n- {{path: '{place}', reason: a token of the test bench}}\n"
    add(product, COMMAND + allowed)
    (found,) = load(product, "1.4.0").exceptions
    assert found == (place, WHAT, "a token of the test bench")
    add(product, COMMAND + allowed.replace("[2]", "[1]"))
    said = refused(product)
    assert any(f"list `{place}` under secrets_allow" in each for each in said)
    assert any("no secret was found there" in each for each in said)


def test_references_and_placeholders_in_texts_are_no_secrets(product: Path) -> None:
    add(
        product,
        "health:\n"
        "- {command: [/bin/sh, -c, 'psql \"password=$(cat /run/secrets/db)\"']}\n"
        "- {command: [/bin/login, --password-stdin, x]}\n",
    )
    load(product, "1.4.0")


def test_a_secret_in_the_name_of_a_file_directory_or_link_is_refused(product: Path) -> None:
    put(product, f"web/{TOKEN}.txt", "x")
    put(product, "web/index.html", "x")
    (product / "web/to").symlink_to(f"{TOKEN}.txt")
    (product / f"web/d-{TOKEN}").mkdir()
    add(product, "trees:\n- {path: web}\n")
    said = refused(product)
    assert [each.partition("\n")[0] for each in said] == [
        f"web/***.txt: has {WHAT} in its name",
        f"web/d-***: has {WHAT} in its name",
        f"web/to: has {WHAT} in its name",
    ]


def test_a_file_with_a_secret_in_its_name_can_be_left_out_or_let_through(product: Path) -> None:
    put(product, f"web/{TOKEN}.txt", "x")
    put(product, "web/index.html", "x")
    add(product, f"trees:\n- {{path: web, exclude: ['{TOKEN}.txt']}}\n")
    load(product, "1.4.0")
    reason = "secrets_allow:\n- {path: 'web/*.txt', reason: a name of the test bench}\n"
    add(product, f"trees:\n- {{path: web}}\n{reason}")
    assert [each.what for each in load(product, "1.4.0").allowed] == [WHAT]


def test_a_secret_in_a_file_with_a_secret_in_its_name_is_shown_without_either(product: Path) -> None:
    put(product, f"web/{TOKEN}.txt", f"{TOKEN}\n")
    add(product, "trees:\n- {path: web}\n")
    assert any(each.startswith("web/***.txt:1: contains") for each in refused(product))
