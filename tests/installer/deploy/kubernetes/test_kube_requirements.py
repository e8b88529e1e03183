"""What a chart asks for: images that the release brings or not, and amounts of quotas."""

from __future__ import annotations

from decimal import Decimal

import pytest

from installer.deploy.kubernetes.objects import KubeObject, objects_in
from installer.deploy.kubernetes.requirements import _amount, _demand, always_pulled, not_carried

POD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 3
  template:
    spec:
      initContainers: [{{name: first, image: "shop/first:1"}}]
      containers:
        - name: web
          image: {image}
          {policy}
          resources: {{requests: {{cpu: 250m, memory: 64Mi}}, limits: {{memory: 1Gi}}}}
"""
CARRIED = {"shop/web:1", "shop/web:latest", "shop/first:1"}


def chart(image: str = "shop/web:1", policy: str = "") -> list[KubeObject]:
    return objects_in(POD.format(image=image, policy=policy), "chart")


@pytest.mark.parametrize(
    ("image", "policy", "is_refused"),
    [
        ("shop/web:1", "", False),
        ("shop/web:1", "imagePullPolicy: Always", True),
        ("docker.io/shop/web:1", "imagePullPolicy: Always", True),
        ("shop/web", "", True),
        ("shop/web", "imagePullPolicy: IfNotPresent", False),
        ("shop/other:1", "imagePullPolicy: Always", False),
    ],
)
def test_an_image_of_the_release_that_is_always_fetched_is_refused(
    image: str, policy: str, is_refused: bool
) -> None:
    found = [each.where for each in always_pulled(chart(image, policy), CARRIED)]
    assert found == (["Deployment/web"] if is_refused else [])


def test_an_image_that_the_release_does_not_bring_is_named() -> None:
    assert not_carried(chart("shop/other:1"), CARRIED) == ["shop/other:1"]
    assert not_carried(chart("docker.io/shop/web:1"), CARRIED) == []


@pytest.mark.parametrize(
    ("text", "amount"),
    [("2", "2"), ("250m", "0.25"), ("1.5", "1.5"), ("64Mi", str(64 * 2**20)), ("2k", "2000"), (None, "0")],
)
def test_amounts_are_those_of_kubernetes(text: str | None, amount: str) -> None:
    assert _amount(text) == Decimal(amount)


def test_a_workload_asks_for_all_of_its_replicas() -> None:
    asked = _demand(chart())
    assert asked["pods"] == 3
    assert asked["requests.cpu"] == Decimal("0.75")
    assert asked["requests.memory"] == 3 * 64 * 2**20
    assert asked["limits.memory"] == 3 * 2**30
