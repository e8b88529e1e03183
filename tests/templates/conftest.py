"""Set-ups of the templates: a directory that stands for a host, and a product with a pipeline."""

import pytest

from tests.rig.bench import bench, host_dir  # noqa: F401
from tests.rig.pipelines import Checkout


@pytest.fixture(scope="session")
def made_checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A product with the pipeline of templates/ci, made once; tests change copies."""
    return Checkout.make(tmp_path_factory.mktemp("pipeline") / "door-bell")
