"""What a file of Podman's generator gets of the host, as a reviewer sees it."""

from __future__ import annotations

import pytest

from installer.core.risk.quadlet_files import MOST, examine_quadlet
from installer.core.risk.risk import Program, Risk

QUIET = "[Container]\nPull=never\n"
RISKS = {
    "a port": ("Container", "PublishPort=80:8080", "port", "publishes 80:8080"),
    "a directory of the host": (
        "Container",
        "Volume=/etc:/etc:ro",
        "host",
        "mounts /etc from the host: configuration of the host (Volume=)",
    ),
    "the socket of the engine": (
        "Container",
        "Mount=type=bind,src=/run/podman/podman.sock,dst=/s",
        "host",
        (
            "mounts /run/podman/podman.sock from the host: the socket of the container engine: root on this "
            "host (Mount=)"
        ),
    ),
    "the network of the host": (
        "Pod",
        "Network=host",
        "host",
        "shares the namespace of the host: Network=host",
    ),
    "a capability": (
        "Container",
        "AddCapability=SYS_ADMIN",
        "host",
        "gets the capabilities SYS_ADMIN (AddCapability=)",
    ),
    "no labels": (
        "Container",
        "SecurityLabelDisable=true",
        "host",
        "runs without the labels of SELinux (SecurityLabelDisable=)",
    ),
    "any arguments": (
        "Container",
        "PodmanArgs=--privileged",
        "host",
        "gives Podman the arguments --privileged, which may be anything; read `man podman-run`",
    ),
}


@pytest.mark.parametrize(("section", "line", "kind", "what"), RISKS.values(), ids=RISKS)
def test_what_a_container_gets_of_the_host_is_shown(section: str, line: str, kind: str, what: str) -> None:
    found = list(examine_quadlet("web.container", f"{QUIET}[{section}]\n{line}\n"))
    assert found == [Risk(kind, "web.container:4", what)]  # type: ignore[arg-type]


def test_a_command_outside_of_the_container_is_a_program_of_root() -> None:
    found = list(examine_quadlet("web.container", f"{QUIET}[Service]\nExecStartPre=/bin/mkdir /data\n"))
    assert Program("web.container:4", "root", "ExecStartPre=/bin/mkdir /data") in found
    assert [each.kind for each in found if isinstance(each, Risk)] == ["root"]


def test_volumes_networks_and_commands_of_the_container_open_nothing() -> None:
    text = (
        "[Container]\nVolume=data.volume:/data\nNetwork=lan.network\nExec=/bin/x\nMount=type=tmpfs,dst=/t\n"
    )
    assert list(examine_quadlet("web.container", QUIET + text)) == []
    assert list(examine_quadlet("data.volume", "[Volume]\n")) == []


@pytest.mark.parametrize("text", ["[Container]\nImage=x\n", "[Container]\nPull=never\nPull=newer\n"])
def test_an_image_that_may_be_fetched_is_to_be_read_first(text: str) -> None:
    (found,) = examine_quadlet("web.container", text)
    assert isinstance(found, Risk)
    assert (found.kind, found.what[:9]) == ("command", "may fetch")


def test_what_follows_the_bound_is_said_to_be_unread() -> None:
    found = list(examine_quadlet("web.container", QUIET + "Label=a=b\n" * (MOST + 1)))
    assert [each.kind for each in found if isinstance(each, Risk)] == ["unread"]
