"""Scripts of a retained release run only if they are, byte for byte, what was verified."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.commands import status
from installer.core.errors import NotUndoneError, RolledBackError
from installer.deploy.method_registry import handler
from installer.deploy.release_files import ChangedFileError
from installer.host import private_copy
from installer.host.context import Context
from installer.shared.child.process import Completed
from installer.state.state import load
from tests.rig.faulty import FaultySystem
from tests.rig.releases import Member, context, install, plan_for, recovered, remove, root
from tests.rig.scripts import SCRIPT, log, scripted
from tests.rig.steps import ONLY, install_steps

EVIL = b'#!/bin/sh\necho evil >> "$WAYBILL_ROOT/evil"\n'


def retained(host: Context, script: str) -> Path:
    """Return a script in the directory of the release that runs."""
    current = load(host.system, host.layout).current
    assert current
    return root(host) / host.layout.release(current.name)[1:] / "deploy" / script


def evil(host: Context) -> bool:
    return (root(host) / "evil").exists()


def leftovers(host: Context) -> list[str]:
    return [name for name in os.listdir(root(host) / host.layout.base[1:]) if name.startswith(".run-")]


def test_an_edited_undo_script_is_drift_and_a_removal_is_refused_before_anything(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    path = retained(host, "undo.sh")
    good = path.read_bytes()
    path.write_bytes(EVIL)
    (problem,) = status.product_status(host).drift
    assert problem.where.endswith("/deploy/undo.sh")
    assert problem.what == "was changed since it was installed"
    with pytest.raises(Exception, match="was changed since it was installed") as caught:
        remove(host)
    assert "tar -xf BUNDLE -C " in str(caught.value)
    assert (root(host) / "etc/f").read_text() == "1.0.0"
    path.write_bytes(good)
    remove(host)
    assert log(host)[-1] == "undo 1.0.0 with 1.0.0"
    assert not evil(host)


@pytest.mark.parametrize("how", ["edited", "missing", "a link", "a pipe"])
def test_an_upgrade_is_refused_while_the_script_that_would_undo_it_is_not_as_verified(
    host: Context, how: str
) -> None:
    install_steps(host, scripted("1.0.0", 1))
    path = retained(host, "apply.sh")
    good = path.read_bytes()
    path.unlink()
    if how == "edited":
        path.write_bytes(EVIL)
    elif how == "a link":
        (path.parent / "same").write_bytes(good)
        path.symlink_to("same")
    elif how == "a pipe":
        os.mkfifo(path)
    plan = plan_for(host, scripted("2.0.0", 2), ONLY)
    assert [problem.where.rpartition("/")[2] for problem in plan.problems] == ["apply.sh"]
    # The same release again puts it right.
    install_steps(host, scripted("1.0.0", 1))
    assert path.read_bytes() == good
    assert plan_for(host, scripted("2.0.0", 2), ONLY).problems == ()


def test_a_script_that_is_edited_while_an_upgrade_runs_is_not_run_to_undo_it(host: Context) -> None:
    """The journal has its digest. It is put back, and the recovery goes on from there."""
    install_steps(host, scripted("1.0.0", 1))
    path = retained(host, "apply.sh")
    edit = b'\necho evil > "$WAYBILL_OLD_RELEASE/deploy/apply.sh"\nexit 4\n'
    with pytest.raises(NotUndoneError) as caught:
        install_steps(host, scripted("2.0.0", 2, SCRIPT + edit))
    assert "deploy/apply.sh: was changed since it was installed, and was not run" in str(caught.value)
    assert not evil(host)
    assert leftovers(host) == []
    path.write_bytes(SCRIPT)
    path.chmod(0o755)
    (done,) = recovered(host)
    assert done
    assert log(host)[-1] == "apply 1.0.0 with 1.0.0"
    assert leftovers(host) == []


def test_what_was_checked_is_what_runs_even_if_the_file_changes_in_between(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_steps(host, scripted("1.0.0", 1))
    path = retained(host, "undo.sh")
    run = host.system.run

    def swapped(argv: Sequence[str], **words: Any) -> Completed:
        path.write_bytes(EVIL)
        return run(argv, **words)

    monkeypatch.setattr(host.system, "run", swapped)
    remove(host)
    assert log(host)[-1] == "undo 1.0.0 with 1.0.0"
    assert not evil(host)


def test_a_script_finds_its_neighbours_and_the_release_from_its_own_place(host: Context) -> None:
    script = SCRIPT + (
        b'sh "$(dirname "$0")/undo.sh" && cat "$(dirname "$0")/../config/f" "$(dirname "$0")/../trees/t/x" '
        b'"$WAYBILL_RELEASE/trees/t/x" trees/t/x >> "$WAYBILL_ROOT/seen"\n'
    )
    release = scripted("1.0.0", 1, script)
    members = {**release.members, "trees/t/x": Member(b"tree\n", kind="tree")}
    install_steps(host, replace(release, members=members))
    assert (root(host) / "seen").read_text() == "1.0.0tree\ntree\ntree\n"
    assert log(host) == ["apply 1.0.0 with 1.0.0", "undo 1.0.0 with 1.0.0"]


def test_on_a_full_disk_the_checked_script_runs_where_it_is(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    install_steps(host, scripted("1.0.0", 1))
    monkeypatch.setattr(private_copy, "_copy", full)
    with pytest.raises(RolledBackError):
        install_steps(host, scripted("2.0.0", 2, SCRIPT + b"exit 4\n"))
    assert log(host)[-1] == "apply 1.0.0 with 1.0.0"
    edit = b'\necho >> "$WAYBILL_OLD_RELEASE/deploy/apply.sh"\nexit 4\n'
    with pytest.raises(NotUndoneError, match="was not run"):
        install_steps(host, scripted("2.0.0", 2, SCRIPT + edit))


def test_what_a_kill_left_is_removed_with_the_next_run(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    left = root(host) / host.layout.base[1:] / ".run-0123456789abcdef/deploy"
    left.mkdir(parents=True)
    (left / "x").symlink_to("/etc")
    install_steps(host, scripted("2.0.0", 2))
    assert leftovers(host) == []
    assert Path("/etc").is_dir()


class TestOlderJournal:
    """An operation of an older version has no digests: the manifest beside the files has them."""

    def operation(self, host: Context) -> dict[str, Any]:
        install_steps(host, scripted("1.0.0", 1))
        current = load(host.system, host.layout).current
        assert current
        directory = host.layout.release(current.name)
        env = {"WAYBILL_ROOT": host.system.root, "WAYBILL_VERSION": "1.0.0"}
        scripts = {word: f"{directory}/deploy/{word}.sh" for word in ("apply", "undo")}
        return {"old": {**scripts, "directory": directory, "timeout": 60, "env": env}}

    def test_the_script_of_an_older_journal_runs(self, host: Context) -> None:
        handler("script.remove").do(host, self.operation(host), {})
        assert log(host)[-1].startswith("undo 1.0.0")

    @pytest.mark.parametrize("file", ["deploy/undo.sh", "bundle.json", "SHA256SUMS"])
    def test_the_script_of_an_older_journal_does_not_run_where_something_was_changed(
        self, host: Context, file: str
    ) -> None:
        args = self.operation(host)
        path = root(host) / args["old"]["directory"][1:] / file
        path.write_bytes(path.read_bytes().replace(b"1", b"2") + EVIL)
        before = log(host)
        with pytest.raises(ChangedFileError) as caught:
            handler("script.remove").do(host, args, {})
        assert "tar -xf BUNDLE" in caught.value.hint
        assert (log(host), evil(host)) == (before, False)


def test_the_owner_of_the_copy_is_the_only_one_who_can_change_it(host: Context) -> None:
    mask = os.umask(0o077)
    try:
        script = SCRIPT + b'stat -c "%a" "$0" "$(dirname "$0")" >> "$WAYBILL_ROOT/modes"\n'
        install(context(FaultySystem(root(host))), scripted("1.0.0", 1, script), ONLY)
    finally:
        os.umask(mask)
    assert (root(host) / "modes").read_text().split() == ["755", "755"]
