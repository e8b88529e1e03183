"""Salt states in bundle.yaml: directories, all their files, and what no host could apply."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundler.config.folders.folder_files import Folder
from bundler.config.folders.salt_states import read
from bundler.config.loader import load
from tests.rig.products import add, faults, hints, put

FILES = ("init.sls", "undo.sls", "files/chat.conf", ".hidden")


def lay(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x: {test.nop: []}\n")


def of(tmp_path: Path, given: str) -> Folder:
    return read(tmp_path, given, "bundle.yaml:7")


def said(states: Folder) -> str:
    return "\n".join(f"{each.where}: {each.what} ({each.hint})" for each in states.problems)


def test_a_directory_travels_with_all_its_files_the_state_first(tmp_path: Path) -> None:
    lay(tmp_path / "deploy/salt/lan_chat", *FILES)
    states = of(tmp_path, "deploy/salt/lan_chat/")
    assert said(states) == ""
    assert states.members[0] == "deploy/salt/lan_chat/init.sls"
    assert set(states.members) == {f"deploy/salt/lan_chat/{name}" for name in FILES}


def test_a_directory_elsewhere_keeps_its_own_name_in_the_bundle(tmp_path: Path) -> None:
    lay(tmp_path / "states/lan_chat", *FILES)
    assert of(tmp_path, "states/lan_chat").files[0] == (
        "states/lan_chat/init.sls",
        "deploy/salt/lan_chat/init.sls",
    )


def test_a_file_root_says_itself_what_is_applied(tmp_path: Path) -> None:
    lay(tmp_path / "deploy/salt", "top.sls", "init.sls", "lan_chat/init.sls")
    assert of(tmp_path, "deploy/salt").members[0] == "deploy/salt/top.sls"


def test_what_no_host_could_apply_is_refused(tmp_path: Path) -> None:
    lay(tmp_path / "deploy/salt/lan.chat", "init.sls")
    lay(tmp_path / "deploy/salt/web", "web.sls")
    lay(tmp_path / "deploy/salt/links", "init.sls")
    os.symlink("/etc/passwd", tmp_path / "deploy/salt/links/passwd")
    assert "begins with a state whose name is not" in said(of(tmp_path, "deploy/salt/lan.chat"))
    assert "has neither init.sls nor top.sls" in said(of(tmp_path, "deploy/salt/web"))
    assert "links/passwd is a link or no regular file" in said(of(tmp_path, "deploy/salt/links"))
    assert "deploy/salt/none does not exist" in said(of(tmp_path, "deploy/salt/none"))


def test_a_step_is_read_and_warns_where_nothing_undoes_it(product_dir: Path) -> None:
    lay(product_dir / "deploy/salt/lan_chat", *FILES)
    step = "deploy:\n  - {method: salt, state: deploy/salt/lan_chat, salt_version: '>=3006', timeout: 5m%s}\n"
    text = (product_dir / "bundle.yaml").read_text()
    put(product_dir, "bundle.yaml", text + step % "")
    config = load(product_dir, "1.4.0")
    (done,) = config.manifest.deploy
    assert done.options["timeout"] == 300
    assert len(done.options["state"]) == len(FILES)
    (warning,) = [each for each in config.warnings if each.code == "no-undo"]
    assert warning.where == "bundle.yaml:9"
    put(product_dir, "bundle.yaml", text + step % ", undo: lan_chat.undo")
    assert "no-undo" not in [each.code for each in load(product_dir, "1.4.0").warnings]


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("undo: undo", "undo is undo, but deploy/salt has no undo.sls", "its full name"),
        ("salt_version: '3006'", "salt_version", ">=3006,<3010"),
        ("pillar: deploy/none.j2", "deploy/none.j2 does not exist", ""),
    ],
    ids=["short-name", "version-without-condition", "missing-pillar"],
)
def test_wrong_options_have_their_line_and_a_way_out(
    product_dir: Path, text: str, what: str, hint: str
) -> None:
    lay(product_dir / "deploy/salt/lan_chat", *FILES)
    add(product_dir, f"deploy:\n  - {{method: salt, state: deploy/salt/lan_chat, {text}}}\n")
    assert what in faults(product_dir)[0]
    assert faults(product_dir)[0].startswith("bundle.yaml:9: ")
    assert hint in hints(product_dir)
