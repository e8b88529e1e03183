"""What create says of steps with units of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from installer.core.format.manifest import Deployment
from tests.rig.products import add, faults, put

UNIT = "[Service]\nExecStart=/bin/sleep 10\n[Install]\nWantedBy=default.target\n"


def product(directory: Path, *steps: str) -> Path:
    """Lay down a product with such steps."""
    put(directory, "units/chat.service", UNIT)
    put(directory, "units/chat.conf", "net.ipv4.ip_forward=1\n")
    add(directory, "deploy:\n" + "".join(f"  - {{method: systemd, {step}}}\n" for step in steps))
    return directory


def test_units_of_a_user_have_a_kind_and_a_directory_of_their_own(product_dir: Path) -> None:
    made = product(product_dir, "user: chat, units: [units/chat.service]", "units: [units/chat.service]")
    loaded = load(made, "v1.4.0")
    of_user, of_system = loaded.manifest.deploy
    assert of_user == Deployment("systemd", {"units": ["deploy/systemd/user/chat.service"], "user": "chat"})
    assert of_system.options == {"units": ["deploy/systemd/chat.service"]}
    assert [item.kind for item in loaded.items if item.member in of_user.options["units"]] == ["user-unit"]


BAD = {
    "root": (("user: root, units: [units/chat.service]",), "deploy[0].user is 'root'"),
    "another option": (
        ("user: chat, units: [units/chat.service], sysctl: [units/chat.conf]",),
        "a step of user chat has units alone",
    ),
    "a second step of the user": (
        ("user: chat, units: [units/chat.service]",) * 2,
        "another step has units of user chat",
    ),
    "no units": (("user: chat",), "is missing in deploy[0]"),
}


@pytest.mark.parametrize(("steps", "what"), BAD.values(), ids=BAD)
def test_a_step_that_no_host_would_take_is_refused(
    product_dir: Path, steps: tuple[str, ...], what: str
) -> None:
    found = faults(product(product_dir, *steps))
    assert any(what in each for each in found), found
