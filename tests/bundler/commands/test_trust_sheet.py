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
from tests.rig.trustworld import NOW, headed


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


def test_it_has_what_is_compared_by_hand(root: Path, tmp_path: Path) -> None:
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


def test_it_warns_of_a_root_that_hosts_would_not_take(root: Path) -> None:
    assert "signatures are missing" in make_sheet(root, None, NOW).as_text()
    root.write_bytes(root_bytes(replace(headed(1, "Ruth"), expires=NOW - timedelta(days=1))))
    assert "WARNING: this root has expired" in make_sheet(root, None, NOW).as_text()


def test_without_an_installer_none_is_named(root: Path) -> None:
    assert "SHA-256 of the program" not in make_sheet(root, None, NOW).as_text()


def test_what_is_not_there_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        make_sheet(root, tmp_path / "none", NOW)
    with pytest.raises(UntrustedError):
        make_sheet(tmp_path / "none.json", None, NOW)
