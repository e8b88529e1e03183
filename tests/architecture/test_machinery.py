"""Machinery is in one place: child processes, decompression, strict JSON. ADR 0623 has the exceptions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "adr" / "0623-shared-machinery-and-its-exceptions.md"

Uses = Callable[[ast.Module], bool]


def called(*names: str) -> Uses:
    """Whether a module calls one of these functions by its full name."""

    def found(tree: ast.Module) -> bool:
        calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        return any(ast.unparse(function) in names for function in calls)

    return found


def imports(*names: str) -> Uses:
    def found(tree: ast.Module) -> bool:
        return any(
            alias.name.partition(".")[0] in names
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        ) or any(
            str(node.module).partition(".")[0] in names
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        )

    return found


def checks_keys(tree: ast.Module) -> bool:
    """Whether a module has a check of its own for keys that a JSON object has twice."""
    return any(isinstance(node, ast.keyword) and node.arg == "object_pairs_hook" for node in ast.walk(tree))


# What is done, who may do it: the shared module first, then the exceptions.
MACHINERY: dict[str, tuple[Uses, tuple[str, ...]]] = {
    "start a child process": (
        called("subprocess.Popen", "subprocess.run", "os.posix_spawn", "os.fork", "os.popen", "os.system"),
        (
            "installer/shared/child/process.py",
            "installer/shared/child/bounded_child.py",
            "installer/core/trust/gpgv.py",
            "bundler/provenance/git_command.py",
            "bundler/freeze/tools.py",
        ),
    ),
    "compress or decompress": (
        imports("zlib", "gzip", "zstandard", "bz2", "lzma"),
        (
            "installer/core/oci/expand.py",
            "installer/images/load_stream.py",
            "bundler/image_sources/layers.py",
            "bundler/config/secrets/zip_stream.py",
            "bundler/freeze/self_extract.py",
        ),
    ),
    "check JSON for duplicate keys": (
        checks_keys,
        ("installer/core/jsonio.py", "installer/shared/values.py"),
    ),
}


@pytest.mark.parametrize("what", MACHINERY)
def test_only_the_shared_module_and_the_exceptions_do_it(what: str) -> None:
    uses, allowed = MACHINERY[what]
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("installer", "bundler")
        for path in (ROOT / package).rglob("*.py")
        if uses(ast.parse(path.read_text()))
    }
    assert found == set(allowed)


@pytest.mark.parametrize("what", MACHINERY)
def test_the_record_names_the_shared_module_and_each_exception(what: str) -> None:
    text = RECORD.read_text(encoding="utf-8")
    assert [name for name in MACHINERY[what][1] if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("what", "source"),
    [
        ("start a child process", "import subprocess\nsubprocess.run(['x'])\n"),
        ("compress or decompress", "def f():\n    import zlib\n"),
        ("check JSON for duplicate keys", "json.loads('', object_pairs_hook=dict)\n"),
    ],
)
def test_a_module_that_does_it_is_found(what: str, source: str) -> None:
    assert MACHINERY[what][0](ast.parse(source))
