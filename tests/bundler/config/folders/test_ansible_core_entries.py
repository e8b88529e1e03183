"""Directories with ansible-core in bundle.yaml: whole, Python only, with their licences, or refused."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.config.folders import ansible_core
from bundler.config.folders.ansible_core import read
from bundler.config.folders.folder_files import Folder
from bundler.config.loader import load
from installer.core.errors import UnfitInputError
from tests.rig.playbooks import ansible_core as made_by_pip
from tests.rig.products import add, elf, put

CORE = "ansible_core-2.19.0.dist-info"
TOOLS = "tools/ansible-core"
METADATA = "Metadata-Version: 2.4\nName: {}\nVersion: {}\n{}\nA text.\n"


def package(directory: Path, name: str, version: str, needs: str, files: dict[str, bytes]) -> None:
    """Install a package as pip does."""
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        f"{folder}/METADATA": METADATA.format(name, version, needs).encode(),
        f"{folder}/licenses/COPYING": b"free\n",
        **files,
    }
    rows = ["../../bin/tool,,", f"{folder}/RECORD,,"]
    for path, data in files.items():
        put(directory, path, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        rows.append(f"{path},sha256={digest},{len(data)}")
    put(directory, f"{folder}/RECORD", "\n".join(rows) + "\n")


def install(directory: Path) -> Path:
    """Install a small ansible-core with what it needs; return the directory."""
    needs = "Requires-Python: >=3.11\nRequires-Dist: jinja2>=3\nRequires-Dist: cryptography\n"
    needs += 'Requires-Dist: extra-thing; extra == "more"\n'
    files = {"ansible/cli/playbook.py": b"main = print\n", "ansible/release.py": b"x = 1\n"}
    package(directory, "ansible-core", "2.19.0", needs, files | {"ansible_test/a.py": b""})
    package(directory, "Jinja2", "3.1.6", "Requires-Dist: MarkupSafe\n", {"jinja2/__init__.py": b""})
    package(directory, "MarkupSafe", "3.0", "", {"markupsafe/a.py": b"", "markupsafe/_speedups.so": elf()})
    package(directory, "cryptography", "50", "Requires-Dist: cffi\n", {"cryptography/_rust.abi3.so": elf()})
    put(directory, "bin/ansible-playbook", "#!/usr/bin/python3\n")
    put(directory, "ansible/__pycache__/release.cpython-311.pyc", "x")
    return directory


def of(tmp_path: Path, bounds: str = "") -> Folder:
    return read(tmp_path, TOOLS, bounds, "bundle.yaml:7")


def test_what_pip_has_made_travels_as_a_whole_and_is_python_only(tmp_path: Path) -> None:
    made_by_pip(tmp_path / TOOLS)
    folder = of(tmp_path, ">=2.15")
    assert folder.problems == []
    names = [member.removeprefix("deploy/ansible-core/") for member in folder.members]
    assert names[0] == "ansible/cli/playbook.py"
    assert {"jinja2/__init__.py", "yaml/__init__.py", "ansible/modules/pip.py"} < set(names)
    assert any(name.endswith("/licenses/COPYING") for name in names)
    assert not [name for name in names if name.endswith((".so", ".pyc")) or name.startswith("cryptography")]


def test_what_is_compiled_only_for_speed_or_for_vault_stays_behind(tmp_path: Path) -> None:
    install(tmp_path / TOOLS)
    folder = of(tmp_path, ">=2.15,<2.20")
    assert folder.problems == []
    assert {given.partition("/")[2].split("/")[1] for given, _ in folder.files} == {
        *("ansible", "jinja2", "markupsafe"),
        *(CORE, "Jinja2-3.1.6.dist-info", "MarkupSafe-3.0.dist-info"),
    }
    assert f"{TOOLS}/markupsafe/_speedups.so" not in dict(folder.files)


Break = Callable[[Path], object]
BAD: dict[str, tuple[Break, str, str]] = {
    "no directory": (shutil.rmtree, "tools/ansible-core does not exist", ""),
    "another directory": (
        lambda at: shutil.rmtree(at / CORE),
        "has no ansible-core, or only a part of it",
        "pip install --target DIRECTORY ansible-core==VERSION",
    ),
    "a part of the directory": (
        lambda at: (at / "ansible/cli/playbook.py").unlink(),
        "is incomplete or was changed: ansible/cli/playbook.py of ansible-core 2.19.0 is missing",
        "make it again",
    ),
    "an edited file": (
        lambda at: (at / "ansible/release.py").write_text("x = 2\n"),
        "ansible/release.py of ansible-core 2.19.0 is not as it was installed",
        "make it again",
    ),
    "a link to a file": (
        lambda at: ((at / "ansible/release.py").unlink(), (at / "ansible/release.py").symlink_to("cli")),
        "ansible/release.py is a link",
        "",
    ),
    "a package that is missing": (
        lambda at: [shutil.rmtree(at / name) for name in ("markupsafe", "MarkupSafe-3.0.dist-info")],
        "has no markupsafe, which jinja2 3.1.6 needs",
        "make it again",
    ),
    "no list of files": (
        lambda at: (at / CORE / "RECORD").unlink(),
        "has no RECORD of ansible-core 2.19.0",
        "make it again",
    ),
    "no licence": (
        lambda at: (
            package(at, "netaddr", "1.3", "", {"netaddr-1.3.dist-info/licenses/COPYING": b""})
            or put(at, "netaddr-1.3.dist-info/RECORD", "netaddr-1.3.dist-info/RECORD,,\n")
            or shutil.rmtree(at / "netaddr-1.3.dist-info/licenses")
        ),
        "has no licence of netaddr 1.3",
        "put it into its directory netaddr-1.3.dist-info, as LICENSE",
    ),
    "a module compiled for a platform": (
        lambda at: package(at, "lxml", "6.0", "", {"lxml/etree.cpython-311-aarch64-linux-gnu.so": elf(183)}),
        "has lxml/etree.cpython-311-aarch64-linux-gnu.so of lxml 6.0, which is compiled for arm64",
        "only Python files travel: leave lxml out",
    ),
    "a program without the name of one": (
        lambda at: package(at, "helper", "1", "", {"helper/run": elf()}),
        "has helper/run of helper 1, which is compiled for amd64",
        "leave helper out",
    ),
    "a file of no package": (
        lambda at: put(at, "ansible_collections/ansible/posix/MANIFEST.json", "{}"),
        "has ansible_collections/ansible/posix/MANIFEST.json, which belongs to no package",
        "next to the playbook",
    ),
    "too many files": (
        lambda at: package(at, "many", "1", "", {f"many/{number}.py": b"" for number in range(4100)}),
        "files; a step can have 4096",
        "take ansible-core alone",
    ),
    "a large file": (
        lambda at: package(at, "large", "1", "", {"large/data": bytes(16 * 2**20 + 1)}),
        "has large/data, which is larger than 16 MiB",
        "take ansible-core alone",
    ),
}


@pytest.mark.parametrize(("broken", "what", "hint"), BAD.values(), ids=BAD)
def test_what_no_host_could_run_or_nobody_may_pass_on_is_refused(
    tmp_path: Path, broken: Break, what: str, hint: str
) -> None:
    broken(install(tmp_path / TOOLS))
    (found, *_) = [each for each in of(tmp_path).problems if what in each.what]
    assert found.where == "bundle.yaml:7"
    assert hint in found.hint


def test_a_directory_that_is_too_large_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ansible_core, "_MOST_BYTES", 1024)
    install(tmp_path / TOOLS)
    (found,) = of(tmp_path).problems
    assert "a step can have" in found.what


def test_a_version_outside_of_the_range_of_the_step_is_refused(tmp_path: Path) -> None:
    install(tmp_path / TOOLS)
    (found,) = of(tmp_path, ">=2.20").problems
    assert found.what == f"{TOOLS} has ansible-core 2.19.0, but the step needs >=2.20 (`ansible_core`)"


STEP = "deploy: [{method: ansible, playbook: deploy/ansible/site.yml, ansible: tools/ansible-core%s}]\n"


def test_a_step_lists_its_files_and_what_they_contain_is_no_secret_of_the_product(product_dir: Path) -> None:
    put(product_dir, "deploy/ansible/site.yml", "- hosts: all\n")
    install(product_dir / TOOLS)
    key = b"aws_secret_access_key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEZ'\n"
    package(product_dir / TOOLS, "clouds", "1", "", {"clouds/test_login.py": key})
    add(product_dir, STEP % "")
    config = load(product_dir, "1.4.0")
    (step,) = config.manifest.deploy
    items = {item.member: item for item in config.items}
    assert {items[path].kind for path in step.options["ansible"]} == {"ansible-core"}
    add(product_dir, STEP % ", ansible_core: '>=2.20'")
    with pytest.raises(UnfitInputError, match="but the step needs"):
        load(product_dir, "1.4.0")
