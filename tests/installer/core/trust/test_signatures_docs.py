"""docs/reference/signing.md: every command in it is run as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from bundler.signing.cosign import generate
from bundler.signing.gpg import GpgSigner
from installer.core.trust import cosign
from tests.rig.needs import needs
from tests.rig.signing import gpg_home

PAGE = (Path(__file__).parents[4] / "docs" / "reference" / "signing.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)\n```", PAGE, re.DOTALL)
SUMS = b"0" * 64 + b"  docs/CHANGELOG.md\n"


def command(*words: str) -> str:
    (found,) = [line for line in COMMANDS if all(word in line for word in words)]
    return found


def run(line: str, directory: Path, keyid8: str, *programs: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of the page in a directory, with the network taken away where that can be done."""
    links = directory / "programs"
    links.mkdir(exist_ok=True)
    for program in programs:
        link = links / program.removesuffix("3")
        link.unlink(missing_ok=True)
        link.symlink_to(needs(program))
    environment = {
        "PATH": f"{links}:{os.environ['PATH']}",
        "K": keyid8,
        "HOME": str(directory),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "COSIGN_PASSWORD": "pw",
    }
    without = ["unshare", "--net"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*without, "sh", "-c", line],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def keyid8(tmp_path: Path) -> str:
    sealed, signer = generate(b"pw")
    files = {"k.key": sealed, "k.pub": signer.public.encode(), "SHA256SUMS": SUMS}
    files |= {f"SHA256SUMS.{signer.keyid8}.{form}": content for form, content in signer.sign(SUMS).items()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return signer.keyid8


def says_yes_then_no(line: str, directory: Path, keyid8: str, *programs: str) -> None:
    done = run(line, directory, keyid8, *programs)
    assert done.returncode == 0, done.stderr
    (directory / "SHA256SUMS").write_bytes(SUMS.replace(b"0", b"1", 1))
    assert run(line, directory, keyid8, *programs).returncode != 0


def test_openssl_says_yes_then_no(tmp_path: Path, keyid8: str) -> None:
    says_yes_then_no(command("openssl"), tmp_path, keyid8, "openssl")


@pytest.mark.parametrize("program", ["cosign", "cosign3"])
def test_cosign_says_yes_then_no_to_a_signature(tmp_path: Path, keyid8: str, program: str) -> None:
    says_yes_then_no(command("verify-blob", ".sig "), tmp_path, keyid8, program)


def test_cosign_says_yes_then_no_to_a_bundle(tmp_path: Path, keyid8: str) -> None:
    says_yes_then_no(command("verify-blob", "--bundle"), tmp_path, keyid8, "cosign3")


def test_gpgv_says_yes_then_no(tmp_path: Path) -> None:
    with gpg_home() as home:
        signer = GpgSigner(home.key("Release"), home.path)
        signature = signer.sign(SUMS)["asc"]
    (tmp_path / "k.asc").write_text(signer.public)
    (tmp_path / "SHA256SUMS").write_bytes(SUMS)
    (tmp_path / f"SHA256SUMS.{signer.keyid8}.asc").write_bytes(signature)
    says_yes_then_no(command("gpgv"), tmp_path, signer.keyid8, "gpg", "gpgv")


def test_cosign_signs_what_we_verify(tmp_path: Path, keyid8: str) -> None:
    (tmp_path / f"SHA256SUMS.{keyid8}.sigstore.json").unlink()
    done = run(command("sign-blob"), tmp_path, keyid8, "cosign3")
    assert done.returncode == 0, done.stderr
    key = cosign.load_public_key((tmp_path / "k.pub").read_text())
    cosign.verify_bundle(key, (tmp_path / f"SHA256SUMS.{keyid8}.sigstore.json").read_bytes(), SUMS)


def test_every_command_of_the_page_is_tested_here() -> None:
    assert len(COMMANDS) == 6


def test_the_example_of_a_root_is_json() -> None:
    (text,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
    assert json.loads(text)["schema"] == "waybill/root/v1"
