"""A project of the engine that has the name of a new one is named with who made it, and is not taken down."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import Problem
from installer.host.context import Context
from tests.rig.composed import composed, project
from tests.rig.engine import Engine
from tests.rig.livedir import LiveDir
from tests.rig.releases import PRODUCT, STATE, context, install, plan_for, remove, root

pytestmark = pytest.mark.needs("docker", "compose", "busybox")
ANOTHER = "a second installation in the same engine needs another `project` in bundle.yaml"


@pytest.fixture
def live(docker_engine: Engine, tmp_path: Path) -> Iterator[Context]:
    (tmp_path / "one").mkdir()
    with composed(docker_engine, tmp_path / "one") as host:
        yield host


def refusal(host: Context) -> Problem:
    (problem,) = [each for each in plan_for(host, project(1)).problems if "exists already" in each.what]
    return problem


def test_a_project_below_another_root_is_named_with_that_root_and_is_not_taken_down(
    live: Context, tmp_path: Path
) -> None:
    install(live, project(1))
    (tmp_path / "two").mkdir()
    problem = refusal(context(LiveDir(tmp_path / "two")))
    found = (
        f"project {PRODUCT} exists already: Waybill installed it below {root(live)}, which is another root"
    )
    assert problem.what == found
    assert problem.hint == f"to change that installation, use `--root {root(live)}`; {ANOTHER}"


def test_a_project_whose_state_is_on_another_disk_is_of_another_root_that_is_not_known(
    live: Context, tmp_path: Path
) -> None:
    (root(live) / "disk").mkdir()
    (root(live) / "var/lib").mkdir(parents=True)
    (root(live) / "var/lib/waybill").symlink_to("../../disk")
    install(live, project(1))
    (tmp_path / "two").mkdir()
    problem = refusal(context(LiveDir(tmp_path / "two")))
    assert problem.what == f"project {PRODUCT} exists already: Waybill installed it, below another root"
    assert problem.hint == f"use the `--root` that it was installed with; {ANOTHER}"


@pytest.mark.parametrize("is_empty", [True, False], ids=["empty directory", "no directory"])
def test_a_project_whose_record_is_lost_is_not_called_that_of_somebody_else(
    live: Context, *, is_empty: bool
) -> None:
    install(live, project(1))
    base = root(live) / STATE
    shutil.rmtree(base)
    if is_empty:
        base.mkdir()
    problem = refusal(live)
    found = f"project {PRODUCT} exists already: Waybill installed it, but {base} has no record of that"
    assert problem.what == found
    assert problem.hint == f"restore {base} from a backup"


def of_release(host: Context, engine: Engine, product: str = PRODUCT) -> None:
    """Make a container of the project as one of a release of a product is labelled."""
    directory = f"{(root(host) / STATE).resolve().parent}/{product}/releases/1-0123456789ab/deploy"
    labels = {"project": PRODUCT, "project.working_dir": directory}
    words = [f"--label=com.docker.compose.{name}={value}" for name, value in labels.items()]
    engine.docker("create", *words, "rig/box:1")


def test_a_project_that_a_removal_left_is_for_the_removal_to_name_and_not_for_a_backup(
    live: Context, docker_engine: Engine
) -> None:
    install(live, project(1))
    remove(live)
    of_release(live, docker_engine)
    problem = refusal(live)
    found = f"project {PRODUCT} exists already: Waybill installed it"
    assert problem.what == f"{found}, and no release of {PRODUCT} is installed any more"
    assert problem.hint == f"run `install remove {PRODUCT}`: it says what is left, and why"


def test_a_project_that_the_running_release_does_not_have_is_no_reason_to_remove_the_product(
    live: Context, docker_engine: Engine
) -> None:
    install(live, replace(project(1), deploy=()))
    of_release(live, docker_engine)
    (problem,) = [each for each in plan_for(live, project(2)).problems if "exists already" in each.what]
    found = f"project {PRODUCT} exists already: Waybill installed it"
    assert problem.what == f"{found}, but not with {PRODUCT} 1.0.0, which runs"
    assert problem.hint == f"see what runs in it: `docker compose -p {PRODUCT} ps --all`"


def test_a_project_of_another_product_is_named_with_that_product(
    live: Context, docker_engine: Engine
) -> None:
    of_release(live, docker_engine, "other")
    problem = refusal(live)
    assert problem.what == f"project {PRODUCT} exists already: Waybill installed it for the product other"
    assert problem.hint == "use another `project` in bundle.yaml: each product needs its own"


def test_a_project_of_the_host_itself_is_reached_without_a_root(live: Context, docker_engine: Engine) -> None:
    labels = {"project": PRODUCT, "project.working_dir": f"/{STATE}/releases/1-0123456789ab/deploy"}
    words = [f"--label=com.docker.compose.{name}={value}" for name, value in labels.items()]
    docker_engine.docker("create", *words, "rig/box:1")
    problem = refusal(live)
    assert problem.what.endswith("exists already: Waybill installed it below /, which is another root")
    assert problem.hint == f"to change that installation, omit `--root`; {ANOTHER}"


def test_a_project_of_somebody_else_is_called_so(live: Context, docker_engine: Engine) -> None:
    docker_engine.docker("create", "--label", f"com.docker.compose.project={PRODUCT}", "rig/box:1")
    assert refusal(live).what == f"project {PRODUCT} exists already and was not installed by Waybill"
