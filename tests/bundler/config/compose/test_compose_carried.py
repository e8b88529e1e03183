"""What a Compose project refers to is shipped with it; data are refused, since they belong to the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.compose import carried
from bundler.config.compose.project import Project, read
from bundler.config.loader import load
from installer.core.format.manifest_rules import used_features
from tests.rig.products import add, faults

VARIABLES = {"WAYBILL_VERSION": "1.4.0", "WAYBILL_PRODUCT": "lan-chat"}
PINNED = "sha256:" + "a" * 64
BASE = """\
include:
  - parts/db.yaml
  - {path: [parts/web.yaml, parts/web.prod.yaml], project_directory: ., env_file: web.env}
services:
  chat:
    extends: {file: common/base.yaml, service: base}
    env_file: [chat.env, {path: site.env, required: false}]
    volumes: ["./conf:/conf:ro", {type: bind, source: motd, target: /motd, read_only: true}, "data:/data"]
    configs: [c]
  once: {image: 'tool:1', profiles: [once]}
volumes: {data: {}, theirs: {external: true}}
configs: {c: {file: ./c.json}}
secrets: {s: {file: s.txt}, own: {file: /etc/chat/own}}
"""
EXTENDED = "services: {base: {extends: {file: deep/d.yaml, service: d}, env_file: b.env}}\n"
FILES = {
    "deploy/compose.yaml": BASE,
    "deploy/override.yaml": "services:\n  chat: {image: 'chat:2'}\n  web: {environment: {A: '1'}}\n",
    "deploy/parts/db.yaml": "services:\n  db: {image: 'db:1', env_file: db.env}\n",
    "deploy/parts/db.env": "",
    "deploy/parts/.env": "UNUSED=1\n",
    "deploy/parts/web.yaml": "services:\n  web: {image: 'web:${TAG}', volumes: ['./motd:/motd:ro,z']}\n",
    "deploy/parts/web.prod.yaml": "services:\n  web: {restart: always}\n",
    "deploy/web.env": "# the tag\nexport TAG='3'\n",
    "deploy/common/base.yaml": EXTENDED,
    "deploy/common/b.env": "B=1\n",
    "deploy/common/deep/d.yaml": "services:\n  d: {image: 'chat:1', volumes: ['./x:/x:ro']}\n",
    "deploy/common/deep/x/run.sh": "#!/bin/sh\n",
    "deploy/chat.env": "A=1\n",
    "deploy/conf/chat.conf": "a\n",
    "deploy/motd": "hello\n",
    "deploy/c.json": "{}\n",
    "deploy/s.txt": "x\n",
    "deploy/unused.txt": "x\n",
}


def put(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    put(tmp_path, FILES)
    (tmp_path / "deploy/common/deep/x/run.sh").chmod(0o775)
    return tmp_path


def project(directory: Path, *files: str) -> Project:
    return read(directory, files or ("deploy/compose.yaml",), VARIABLES)


def test_everything_that_a_project_refers_to_by_a_relative_path_is_shipped(product: Path) -> None:
    found = project(product, "deploy/compose.yaml", "./deploy/override.yaml")
    assert found.problems == []
    unused = {"deploy/compose.yaml", "deploy/override.yaml", "deploy/unused.txt"}
    assert set(found.carried) == set(FILES) - unused
    # The bits of the checkout depend on somebody's umask.
    assert {path for path, mode in found.carried.items() if mode == 0o755} == {"deploy/common/deep/x/run.sh"}
    assert [found.member(path) for path in found.files] == ["deploy/compose.yaml", "deploy/override.yaml"]


def test_the_image_of_an_override_wins_and_all_profiles_count(product: Path) -> None:
    merged = project(product, "deploy/compose.yaml", "deploy/override.yaml")
    images = {"chat": "chat:2", "once": "tool:1", "db": "db:1", "web": "web:3"}
    assert {use.user.removeprefix("service "): use.reference for use in merged.uses} == images
    alone = project(product)
    assert [(use.reference, use.where) for use in alone.uses if use.user == "service chat"] == [
        ("chat:1", "deploy/common/deep/d.yaml:2")
    ]


def test_a_key_that_an_override_takes_back_does_not_count(tmp_path: Path) -> None:
    put(tmp_path, {"a.yaml": "services:\n  a: {build: .}\n  b: {build: .}\n  c: {image: 'c:1'}\n"})
    put(tmp_path, {"b.yaml": "services:\n  a: {build: !reset null, image: 'a:1'}\n  b: !reset null\n"})
    found = project(tmp_path, "a.yaml", "b.yaml")
    assert found.problems == []
    assert [use.reference for use in found.uses] == ["a:1", "c:1"]


def test_a_secret_that_is_shipped_is_told(product: Path) -> None:
    (warning,) = project(product).warnings
    assert (warning.where, warning.code) == ("deploy/compose.yaml:13", "compose-secret-file")
    assert "everybody who has the bundle can read it" in warning.what


@pytest.mark.parametrize(
    ("text", "line", "what", "hint"),
    [
        ("volumes: ['./data:/data']", 3, "mounts ./data for writing", "named volume"),
        ("volumes: [./data:/data:z]", 3, "mounts ./data for writing", "named volume"),
        ("volumes: [{type: bind, source: data, target: /d}]", 3, "mounts data for writing", "named volume"),
        ("volumes: ['./conf:/conf']", 3, "mounts ./conf for writing", "mount it read-only (:ro)"),
        ("volumes: ['${D:-./conf}:/conf']", 3, "mounts ./conf for writing", "mount it read-only (:ro)"),
        ("volumes: ['./none:/d:ro']", 3, "mounts ./none, which does not exist", "/var/lib/lan-chat/data"),
        ("volumes: ['./:/all:ro']", 3, "mounts ./, the directory of the Compose file itself", "of its own"),
        ("volumes: ['../:/all:ro']", 3, "mounts ../, the directory of the Compose file itself", "of its own"),
        ("volumes: ['../../x:/x:ro']", 3, "outside of the directory of bundle.yaml", "trees or config"),
        ("volumes: ['./link:/x:ro']", 3, "has symbolic links, such as to", "trees or config"),
        ("volumes: ['./pipe:/x:ro']", 3, "is not a file or directory", "trees or config"),
        (
            "extends: {file: 'https://x.lan/b.yaml', service: b}",
            3,
            "but hosts have no network",
            "a copy of it",
        ),
        ("env_file: none.env", 3, "refers to none.env, which does not exist", "create it"),
        ("env_file: conf", 3, "refers to conf, which is not a file", "name a file"),
        ("env_file: 'conf/${X}.env'", 3, "which file to ship depends on a variable", "without a variable"),
        ("label_file: none.labels", 3, "label_file of service a refers to none.labels", "create it"),
        ("extends: {file: up.yaml, service: none}", 3, "extends none, a service that deploy/up.yaml", "name"),
        ("extends: none", 3, "extends none, a service that deploy/c.yaml does not have", "correct the name"),
    ],
)
def test_what_would_not_work_or_loses_data_is_refused_with_the_remedy(
    product: Path, text: str, line: int, what: str, hint: str
) -> None:
    put(product, {"deploy/c.yaml": f"services:\n  a: {{image: 'a:1',\n    {text}}}\n"})
    put(product, {"deploy/up.yaml": "services:\n  up: {image: 'a:1'}\n"})
    (product / "deploy/link").mkdir()
    (product / "deploy/link/to").symlink_to("x")
    (product / "deploy/link/file").write_text("x")
    carried.os.mkfifo(product / "deploy/pipe")
    (problem,) = project(product, "deploy/c.yaml").problems
    assert problem.where == f"deploy/c.yaml:{line}"
    assert what in problem.what
    assert hint in problem.hint


def test_a_volume_that_binds_a_relative_path_is_refused(tmp_path: Path) -> None:
    options = "{driver_opts: {type: none, o: bind, device: ./data}}"
    put(tmp_path, {"c.yaml": f"services:\n  a: {{image: 'a:1'}}\nvolumes:\n  d: {options}\n"})
    (problem,) = project(tmp_path, "c.yaml").problems
    assert str(problem).startswith("c.yaml:4: volume d binds ./data")
    for fine in ("{driver_opts: {type: tmpfs, device: tmpfs}}", options.replace("./", "/srv/")):
        put(tmp_path, {"c.yaml": f"services:\n  a: {{image: 'a:1'}}\nvolumes:\n  d: {fine}\n"})
        assert project(tmp_path, "c.yaml").problems == []


@pytest.mark.parametrize(
    "mount", ["data:/d", "/srv/x:/x", "~/x:/x", "${DIR}:/x", "{type: tmpfs, target: /x}"]
)
def test_volumes_and_absolute_paths_are_left_to_the_host(tmp_path: Path, mount: str) -> None:
    shown = mount if mount.startswith("{") else f"'{mount}'"
    put(tmp_path, {"c.yaml": f"services:\n  a: {{image: 'a:1', volumes: [{shown}]}}\n"})
    found = project(tmp_path, "c.yaml")
    assert (found.problems, found.carried, found.is_plain) == ([], {}, True)


def test_a_project_that_refers_upwards_keeps_the_places_of_its_files(tmp_path: Path) -> None:
    put(tmp_path, {"ops/c.yaml": "services:\n  a: {image: 'a:1', env_file: ../env/a.env}\n", "env/a.env": ""})
    found = project(tmp_path, "ops/c.yaml")
    assert found.problems == []
    assert [found.member(path) for path in ("ops/c.yaml", "env/a.env")] == [
        "deploy/compose/ops/c.yaml",
        "deploy/compose/env/a.env",
    ]


def test_files_that_extend_and_include_each_other_end(tmp_path: Path) -> None:
    circle = "include: [b.yaml]\nservices:\n  a: {extends: {file: b.yaml, service: b}}\n"
    put(tmp_path, {"a.yaml": circle})
    put(tmp_path, {"b.yaml": "services:\n  b: {extends: {file: a.yaml, service: a}}\n"})
    assert "extend each other more than 16 times" in str(project(tmp_path, "a.yaml").problems)


def test_more_files_than_a_host_should_check_each_time_are_refused(
    product: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carried, "MAX_FILES", 3)
    problems = project(product).problems
    assert len(problems) == 1
    assert "refers to more than 3 files" in problems[0].what


@pytest.mark.parametrize(
    ("files", "option"),
    [
        ({}, "deploy/compose.yaml"),
        ({"deploy/a.env": ""}, ["deploy/compose.yaml"]),
        (
            {"deploy/compose.yaml": f"services: {{a: {{image: 'chat:1@{PINNED}'}}}}\n"},
            ["deploy/compose.yaml"],
        ),
    ],
)
def test_only_a_project_of_several_files_or_pinned_images_needs_a_new_installer(
    product_dir: Path, files: dict[str, str], option: str | list[str]
) -> None:
    text = "services:\n  a: {image: 'chat:1', env_file: [{path: a.env, required: false}]}\n"
    put(product_dir, {"deploy/compose.yaml": text, **files})
    add(product_dir, "images: ['chat:1']\ndeploy: [{method: compose, file: deploy/compose.yaml}]\n")
    config = load(product_dir, "1.4.0")
    assert config.manifest.deploy[0].options == {"file": option}
    assert [item.member for item in config.items if item.kind == "compose"] == [
        "deploy/compose.yaml",
        *(each for each in files if each.endswith(".env")),
    ]
    assert used_features(config.manifest) == (("compose-project/1",) if isinstance(option, list) else ())
    assert [pin.reference for pin in config.pins] == ([f"chat:1@{PINNED}"] if PINNED in str(files) else [])


def test_several_files_and_what_they_refer_to_are_in_the_bundle(product_dir: Path) -> None:
    put(product_dir, FILES)
    listed = "[deploy/compose.yaml, deploy/override.yaml]"
    images = "['chat:2', 'tool:1', 'db:1', 'web:3']"
    add(product_dir, f"images: {images}\ndeploy: [{{method: compose, file: {listed}}}]\n")
    config = load(product_dir, "1.4.0")
    assert config.manifest.deploy[0].options["file"] == ["deploy/compose.yaml", "deploy/override.yaml"]
    members = {item.member for item in config.items if item.kind == "compose"}
    assert members == set(FILES) - {"deploy/unused.txt"}
    assert [warning.code for warning in config.warnings] == ["compose-secret-file", "no-health-probes"]


def test_every_problem_of_a_project_is_reported_at_once(product_dir: Path) -> None:
    text = """\
services:
  web:
    imge: web:1
    image: web:1
    volumes: ["./data:/data"]
    env_file: none.env
    env_file: none.env
  db: {image: 'db:1', restart: 5}
"""
    put(product_dir, {"deploy/compose.yaml": text})
    add(product_dir, "images: ['web:1']\ndeploy: [{method: compose, file: [deploy/compose.yaml]}]\n")
    assert [each.partition(": ")[0] for each in faults(product_dir)] == [
        f"deploy/compose.yaml:{line}" for line in (3, 5, 7, 7, 8, 8)
    ]


def test_what_hosts_write_is_not_shipped(tmp_path: Path) -> None:
    """The `.env` of a developer lies where hosts render theirs: an included file beside it refers to it."""
    files = {
        "deploy/compose.yaml": "include: [db.yaml]\nservices:\n  web: {image: w, volumes: [./.env:/e:ro]}\n",
        "deploy/db.yaml": "services:\n  db: {image: 'db:1', env_file: [.env]}\n",
        "deploy/compose.override.yaml": "services: {web: {environment: {A: '1'}}}\n",
        "deploy/.env": "LEVEL=1\n",
    }
    put(tmp_path, files)
    listed = ["deploy/compose.yaml", "deploy/compose.override.yaml"]
    written = {"deploy/.env": "env", "deploy/compose.override.yaml": "override"}
    found = read(tmp_path, listed, VARIABLES, written)
    assert set(found.carried) == {"deploy/db.yaml"}
    assert "deploy/db.yaml" in found.documents
    assert sorted((each.where, each.what.partition(", but")[0]) for each in found.problems) == [
        ("deploy/compose.override.yaml", "is a file of the bundle"),
        ("deploy/compose.yaml:3", "service web mounts ./.env"),
        ("deploy/db.yaml:2", "env_file of service db refers to .env"),
    ]
    assert set(read(tmp_path, listed[:1], VARIABLES).carried) == {"deploy/db.yaml", "deploy/.env"}


def test_a_name_that_hosts_do_not_use_is_warned_of(tmp_path: Path) -> None:
    put(tmp_path, {"compose.yaml": "name: webshop\nservices: {web: {image: 'web:1'}}\n"})
    (warning,) = read(tmp_path, ["compose.yaml"], VARIABLES | {"COMPOSE_PROJECT_NAME": "shop"}).warnings
    assert (warning.where, warning.code) == ("compose.yaml:1", "compose-name")
    assert "hosts call the project shop" in warning.what
    assert read(tmp_path, ["compose.yaml"], VARIABLES | {"COMPOSE_PROJECT_NAME": "webshop"}).warnings == []
