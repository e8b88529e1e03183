"""CONTRIBUTING's example of a deployment method works, added to a copy of the tree from the guide's own text.

One module, one spec, one schema branch and one test, and nothing else of the product knows its name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"
NAME = "etc_hosts"
SPEC_LIST, YAML_SCHEMA, MANIFEST_SCHEMA = (
    "installer/core/format/methods.py", "schemas/v1/bundle-yaml.schema.json", "schemas/v1/bundle.schema.json",
)  # fmt: skip
MODULE, TEST = f"installer/deploy/{NAME}.py", f"tests/installer/deploy/test_{NAME}.py"
OTHERS = "127.0.0.1 localhost\n"
BUNDLE = """\
schema: waybill/v1
product: shop
platforms: [linux/amd64, linux/arm64]
trees: [{path: web, install: /srv/shop}]
docs: {changelog: CHANGELOG.md, upgrade: UPGRADE.md}
deploy: [{method: etc_hosts, name: db.lan, address: ADDRESS}]
"""


def blocks() -> dict[str, str]:
    """The example's blocks of code by what the guide says to do with them."""
    marked = r"^<!-- ([^\n]*) -->\n```\w+\n(.*?)^```$"
    return dict(re.findall(marked, GUIDE.read_text(), re.DOTALL | re.MULTILINE))


def insert(path: Path, before: str, text: str) -> None:
    content = path.read_text()
    assert content.count(before) == 1, f"{path}: {before!r}"
    path.write_text(content.replace(before, text + before))


@dataclass
class Tree:
    """A copy of the tree with the example in it, a desk and a host."""

    top: Path
    home: Path

    @property
    def host(self) -> Path:
        return self.home / "host"

    @property
    def hosts(self) -> Path:
        return self.host / "etc/hosts"

    def python(self, *words: str | Path) -> str:
        """Run Python with the copied tree; it has to succeed."""
        env = {**os.environ, "PYTHONPATH": str(self.top), "COSIGN_PASSWORD": "correct horse"}
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=self.home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def bundle(self, *words: str | Path) -> str:
        return self.python("-c", "from bundler.cli.main import main; main()", *words)

    def install(self, *words: str | Path) -> str:
        return self.python("-c", "from installer.cli.main import main; main()", *words, "--root", self.host)

    def release(self, version: str, address: str) -> Path:
        directory, path = self.home / f"shop-{version}", self.home / f"shop-{version}.tar"
        (directory / "web").mkdir(parents=True)
        (directory / "web/index.html").write_text(version)
        (directory / "CHANGELOG.md").write_text(f"# Changelog\n\n## {version}\n\nNew.\n")
        (directory / "UPGRADE.md").write_text("Nothing to do.\n")
        (directory / "bundle.yaml").write_text(BUNDLE.replace("ADDRESS", address))
        self.bundle("create", version, "-C", directory, "-o", path, "--key", "release.key")
        return path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    made = Tree(tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("home"))
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("bundler", "installer", "schemas", "templates", "docs", "tests"):
        shutil.copytree(ROOT / name, made.top / name, ignore=ignored)
    shutil.copy2(ROOT / "pyproject.toml", made.top)
    guide = blocks()
    for name in (MODULE, TEST):
        (made.top / name).write_text(guide.pop(f"file: {name}"))
    spec = guide.pop(f"add to METHODS: {SPEC_LIST}")
    text = textwrap.indent(spec.rstrip(), "    ") + ",\n"
    insert(made.top / SPEC_LIST, ')\n"""All methods of this version', text)
    schema: dict[str, Any] = json.loads((made.top / YAML_SCHEMA).read_text())
    branch = json.loads(guide.pop(f"add to deploy: {YAML_SCHEMA}"))
    schema["properties"]["deploy"]["items"]["oneOf"].append(branch)
    schema["$defs"]["when"]["enum"].append(NAME)
    (made.top / YAML_SCHEMA).write_text(json.dumps(schema))
    schema = json.loads((made.top / MANIFEST_SCHEMA).read_text())
    schema["$defs"]["deployment"]["allOf"].append(json.loads(guide.pop(f"add to allOf: {MANIFEST_SCHEMA}")))
    schema["$defs"]["deployment"]["properties"]["method"]["enum"].append(NAME)
    schema["$defs"]["health"]["properties"]["when"]["enum"].append(NAME)
    (made.top / MANIFEST_SCHEMA).write_text(json.dumps(schema))
    assert guide == {}, "the guide has blocks that this test does not carry out"
    return made


def test_no_other_file_has_its_name(tree: Tree) -> None:
    files = [path for path in tree.top.rglob("*") if path.is_file() and path.suffix in (".py", ".json")]
    named = {path.relative_to(tree.top).as_posix() for path in files if NAME in path.read_text()}
    own = Path(__file__).resolve().relative_to(ROOT).as_posix()
    assert named == {MODULE, SPEC_LIST, YAML_SCHEMA, MANIFEST_SCHEMA, TEST, own}


def test_the_test_of_an_added_method_the_contract_and_the_generated_pages_pass(tree: Tree) -> None:
    page = tree.top / "docs/reference/bundle-yaml.md"
    before = page.read_text()
    [command] = re.findall(r"^5\\\..*`python ([^`]+)`", GUIDE.read_text(), re.MULTILINE)
    tree.python(*command.split())
    assert NAME in page.read_text()
    assert NAME not in before
    pages = f"{tree.top / 'tests/docs/test_reference.py'}::test_generated_pages_are_current"
    contract = tree.top / "tests/architecture/test_methods.py"
    options = ("-q", "-p", "no:cacheprovider", f"--rootdir={tree.top}", "-c", tree.top / "pyproject.toml")
    said = tree.python("-m", "pytest", *options, tree.top / TEST, contract, pages)
    assert re.search(r"^\d+ passed", said.splitlines()[-1]), said


def test_a_product_is_created_installed_upgraded_rolled_back_and_removed(tree: Tree) -> None:
    only = ("--yes", "--only", f"files,{NAME}")
    tree.hosts.parent.mkdir(parents=True)
    tree.hosts.write_text(OTHERS)
    (tree.host / "srv").mkdir()
    tree.bundle("keygen", "release")
    tree.bundle("trust", "init", "root.json", "--release-key", "release.pub")
    print_ = json.loads(tree.bundle("trust", "show", "root.json", "--json"))["trust"]["fingerprint"]
    tree.install("trust", "init", "root.json", "--fingerprint", print_)

    tree.install(tree.release("1.0.0", "10.0.0.1"), *only)
    first = OTHERS + "10.0.0.1 db.lan # shop: db.lan\n"
    assert tree.hosts.read_text() == first
    tree.install(tree.release("2.0.0", "10.0.0.2"), *only)
    assert tree.hosts.read_text() == OTHERS + "10.0.0.2 db.lan # shop: db.lan\n"

    tree.hosts.write_text(OTHERS)
    (found,) = json.loads(tree.install("status", "--json"))["products"]
    assert [drift["where"] for drift in found["drift"]] == ["/etc/hosts"]

    tree.install("rollback", *only)
    assert tree.hosts.read_text() == first
    removed = json.loads(tree.install("remove", "shop", "--yes", "--json"))["removal"]
    assert tree.hosts.read_text() == OTHERS
    assert removed["counts"]["hosts line"] == 1
    assert removed["left"] == []
