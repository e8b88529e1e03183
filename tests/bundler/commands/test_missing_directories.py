"""A directory that somebody mistyped, or a stick that is not mounted: named with the remedy, never made."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bundler.archive.new_file import write_new
from bundler.cli.main import app
from bundler.cli.options import console
from bundler.trust.root_files import root_bytes
from installer.core.errors import LIMITS_OF_THE_SYSTEM, UnfitInputError, UsageError, WaybillError
from installer.shared.command.command_line import run_app
from tests.rig.approvaldesk import LATER, encrypted, plan
from tests.rig.product import Product
from tests.rig.trustworld import World, person, root

OUT = "my stick"
APPROVE = ("approve", "b.tar", "--role", "security", "--env", "production", "--root", "root.json")
WRITES = {
    "keygen": ("keygen", f"{OUT}/key"),
    "sign": ("sign", "b.tar", "--prepare", "-o", f"{OUT}/x"),
    "approve": (*APPROVE, "--prepare", "-o", f"{OUT}/x"),
    "trust init": ("trust", "init", f"{OUT}/root.json", "--release-key", "Rea.pub"),
    "trust sign": ("trust", "sign", "root.json", "--prepare", "-o", f"{OUT}/x"),
    "trust sheet": ("trust", "sheet", "root.json", "-o", f"{OUT}/sheet.html"),
    "create": ("create", "v1.4.0", "-C", "product", "-o", f"{OUT}/b.tar"),
    "installer": ("installer", "-o", f"{OUT}/install"),
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a bundle, a root, keys and a product."""
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    monkeypatch.chdir(tmp_path)
    Path("b.tar").write_bytes(World(plan=plan(), approvals=()).tar())
    Path("root.json").write_bytes(root_bytes(root(expires=LATER)))
    Path("Sec.key").write_bytes(encrypted("Sec"))
    Path("Rea.pub").write_text(person("Rea").key.public)
    Product.make(tmp_path / "product")
    return tmp_path


@pytest.mark.parametrize("what", WRITES)
def test_a_directory_that_is_not_there_is_named_with_the_remedy_and_not_made(
    desk: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    code = run_app(console, app, WRITES[what])
    err = capsys.readouterr().err
    assert code in (2, 30), err
    assert OUT in err
    assert f"`mkdir -p '{OUT}'`, or correct the path" in err
    assert not (desk / OUT).exists()


def test_an_approval_goes_to_no_directory_whose_parent_is_not_there(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_app(console, app, [*APPROVE, "--key", "Sec.key", "--yes", "-o", f"{OUT}/approvals"])
    err = capsys.readouterr().err
    assert (code, "hint: choose another place with --output DIR" in err) == (30, True), err
    assert not (desk / OUT).exists()


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [
        (errno.EIO, UnfitInputError, "choose another place"),
        (errno.EACCES, UsageError, "choose a directory that you can write to"),
        (errno.EROFS, UsageError, "the file system is read-only: choose another place"),
        (errno.EDQUOT, UnfitInputError, "free some space, or choose another place"),
        (errno.ENOSPC, UnfitInputError, "free some space, or choose another place"),
        (errno.EMFILE, UnfitInputError, LIMITS_OF_THE_SYSTEM[errno.EMFILE]),
        (errno.ENOTDIR, UsageError, "correct the path: a part of it is a file, not a directory"),
    ],
)
def test_every_reason_has_a_remedy_and_none_names_an_option_that_the_command_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[WaybillError], hint: str
) -> None:
    def fails(*_words: object, **_more: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("bundler.archive.output_file.os.open", fails)
    with pytest.raises(kind) as caught:
        write_new(tmp_path / "key", b"x", 0o644)
    assert (caught.value.where, caught.value.hint) == (str(tmp_path / "key"), hint)
