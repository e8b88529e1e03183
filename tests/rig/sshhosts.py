"""Hosts that are reached over SSH: each a real sshd in a root of its own, with busybox, without Python."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.rig.chroots import Root, plain_root
from tests.rig.needs import needs
from tests.rig.process import Daemon

# `secret`, as the password that `su` asks for.
SHADOW = (
    "root:$6$abc$"
    "IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY..TKjv1T..8RadRt2qvUHYRLr/TsVArtr91iR1:1::::::"
)
USER, UID = "ops", 1000
SERVER, SFTP = "usr/sbin/sshd", "usr/lib/openssh/sftp-server"
# What the executable loads: its launcher looks at the loader, its Python at the libraries.
LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1"),
    "libgcc_s.so.1",  # of Debian: libc6 depends on it
)
CONFIG = """\
ListenAddress {address}
Port {port}
HostKey /etc/ssh/host_key
PidFile none
UsePAM no
AuthenticationMethods publickey
{sftp}
"""
# A terminal for each session, as Ansible asks for one.
START = """\
hostname "$2" && cd "$1" && mount -t proc proc proc
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
exec chroot . /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
"""


@dataclass
class SshHost:
    """One host.

    Attributes:
        name: What it calls itself.
        address: Where it listens, on the loopback device.
        port: The port.
        root: Its root directory, seen from this machine.
        key: The private key that opens it.
        user: Who that lets in.
        daemon: Its sshd.
    """

    name: str
    address: str
    port: int
    root: Path
    key: Path
    user: str
    daemon: Daemon

    def line(self) -> str:
        """Return its line of an inventory; a user becomes root by `su` and a password."""
        trust = f"-o UserKnownHostsFile={self.key.parent}/known_hosts -o StrictHostKeyChecking=yes"
        su = "ansible_become=true ansible_become_method=su ansible_become_password=secret"
        return (
            f"{self.name} ansible_host={self.address} ansible_port={self.port} ansible_user={self.user} "
            f"ansible_ssh_private_key_file={self.key} ansible_ssh_common_args='{trust}' "
            f"{'' if self.user == 'root' else su}"
        )

    def answers(self) -> bool:
        """Tell whether its sshd greets."""
        try:
            with closing(socket.create_connection((self.address, self.port), timeout=5)) as link:
                return link.recv(4) == b"SSH-"
        except OSError:
            return False


@contextmanager
def ssh_hosts(
    directory: Path, count: int, *, without_sftp: tuple[int, ...] = (), without_root: tuple[int, ...] = ()
) -> Iterator[list[SshHost]]:
    """Start hosts, which trust one key; the file `known_hosts` next to it has their keys.

    Args:
        directory: An empty directory for all of it.
        count: How many there are, up to 200.
        without_sftp: Numbers of hosts, from 1, that have no sftp server.
        without_root: Numbers of hosts that let in a user only, who knows the password of root.
    """
    needs("sshd")
    key = directory / "id"
    keygen(key)
    hosts: list[SshHost] = []
    try:
        for number in range(1, count + 1):
            user = USER if number in without_root else "root"
            hosts.append(_host(directory, key, number, user, sftp=number not in without_sftp))
        for host in hosts:
            host.daemon.wait_until(host.answers, 30)
        yield hosts
    finally:
        for host in hosts:
            # `unshare --fork` ignores SIGTERM; with its end all processes of the host end.
            host.daemon.kill()


def keygen(path: Path) -> None:
    """Make a key pair of OpenSSH."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _host(directory: Path, key: Path, number: int, user: str, *, sftp: bool) -> SshHost:
    name, address = f"node{number}", f"127.0.1.{number}"
    with closing(socket.socket()) as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    root = plain_root(directory / name)
    _install_server(root, sftp=sftp)
    etc = root.path / "etc/ssh"
    etc.mkdir()
    keygen(etc / "host_key")
    subsystem = f"Subsystem sftp /{SFTP}" if sftp else ""
    (etc / "sshd_config").write_text(CONFIG.format(address=address, port=port, sftp=subsystem))
    _add_users(root.path, user, Path(f"{key}.pub"))
    words = " ".join((etc / "host_key.pub").read_text().split()[:2])
    with (directory / "known_hosts").open("a") as file:
        file.write(f"[{address}]:{port} {words}\n")
    # A process id namespace: what a session left there ends with the host.
    command = [needs("unshare"), "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-euc", START]
    daemon = Daemon([*command, "sh", str(root.path), name], directory / f"{name}.log")
    return SshHost(name, address, port, root.path, key, user, daemon)


def _add_users(root: Path, user: str, key: Path) -> None:
    """Let a key in as root or as a user; busybox then becomes what its `su` needs."""
    home = root / ("root" if user == "root" else f"home/{user}")
    ids = f"{UID}:{UID}"
    with (root / "etc/passwd").open("a") as file:
        file.write(f"sshd:x:100:65534::/run/sshd:/bin/false\n{USER}:x:{ids}::/home/{USER}:/bin/sh\n")
    (root / "etc/shadow").write_text(f"{SHADOW}\nsshd:*:1::::::\n{USER}:*:1::::::\n")
    (root / "etc/shadow").chmod(0o600)
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(key, home / ".ssh/authorized_keys")
    for path in (home, home / ".ssh"):
        path.chmod(0o700)
    if user != "root":
        for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
            os.chown(path, UID, UID)
        (root / "bin/busybox").chmod(0o4755)


def _install_server(root: Root, *, sftp: bool) -> None:
    for name in ("run/sshd", "dev/pts", "var/lib", "var/tmp", "usr/sbin", "usr/lib/openssh"):
        (root.path / name).mkdir(parents=True, exist_ok=True)
    (root.path / "dev/ptmx").symlink_to("pts/ptmx")
    os.mknod(root.path / "dev/tty", 0o20666, os.makedev(5, 0))
    # Whoever comes in over SSH is no owner of these, and writes to them.
    for name in ("null", "zero", "random", "urandom", "tty"):
        (root.path / "dev" / name).chmod(0o666)
    (root.path / "tmp").chmod(0o1777)
    for program in (SERVER, SFTP) if sftp else (SERVER,):
        shutil.copy(f"/{program}", root.path / program)
    for library in sorted({each for name in (SERVER, SFTP) for each in _loaded(Path("/", name))}):
        target = root.path / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def _loaded(program: Path) -> list[Path]:
    """Return the loader and the libraries of a program, and those of the executable next to them."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    found = [Path(word) for word in said.split() if word.startswith("/")]
    (libc,) = [path for path in found if path.name == "libc.so.6"]
    return [*found, *(libc.with_name(name) for name in LIBRARIES if libc.with_name(name).exists())]
