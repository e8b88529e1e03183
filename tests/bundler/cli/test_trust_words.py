"""What `bundle trust` prints of a change: the part that was changed, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.cli.main import app, console
from bundler.trust.root_files import root_bytes
from installer.shared.command.command_line import run_app
from tests.rig.trustworld import root

FORGET = "hosts forget the highest sequence number that they have recorded"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--floor", "9"), "lan-chat: hosts install sequence 9 or higher"),
        (
            ("--floor", "1.4.2"),
            "lan-chat: hosts install sequence 100040002999 or higher (version 1.4.2)",
        ),
        (("--reset",), f"lan-chat: {FORGET}"),
        (
            ("--floor", "9", "--reset"),
            f"lan-chat: hosts install sequence 9 or higher; {FORGET}",
        ),
    ],
    ids=["a sequence number", "a version", "a reset", "both"],
)
def test_set_product_says_what_hosts_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "root.json"
    path.write_bytes(root_bytes(root()))
    console.json_output = False
    assert run_app(console, app, ["trust", "set-product", str(path), "lan-chat", *words]) == 0
    assert capsys.readouterr().out.splitlines()[0] == said
