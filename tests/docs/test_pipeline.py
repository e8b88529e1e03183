"""The pipeline of docs/how-to/build-in-a-pipeline.md, its jobs run as two runners would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rig import transcript
from tests.rig.engine import Engine
from tests.rig.gitcheckout import commit_all, git

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "how-to" / "build-in-a-pipeline.md"
PIPELINE = ".gitlab-ci.yml"
BUNDLE = """\
schema: waybill/v1
product: {product}
platforms: [linux/amd64]
expires: 36500d
binaries: [{{path: build/tool}}]
trees: [{{path: web}}]
"""
IMAGE = "images: [{archive: build/image.tar}]\n"
# No two runs of it give the same program.
BUILD = """\
cd "${0%/*}" && mkdir -p build
printf "#!/bin/sh\\necho %s at %s\\n" "$1" "$(date +%N)" > build/tool
"""


def pipeline() -> dict[str, Any]:
    (text,) = [step.text for step in transcript.read(PAGE).steps if step.target == PIPELINE]
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository: two products, each with its tag at the same commit, and a submodule."""
    library = tmp_path_factory.mktemp("library")
    (library / "lib.js").write_text("// library\n")
    commit_all(library)
    place = tmp_path_factory.mktemp("origin")
    git(place, "init", "-q")
    (place / ".gitignore").write_text("build/\ndist/\ncreate.json\n")
    for product in ("svc-a", "svc-b"):
        for name, text in {
            "bundle.yaml": BUNDLE.format(product=product) + (IMAGE if product == "svc-b" else ""),
            "CHANGELOG.md": "# Changelog\n\n## 1.4.0\n\nFirst.\n",
            "docs/UPGRADE.md": "Nothing to do.\n",
            "web/index.html": "<!doctype html>\n",
            "build.sh": BUILD,
            "test.sh": "test -f svc-a/web/lib/lib.js\n",
        }.items():
            path = place / product / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    image = place / "svc-b/image"
    image.mkdir()
    (image / "Dockerfile").write_text("FROM scratch\nCOPY hello /\n")
    (image / "hello").write_text("hello\n")
    allowed = ("-c", "protocol.file.allow=always")
    git(place, *allowed, "submodule", "add", "-q", str(library), "svc-a/web/lib")
    commit_all(place)
    for tag in ("svc-a/v1.4.0", "svc-b/v1.4.0"):
        git(place, "tag", "-am", "x", tag)
    return place


@dataclass
class Runner:
    """One runner: a checkout of its own for every job, and what earlier jobs handed on."""

    origin: Path
    place: Path
    tag: str
    environment: dict[str, str]
    count: int = 0

    def checkout(self, variables: dict[str, str]) -> Path:
        """As a runner makes it: the tag, of the depth and with the submodules that the variables ask for."""
        self.count += 1
        directory = self.place / str(self.count)
        git(self.place, "clone", "-q", "--branch", self.tag, str(self.origin), str(directory))
        if variables.get("GIT_SUBMODULE_STRATEGY") == "recursive":
            allowed = ("-c", "protocol.file.allow=always")
            git(directory, *allowed, "submodule", "update", "-q", "--init", "--recursive")
        return directory

    def run(self, name: str, job: dict[str, Any], found: dict[str, Any], artifacts: Path) -> tuple[int, str]:
        directory = self.checkout(found["variables"])
        subprocess.run(["cp", "-a", f"{artifacts}/.", str(directory)], check=True)
        script = "\n".join(["set -e", *found["default"]["before_script"], *job["script"]])
        done = subprocess.run(
            ["bash", "-c", script], cwd=directory, capture_output=True, text=True, check=False,
            env={**self.environment, "CI_PROJECT_DIR": str(directory), "CI_COMMIT_TAG": self.tag},
        )  # fmt: skip
        for pattern in job.get("artifacts", {}).get("paths", ()):
            for path in directory.glob(pattern.rstrip("/")):
                below = path.relative_to(directory).parent
                (artifacts / below).mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-a", str(path), str(artifacts / below)], check=True)
        return done.returncode, f"{name}: {done.stdout}{done.stderr}"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "bundle"
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from bundler.cli.main import main; main()" "$@"\n'
    )
    program.chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(TOP),
        "HOME": str(tmp_path),
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_PROJECT_URL": "https://git.lan/team/services",
        "CI_JOB_URL": "https://git.lan/team/services/-/jobs/7",
    }


def runners(origin: Path, tmp_path: Path, tag: str, environment: dict[str, str]) -> list[Runner]:
    made = []
    for number in ("1", "2"):
        place = tmp_path / f"runner-{number}"
        place.mkdir()
        made.append(Runner(origin, place, tag, {**environment, "CI_RUNNER_ID": number}))
    return made


def carry_out(origin: Path, tmp_path: Path, tag: str, environment: dict[str, str]) -> Path:
    """Run every job in the order of the stages; those with tags on the second runner."""
    found = pipeline()
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    first, second = runners(origin, tmp_path, tag, environment)
    jobs = {name: job for name, job in found.items() if isinstance(job, dict) and "script" in job}
    assert [job["stage"] for job in jobs.values()] == sorted(
        (job["stage"] for job in jobs.values()), key=found["stages"].index
    )
    for name, job in jobs.items():
        runner = second if "tags" in job else first
        code, said = runner.run(name, job, found, artifacts)
        assert code == 0, said
        if "tags" in job:
            assert "unchanged" in said
    return artifacts


def bundled(artifacts: Path, product: str) -> dict[str, Any]:
    bundle = artifacts / product / "dist" / f"{product}-1.4.0.tar"
    assert bundle.is_file()
    # Without a key in the pipeline, the provenance lies next to the bundle.
    statement = json.loads(Path(f"{bundle}.provenance.json").read_text())
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependencies[0]["annotations"] == {"dirty": False, "tag": f"{product}/v1.4.0"}
    document: dict[str, Any] = json.loads((artifacts / "create.json").read_text())
    return document


def test_both_products_are_released_by_their_own_tags(
    origin: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    document = bundled(carry_out(origin, tmp_path, "svc-a/v1.4.0", environment), "svc-a")
    assert document["source"]["tag"] == "svc-a/v1.4.0"
    assert document["warnings"] == []


@pytest.mark.needs("docker")
def test_an_image_is_built_once_and_bundled_twice(
    origin: Path, tmp_path: Path, environment: dict[str, str], docker_engine: Engine
) -> None:
    path = f"{environment['PATH']}:{docker_engine.env['PATH']}"
    engine = {**docker_engine.env, **environment, "PATH": path}
    document = bundled(carry_out(origin, tmp_path, "svc-b/v1.4.0", engine), "svc-b")
    assert document["images"] == ["svc-b:1.4.0"]
    remove = ["docker", "rmi", "svc-b:1.4.0"]
    subprocess.run(remove, env=os.environ | docker_engine.env, check=True, capture_output=True)


def test_a_runner_without_submodules_or_with_a_changed_file_fails(
    origin: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    found = pipeline()
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    runner, _ = runners(origin, tmp_path, "svc-a/v1.4.0", environment)
    assert runner.run("build", found["build"], found, artifacts)[0] == 0
    without = {**found, "variables": {}}
    code, said = runner.run("bundle", found["bundle"], without, artifacts)
    assert (code, "git submodule update --init --recursive" in said) == (30, True), said
    (artifacts / "svc-a/docs").mkdir()
    (artifacts / "svc-a/docs/UPGRADE.md").write_text("changed\n")
    code, said = runner.run("bundle", found["bundle"], found, artifacts)
    assert (code, "--require clean" in said) == (30, True), said
