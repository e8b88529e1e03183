"""Every destination is changed once after the plan: by an editor at the prompt, or by a program meanwhile.

The change is never overwritten and nothing else is done: a clean refusal, or everything else is undone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.core.errors import HostNotReadyError, NotUndoneError, RolledBackError
from tests.faults import stories, table
from tests.faults.conftest import Golden
from tests.faults.stories import STORIES, Host, Story, copy, on, outside, recover
from tests.rig.faulty import snapshot
from tests.rig.releases import context
from tests.rig.share import share

T = TypeVar("T")
EDIT = b"saved by an operator\n"
Change = Callable[[Path], None]


class Meddled(Host):
    """A host on which somebody changes a path just before the first effect that has a word in its bytes."""

    def __init__(self, root: Path, word: str, change: Callable[[], None]) -> None:
        super().__init__(root)
        self._word, self._change = word.encode(), change
        self.done = False

    def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
        if not self.done and name == "write_at" and self._word in args[2]:
            self.done = True
            self._change()
        return call()


def edit(path: Path) -> None:
    """Save something else, as an editor does: a new file in place of the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        path.chmod(path.stat().st_mode & 0o7777 ^ 0o011)
        return
    path.with_name("#saved").write_bytes(EDIT)
    path.with_name("#saved").rename(path)


def remove(path: Path) -> None:
    """Remove it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def destinations(trace: Golden) -> list[str]:
    """Return the paths that the story changes, directories that come and go with them included."""
    old, new = trace.ends.old, trace.ends.new
    names = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    # What is below a link of the beginning would be a change of another path.
    return sorted(
        path for path in names if not any(each.is_symlink() for each in (trace.world / path).parents)
    )


MOMENTS = {
    "at the prompt": "",
    "while staging": '"type":"STAGED"',
    "while files are changed": '"kind":"files.change"',
}


@pytest.mark.parametrize("story", STORIES.values(), ids=str)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("change", [edit, remove])
def test_what_was_changed_after_the_plan_is_not_overwritten(
    story: Story,
    moment: str,
    change: Change,
    golden: Callable[[Story], Golden],
    fast: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = golden(story)
    row = table.row(story.name, f"{change.__name__} {moment}", len(destinations(trace)))
    for path in share(destinations(trace), 12):
        root = copy(trace.world, fast / "host")
        before = snapshot(root, besides=("var",))
        host = Meddled(root, MOMENTS[moment] or "never", lambda root=root, path=path: change(root / path))
        if not MOMENTS[moment]:

            def at_the_prompt(*args: Any, root: Path = root, path: str = path) -> Any:
                change(root / path)
                return execute_plan(*args)

            monkeypatch.setattr(stories, "execute_plan", at_the_prompt)
        said = ended(story, host)
        monkeypatch.undo()
        changed = snapshot(copy_changed(trace.world, fast / "changed", path, change), besides=("var",))
        row.runs += 1
        now = outside(root)
        where = f"{path} {moment}"
        goes = (trace.world / path).is_dir() and path not in trace.ends.new
        if said == "done" and (changed == before or goes):
            pass  # there was nothing to change, or a directory went that nobody had put anything into
        elif said not in ("refused", "rolled back"):
            row.broken.append(f"{where}: was told {said}")
        elif now != changed:
            row.broken.append(f"{where}: {said}, and the host differs: {differing(now, changed)}")
        if said == "refused" and MOMENTS[moment]:
            row.broken.append(f"{where}: was refused as if nothing had begun")
        recover(on(root))
        if (root / path).is_file() and said != "done" and change is edit:
            assert (root / path).read_bytes() == EDIT
        shutil.rmtree(root)
        shutil.rmtree(fast / "changed")
    assert row.runs > 0
    assert row.broken == []


def ended(story: Story, host: Meddled) -> str:
    """Carry the story out and return how it ended."""
    try:
        story.verb(context(host))
    except HostNotReadyError:
        return "refused"
    except RolledBackError:
        return "rolled back"
    except NotUndoneError as error:
        return f"not undone: {error}"
    return "done"


def copy_changed(world: Path, to: Path, path: str, change: Change) -> Path:
    """Return the host of the beginning with nothing but the change."""
    root = copy(world, to)
    change(root / path)
    return root


def differing(now: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return the paths in which two hosts differ."""
    return sorted(key for key in now.keys() | wanted.keys() if now.get(key) != wanted.get(key))
