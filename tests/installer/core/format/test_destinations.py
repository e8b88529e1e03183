"""The one list of places that no release may have, and of those that decide over a host."""

from __future__ import annotations

import pytest

from installer.core.format.destinations import (
    MOST,
    extended_unit,
    forbidden,
    holds_waybill,
    is_standard,
    sensitive,
    sensitive_lines,
    sensitive_places,
    unit_of,
)

HOME = "/home"


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "/etc/shadow", "/etc/group-", "/etc/sudoers", "/etc/sudoers.d/x", "/etc/doas.conf"),
        *("/etc/pam.d/su", "/etc/security/access.conf", "/usr/lib/x86_64-linux-gnu/security/pam_x.so"),
        *("/etc/nsswitch.conf", "/etc/ssh/sshd_config", "/root/.ssh/authorized_keys", HOME + "/ann/.ssh/rc"),
        *("/etc/ld.so.preload", "/etc/ld.so.conf.d/x.conf", "/boot/vmlinuz", "/boot/efi/EFI/x", "/etc/fstab"),
        *("/etc/default/grub", "/etc/crontab", "/etc/cron.d/x", "/etc/cron.daily/x"),
        *("/var/spool/cron/crontabs/root", "/etc/init.d/x", "/etc/rc.local", "/etc/tmpfiles.d/x.conf"),
        *("/etc/systemd/system-generators/x", "/etc/modprobe.d/x.conf", "/etc/udev/rules.d/x.rules"),
        *("/etc/profile.d/x.sh", "/etc/environment", "/root/.bashrc", "/etc/ssl/certs/x.pem"),
        *("/usr/local/share/ca-certificates/x.crt", "/etc/apt/sources.list", "/etc/apparmor.d/x"),
        *("/etc/sysctl.d/x.conf", "/etc/polkit-1/rules.d/x.rules", "/etc/dbus-1/system.d/x.conf"),
        *("/usr/lib/tmpfiles.d/x.conf", "/usr/lib/sysusers.d/x.conf", "/etc/binfmt.d/x.conf"),
        *("/etc/network/if-up.d/x", "/etc/NetworkManager/dispatcher.d/x", "/etc/ppp/ip-up.d/x"),
        *("/etc/dhcp/dhclient-exit-hooks.d/x", "/etc/update-motd.d/10-x", "/etc/containers/systemd/x.pod"),
        *("/usr/share/containers/systemd/x.pod", "/var/lib/rancher/k3s/server/manifests/x.yaml"),
        *("/etc/docker/daemon.json", "/etc/hosts", "/etc/resolv.conf", "/etc/audit/auditd.conf"),
    ],
)
def test_places_that_decide_over_a_host_are_sensitive(path: str) -> None:
    assert sensitive(path)
    (found,) = sensitive_places({path: path}, {})
    assert (found.path, found.what, found.place) == (path, sensitive(path), "")


@pytest.mark.parametrize(
    "path",
    [
        *("/opt/chat/passwd", "/etc/chat/shadow", "/etc/chat.conf", "/etc/systemd/system/chat.service"),
        *("/usr/local/bin/chat", "/var/lib/chat/x", "/srv/boot/x", "/etc/sudoers.dx", "/etc/default/chat"),
        *("/usr/lib/chat/tmpfiles.d", "/var/lib/rancher/chat.yaml", "/etc/chat/network/x"),
        *("/etc/dhcp/dhcpd.conf", "/usr/share/chat/containers/x"),
        *("/etc/logrotate.d/chat", HOME + "/ann/ssh/x"),
    ],
)
def test_ordinary_places_are_not_named(path: str) -> None:
    assert sensitive(path) == ""
    assert forbidden(path, "chat") == ""


def test_a_drop_in_is_sensitive_unless_its_unit_is_of_the_same_release() -> None:
    drop_in = "/etc/systemd/system/ssh.service.d/x.conf"
    assert extended_unit(drop_in) == "ssh.service"
    assert unit_of("/lib/systemd/system/ssh.service") == "ssh.service"
    assert [each.what for each in sensitive_places({drop_in: drop_in}, {})] == [
        "the settings of the unit ssh.service"
    ]
    own = "/etc/systemd/system/ssh.service"
    assert list(sensitive_places({drop_in: drop_in, own: own}, {})) == []


def test_a_directory_that_every_host_has_is_named_with_its_mode() -> None:
    rows = sensitive_places(
        {}, {"/usr": ("/usr", 0), "/data": ("/etc/cron.d", 0o777), "/srv/x": ("/srv/x", 0)}
    )
    assert [each.text() for each in rows] == [
        "/data (leads to /etc/cron.d): a directory that every host has; its mode would be 0777",
        "/usr: a directory that every host has; its mode would be 0000",
    ]


def test_only_some_are_listed_for_people() -> None:
    paths = {f"/etc/cron.d/{number}": f"/etc/cron.d/{number}" for number in range(MOST + 5)}
    lines = list(sensitive_lines(list(sensitive_places(paths, {}))))
    assert len(lines) == MOST + 1
    assert lines[-1] == "… and 5 more; --json lists all of them"
    every = list(sensitive_lines(list(sensitive_places(paths, {})), everything=True))
    assert (len(every), every[:MOST]) == (MOST + 5, lines[:-1])


@pytest.mark.parametrize("path", ["/", "/etc", "/usr/local/bin", "/srv", "/home", "/var/lib", "/etc/cron.d"])
def test_directories_that_every_host_has_are_standard(path: str) -> None:
    assert is_standard(path)
    assert not is_standard(f"{path.rstrip('/')}/of-a-product")


def test_places_that_hold_waybills_own_are_known() -> None:
    assert all(map(holds_waybill, ("/", "/etc", "/var", "/var/lib", "/opt", "/usr/local/bin", "/usr")))
    assert not any(map(holds_waybill, ("/srv", "/etc/chat", "/usr/bin")))
