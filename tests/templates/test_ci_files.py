"""The pipeline template: each server reads its file, and all of them call the same script."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml
from jsonschema.validators import validator_for

from tests.rig.engine import wait_for
from tests.rig.machine import is_running
from tests.rig.needs import needs
from tests.rig.pipelines import CONNECTED, Checkout

SCHEMAS = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor"
SERVERS = {
    "gitlab-ci.yml": "gitlab-ci.json",
    "gitea.yml": "github-workflows.json",
    "woodpecker.yml": "woodpecker-ci.json",
}
# One process for all files: it takes seconds until the parser has read the grammar.
GROOVY = """
import sys
from groovy_parser.parser import parse_groovy_content
for path in sys.argv[1:]:
    try:
        parse_groovy_content(open(path).read())
        print("groovy")
    except Exception:
        print("not groovy")
"""
AIRGAP = ["verify", "approve", "install"]


@pytest.fixture
def checkout(made_checkout: Checkout, tmp_path: Path) -> Checkout:
    """A checkout that this test may change."""
    return made_checkout.copied(tmp_path / "door-bell")


@pytest.fixture(scope="module")
def release(
    made_checkout: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkout, subprocess.CompletedProcess[str]]:
    """A checkout in which the stage `release` has run, and what it said."""
    checkout = made_checkout.copied(tmp_path_factory.mktemp("released") / "door-bell")
    return checkout, checkout.stage("release")


def document(path: Path) -> Any:
    found = yaml.safe_load(path.read_text())
    # YAML 1.1 takes the key `on` for a truth value.
    return {("on" if key is True else key): value for key, value in found.items()}


@pytest.mark.parametrize("name", SERVERS)
def test_the_file_of_a_server_follows_its_schema(checkout: Checkout, name: str) -> None:
    schema = json.loads((SCHEMAS / SERVERS[name]).read_text())
    found = document(checkout.path / "ci" / name)
    validator = validator_for(schema)(schema)
    validator.validate(found)
    assert not validator.is_valid([found])


def test_the_jenkinsfile_is_groovy(checkout: Checkout, tmp_path: Path) -> None:
    good = checkout.path / "ci/Jenkinsfile"
    bad = tmp_path / "Jenkinsfile"
    bad.write_text("pipeline {\n    agent any\n")
    command = [needs("buildbot"), "-c", GROOVY, str(good), str(bad)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["groovy", "not groovy"]


@pytest.mark.parametrize("name", ["gitlab-ci.yml", "gitea.yml", "woodpecker.yml", "Jenkinsfile"])
def test_every_server_calls_the_stages_of_the_script_in_order(checkout: Checkout, name: str) -> None:
    text = re.sub(r"(?m)^ *(?:#|//).*$", "", (checkout.path / "ci" / name).read_text())
    assert re.findall(r"sh ci/ci\.sh (\w+)", text) == [*CONNECTED, *AIRGAP]


def test_gitlab_gives_the_key_to_the_job_that_signs_only(checkout: Checkout) -> None:
    found = document(checkout.path / "ci/gitlab-ci.yml")
    assert [
        name for name, job in found.items() if isinstance(job, dict) and "signing" in job.get("tags", ())
    ] == ["bundle"]


def test_the_plain_script_makes_a_signed_bundle(
    release: tuple[Checkout, subprocess.CompletedProcess[str]],
) -> None:
    checkout, done = release
    assert done.returncode == 0, done.stderr
    assert re.findall(r"ci: (\w+): done", done.stderr) == CONNECTED
    assert "provenance  approvals/provenance-" in done.stdout
    assert checkout.bundles() == ["door-bell-0.1.0.tar"]


@pytest.mark.parametrize("broken", CONNECTED[:-1])
def test_a_stage_that_fails_stops_the_ones_after_it_and_leaves_no_result(
    checkout: Checkout, broken: str
) -> None:
    done = checkout.stage("release", BREAK=broken)
    assert done.returncode == 1
    assert re.findall(r"ci: (\w+): done", done.stderr) == CONNECTED[: CONNECTED.index(broken)]
    assert f"ci: {broken}: failed with exit code 2; nothing of it is kept" in done.stderr
    assert checkout.bundles() == []
    assert not (checkout.path / "build" / broken).exists()


def test_what_a_stage_started_ends_with_it(checkout: Checkout) -> None:
    for broken in ("", "test"):
        checkout.stage("test", BREAK=broken)
        pid = int((checkout.path / "server.pid").read_text())
        wait_for("end of the server", lambda pid=pid: not is_running(pid), 60)


def test_a_bundle_needs_a_key_that_this_runner_can_read(checkout: Checkout) -> None:
    done = checkout.stage("bundle", WAYBILL_PROVENANCE_KEY="")
    assert (done.returncode, "WAYBILL_PROVENANCE_KEY is not set" in done.stderr) == (2, True)
    done = checkout.stage("bundle", WAYBILL_PROVENANCE_KEY="/nowhere/ci.key")
    assert (done.returncode, "this runner cannot read WAYBILL_PROVENANCE_KEY" in done.stderr) == (2, True)
    assert checkout.bundles() == []


def test_a_shallow_clone_is_named(checkout: Checkout, tmp_path: Path) -> None:
    shallow = checkout.cloned(tmp_path / "shallow", "--depth=1")
    done = shallow.stage("bundle")
    assert (done.returncode, "the checkout is a shallow clone" in done.stderr) == (2, True)
    assert "git fetch --unshallow --tags" in done.stderr
    assert shallow.bundles() == []


def test_a_commit_without_a_tag_makes_no_bundle(checkout: Checkout) -> None:
    checkout.git("tag", "--delete", "v0.1.0")
    done = checkout.stage("bundle")
    assert (done.returncode, "this commit has no tag" in done.stderr) == (2, True)


def test_a_product_without_a_makefile_is_named(checkout: Checkout) -> None:
    (checkout.path / "Makefile").unlink()
    done = checkout.stage("lint")
    assert (done.returncode, "there is no Makefile" in done.stderr) == (2, True)


@pytest.mark.parametrize("stage", ["", "deploy"])
def test_a_stage_that_is_none_is_refused_with_those_that_are(checkout: Checkout, stage: str) -> None:
    done = checkout.stage(stage)
    assert (done.returncode, "one of: lint test build image artifact bundle" in done.stderr) == (2, True)


def test_the_air_gapped_side_verifies_approves_and_installs(
    release: tuple[Checkout, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    checkout = release[0].copied(tmp_path / "door-bell")
    site = checkout.site(tmp_path / "site")
    done = checkout.stage("verify", **site.environment)
    assert done.returncode == 0, done.stderr
    assert site.installed() == ""
    # Approval is required in this environment: nothing is installed without it.
    done = checkout.stage("install", **site.environment)
    assert done.returncode == 14, done.stderr
    done = checkout.stage("approve", **site.environment)
    assert done.returncode == 0, done.stderr
    done = checkout.stage("install", **site.environment)
    assert done.returncode == 0, done.stderr
    assert site.installed() == "0.1.0"


@pytest.mark.parametrize("stage", AIRGAP)
def test_a_bundle_that_did_not_arrive_is_named(checkout: Checkout, stage: str) -> None:
    done = checkout.stage(stage, BUNDLE="/nowhere/door-bell.tar")
    assert (done.returncode, "cannot read BUNDLE" in done.stderr) == (2, True)
