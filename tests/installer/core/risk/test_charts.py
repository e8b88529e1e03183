"""What a reviewer is told of a chart."""

from __future__ import annotations

import pytest

from installer.core.risk.charts import MOST, examine_chart
from installer.core.risk.risk import Risk


def found(text: str, where: str = "deploy/helm/chat/templates/web.yaml") -> list[Risk]:
    return [each for each in examine_chart(where, text) if isinstance(each, Risk)]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("  hostPath: {path: /}", "mounts a directory of the node"),
        ("  securityContext: {privileged: true}", "runs with all rights on the node"),
        ('  hostNetwork: "true"', "shares a namespace of the node"),
        ("  - {hostPort: 80}", "opens a port of the node"),
        ("kind: ClusterRoleBinding", "grants rights in the whole cluster"),
        ("kind: ValidatingWebhookConfiguration", "sees or changes what others create"),
        ('{{ lookup "v1" "Secret" "kube-system" "" }}', "reads objects of the cluster"),
    ],
)
def test_what_a_chart_opens_is_told_with_its_line(line: str, what: str) -> None:
    (risk,) = found(f"kind: Pod\n{line}\n")
    assert what in risk.what
    assert risk.where == "deploy/helm/chat/templates/web.yaml:2"


@pytest.mark.parametrize("line", ["privileged: false", "kind: Role", "# lookup", "hostNetwork: false"])
def test_what_opens_nothing_is_not_told(line: str) -> None:
    assert found(f"{line}\n") == []


def test_an_archive_is_named_as_not_examined() -> None:
    (risk,) = found("\x1f\x8b", "deploy/helm/chat-1.0.0.tgz")
    assert risk.kind == "unread"


def test_findings_of_one_file_are_bounded() -> None:
    risks = found("hostPort: 1\n" * (MOST + 5))
    assert len(risks) == MOST + 1
    assert risks[-1].kind == "unread"
