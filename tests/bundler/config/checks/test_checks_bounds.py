"""Hostile inputs of `create` cost time that grows with their size, not with its square or its power."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.config.checks import changelog, destinations, documents, images, inputs, trees
from bundler.config.checks.destinations import InstallPath
from bundler.config.compose.project import Project, read
from bundler.config.entries import Entries
from bundler.config.model import InputTree
from bundler.config.secrets.allowances import Allowances
from bundler.config.used_images.use import ImageUse
from bundler.image_sources.base import ImageEntry
from bundler.image_sources.docker import EngineSource
from installer.core.semver import parse
from installer.shared import strict_yaml
from tests.rig.hang import ends


def composed(text: str) -> Project:
    with tempfile.TemporaryDirectory() as directory, ends():
        Path(directory, "compose.yaml").write_text(text)
        return read(Path(directory), ["compose.yaml"], {})


class TestCompose:
    def test_merge_keys_that_multiply_are_read_in_time(self) -> None:
        rows = ["x0: &x0 {image: 'a:1'}"]
        rows += [f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 10)}]}}" for n in range(1, 16)]
        rows = [f"x-{row}" for row in rows]
        found = composed("\n".join([*rows, "services:", "  a: *x15"]))
        assert [use.reference for use in found.uses] == ["a:1"]

    def test_a_mapping_that_merges_itself_is_read_in_time(self) -> None:
        found = composed("x-x: &x\n  <<: [*x, *x]\n  tty: true\nservices:\n  a: *x\n  b: {image: 'b:1'}\n")
        assert [use.reference for use in found.uses] == ["b:1"]

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("x: &x\n  k: [*x]\nservices:\n  a: *x\n", "is nested in itself"),
            (
                "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9 if n else '1')}]" for n in range(20)),
                "values",
            ),
            (
                "\n".join(f"x{n}: &x{n} {{<<: *x{n - 1}}}" if n else "x0: &x0 {a: 1}" for n in range(9000)),
                "merges more than 200 others",
            ),
            (f"x: {'[' * 90}{']' * 90}\n", "deeper than 64 levels"),
        ],
    )
    def test_aliases_without_an_end_are_refused_in_time(self, text: str, what: str) -> None:
        problems = composed(text).problems
        assert [what in problem.what for problem in problems] == [True]

    def test_many_services_that_merge_one_large_mapping_are_refused_in_time(self) -> None:
        large = "".join(f"  k{n}: 1\n" for n in range(20_000))
        services = "".join(f"  s{n}: {{<<: *big}}\n" for n in range(9000))
        found = composed(f"x: &big\n{large}  image: 'a:1'\nservices:\n{services}")
        assert "has more than 100000 values" in found.problems[0].what

    def test_many_services_that_share_one_long_list_are_refused_in_time(self) -> None:
        files = ", ".join(f"e{n}" for n in range(20_000))
        services = "".join(f"  s{n}: {{image: 'a:1', env_file: *e}}\n" for n in range(6000))
        found = composed(f"x: &e [{files}]\nservices:\n{services}")
        assert "has more than 100000 values" in found.problems[0].what

    def test_many_services_are_read_in_time(self) -> None:
        each = "{image: 'a:1', environment: {A: 1}, ports: ['80']}"
        services = "".join(f"  s{n}: {each}\n" for n in range(3000))
        assert len(composed(f"services:\n{services}").uses) == 3000

    def test_an_image_of_variables_in_variables_is_refused_in_time(self) -> None:
        found = composed(f"services:\n  a:\n    image: '{'${a-' * 250_000}'\n")
        assert "longer than 1,024 characters" in found.problems[0].what

    def test_the_first_merged_mapping_wins_and_own_entries_before_it(self) -> None:
        found = composed(
            "a: &a {image: 'a:1'}\nb: &b {image: 'b:1', env_file: x}\nc: &c {<<: [*a, *b]}\n"
            "services:\n  one: {<<: *c}\n  two: {<<: [*b, *c]}\n  three: {image: 'own:1', <<: *c}\n"
        )
        assert [use.reference for use in found.uses] == ["a:1", "b:1", "own:1"]
        assert [problem.what.partition(" refers")[0] for problem in found.problems] == [
            f"env_file of service {name}" for name in ("one", "two", "three")
        ]


def test_many_inputs_for_one_destination_are_compared_in_time() -> None:
    places = [InstallPath("/opt/x", f"input{n}", f"bundle.yaml:{n}") for n in range(50_000)]
    with ends():
        assert len(destinations.check(places)) == 49_999


def test_many_destinations_inside_of_one_are_compared_in_time() -> None:
    places = [InstallPath(f"/opt/x/{n}", f"input{n}", f"bundle.yaml:{n + 2}") for n in range(50_000)]
    with ends():
        assert len(destinations.check([InstallPath("/opt/x", "x", "bundle.yaml:1"), *places])) == 50_000


def test_many_missing_images_and_many_listed_ones_are_compared_in_time() -> None:
    uses = [ImageUse(f"repo/image{n}:1", f"s{n}", f"c:{n}") for n in range(20_000)]
    listed = [ImageEntry(EngineSource, f"repo/other{n}:1") for n in range(20_000)]
    with ends():
        assert len(images.missing(uses, listed)) == 20_000


def test_many_missing_inputs_beside_many_files_are_named_in_time(tmp_path: Path) -> None:
    for number in range(5000):
        os.mknod(tmp_path / f"file{number:05}")
    value = {"binaries": [{"path": f"filf{number:05}"} for number in range(5000)]}
    with ends():
        entries = Entries(tmp_path, strict_yaml.load(b"{}", "bundle.yaml"), value, "1.0.0", ["linux/amd64"])
    absent = [each for each in entries.problems if each.what.startswith("filf")]
    assert len(absent) == 5000
    assert sum(each.hint.startswith("did you mean") for each in absent) == 25


def test_a_missing_input_in_a_directory_of_very_many_files_is_named_in_time(tmp_path: Path) -> None:
    for number in range(2000):
        os.mknod(tmp_path / f"file{number:05}")
    problem = inputs.file_problem(tmp_path / "absent", "absent", "bundle.yaml:1")
    assert problem is not None
    assert problem.what == "absent does not exist"


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A tree whose path is as long as a name in a bundle may be, and one that is longer than any path."""
    for name, depth in (("long", 507), ("longer", 3000)):
        (tmp_path / name).mkdir()
        fd = os.open(tmp_path / name, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("a", dir_fd=fd)
            above, fd = fd, os.open("a", os.O_RDONLY, dir_fd=fd)
            os.close(above)
        os.mknod("f", dir_fd=fd)
        os.close(fd)
    yield tmp_path
    # What pytest removes its directories with is recursive.
    subprocess.run(["rm", "-rf", *(str(tmp_path / name) for name in ("long", "longer"))], check=True)


def test_directories_in_directories_are_surveyed_up_to_a_depth(deep: Path) -> None:
    tree, problems = trees.survey(InputTree("x", deep / "long", "trees/x"), "w", Allowances())
    assert (len(tree.files), len(tree.directories), problems) == (1, 507, [])
    _, problems = trees.survey(InputTree("x", deep / "longer", "trees/x"), "w", Allowances())
    assert len(problems) == 1


@pytest.mark.parametrize("unit", ["## [9.9.9\n", "## 1.4.1\n", "#", "[a]: b\n", "```\n", "## [", "## a("])
def test_a_changelog_of_four_megabytes_is_read_in_time(unit: str) -> None:
    data = (unit * (changelog.MAX_BYTES // len(unit))).encode()
    with ends():
        assert changelog.section(data, "CHANGELOG.md", parse("1.4.0"))[1]


@pytest.mark.parametrize("unit", ["TODO ", "lorem ", "lorem ipsum", "example-", "```", "\t", "X"])
def test_a_document_of_a_megabyte_is_read_in_time(unit: str) -> None:
    with ends():
        assert len(documents.check((unit * (2**20 // len(unit))).encode(), "a.md", "x")) <= 1
