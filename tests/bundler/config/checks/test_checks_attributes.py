"""Modes of trees are those that git records or bundle.yaml declares, never those of a umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.archive.inputs import collect
from bundler.config.loader import load
from installer.core.errors import UnfitInputError
from installer.core.format.entries.capabilities import xattr
from tests.rig.gitcheckout import git
from tests.rig.inodes import acl, attributes, give
from tests.rig.products import make_product


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.fixture
def made(product_dir: Path) -> Path:
    """A product with a tree that has a program, a file and two directories."""
    web = product_dir / "build/web"
    (web / "bin").mkdir(parents=True)
    (web / "keys/deep").mkdir(parents=True)
    for name in ("index.html", "bin/run", "keys/a.key", "keys/deep/b"):
        (web / name).write_text("x\n")
    (web / "bin/run").chmod(0o755)
    return product_dir


def declare(directory: Path, attributes: str = "") -> None:
    more = f", attributes: [{attributes}]" if attributes else ""
    path = directory / "bundle.yaml"
    path.write_text(f"{path.read_text()}trees: [{{path: build/web, install: /srv/web{more}}}]\n")


def modes(directory: Path) -> dict[str, str]:
    config = load(directory, "1.4.0")
    found = collect(config)
    rows = [(item.entry.path, item.entry.mode) for item in found.inputs]
    return {path: f"{mode:04o}" for path, mode in [*rows, *((d.path, d.mode) for d in found.directories)]}


def faults(directory: Path) -> list[str]:
    with pytest.raises(UnfitInputError) as caught:
        load(directory, "1.4.0")
    return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]


def test_three_clones_under_three_umasks_are_one_release(made: Path, tmp_path: Path) -> None:
    declare(made)
    git(made, "init", "-q")
    git(made, "add", ".")
    git(made, "commit", "-qm", "x")
    found = []
    for umask in (0o022, 0o002, 0o077):
        clone = tmp_path / f"clone-{umask:o}"
        os.umask(umask)
        git(tmp_path, "clone", "-q", str(made), str(clone))
        os.umask(0o022)
        assert stat.S_IMODE((clone / "build/web/bin/run").stat().st_mode) == 0o777 & ~umask
        found.append((modes(clone), load(clone, "1.4.0").warnings == load(made, "1.4.0").warnings))
    assert found[0] == found[1] == found[2]
    assert found[0][1]
    assert found[0][0]["trees/web/bin/run"] == "0755"
    assert found[0][0]["trees/web/index.html"] == "0644"
    assert not [path for path in found[0][0] if path in ("trees/web/bin", "trees/web/keys")]


def test_what_is_declared_counts_and_the_last_entry_wins(made: Path) -> None:
    declare(
        made,
        "{path: '*.key', mode: '0600'}, {path: /keys/, mode: '0750'},"
        " {path: bin/*, mode: '0750'}, {path: bin/run, owner: 'root:chat'}",
    )
    found = modes(made)
    assert found["trees/web/keys/a.key"] == "0600"
    assert found["trees/web/keys"] == "0750"
    assert found["trees/web/bin/run"] == "0750"
    assert found["trees/web/keys/deep/b"] == "0644"
    (run,) = [item.entry for item in collect(load(made, "1.4.0")).inputs if item.entry.path.endswith("/run")]
    assert run.owner == "root:chat"


def test_a_pattern_that_matches_nothing_is_refused(made: Path) -> None:
    declare(made, "{path: '*.pem', mode: '0600'}, {path: '*.key', mode: '0600'}")
    (fault,) = faults(made)
    assert fault.endswith("attributes: *.pem matches nothing in build/web")


def test_a_pattern_that_is_none_is_refused(made: Path) -> None:
    declare(made, "{path: '!a', mode: '0600'}")
    (fault,) = faults(made)
    assert "attributes: '!a' starts with !" in fault


def test_a_file_that_is_private_here_and_will_not_be_is_named(made: Path) -> None:
    (made / "build/web/keys/a.key").chmod(0o600)
    declare(made)
    assert modes(made)["trees/web/keys/a.key"] == "0644"
    (warning,) = [each for each in load(made, "1.4.0").warnings if each.code == "private-files"]
    assert "keys/a.key" in warning.what
    assert "attributes" in warning.hint


def test_nothing_is_said_where_the_umask_closes_all_files(made: Path) -> None:
    for path in (made / "build/web").rglob("*"):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    declare(made)
    assert not [each for each in load(made, "1.4.0").warnings if each.code == "private-files"]


@pytest.mark.parametrize(("bits", "bit"), [(0o2755, "the setgid bit"), (0o1777, "the sticky bit")])
def test_a_bit_of_a_directory_that_would_be_lost_is_refused(made: Path, bits: int, bit: str) -> None:
    (made / "build/web/keys").chmod(bits)
    declare(made)
    assert faults(made) == [f"build/web/keys: has {bit}, which would be lost"]


def test_a_checkout_in_a_setgid_directory_is_like_any_other(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    made = make_product(shared)
    (made / "build/web/css").mkdir(parents=True)
    (made / "build/web/css/a").write_text("x")
    assert (made / "build/web/css").stat().st_mode & stat.S_ISGID
    declare(made)
    assert "trees/web/css" not in modes(made)


@pytest.mark.parametrize("place", ["build/web/bin/run", "build/linux-amd64/chatd", "CHANGELOG.md"])
@pytest.mark.parametrize(
    ("attribute", "value", "what"),
    [
        ("acl", acl(), "has an ACL, which would be lost"),
        ("note", b"x", "has the attribute user.note, which would be lost"),
        ("capability", xattr("cap_net_raw=ep"), "has capabilities (cap_net_raw=ep), which would be lost"),
    ],
)
def test_what_a_source_has_and_nothing_declares_is_refused(
    made: Path, place: str, attribute: str, value: bytes, what: str
) -> None:
    give(made / place, **{attribute: value})
    declare(made)
    assert [fault.partition(": ")[2].removeprefix(f"{place} ") for fault in faults(made)] == [what]


def test_an_acl_that_was_inherited_and_notes_of_a_browser_say_nothing(made: Path) -> None:
    web = made / "build/web"
    give(web / "keys", default=acl(7, 5, 5, 5, 5))
    (web / "keys/c.txt").write_text("x\n")
    assert "system.posix_acl_access" in attributes(web / "keys/c.txt")
    give(web / "index.html", **{"xdg.origin.url": b"https://example.org"})
    declare(made)
    # The directory that passes it on was told to by somebody.
    assert faults(made) == ["build/web/keys: has an ACL, which would be lost"]
    give(made / "build", default=acl(7, 5, 5, 5, 5))
    give(web, default=acl(7, 5, 5, 5, 5))
    assert "trees/web/keys/c.txt" in modes(made)


def test_capabilities_that_are_declared_are_carried_in_one_form(made: Path) -> None:
    give(made / "build/web/bin/run", capability=xattr("cap_net_raw=ep"))
    place = "    install: /opt/lan-chat/bin/chatd\n"
    text = (made / "bundle.yaml").read_text()
    more = "    capabilities: CAP_KILL,cap_chown+pe\n"
    (made / "bundle.yaml").write_text(text.replace(place, place + more))
    declare(made, "{path: bin/run, capabilities: cap_net_bind_service+ep}")
    found = {item.entry.path: item.entry for item in collect(load(made, "1.4.0")).inputs}
    assert found["bin/linux-amd64/chatd"].capabilities == "cap_chown,cap_kill=ep"
    assert found["trees/web/bin/run"].capabilities == "cap_net_bind_service=ep"
    assert found["trees/web/index.html"].capabilities == ""


@pytest.mark.parametrize(
    ("attributes_", "what"),
    [
        ("{path: bin/run, capabilities: cap_all=ep}", "is not the name of a capability"),
        ("{path: bin/, capabilities: cap_chown=ep}", "is a directory, which cannot have capabilities"),
        ("{path: bin/run, mode: '2755'}", "is for directories only"),
        ("{path: bin/run, mode: '4755'}", "attributes"),
        ("{path: bin/run, mode: '0777'}", "attributes"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(made: Path, attributes_: str, what: str) -> None:
    declare(made, attributes_)
    assert what in "\n".join(faults(made))


def test_capabilities_of_what_is_not_installed_are_refused(made: Path) -> None:
    path = made / "bundle.yaml"
    rule = "attributes: [{path: bin/run, capabilities: cap_chown=ep}, {path: keys/, mode: '1777'}]"
    path.write_text(f"{path.read_text()}trees: [{{path: build/web, {rule}}}]\n")
    found = faults(made)
    assert found
    assert all("stays in the directory of the release" in fault for fault in found)


def test_a_directory_with_special_bits_and_an_owner_is_carried(made: Path) -> None:
    (made / "build/web/keys").chmod(0o2775)
    declare(made, "{path: /keys/, mode: '2770', owner: 'root:chat'}")
    (row,) = collect(load(made, "1.4.0")).directories
    assert (row.path, row.mode, row.owner) == ("trees/web/keys", 0o2770, "root:chat")
