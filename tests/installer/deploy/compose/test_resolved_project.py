"""What Compose printed of a project becomes what it is given for the directory of a release."""

from __future__ import annotations

import json

import pytest

from installer.deploy.compose.project import placed
from installer.deploy.operation import StepError


def test_a_resolved_project_is_moved_and_its_pinned_images_get_their_names() -> None:
    digest = "sha256:" + "a" * 64
    model = {
        "services": {
            "a": {
                "image": f"rig/nats:1@{digest}",
                "pre_start": [{"image": f"tool:2@{digest}"}, {"command": ["x"]}],
                "volumes": [
                    {"type": "bind", "source": "/base/.run-1/deploy/x"},
                    {"type": "image", "source": f"docker.io/tool:2@{digest}"},
                ],
            },
            "b": {"image": f"web@{digest}", "environment": {"A": "$$1"}},
            "c": {"image": "other:1"},
        },
        "secrets": {"s": {"file": "/base/.run-1/s"}},
    }
    images = [["rig/nats:1", digest], ["tool:2", digest], ["web:3", "sha256:" + "b" * 64], ["web:4", digest]]
    found = json.loads(placed(json.dumps(model).encode(), "/base/.run-1", "/releases/1", images))
    assert found["services"]["a"]["image"] == "rig/nats:1"
    assert found["services"]["a"]["pre_start"] == [{"image": "tool:2"}, {"command": ["x"]}]
    assert [each["source"] for each in found["services"]["a"]["volumes"]] == [
        "/releases/1/deploy/x",
        "tool:2",
    ]
    assert (found["services"]["b"]["image"], found["services"]["c"]["image"]) == ("web:4", "other:1")
    assert found["services"]["b"]["environment"] == {"A": "$$1"}
    assert found["secrets"]["s"]["file"] == "/releases/1/s"


@pytest.mark.parametrize("output", [b"", b"[]", b'half", "services": {}}'])
def test_a_project_that_compose_printed_in_part_is_not_used(output: bytes) -> None:
    with pytest.raises(StepError, match="did not print a project"):
        placed(output, "/a", "/b", [])
