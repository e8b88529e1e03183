"""Inputs that a person gives by mistake: the error names the file and the way out, with exit code 2."""

from __future__ import annotations

import re

import pytest

from tests.rig.product import Product


@pytest.fixture
def desk(product: Product) -> Product:
    for words in (("keygen", "release"), ("trust", "init", "root.json", "--release-key", "release.pub")):
        assert product.run(*words, COSIGN_PASSWORD="correct horse").returncode == 0
    return product


def test_a_private_key_in_place_of_a_public_one_is_named_as_that(desk: Product) -> None:
    ended = desk.run("verify", "b.tar", "--key", "release.key")
    assert ended.returncode == 2
    assert "release.key: is a PRIVATE key" in ended.stderr
    assert "use the public key, NAME.pub; keep this file secret" in ended.stderr


def test_a_policy_without_holders_names_the_command_that_adds_one(desk: Product) -> None:
    ended = desk.run("trust", "set-policy", "root.json", "production")
    assert ended.returncode == 2
    hints = re.findall(r"hint: run `(bundle trust add-key .*)`", ended.stderr)
    assert hints == [
        f"bundle trust add-key root.json KEY.pub --role {role} --owner NAME"
        for role in ("ops", "provenance", "security")
    ]


@pytest.mark.parametrize("name", ["sheet.pdf", "sheet.docx"])
def test_a_sheet_is_not_written_under_a_name_that_lies(desk: Product, name: str) -> None:
    ended = desk.run("trust", "sheet", "root.json", "-o", name)
    assert ended.returncode == 2
    assert "give a name that ends in .txt or .html" in ended.stderr
    assert not list(desk.directory.rglob(name))


def test_a_wrong_option_names_the_help_of_its_own_command(desk: Product) -> None:
    assert "for example: `bundle trust sheet root.json" in desk.run("trust", "sheet", "--nonsense").stderr
