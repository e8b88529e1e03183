"""Capabilities, owners and special bits from bundle.yaml to what reviewers see, read by both readers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rig import independent
from tests.rig.product import Product

BIND = "cap_net_bind_service=ep"


@pytest.fixture
def special(product: Product) -> Path:
    """The bundle of a product with a capability and a setgid directory."""
    (product.directory / "web/spool").mkdir()
    file = product.directory / "bundle.yaml"
    text = file.read_text().replace(
        "    install: /opt/lan-chat/bin/chatd\n",
        f"    install: /opt/lan-chat/bin/chatd\n    capabilities: {BIND}\n",
    )
    rule = "    attributes: [{path: spool/, mode: '2770', owner: 'root:chat'}]\n"
    place = "    install: /opt/lan-chat/web\n"
    file.write_text(text.replace(place, place + rule))
    product.create()
    return product.target


def view(product: Product, special: Path, name: str) -> str:
    done = product.run("inspect", str(special), name)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_readers_accept_the_bundle_and_it_says_what_it_requires(product: Product, special: Path) -> None:
    assert independent.answer(special.read_bytes(), images=True) == (0, "verified")
    document = json.loads(product.run("inspect", str(special), "files", "--json").stdout)
    (row,) = [each for each in document["files"] if each.get("capabilities")]
    assert (row["path"], row["capabilities"]) == ("bin/linux-amd64/chatd", BIND)
    (directory,) = document["directories"]
    assert (directory["mode"], directory["owner"]) == ("2770", "root:chat")
    assert json.loads(product.run("inspect", str(special), "--json").stdout)["requires"] == ["attributes/1"]


def test_reviewers_see_what_a_file_gets(product: Product, special: Path) -> None:
    what = f"/opt/lan-chat/bin/chatd gets a capability: every user who runs it has {BIND}"
    assert what in view(product, special, "risks")
    assert f"0755 {BIND}" in view(product, special, "deploy")
    assert "root:chat" in view(product, special, "deploy")


def test_a_difference_of_capabilities_is_shown(product: Product, special: Path) -> None:
    old = special.with_name("old.tar")
    special.rename(old)
    file = product.directory / "bundle.yaml"
    file.write_text(file.read_text().replace(BIND, "cap_net_raw=ep"))
    product.create()
    shown = product.run("diff", str(old), str(special)).stdout
    assert "bin/linux-amd64/chatd" in shown
    assert "cap_net_raw=ep" in shown
    assert BIND in shown
