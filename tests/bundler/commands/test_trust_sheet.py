"""The trust sheet: what somebody compares by hand is what stock tools say, on paper and screen."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import segno

from bundler.commands.trust_sheet import make_sheet
from bundler.trust.root_files import root_bytes
from installer.core.errors import UntrustedError, UsageError
from installer.core.trust.root import Policy
from tests.rig.trustworld import NOW, headed, person


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.json"
    path.write_bytes(root_bytes(headed(1, "Ruth")))
    return path


def sha256sum(path: Path) -> str:
    done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    return done.stdout[:64]


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_the_sheet_has_what_is_compared_by_hand(root: Path, tmp_path: Path) -> None:
    installer = tmp_path / "install"
    installer.write_bytes(b"\x7fELF program")
    page = make_sheet(root, installer, NOW)
    for shown in (page.as_text(), page.as_html()):
        assert sha256sum(root) in squeezed(shown)
        assert sha256sum(installer) in squeezed(shown)
        assert "expires" in shown
        assert "Ruth" in shown
    assert page.as_json()["fingerprint"] == sha256sum(root)


def test_the_qr_code_is_of_the_fingerprint(root: Path) -> None:
    code = segno.make(f"sha256:{sha256sum(root)}", error="m", micro=False)
    drawn = code.svg_inline(border=2, omitsize=True, title="fingerprint of the root")
    assert drawn in make_sheet(root, None, NOW).as_html()


def test_the_sheet_warns_of_a_root_that_hosts_would_not_take(root: Path) -> None:
    assert "signatures are missing" in make_sheet(root, None, NOW).as_text()
    root.write_bytes(root_bytes(replace(headed(1, "Ruth"), expires=NOW - timedelta(days=1))))
    assert "WARNING: this root has expired" in make_sheet(root, None, NOW).as_text()


def test_a_sheet_without_an_installer_names_none(root: Path) -> None:
    assert "SHA-256 of the program" not in make_sheet(root, None, NOW).as_text()


def test_the_sheet_says_what_is_absent(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        make_sheet(root, tmp_path / "none", NOW)
    with pytest.raises(UntrustedError):
        make_sheet(tmp_path / "none.json", None, NOW)


def test_what_sha256sum_prints_stands_on_it_as_it_prints_it(root: Path, tmp_path: Path) -> None:
    installer = tmp_path / "install"
    installer.write_bytes(b"\x7fELF program")
    done = subprocess.run(
        ["sha256sum", "root.json", "install"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    page = make_sheet(root, installer, NOW)
    for line in done.stdout.splitlines():
        assert line in page.as_text().splitlines()
        assert line in page.as_html()


def test_the_sheet_has_fields_to_sign_and_fits_on_one_page(root: Path) -> None:
    policies = {f"e{number}": Policy({"release": 1}) for number in range(60)}
    root.write_bytes(root_bytes(replace(headed(1, "Ruth"), environments=policies)))
    page = make_sheet(root, root, NOW)
    lines = page.as_text().splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("… ")
    assert lines[-1].endswith("more lines: `bundle trust show root.json`")
    for who in ("made by", "carried by", "compared on the host by"):
        assert any(line.startswith(f"{who}:") and "____" in line for line in lines)
        assert f"<td>{who}" in page.as_html()
    assert page.as_html().count("\n") < 60


def test_an_edit_prints_what_it_changed_and_not_the_whole_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bundler.cli.main import app
    from bundler.cli.options import console
    from installer.shared.command.command_line import run_app

    for name in ("Rea", "Sec"):
        (tmp_path / f"{name}.pub").write_text(person(name).key.public)
    file = str(tmp_path / "root.json")

    def bundle(*words: str) -> str:
        console.json_output = False
        assert run_app(console, app, ["trust", *words]) == 0
        return capsys.readouterr().out

    bundle("init", file, "--release-key", str(tmp_path / "Rea.pub"))
    added = bundle("add-key", file, str(tmp_path / "Sec.pub"), "--role", "security")
    assert len(added.splitlines()) <= 6
    assert f"{person('Sec').key.keyid8} of Sec: security" in added
    assert f"see all of it with `bundle trust show {file}`" in added
    assert "role release" not in added
    policy = bundle("set-policy", file, "test", "--require", "security")
    assert "environment test\n  different owners must sign: release 1, security 1" in policy
    assert "role release" not in policy
    assert "role release" in bundle("show", file)
