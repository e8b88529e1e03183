"""What stands where, how long it is, and what must never be in it."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
import tomllib
from pathlib import Path

import pytest

from tests.rig.needs import lacks, needs

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
    "bundler", "docs", "examples", "installer", "pyproject.toml", "schemas", "templates", "tests",
}  # fmt: skip
# The last two are the program behind `make installer`, and a child that ends itself.
SAY = (
    *("installer/cli/", "installer/shared/command/console.py", "bundler/cli/"),
    *("bundler/freeze/build.py", "installer/shared/child/bounded_child.py"),
)
LONGEST = 400
GOES_ON = (
    "so|but|nor|neither|and|or|yet|then|also|it|its|they|them|those|which|ones|anothers|when|while|until|beside"
    "|behind|of|into|to|as|never"
)
FRAGMENT = re.compile(r"test_(?:[^_]+|(?:an?|the)(?:_[^_]+){1,2})")
FEWEST_COMMENTS = 0.03
SAYING = {
    *("print", "sys.stdout.write", "sys.stderr.write", "sys.exit", "exit", "quit", "os._exit"),
    *("input", "getpass.getpass", "getpass", "sys.stdin.readline", "sys.stdin.read"),
}


def tracked(*patterns: str) -> list[Path]:
    """The files of the project: git's where there is a checkout."""
    command = [
        needs("checkout"),
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        *patterns,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lacks("checkout", done.stderr.strip())
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def python(*folders: str) -> list[Path]:
    return [path for path in tracked("*.py") if path.relative_to(ROOT).parts[0] in folders]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_top_level_is_fixed() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP_LEVEL


def test_every_module_is_short_enough_to_read() -> None:
    long = {
        relative(path): lines for path in tracked("*.py") if (lines := path.read_text().count("\n")) > LONGEST
    }
    assert long == {}


def comments(source: str) -> int:
    """How many comments say something to people: those for tools do not count."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    tools = ("# noqa", "# ruff", "# type", "# fmt", "#!")
    return sum(token.type == tokenize.COMMENT and not token.string.startswith(tools) for token in tokens)


def test_comments_say_why_often_enough() -> None:
    sources = [path.read_text() for path in python("installer", "bundler")]
    lines = sum(source.count("\n") for source in sources)
    assert sum(map(comments, sources)) >= FEWEST_COMMENTS * lines


def test_comments_for_tools_do_not_count() -> None:
    assert comments("x = 1  # noqa: E501\n# fmt: off\n# Synced first: a power cut must not lose it.\n") == 1


def documented(path: Path) -> list[str]:
    """What in a module is public and has no docstring."""
    tree = ast.parse(path.read_text())
    bare = [] if ast.get_docstring(tree) else [f"{relative(path)}:1"]
    holders = [
        tree,
        *(node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")),
    ]
    for holder in holders:
        for node in holder.body:
            if not isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            ) or node.name.startswith("_"):
                continue
            decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
            if not ast.get_docstring(node) and "override" not in decorators and "overload" not in decorators:
                bare.append(f"{relative(path)}:{node.lineno} {node.name}")
    return bare


def test_everything_public_is_documented() -> None:
    assert [line for path in python("installer", "bundler") for line in documented(path)] == []


def test_every_package_has_no_init_in_tests() -> None:
    assert [relative(path) for path in python("tests") if path.name == "__init__.py"] == []


def test_test_modules_have_names_of_their_own() -> None:
    names = [path.name for path in python("tests") if path.name.startswith("test_")]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def imported(path: Path) -> list[str]:
    """Return the modules that a module imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
    return found


@pytest.fixture(scope="module")
def tests() -> dict[str, str]:
    """The name of each test, by its module and name."""
    return {
        f"{relative(path)}::{node.name}": node.name
        for path in python("tests")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_the_name_of_a_test_does_not_go_on_with_another_one(tests: dict[str, str]) -> None:
    """A report shows a name alone: it begins with its subject, not with a conjunction or a pronoun."""
    assert [place for place, name in tests.items() if re.match(rf"test_(?:{GOES_ON})_", name)] == []


def test_the_name_of_a_test_is_long_enough_to_be_a_sentence(tests: dict[str, str]) -> None:
    """A subject and a verb are two words; a subject with an article and what is said of it are four."""
    assert [place for place, name in tests.items() if FRAGMENT.fullmatch(name)] == []


def test_what_tests_share_is_in_no_test_module() -> None:
    shared = re.compile(r"tests\.(\w+\.)*test_\w+")
    assert [
        f"{relative(path)} imports {name}"
        for path in python("tests")
        for name in imported(path)
        if shared.fullmatch(name)
    ] == []


def says(source: str) -> list[int]:
    """Where a module prints, asks or ends the process; what follows `if __name__ == "__main__"` may."""
    tree = ast.parse(source)
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "__name__" in ast.unparse(node.test))
    ]
    found = []
    for node in ast.walk(tree):
        call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        raised = ast.unparse(node.exc) if isinstance(node, ast.Raise) and node.exc else ""
        if call in SAYING or raised.startswith("SystemExit"):
            found.append(node.lineno)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    "source", ["input('?')", "import getpass\ngetpass.getpass()", "print()", "raise SystemExit(1)"]
)
def test_what_prints_asks_or_exits_is_found(source: str) -> None:
    assert says(source)


def test_only_the_commands_print_ask_and_exit() -> None:
    others = [path for path in python("installer", "bundler") if not relative(path).startswith(SAY)]
    assert [f"{relative(path)}:{line}" for path in others for line in says(path.read_text())] == []


# `docker.io` (its alias: `index.docker.io`) is in the image references of all tools, no host to fetch from.
# The host behind it is fixed by Docker, and is asked only for an image that a product's bundle.yaml names.
ALLOWED = {("bundler/image_sources/http.py", "registry-1.docker")}
FORBIDDEN = {
    "a path of a developer's machine": re.compile(r"/work/|/tmp/venv|/home/(?!ann/)[a-z]+/|/Users/"),
    "a package registry": re.compile(r"pypi\.org|pythonhosted|npmjs\.|proxy\.golang|files\.python"),
    "a mirror or a place to download from": re.compile(
        r"debian\.(org|net)|ubuntu\.com|alpinelinux\.org|fedoraproject\.org|crates\.io|rubygems\.org"
        r"|python\.org/ftp|go\.dev/dl|githubusercontent|/releases/download/"
    ),
    "an image registry": re.compile(
        r"(?:ghcr|quay|gcr)\.io|registry\.k8s|mcr\.microsoft|\b(?:registry(?:-1)?|hub|auth)\.docker\b"
    ),
    "a private key": re.compile(r"-----BEGIN (RSA |EC |OPENSSH )?PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_committed_holds(what: str) -> None:
    found = []
    for path in tracked():
        if path == Path(__file__).resolve():
            continue
        try:
            content = path.read_text()
        except UnicodeDecodeError:
            continue
        matches = [match[0] for match in FORBIDDEN[what].finditer(content)]
        found += [f"{relative(path)}: {text}" for text in matches if (relative(path), text) not in ALLOWED]
    assert found == []


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / ".ci" / "requirements" / lock).read_text().splitlines()
    found = [re.match(r"([a-z0-9-]+)==([^ ;\\]+)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def test_both_locks_pin_every_dependency_to_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[><=~!\[; ]", item)[0].lower() for item in project["dependencies"]}
    dev, freeze = pins("dev.txt"), pins("freeze.txt")
    assert names <= dev.keys() & freeze.keys()
    assert {name: dev[name] for name in dev.keys() & freeze.keys()} == {
        name: freeze[name] for name in dev.keys() & freeze.keys()
    }


@pytest.mark.parametrize("lock", ["dev.txt", "freeze.txt", "libz.txt", "lock.txt", "mutants.txt"])
def test_every_locked_package_has_a_hash(lock: str) -> None:
    text = (ROOT / ".ci" / "requirements" / lock).read_text()
    packages = re.split(r"\n(?=[a-z0-9])", text)
    assert all("--hash=sha256:" in package for package in packages if "==" in package)
    assert "--index" not in text
    assert "--find-links" not in text


def test_the_wheel_puts_no_install_on_a_path() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["scripts"]) == {"bundle"}
    assert "Private :: Do Not Upload" in project["classifiers"]
