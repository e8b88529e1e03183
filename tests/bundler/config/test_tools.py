"""Programs that travel with a step: static, for their platform, with their licence, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from tests.rig.products import add, elf, faults, hints, put

STEP = """\
deploy:
  - method: helm
    chart: deploy/helm/chat
    helm: tools/helm-{arch}
    helm_licence: tools/LICENSE
"""


@pytest.fixture
def product(product_dir: Path) -> Path:
    put(product_dir, "deploy/helm/chat/Chart.yaml", "apiVersion: v2\nname: chat\nversion: 1.0.0\n")
    put(product_dir, "deploy/helm/chat/values.yaml", "a: b\n")
    put(product_dir, "tools/helm-amd64", elf())
    put(product_dir, "tools/LICENSE", "Apache-2.0\n")
    add(product_dir, STEP)
    return product_dir


def test_a_program_travels_for_its_platform_with_its_licence(product: Path) -> None:
    config = load(product, "v1.4.0")
    (step,) = config.manifest.deploy
    assert step.options["helm"] == ["deploy/tools/linux-amd64/helm-amd64"]
    items = {item.member: item for item in config.items}
    program, licence = items[step.options["helm"][0]], items[step.options["helm_licence"]]
    assert (program.kind, program.mode, program.platform, program.install) == (
        "tool",
        0o755,
        "linux/amd64",
        "",
    )
    assert (licence.kind, licence.mode, licence.platform) == ("licence", 0o644, "")


BAD: dict[str, tuple[str | bytes, str]] = {
    "a script": ("#!/bin/sh\n", "tools/helm-amd64 is no program"),
    "a program for another platform": (
        elf(183),
        "tools/helm-amd64 is built for arm64, but listed for linux/amd64",
    ),
    "a program that needs libraries": (
        Path("/bin/sh").read_bytes(),
        "tools/helm-amd64 is not static: it needs /lib",
    ),
    "an empty file": ("", "tools/helm-amd64 is empty"),
}


@pytest.mark.parametrize(("content", "what"), BAD.values(), ids=BAD)
def test_what_does_not_run_on_every_host_is_refused(product: Path, content: str | bytes, what: str) -> None:
    put(product, "tools/helm-amd64", content)
    (fault,) = faults(product)
    assert what in fault
    assert fault.startswith("bundle.yaml:")


def test_a_program_without_a_licence_is_refused_with_the_remedy(product: Path) -> None:
    add(product, STEP.rpartition("    helm_licence")[0])
    (fault,) = faults(product)
    assert fault.endswith("the step carries helm without its licence")
    assert "add `helm_licence: FILE`" in hints(product)


def test_a_licence_without_a_program_is_refused(product: Path) -> None:
    add(product, STEP + "    kubectl_licence: tools/LICENSE\n")
    (fault,) = faults(product)
    assert fault.endswith("the step has `kubectl_licence`, but not `kubectl`")
