"""What several tests of `bundle` start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.archive.output_file import OutputFile
from tests.rig.approvaldesk import LATER, ApprovalDesk, plan
from tests.rig.product import Product
from tests.rig.products import make_product
from tests.rig.trustworld import APPROVALS, World, root


@pytest.fixture
def world() -> World:
    """A good world, but for one approval."""
    return replace(World(), approvals=APPROVALS[:2])


@pytest.fixture
def path(world: World, tmp_path: Path) -> Path:
    """Its bundle."""
    file = tmp_path / "b.tar"
    file.write_bytes(world.tar())
    return file


@pytest.fixture
def output(tmp_path: Path) -> Iterator[OutputFile]:
    """A bundle that is being written."""
    with OutputFile(tmp_path / "out.tar") as opened:
        yield opened


@pytest.fixture
def product(tmp_path: Path) -> Product:
    """A small product with everything that needs no engine, and the commands run on it."""
    return Product.make(tmp_path / "product")


@pytest.fixture
def product_dir(tmp_path: Path) -> Path:
    """The directory of a small product that is fit to ship as 1.4.0, to break."""
    return make_product(tmp_path)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> ApprovalDesk:
    """A transfer desk with a bundle to approve."""
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    made = ApprovalDesk(tmp_path, capsys)
    made.bundle(World(plan=plan(), approvals=()))
    made.root(root(expires=LATER))
    return made
