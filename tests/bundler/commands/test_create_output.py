"""What `create` prints, and as JSON: a summary, every warning, and what was left out or let through."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from bundler.commands.create import plan_bundle, write_bundle
from bundler.config.loader import load
from bundler.image_sources.base import BlobSink, ImageEntry, ImageSource, ResolvedImage
from installer.core.format.manifest import Image
from installer.shared.progress import Progress
from tests.rig.answers import validator
from tests.rig.imagebuild import Built, layer, layout, saved_old, tar, write
from tests.rig.product import EPOCH, YAML, Product

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(product: Product, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`bundle` in the product's directory, in this process."""
    from bundler.cli.main import app, arranged, console
    from installer.shared.command.command_line import run_app

    for name in ("CI", "SOURCE_DATE_EPOCH", "WAYBILL_PROVENANCE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(product.directory.parent))
    monkeypatch.chdir(product.directory)

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = run_app(console, app, words, arranged)
        finally:
            console.json_output = False
        out, err = capsys.readouterr()
        return code, out, err

    return run


def document(out: str) -> dict[str, Any]:
    """The document of a run, checked against the schema of its command."""
    found: dict[str, Any] = json.loads(out)
    name = found["schema"].split("/")[2]
    validator(name).validate(found)
    return found


def test_a_dry_run_is_a_summary_and_all_lists_every_file(run: Run, product: Product) -> None:
    for number in range(300):
        (product.directory / f"web/{number}.js").write_text("x")
    code, out, _ = run("create", "v1.4.0", "--dry-run")
    assert code == 0
    assert len(out.splitlines()) < 15
    assert [row.split()[:2] for row in out.splitlines()[:4]] == [
        ["WHAT", "FILES"], ["docs", "3"], ["bin", "1"], ["trees", "302"],
    ]  # fmt: skip
    assert out.splitlines()[-1].endswith("; nothing was written")
    assert not product.target.exists()
    for words in (("--dry-run",), ()):
        code, out, _ = run("create", "v1.4.0", "--all", *words)
        assert code == 0
        assert "trees/web/299.js" in out


@pytest.mark.parametrize("form", ["oci", "archive"])
def test_a_dry_run_counts_layers_that_images_share_once(form: str, run: Run, product: Product) -> None:
    base = layer("base", 900_000)
    images = [Built("shop/app:1", [base, layer("app", 200_000)]), Built("shop/job:1", [base])]
    if form == "oci":
        write(product.directory / "images", layout(images))
    else:
        (product.directory / "images").write_bytes(tar(saved_old(images)))
    text = f"{YAML}images: [{{{form}: images}}]\ncompression: none\n"
    (product.directory / "bundle.yaml").write_text(text)
    code, out, _ = run("create", "v1.4.0", "--dry-run")
    assert code == 0
    assert "shared layers are stored once: 911.4 kB saved" in out.splitlines()
    code, out, _ = run("create", "v1.4.0", "--dry-run", "--json")
    most = document(out)["payload_bytes_at_most"]
    product.create()
    assert 0.9 < most / product.target.stat().st_size < 1


def with_binaries(product: Product, *lines: str) -> None:
    """Let the bundle.yaml of a product list further binaries."""
    more = "".join(f"  - {line}\n" for line in lines)
    (product.directory / "bundle.yaml").write_text(YAML.replace("trees:\n", f"{more}trees:\n"))


def test_every_problem_of_the_inputs_is_shown_however_many_there_are(product: Product) -> None:
    with_binaries(product, *(f"{{path: none/{n:02}, install: /opt/{n}}}" for n in range(62)))
    done = product.run("create", "v1.4.0")
    assert done.returncode == 30
    assert [n for n in range(62) if f"none/{n:02} does not exist" not in done.stderr] == []
    assert "--all" not in done.stderr


def test_many_problems_of_one_kind_are_shortened_unless_all_is_asked_for(product: Product) -> None:
    with_binaries(product, *(f"{{path: build/chatd, install: /opt/{n}}}" for n in range(30)))
    done = product.run("create", "v1.4.0")
    assert done.returncode == 30
    assert "- 30 × build/chatd is also listed in line 6" in done.stderr
    assert ("bundle.yaml:37" in done.stderr, "; --all shows all of them" in done.stderr) == (False, True)
    done = product.run("create", "v1.4.0", "--all")
    assert done.returncode == 30
    assert ("bundle.yaml:37: build/chatd" in done.stderr, "--all" in done.stderr) == (True, False)


def test_a_directory_that_is_not_there_is_not_made(run: Run, product: Product) -> None:
    code, _, err = run("create", "v1.4.0", "-o", "stick typo/b.tar")
    assert (code, (product.directory / "stick typo").exists()) == (30, False)
    assert "stick typo: the directory of the output does not exist" in err
    assert "hint: create it with `mkdir -p 'stick typo'`" in err
    assert run("create", "v1.4.0")[0] == 0
    assert product.target.exists()
    code, _, err = run("installer", "-o", "typo/install")
    assert (code, (product.directory / "typo").exists()) == (30, False), err


@pytest.mark.needs("git")
def test_warnings_are_on_stderr_and_in_the_document(run: Run, product: Product) -> None:
    (product.directory / "docs/UPGRADE.md").write_text("TODO\n")
    for words in (("--dry-run",), ()):
        code, out, err = run("create", "v1.4.0", *words)
        assert code == 0
        assert "warning" not in out
        assert err.count("warning: ") == 2
        code, out, _ = run("create", "v1.4.0", "--json", *words)
        found = document(out)
        assert [each["where"] or "" for each in found["warnings"]] == ["docs/UPGRADE.md:1", ""]
        assert all(each["what"] and each["hint"] for each in found["warnings"])
        assert [each["code"] for each in found["warnings"]] == ["unwritten-document", "no-commit"]
        assert found["source"]["unknown"] == "not a git repository"


def test_every_warning_has_a_name_that_the_document_explains() -> None:
    root = Path(__file__).parents[3]
    sources = [root / "bundler/provenance/source_rules.py", root / "bundler/commands/create.py"]
    sources += (root / "bundler/config").rglob("*.py")
    names = {
        argument.value
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Problem" and len(node.args) == 4
        for argument in node.args[3:]
        if isinstance(argument, ast.Constant)
    }
    page = (root / "docs/how-to/build-in-a-pipeline.md").read_text().split("| warning | about |")[1]
    explained = re.findall(
        r"`([a-z-]+)`", "".join(row.split("|")[1] for row in page.split("\n\n")[0].splitlines() if "|" in row)
    )
    assert sorted(names) == sorted(explained)


def test_what_is_left_out_and_let_through_is_shown(run: Run, product: Product) -> None:
    text = YAML.replace("  - path: web\n", "  - path: web\n    exclude: [js/]\n")
    text += "secrets_allow: [{path: web/demo.env, reason: of the demo only}]\n"
    (product.directory / "bundle.yaml").write_text(text)
    (product.directory / "web/demo.env").write_text("PASSWORD=hunter22\n")
    for words in (("--dry-run",), ()):
        _, out, _ = run("create", "v1.4.0", *words)
        assert "excluded    1 of web: js\n" in out
        assert "allowed     1 file by secrets_allow: web/demo.env\n" in out
        found = document(run("create", "v1.4.0", "--json", *words)[1])
        assert found["excluded"] == 1
        assert found["secrets_allowed"] == [
            {"path": "web/demo.env", "what": "a literal PASSWORD", "reason": "of the demo only"}
        ]


@pytest.mark.needs("git")
def test_a_pipeline_without_a_commit_needs_a_time(
    run: Run, product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    code, _, err = run("create", "v1.4.0")
    assert code == 30
    assert "SOURCE_DATE_EPOCH: no commit is recorded (not a git repository)" in err
    assert not product.target.parent.exists()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    assert run("create", "v1.4.0")[0] == 0


def test_what_is_required_is_reported_with_all_other_problems(run: Run) -> None:
    code, _, err = run("create", "v1.4.0", "--require", "source,clean", "--require", "tag")
    assert code == 30
    assert [f"--require {word}: " in err for word in ("source", "clean", "tag")] == [True] * 3
    code, _, err = run("create", "v1.4.0", "--require", "clen")
    assert (code, "did you mean clean?" in err) == (2, True)
    code, _, err = run("create", "v1.4.0", "--tag-prefix", "a b")
    assert (code, "--tag-prefix svc-a/" in err) == (2, True)


def test_the_schema_is_printed_as_it_is(run: Run, product: Product) -> None:
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["$id"] == "urn:waybill:schema:v1:bundle-yaml"
    assert document(run("schema", "--json")[1])["document"] == json.loads(out)
    run("init", "bell")
    assert (product.directory / "bell/bundle.schema.json").read_text() == out


@pytest.mark.parametrize("words", [("--list",), ("--template",), ("bell", "--template")])
def test_templates_are_listed(run: Run, product: Product, words: tuple[str, ...]) -> None:
    before = sorted(product.directory.iterdir())
    code, out, _ = run("init", *words)
    assert code == 0
    names = ["ansible", "ci", "compose", "helm", "monitoring", "quadlet"]
    names += ["salt", "script", "service", "systemd"]
    assert [line.split()[0] for line in out.splitlines()] == ["TEMPLATE", *names]
    assert document(run("init", *words, "--json")[1])["templates"].keys() == {*names}
    assert sorted(product.directory.iterdir()) == before


class Course(Progress):
    """What is reported, and what a source does, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def note(self, text: str) -> None:
        self.events.append(text)


def source_that(waits_for: str, course: Course) -> ImageSource:
    """A source without images, which says in the course when it is asked for them."""
    name = waits_for

    class Source(ImageSource):
        key = ""
        takes = "reference"
        waits_for = name

        @classmethod
        def from_entries(cls, entries: Sequence[ImageEntry], platforms: Sequence[str]) -> Self:
            return cls()

        def resolve(self) -> list[ResolvedImage]:
            return []

        def pack(self, sink: BlobSink) -> list[Image]:
            course.events.append("asked for the images")
            return []

    return Source()


def course_with(product: Product, waits_for: str) -> list[str]:
    """Creates the bundle with such a source; gives what happened."""
    course = Course()
    planned = plan_bundle(load(product.directory, "1.4.0"))
    write_bundle(replace(planned, sources=(source_that(waits_for, course),)), product.target, (), course)
    return course.events


def test_what_prepares_the_images_is_named_before_it_is_waited_for(product: Product) -> None:
    assert course_with(product, "the tape robot") == [
        "waiting for the tape robot, which prepares the images before it sends them",
        "asked for the images",
    ]


def test_a_source_that_sends_at_once_is_not_waited_for(product: Product) -> None:
    assert course_with(product, "") == ["asked for the images"]


@pytest.fixture(autouse=True)
def _no_bundle_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
