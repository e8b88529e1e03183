"""The files that set up a host are checked right before a program of systemd gets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.deploy.release_files import ChangedFileError
from installer.deploy.systemd.setting_operations import HANDLERS
from installer.host.system import System
from tests.rig.releases import context


def test_a_file_of_users_that_was_edited_since_it_was_verified_is_not_given_to_systemd(
    tmp_path: Path,
) -> None:
    within = context(System(tmp_path))
    file = tmp_path / f"{within.layout.releases}/1/deploy/sysusers/chat.conf".lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_text("u root2 0\n")
    args = {
        "release": f"{within.layout.releases}/1",
        "files": {"deploy/sysusers/chat.conf": ["0" * 64, 0o644]},
        "users": {},
        "groups": {},
    }
    with pytest.raises(ChangedFileError, match="was not run") as caught:
        HANDLERS["systemd.users"].do(within, args, {})
    assert caught.value.where.endswith("/deploy/sysusers/chat.conf")
    assert "put it back" in caught.value.hint
