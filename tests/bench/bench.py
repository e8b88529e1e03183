"""Measures Waybill against cp, sha256sum and openssl. Prints ratios of one run, judges nothing.

    python -m tests.bench.bench [--size MiB] [--large GiB] [--runs N] [NAME …]

The two sides of a ratio run in turn, A B A B, so that drift of the machine does not decide; the medians
are compared. Payload is incompressible and lies in the page cache. `make bench` runs all of it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.rig.imagebuild import Built, layer, layout, write

TOP = Path(__file__).resolve().parents[2]
BUNDLE = [sys.executable, "-c", "from bundler.cli.main import main; main()"]
YAML = """\
schema: waybill/v1
product: bench
platforms: [linux/amd64]
expires: 3650d
trees:
  - {path: payload, install: /opt/bench}
docs: {changelog: CHANGELOG.md, upgrade: UPGRADE.md}
rollback: {plan: ROLLBACK.md}
"""
IMAGES_YAML = YAML.replace("trees:\n  - {path: payload, install: /opt/bench}", "images:\n  - oci: images")


class Bench:
    """One directory to work in, and the pairs that were measured."""

    def __init__(self, work: Path, runs: int) -> None:
        self.work = work
        self.runs = runs
        self.environment = os.environ | {
            "PYTHONPATH": str(TOP),
            "COSIGN_PASSWORD": "",
            "SOURCE_DATE_EPOCH": "1790000000",
        }

    def pair(self, name: str, ours: Callable[[], object], theirs: Callable[[], object], against: str) -> None:
        """Runs two things in turn and prints the ratio of their medians."""
        ours(), theirs()
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(self.runs):
            for side, action in enumerate((ours, theirs)):
                began = time.perf_counter()
                action()
                times[side].append(time.perf_counter() - began)
        mine, other = (statistics.median(each) for each in times)
        print(
            f"{name:<34} {mine:8.3f} s   {against:<28} {other:8.3f} s   ratio {mine / other:6.2f}", flush=True
        )

    def bundle(self, *words: str | Path) -> str:
        """Runs the command `bundle`."""
        done = subprocess.run(
            [*BUNDLE, *map(str, words)], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"bundle {' '.join(map(str, words))}\n{done.stderr}")
        return done.stdout

    def product(self, name: str, files: dict[str, int]) -> Path:
        """Makes a product with a tree of files of these sizes."""
        home = self.work / name
        (home / "payload").mkdir(parents=True)
        (home / "bundle.yaml").write_text(YAML)
        (home / "CHANGELOG.md").write_text("# Changelog\n\n## [1.0.0] - 2026-01-01\n\n### Added\n\n- All.\n")
        (home / "UPGRADE.md").write_text("Nothing to do.\n")
        (home / "ROLLBACK.md").write_text("install rollback\n")
        for path, count in files.items():
            fill(home / "payload" / path, count)
        return home


def fill(path: Path, count: int) -> None:
    """Writes `count` incompressible bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = random.Random(path.name)
    with path.open("wb") as file:
        while count:
            piece = source.randbytes(min(count, 8 << 20))
            file.write(piece)
            count -= len(piece)


def shell(command: str) -> None:
    """Runs a shell command whose output nobody wants."""
    subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)


def bench_create(bench: Bench, mib: int) -> None:
    """Create against cp + fsync of the same bytes."""
    for label, files in {
        "one file": {"blob": mib << 20},
        "8 files": {f"blob{n}": (mib << 20) // 8 for n in range(8)},
        "4096 files": {f"d{n % 64}/f{n}": (mib << 20) // 4096 for n in range(4096)},
    }.items():
        home = bench.product("create-" + label.replace(" ", "-"), files)
        out, copy = bench.work / "out.tar", bench.work / "copy"

        def ours(home: Path = home, out: Path = out) -> None:
            out.unlink(missing_ok=True)
            bench.bundle("create", "1.0.0", "-C", home, "-o", out)

        def theirs(home: Path = home, copy: Path = copy) -> None:
            shutil.rmtree(copy, ignore_errors=True)
            shell(
                f"cp -r {home}/payload {copy} && find {copy} -type f -print0 | xargs -0 sync && sync {copy}"
            )

        bench.pair(f"create, {mib} MiB in {label}", ours, theirs, "cp -r + fsync")


def bench_stage(bench: Bench, _size: int) -> None:
    """Staging and applying 10,000 small files against tar -x + sync; and staging what is staged already."""
    home = bench.product("stage", {f"d{n // 100}/f{n}": 200 + n % 3000 for n in range(10_000)})
    bundle, root, plain = bench.work / "stage.tar", bench.work / "root", bench.work / "plain"
    bench.bundle("create", "1.0.0", "-C", home, "-o", bundle)

    def ours(until: str, *, fresh: bool = True) -> None:
        if fresh:
            shutil.rmtree(root, ignore_errors=True)
        root.mkdir(exist_ok=True)
        words = [sys.executable, "-m", "tests.bench.staging", str(bundle), str(root), until]
        subprocess.run(words, check=True, cwd=TOP, env=bench.environment)

    def theirs() -> None:
        shutil.rmtree(plain, ignore_errors=True)
        plain.mkdir()
        shell(f"tar -xf {bundle} -C {plain} && sync -f {plain}")

    bench.pair("stage, 10,000 small files", lambda: ours("stage"), theirs, "tar -x + sync")
    bench.pair("stage again, all there", lambda: ours("stage", fresh=False), theirs, "tar -x + sync")
    bench.pair("stage and apply", lambda: ours("apply"), theirs, "tar -x + sync")


def bench_upgrade(bench: Bench, mib: int) -> None:
    """Staging an upgrade with one small new layer against tar -x + sync, and the space that it takes."""
    layers = [layer(name, (mib << 20) // 4) for name in "abcd"]
    new = layer("new", (mib << 20) // 50)
    bundles = []
    for number, each in enumerate(([*layers], [*layers, new])):
        home = bench.product(f"upgrade{number}", {})
        write(home / "images", layout([Built("bench/app:1", each)]))
        (home / "bundle.yaml").write_text(IMAGES_YAML)
        bundles.append(bench.work / f"upgrade{number}.tar")
        bench.bundle("create", "1.0.0", "-C", home, "-o", bundles[-1])
        shutil.rmtree(home)
    root, plain = bench.work / "upgraded", bench.work / "plain"
    root.mkdir()
    staged = root / "var/lib/waybill/bench/staging"

    def ours() -> None:
        shutil.rmtree(staged, ignore_errors=True)
        words = [sys.executable, "-m", "tests.bench.staging", str(bundles[1]), str(root), "stage"]
        subprocess.run(words, check=True, cwd=TOP, env=bench.environment)

    def theirs() -> None:
        shutil.rmtree(plain, ignore_errors=True)
        plain.mkdir()
        shell(f"tar -xf {bundles[1]} -C {plain} && sync -f {plain}")

    words = [sys.executable, "-m", "tests.bench.staging", str(bundles[0]), str(root), "apply"]
    subprocess.run(words, check=True, cwd=TOP, env=bench.environment)
    bench.pair(f"stage an upgrade, 2 % of {mib} MiB new", ours, theirs, "tar -x + sync")
    kept = sum(each.lstat().st_blocks * 512 for each in staged.rglob("*") if each.lstat().st_nlink == 1)
    fresh = bundles[1].stat().st_size - sum(map(len, layers))
    print(
        f"{'kept by that upgrade':<34} {kept / 1e6:8.3f} MB  {'new in its bundle':<28} {fresh / 1e6:8.3f} MB"
        f"  ratio {kept / fresh:6.2f}",
        flush=True,
    )


def bench_verify(bench: Bench, mib: int) -> None:
    """Verify against sha256sum -c of the extracted files, and against openssl per core."""
    home = bench.product("verify", {f"blob{n}": (mib << 20) // 8 for n in range(8)})
    bundle, key = bench.work / "verify.tar", bench.work / "k"
    bench.bundle("keygen", key)
    bench.bundle("create", "1.0.0", "-C", home, "-o", bundle, "--key", f"{key}.key")
    extracted = bench.work / "extracted"
    extracted.mkdir()
    shell(f"tar -xf {bundle} -C {extracted}")
    bench.pair(
        f"verify, {mib} MiB in 8 files",
        lambda: bench.bundle("verify", bundle, "--key", f"{key}.pub"),
        lambda: shell(f"cd {extracted} && sha256sum -c SHA256SUMS"),
        "sha256sum -c",
    )
    cores = os.cpu_count() or 1
    openssl = f"cd {extracted}/trees/payload && ls | xargs -P {cores} -n 1 openssl dgst -sha256"
    bench.pair(
        f"verify, {mib} MiB in 8 files",
        lambda: bench.bundle("verify", bundle, "--key", f"{key}.pub"),
        lambda: shell(openssl),
        f"openssl dgst on {cores} cores",
    )


def bench_memory(bench: Bench, gib: int) -> None:
    """Time and peak memory of each command for one large bundle, and for 100,000 files."""
    free = shutil.disk_usage(bench.work).free
    if free < 3 * (gib << 30):
        print(f"memory of a {gib} GiB bundle: not measured, {free >> 30} GiB are free")
    else:
        home = bench.product("large", {})
        fill(home / "payload" / "part", 64 << 20)
        with (home / "payload" / "part").open("rb") as part, (home / "payload" / "blob").open("wb") as file:
            for _ in range(gib << 4):
                part.seek(0)
                shutil.copyfileobj(part, file, 1 << 20)
        _memory(bench, home, f"{gib} GiB")
        shutil.rmtree(home)
    _memory(bench, bench.product("many", {f"d{n // 500}/f{n}": 64 for n in range(100_000)}), "100,000 files")


def _memory(bench: Bench, home: Path, label: str) -> None:
    bundle, key = bench.work / "memory.tar", bench.work / "m"
    bundle.unlink(missing_ok=True)
    (bench.work / "root").mkdir()
    if not Path(f"{key}.key").exists():
        bench.bundle("keygen", key)
    for verb, words in {
        "create": ["create", "1.0.0", "-C", home, "-o", bundle, "--key", f"{key}.key"],
        "inspect": ["inspect", bundle],
        "verify": ["verify", bundle, "--key", f"{key}.pub"],
        "approve": [
            "approve",
            bundle,
            "--role",
            "security",
            "--env",
            "prod",
            "--release-key",
            f"{key}.pub",
            "--key",
            f"{key}.key",
            "--yes",
        ],
        "stage": [],
    }.items():
        command = [*BUNDLE, *map(str, words)]
        if verb == "stage":
            command = [
                sys.executable,
                "-m",
                "tests.bench.staging",
                str(bundle),
                str(bench.work / "root"),
                verb,
            ]
        began = time.perf_counter()
        pid = os.posix_spawn(
            sys.executable,
            command,
            bench.environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)],
        )
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise SystemExit(f"{verb} of {label} failed")
        took = time.perf_counter() - began
        print(
            f"{verb + ', ' + label:<34} {took:8.3f} s   peak memory {usage.ru_maxrss / 1024:8.1f} MiB",
            flush=True,
        )
    bundle.unlink()
    shutil.rmtree(bench.work / "root")


def bench_start(bench: Bench, _size: int) -> None:
    """How long the commands take to say something."""
    commands = {"bundle --help, from source": [*BUNDLE, "--help"]}
    for name in ("install", "bundle"):
        if (TOP / "dist" / name).exists():
            commands[f"{name} --version, executable"] = [str(TOP / "dist" / name), "--version"]
            commands[f"{name} --help, executable"] = [str(TOP / "dist" / name), "--help"]
    for label, command in commands.items():
        times = []
        for _ in range(bench.runs + 1):
            began = time.perf_counter()
            subprocess.run(command, env=bench.environment, stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - began)
        print(f"{label:<34} {statistics.median(times[1:]):8.3f} s", flush=True)


def bench_load(bench: Bench, mib: int) -> None:
    """Images into a Docker engine of our own, against `docker load`."""
    if os.geteuid() or not shutil.which("dockerd"):
        print("load: not measured: needs root, and dockerd from the Debian package docker.io")
        return
    words = [sys.executable, "-m", "tests.bench.load", str(mib)]
    subprocess.run(words, check=True, cwd=TOP, env=bench.environment)


def bench_services(_bench: Bench, _size: int) -> None:
    """Which containers of a Compose project stay the same where one service changes."""
    if os.geteuid() or not shutil.which("dockerd"):
        print("services: not measured: needs root, and dockerd from the Debian package docker.io")
        return
    subprocess.run([sys.executable, "-m", "tests.bench.services"], check=True, cwd=TOP)


BENCHES: dict[str, Callable[[Bench, int], None]] = {
    "create": bench_create,
    "verify": bench_verify,
    "stage": bench_stage,
    "upgrade": bench_upgrade,
    "load": bench_load,
    "services": bench_services,
    "start": bench_start,
    "memory": bench_memory,
}


def main() -> None:
    """Runs what was asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--size", type=int, default=512, help="MiB of payload for ratios")
    parser.add_argument("--large", type=int, default=5, help="GiB of the bundle whose memory is measured")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench.") as work:
        bench = Bench(Path(work), given.runs)
        for name in given.names or BENCHES:
            BENCHES[name](bench, given.large if name == "memory" else given.size)


if __name__ == "__main__":
    main()
