"""Every image that a Compose file uses has to be on the list."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from bundler.config.checks.images import missing, name_problem, names_in, normalise
from bundler.config.compose.project import Project, read
from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.base import ImageEntry
from bundler.image_sources.docker import EngineSource
from bundler.image_sources.oci import LayoutSource
from tests.rig.hang import ends

VARIABLES = {"WAYBILL_VERSION": "1.4.0", "WAYBILL_PRODUCT": "lan-chat"}


@pytest.fixture
def compose(tmp_path: Path):
    """Read a project of one file, beside which nothing else is."""

    def reads(text: str) -> Project:
        (tmp_path / "compose.yaml").write_text(text)
        return read(tmp_path, ["compose.yaml"], VARIABLES)

    return reads


def docker(*references: str) -> list[ImageEntry]:
    return [ImageEntry(EngineSource, reference) for reference in references]


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("redis:7", "redis:7"),
        ("lan-chat/web:${WAYBILL_VERSION}", "lan-chat/web:1.4.0"),
        ("lan-chat/web:$WAYBILL_VERSION", "lan-chat/web:1.4.0"),
        ("lan-chat/web:${WAYBILL_VERSION:?unset}", "lan-chat/web:1.4.0"),
        ("lan-chat/web:${TAG:-2.0}", "lan-chat/web:2.0"),
        ("${REGISTRY-}lan-chat/web:1", "lan-chat/web:1"),
    ],
)
def test_images_of_services_are_found_with_variables_filled_in(compose, image, reference):
    found = compose(f"services:\n  web:\n    image: {image}\n")
    assert found.problems == []
    assert [(use.reference, use.user, use.where) for use in found.uses] == [
        (reference, "service web", "compose.yaml:3")
    ]


def test_anchors_merge_keys_and_loose_scalars_are_read_as_compose_reads_them(compose):
    found = compose(
        """\
x-base: &base {image: "base:1", restart: on-failure}
services:
  a: *base
  b: {<<: *base}
  c: {<<: [*base], image: "own:2"}
  d: {image: 'd:1', ports: [22:22], tty: "yes"}
"""
    )
    assert [use.reference for use in found.uses] == ["base:1", "base:1", "own:2", "d:1"]
    assert found.problems == []


def test_merges_that_multiply_are_looked_into_once(compose):
    lines = [
        f"x{n}: &s{n} {{<<: [{', '.join([f'*s{n - 1}'] * 10)}]}}" if n else "x0: &s0 {a: {image: x}}"
        for n in range(16)
    ]
    with ends():
        found = compose("\n".join([*lines, "services: {<<: *s15}", ""]))
    assert found.problems == []
    assert [use.reference for use in found.uses] == ["x"]


def test_a_graph_of_aliases_is_not_multiplied_out(compose):
    rows = ["x0: &x0 {image: 'a:1'}"]
    rows += [f"x{n}: &x{n} {{<<: [*x{n - 1}, *x{n - 1}]}}" for n in range(1, 12)]
    rows += ["services:", "  a: *x11"]
    assert [use.reference for use in compose("\n".join(rows)).uses] == ["a:1"]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("services:\n  a:\n    image: web:${TAG}\n", 3, "depends on $TAG, which is known only on the host"),
        ("services:\n  a:\n    image: web:{version}\n", 3, "placeholders are replaced only in bundle.yaml"),
        ("services:\n  a:\n    build: .\n", 3, "has build:, but hosts have no source code"),
        ("services:\n  a:\n    command: x\n", 2, "has no image"),
        ("services: {}\n", 1, "no services"),
        ("", 1, "no services"),
        ("[]", 1, "the document must be a mapping"),
        ("services:\n  a: {image: 'a:1', env_file: .env}\n", 2, "env_file of service a refers to .env"),
        ("services:\n  a: {image: 'a:1', env_file: [{path: ./x}]}\n", 2, "refers to ./x"),
        (
            "services:\n  a: {image: 'a:1'}\nsecrets:\n  s: {file: ./s.txt}\n",
            4,
            "secrets.s refers to ./s.txt",
        ),
        ("include: [other.yaml]\nservices:\n  a: {image: 'a:1'}\n", 1, "include refers to other.yaml"),
        (
            "services:\n  a: {extends: {file: b.yaml, service: b}}\n",
            2,
            "extends of service a refers to b.yaml",
        ),
        ("a: b: c\n", 1, "not YAML"),
    ],
)
def test_what_cannot_work_on_the_host_is_named(compose, text, line, what):
    found = compose(text)
    assert next(str(problem) for problem in found.problems if what in str(problem)).startswith(
        f"compose.yaml:{line}"
    )


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        ("docker.io/redis:7", "docker.io/library/redis:7"),
        ("lan-chat/web:1", "docker.io/lan-chat/web:1"),
        ("registry.lan:5000/web:1", "registry.lan:5000/web:1"),
        ("localhost/web", "localhost/web:latest"),
        ("web:1@sha256:" + "a" * 64, "docker.io/library/web:1"),
        ("web@sha256:" + "a" * 64, "docker.io/library/web@sha256:" + "a" * 64),
        ("Web:1", None),
        ("web:", None),
        ("http://web:1", None),
        ("", None),
    ],
)
def test_names_of_images_are_compared_in_full(short, full):
    assert normalise(short) == full


def test_images_of_mounts_hooks_and_jobs_are_found(compose):
    found = compose(
        """\
services:
  a:
    image: a:1
    volumes: [{type: image, source: "data:1", target: /d}, "b:/b"]
    pre_start: [{image: "hook:1", command: [x]}, {command: [y]}]
jobs:
  j: {image: "job:${TAG:-2}", triggers: []}
"""
    )
    assert {use.reference: use.where for use in found.uses} == {
        "a:1": "compose.yaml:3",
        "data:1": "compose.yaml:4",
        "hook:1": "compose.yaml:5",
        "job:2": "compose.yaml:7",
    }


def test_an_image_that_is_pinned_by_its_digest_is_the_one_of_that_name(compose):
    digest = "sha256:" + "a" * 64
    found = compose(f"services:\n  a: {{image: 'redis:7@{digest}'}}\n  b: {{image: 'web@{digest}'}}\n")
    assert [str(use.reference).partition("@")[2] for use in found.uses] == [digest, digest]
    for listed in (docker("redis:7", "web:3"), docker(f"redis:7@{digest}", "web:3")):
        assert missing(found.uses, listed) == []
    assert [problem.where for problem in missing(found.uses, docker("redis:6", "other:1"))] == [
        "compose.yaml:2",
        "compose.yaml:3",
    ]


def test_the_name_of_an_image_in_the_bundle_has_no_digest():
    problem = name_problem("web:1@sha256:" + "a" * 64, "bundle.yaml:3")
    assert problem is not None
    assert "has a digest" in problem.what
    assert name_problem("web:1", "bundle.yaml:3") is None


def test_an_image_that_is_not_listed_is_named_with_file_and_line(compose):
    uses = compose("services:\n  a: {image: 'redis:7'}\n").uses
    assert missing(uses, docker("docker.io/library/redis:7")) == []
    problem = missing(uses, docker("redis:6"))[0]
    assert str(problem) == (
        "compose.yaml:2: service a uses redis:7, which is not listed under images\n"
        "  hint: add redis:7 to images; did you mean redis:6?"
    )


def archive(path: Path, name: str, document: object) -> Path:
    data = json.dumps(document).encode()
    with tarfile.open(path, "w") as file:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))
    return path


def test_images_in_archives_and_layouts_count(tmp_path, compose):
    saved = archive(tmp_path / "saved.tar", "manifest.json", [{"RepoTags": ["redis:7", "redis:latest"]}])
    assert names_in(saved) == ["redis:7", "redis:latest"]
    index = {"manifests": [{"annotations": {"io.containerd.image.name": "docker.io/library/web:1"}}]}
    assert names_in(archive(tmp_path / "oci.tar", "index.json", index)) == ["docker.io/library/web:1"]
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout/index.json").write_text(json.dumps(index))
    assert names_in(tmp_path / "layout") == ["docker.io/library/web:1"]
    uses = compose("services:\n  a: {image: 'redis:7'}\n  b: {image: web:1}\n").uses
    sources = [
        ImageEntry(ArchiveSource, "saved.tar", saved),
        ImageEntry(LayoutSource, "layout", tmp_path / "layout"),
    ]
    assert missing(uses, sources) == []


@pytest.mark.parametrize("document", [[{"RepoTags": None}], {"manifests": [{}]}, 3, [3], {"manifests": 3}])
def test_no_image_is_called_missing_where_an_archive_does_not_name_its_images(tmp_path, compose, document):
    source = archive(tmp_path / "a.tar", "manifest.json", document)
    assert names_in(source) is None
    uses = compose("services:\n  a: {image: 'redis:7'}\n").uses
    assert missing(uses, [ImageEntry(ArchiveSource, "a.tar", source)]) == []


def test_a_broken_archive_does_not_tell(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"\x1f\x8b not a tar" * 100)
    assert names_in(tmp_path / "a.tar") is None
