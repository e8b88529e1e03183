"""Inside a transaction, only the system facade changes the host."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What does not run in a transaction: the facade and what it is made of, the executable's start, the core, the
# child process that renders, and the preview, which only `plan` uses and which writes into a temporary
# directory of its own.
OUTSIDE = (
    *(
        "core/",
        "cli/",
        "shared/command/console.py",
        "shared/frozen.py",
        "shared/child/process.py",
        "shared/child/marked_processes.py",
        "shared/terminal/streams.py",
    ),
    "staging/preview.py",
    *("host/system.py", "host/host.py", "host/lock.py", "host/safe_path.py"),
    *("host/syscalls.py", "host/inodes/attributes.py"),
    *("host/private_copy.py", "shared/child/bounded_child.py"),
)
CHANGES = {
    "os": {
        "chmod", "chown", "copy_file_range", "execv", "execve", "execvp", "fchmod", "fchown",
        "fdatasync", "fork", "forkpty", "fsync", "ftruncate", "kill", "killpg", "link", "makedirs",
        "mkdir", "mkfifo", "mknod", "open", "popen", "posix_spawn", "pwrite", "remove",
        "removedirs", "rename", "renames", "replace", "rmdir", "sendfile", "setxattr", "spawnv",
        "splice", "symlink", "sync", "system", "truncate", "unlink", "utime", "write",
    },
    "shutil": {
        "chown", "copy", "copy2", "copyfile", "copyfileobj", "copymode", "copystat", "copytree",
        "make_archive", "move", "rmtree",
    },
    "subprocess": {"Popen", "call", "check_call", "check_output", "getoutput", "run"},
    "tempfile": {"NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile", "mkdtemp", "mkstemp"},
    "fcntl": {"flock", "lockf"},
}  # fmt: skip
METHODS = {
    "chmod", "hardlink_to", "lchmod", "mkdir", "rename", "rmdir", "symlink_to", "touch", "unlink",
    "write_bytes", "write_text",
}  # fmt: skip


def transactional() -> list[Path]:
    base = ROOT / "installer"
    everything = sorted(base.rglob("*.py"))
    return [path for path in everything if not path.relative_to(base).as_posix().startswith(OUTSIDE)]


def effects(source: str) -> list[str]:
    """Every call in a module that changes the host without asking the facade."""
    tree, found = ast.parse(source), []
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        name = imported.get(name, name)
        module, _, function = name.rpartition(".")
        direct = function in CHANGES.get(module, ()) and not only_reads(name, node)
        writes = any(set("wax+") & set(mode) for mode in modes(node))
        opened = writes and function == "open" and module != "os"
        method = (
            isinstance(node.func, ast.Attribute) and function in METHODS and not module.endswith("system")
        )
        if direct or opened or method:
            found.append(f"{node.lineno}: {name}")
    return found


def only_reads(name: str, call: ast.Call) -> bool:
    """Whether a call is an `os.open` whose flags are written there, and none of them changes a file."""
    if name != "os.open" or len(call.args) < 2:
        return False
    named = {part.strip() for part in ast.unparse(call.args[1]).split("|")}
    return named <= {"os.O_RDONLY", "os.O_CLOEXEC", "os.O_NONBLOCK", "os.O_NOFOLLOW"}


def modes(call: ast.Call) -> list[str]:
    given = [*call.args[:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    found = [node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [mode for mode in found if set(mode) <= set("rwaxbt+")]


@pytest.mark.parametrize("path", transactional(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_changes_the_host_only_through_the_system(path: Path) -> None:
    assert effects(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.rename(a, b)",
        "from os import unlink as gone\ngone(a)",
        "import shutil\nshutil.rmtree(a)",
        "import subprocess\nsubprocess.run(a)",
        "path.write_text('x')",
        "path.open('xb')",
        "(base / name).unlink(missing_ok=True)",
        "open(a, 'wb')",
        "open(a, mode='r+')",
        "import os\nos.open(a, os.O_RDONLY | os.O_CREAT)",
        "import os\nos.open(a, flags)",
    ],
)
def test_an_effect_is_found(source: str) -> None:
    assert len(effects(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.stat(a)",
        "open(a)",
        "open(a, 'rb')",
        "import os\nos.open(a, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)",
        "self._system.chmod(a, 1)",
        "system.unlink(a)",
        "items.remove(a)",
    ],
)
def test_what_only_looks_or_asks_the_system_is_none(source: str) -> None:
    assert effects(source) == []
