"""What create says of drop-ins, instances, and files that set up a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from installer.core.format.manifest import Deployment
from tests.rig.products import add, faults, put

SERVICE = "[Service]\nExecStart=/bin/true\n"
GOOD = {
    "sysusers": (
        "etc/chat.conf",
        'u chat 851 "Chat server" /var/lib/chat\ng staff -\nm chat video\nr - 900-950\n',
    ),
    "tmpfiles": ("etc/tmp/chat.conf", "d /run/chat 0750 chat chat 10d\nL+ /run/x - - - - ../y\n# none\n"),
    "modules": ("etc/mod/chat.conf", "# why\nbr_netfilter\nip-vs\n"),
    "sysctl": (
        "etc/sys/90-chat.conf",
        "; why\nvm.max_map_count=262144\n-net/ipv4/conf/eth0.1/forwarding = 1\n",
    ),
    "udev": (
        "etc/60-chat.rules",
        'SUBSYSTEM=="tty", \\\n ATTRS{idVendor}=="0403", GROUP="chat", RUN+="/bin/x"\n',
    ),
}


def product(directory: Path, option: str, text: str) -> Path:
    """Lay down a product with one file for an option."""
    name = GOOD[option][0]
    put(directory, name, text)
    add(directory, f"deploy:\n  - {{method: systemd, {option}: [{name}]}}\n")
    return directory


def test_a_step_with_everything_is_accepted(product_dir: Path) -> None:
    names = {"units/chat.service": SERVICE, "units/chat@.service": SERVICE}
    names["units/chat.service.d/10-limits.conf"] = "[Service]\nLimitNOFILE=100\n"
    for name, text in [*names.items(), *GOOD.values()]:
        put(product_dir, name, text)
    rows = "\n".join(f"    {option}: [{name}]" for option, (name, _) in GOOD.items())
    add(
        product_dir,
        f"deploy:\n  - method: systemd\n    units: [{', '.join(names)}]\n"
        f"    instances: [chat@1.service]\n{rows}\n",
    )
    manifest = load(product_dir, "1.4.0").manifest
    assert manifest.deploy == (
        Deployment(
            "systemd",
            {
                "units": [
                    "deploy/systemd/chat.service",
                    "deploy/systemd/chat@.service",
                    "deploy/systemd/chat.service.d/10-limits.conf",
                ],
                "instances": ["chat@1.service"],
                "sysusers": ["deploy/systemd/sysusers/chat.conf"],
                "tmpfiles": ["deploy/systemd/tmpfiles/chat.conf"],
                "modules": ["deploy/systemd/modules/chat.conf"],
                "sysctl": ["deploy/systemd/sysctl/90-chat.conf"],
                "udev": ["deploy/systemd/udev/60-chat.rules"],
            },
        ),
    )


@pytest.mark.parametrize(
    ("option", "text", "line", "what"),
    [
        ("sysusers", "u chat\nx chat -\n", 2, "begins with 'x'"),
        ("sysusers", "u ../x -\n", 1, "is not the name of a user"),
        ("sysusers", "g chat -\rm chat docker\n", 1, "has a control character"),
        ("sysusers", "m chat\n", 1, "says no group"),
        ("tmpfiles", "k /run/chat\n", 1, "no type of tmpfiles.d"),
        ("tmpfiles", "d run/chat\n", 1, "is not an absolute path"),
        ("tmpfiles", "d /run/../etc\n", 1, "has `..` in it"),
        ("sysctl", "vm.swappiness\n", 1, "is not KEY=VALUE"),
        ("sysctl", "\nnet.ipv4.conf.*.rp_filter = 1\n", 2, "is not the name of one setting"),
        ("sysctl", "../../etc/passwd = 1\n", 1, "is not the name of one setting"),
        ("modules", "br_netfilter ip_vs\n", 1, "is not the name of one kernel module"),
        ("modules", "-r\n", 1, "is not the name of one kernel module"),
        ("udev", 'KERNEL=="x" MODE="0660"\nwhatever\n', 2, "is not a list"),
    ],
)
def test_a_line_that_its_program_would_not_read_is_named(
    product_dir: Path, option: str, text: str, line: int, what: str
) -> None:
    (fault,) = faults(product(product_dir, option, text))
    assert fault.startswith(f"{GOOD[option][0]}:{line}: this line")
    assert what in fault


def test_an_instance_without_its_template_is_named(product_dir: Path) -> None:
    put(product_dir, "units/chat.service", SERVICE)
    add(
        product_dir,
        "deploy:\n  - {method: systemd, units: [units/chat.service], instances: [chat@1.service]}\n",
    )
    (fault,) = faults(product_dir)
    assert "chat@1.service is an instance of chat@.service, which the step does not have" in fault


def test_a_drop_in_that_belongs_to_no_unit_is_named(product_dir: Path) -> None:
    put(product_dir, "units/10-limits.conf", "[Service]\nLimitNOFILE=100\n")
    add(product_dir, "deploy:\n  - {method: systemd, units: [units/10-limits.conf]}\n")
    (fault,) = faults(product_dir)
    assert "units/10-limits.conf is not a valid name of a systemd unit" in fault


def test_a_step_without_files_is_refused(product_dir: Path) -> None:
    add(product_dir, "deploy:\n  - {method: systemd}\n")
    assert faults(product_dir)


@pytest.mark.needs("systemd-analyze")
def test_an_unknown_line_of_a_drop_in_is_warned_of(product_dir: Path) -> None:
    put(product_dir, "units/chat.service", SERVICE)
    put(product_dir, "units/chat.service.d/10-x.conf", "[Service]\nNoSuchKey=1\n")
    add(
        product_dir,
        "deploy:\n  - {method: systemd, units: [units/chat.service, units/chat.service.d/10-x.conf]}\n",
    )
    warned = [f"{each.where}: {each.what}" for each in load(product_dir, "1.4.0").warnings]
    assert any(
        each.startswith("units/chat.service.d/10-x.conf:2: systemd-analyze: Unknown key") for each in warned
    )


def test_a_drop_in_of_a_misspelt_unit_is_warned_of(product_dir: Path) -> None:
    put(product_dir, "units/chat.service", "[Service]\nExecStart=/bin/true\n")
    for unit in ("chatt.service", "systemd-journald.service"):
        put(product_dir, f"units/{unit}.d/10-x.conf", "[Service]\nNice=1\n")
    add(
        product_dir,
        "deploy:\n  - method: systemd\n    units: [units/chat.service, "
        "units/chatt.service.d/10-x.conf, units/systemd-journald.service.d/10-x.conf]\n",
    )
    warned = [
        f"{each.where}: {each.what}" for each in load(product_dir, "v1.4.0").warnings if each.code == "unit"
    ]
    assert warned == [
        "units/chatt.service.d/10-x.conf: is a drop-in of chatt.service, which is not in this release"
    ]
