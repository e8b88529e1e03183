"""Tables of `bundle` on a real terminal: every field is there, and no line is longer than it is wide."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig import bundlebuild as build
from tests.rig.terminal import command, on_terminal
from tests.rig.trustworld import FILES

TARGET = "/opt/lan-chat/share/pages/of-the-product/page.html"


@pytest.fixture
def bundles(tmp_path: Path) -> tuple[str, str]:
    """Two bundles; the second has a file with a long path and place."""
    longer = "trees/t/with-a-name-that-is-long/and-another-one/page.html"
    for name, files, entries in (
        ("a.tar", FILES, {}),
        ("b.tar", {**FILES, longer: b"x"}, {longer: {"install": TARGET, "kind": "tree"}}),
    ):
        order = ("docs/ROLLBACK.md", "docs/a", *sorted(files))
        plan = build.plan({key: files[key] for key in order}, entries=entries)
        (tmp_path / name).write_bytes(plan.tar())
    return str(tmp_path / "a.tar"), str(tmp_path / "b.tar")


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("view", ["files", "deploy", "diff"])
def test_no_line_of_a_table_is_longer_than_the_terminal_is_wide(
    bundles: tuple[str, str], view: str, columns: int
) -> None:
    words = ("diff", *bundles) if view == "diff" else ("inspect", bundles[1], view)
    shown = on_terminal(command("bundle", *words), columns=columns)
    assert shown.code == 0, shown.text
    lines = shown.text.splitlines()
    heading = next(number for number, line in enumerate(lines) if "PATH" in line or "FILE" in line)
    # Sentences below it wrap as the terminal likes.
    end = next((at for at in range(heading, len(lines)) if "NOT VERIFIED" in lines[at]), len(lines))
    assert max(len(line.rstrip()) for line in lines[heading:end]) <= columns, shown.text
    joined = "".join("".join(lines).split())
    assert "page.html" in joined
    if view != "diff":
        assert TARGET[:20] in joined


def test_away_from_a_terminal_every_row_is_one_line(
    bundles: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundler.cli.main import app
    from bundler.cli.options import console
    from installer.shared.command.command_line import run_app

    monkeypatch.setenv("COLUMNS", "40")
    assert run_app(console, app, ["inspect", bundles[1], "files"]) == 0
    assert any(
        line.startswith("0644") and line.endswith(TARGET) for line in capsys.readouterr().out.splitlines()
    )
