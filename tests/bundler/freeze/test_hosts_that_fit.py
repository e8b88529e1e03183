"""On which hosts an executable starts, with which of its payloads, and what it says on the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.freeze import self_extract
from bundler.freeze.platforms import PLATFORMS
from tests.rig.chroots import GNU, MUSL, Answers, Root, plain_root

GLIBC = "glibc 2.36"
SAID_BY_MUSL = "musl libc (x86_64)\nVersion {}\nDynamic Program Loader\nUsage: ld.so pathname"
NEW, OLD = SAID_BY_MUSL.format("1.2.5"), SAID_BY_MUSL.format("1.2.3")
X86, ARM = GNU["x86_64"], GNU["aarch64"]
LDD = "ldd (Debian GLIBC 2.31-13+deb11u13) 2.31\nCopyright (C) 2020"
LAYER = Answers(loaders={X86: "a layer of compatibility", MUSL["x86_64"]: NEW}, ldd="musl libc (x86_64)")

FITS = {
    "glibc": (Answers(getconf=GLIBC, loaders={X86: "-"}), "linux/amd64"),
    "glibc 2.17": (Answers(getconf="glibc 2.17", loaders={X86: "-"}), "linux/amd64"),
    "glibc that only ldd tells": (Answers(ldd=LDD, loaders={X86: "-"}), "linux/amd64"),
    "glibc of which nothing tells the version": (Answers(loaders={X86: "-"}), "linux/amd64"),
    "musl": (Answers(loaders={MUSL["x86_64"]: NEW}), "linux/amd64-musl"),
    "a later musl": (Answers(loaders={MUSL["x86_64"]: SAID_BY_MUSL.format("1.10.0")}), "linux/amd64-musl"),
    "musl of which nothing tells the version": (Answers(loaders={MUSL["x86_64"]: "?"}), "linux/amd64-musl"),
    "musl with a layer for glibc": (LAYER, "linux/amd64-musl"),
    "glibc with musl beside it": (
        Answers(getconf=GLIBC, loaders={X86: "-", MUSL["x86_64"]: NEW}),
        "linux/amd64",
    ),
    "ARM64": (Answers("aarch64", GLIBC, loaders={ARM: "-"}), "linux/arm64"),
    "ARM64 as other systems name it": (Answers("arm64", GLIBC, loaders={ARM: "-"}), "linux/arm64"),
    "musl on ARM64": (Answers("aarch64", loaders={MUSL["aarch64"]: NEW}), "linux/arm64-musl"),
}
GLIBC_ONLY, BOTH = "linux/amd64", "linux/amd64 linux/amd64-musl"
FOR_GLIBC = "  the file is for x86-64 with glibc 2.17 or later"
FOR_MUSL = "  the file is for x86-64 with musl 1.2.5 or later"
ELSEWHERE = "use another host, or a container of another distribution"
NO_LOADER = f"it has neither the loader of glibc (/{X86}) nor that of musl (/{MUSL['x86_64']})"


def shells(answers: Answers) -> list[str]:
    """The shells that take the answers of a host: busybox has an answer of its own for the machine."""
    return ["bash", "sh"] if answers.machine == "x86_64" else ["bash"]


def write(platform: str) -> str:
    return f"write the file for this host where `bundle` is: bundle installer --platform {platform}"


MISFITS = {
    "a 32-bit ARM": (BOTH, Answers("armv7l"), "its machine is armv7l", ELSEWHERE),
    "ARM64": (
        BOTH,
        Answers("aarch64", GLIBC, loaders={ARM: "-"}),
        "its machine is aarch64",
        write("linux/arm64"),
    ),
    "glibc 2.12": (BOTH, Answers(getconf="glibc 2.12", loaders={X86: "-"}), "its glibc is 2.12", ELSEWHERE),
    "glibc 1.99": (BOTH, Answers(getconf="glibc 1.99", loaders={X86: "-"}), "its glibc is 1.99", ELSEWHERE),
    "musl": (
        GLIBC_ONLY,
        Answers(loaders={MUSL["x86_64"]: NEW}),
        "its C library is musl",
        write("linux/amd64-musl"),
    ),
    "glibc where only musl fits": (
        "linux/amd64-musl",
        Answers(getconf=GLIBC, loaders={X86: "-"}),
        "its C library is glibc",
        write("linux/amd64"),
    ),
    "an older musl": (BOTH, Answers(loaders={MUSL["x86_64"]: OLD}), "its musl is 1.2.3", ELSEWHERE),
    "no loader": (BOTH, Answers(), NO_LOADER, ELSEWHERE),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return plain_root(tmp_path_factory.mktemp("host") / "root")


@pytest.fixture
def fresh(host: Root) -> Root:
    """The host without what the test before has left."""
    for loader in (*GNU.values(), *MUSL.values()):
        (host.path / loader).unlink(missing_ok=True)
    host.run("rm", "-rf", "/var/cache/waybill")
    return host


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Packs a program that says which platform it was packed for."""

    def make(platforms: str, program: str = "install") -> bytes:
        apps = {}
        for name in platforms.split():
            app = apps[name] = tmp_path_factory.mktemp("app")
            (app / program).write_text(f"#!/bin/sh\necho {name} $*\n")
            (app / "shared").write_text("the same everywhere")
        return self_extract.pack(apps, program, "1")

    return make


def put(root: Root, content: bytes, name: str = "install") -> str:
    place = root.path / "opt" / name
    place.write_bytes(content)
    place.chmod(0o755)
    return f"/opt/{name}"


@pytest.fixture(scope="module")
def for_all(packed: Callable[..., bytes]) -> bytes:
    return packed(" ".join(PLATFORMS))


@pytest.mark.parametrize(
    ("name", "shell"), [(name, shell) for name in FITS for shell in shells(FITS[name][0])]
)
def test_a_host_starts_the_payload_that_fits_it_first_and_again(
    fresh: Root, for_all: bytes, name: str, shell: str
) -> None:
    answers, platform = FITS[name]
    fresh.answer(answers)
    program = put(fresh, for_all)
    for _ in range(2):
        done = fresh.run(shell, program, "status")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{platform} status\n", "")
    assert len(list((fresh.path / "var/cache/waybill").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "shell"), [(name, shell) for name in MISFITS for shell in shells(MISFITS[name][1])]
)
def test_a_host_that_fits_no_payload_is_told_why(
    fresh: Root, packed: Callable[..., bytes], name: str, shell: str
) -> None:
    carried, answers, reason, hint = MISFITS[name]
    fresh.answer(answers)
    done = fresh.run(shell, put(fresh, packed(carried)), "status")
    fit = {BOTH: [FOR_GLIBC, FOR_MUSL], GLIBC_ONLY: [FOR_GLIBC]}.get(carried, [FOR_MUSL])
    assert done.stderr.splitlines() == [f"install: cannot run on this host: {reason}", *fit, f"hint: {hint}"]
    assert (done.returncode, done.stdout) == (126, "")
    assert not (fresh.path / "var/cache/waybill").exists()


def test_the_reason_is_a_document_with_json(fresh: Root, packed: Callable[..., bytes]) -> None:
    fresh.answer(Answers("riscv64"))
    done = fresh.run("bash", put(fresh, packed(BOTH)), "status", "--json")
    document = json.loads(done.stdout)
    assert (document["exit"], document["code"], document["changed"]) == (126, "not-started", False)
    said = [problem["what"] for problem in document["problems"]]
    assert said == ["cannot run on this host: its machine is riscv64", FOR_GLIBC.strip(), FOR_MUSL.strip()]


def test_bundle_names_no_option_of_its_own(fresh: Root, packed: Callable[..., bytes]) -> None:
    fresh.answer(Answers(loaders={MUSL["x86_64"]: NEW}))
    done = fresh.run(put(fresh, packed(GLIBC_ONLY, "bundle"), "bundle"))
    assert done.stderr.splitlines()[0] == "bundle: cannot run on this host: its C library is musl"
    assert done.stderr.splitlines()[-1] == f"hint: {ELSEWHERE}"


def test_a_program_that_does_not_start_is_no_matter_of_noexec(fresh: Root, tmp_path: Path) -> None:
    fresh.answer(Answers(getconf=GLIBC, loaders={X86: "-"}))
    (tmp_path / "install").write_text("#!/lib64/of-another-system\n")
    done = fresh.run(put(fresh, self_extract.pack({"linux/amd64": tmp_path}, "install", "1")))
    assert done.returncode == 126
    assert done.stderr.startswith(
        "install: cannot run on this host:\n  /var/cache/waybill: its program ends with"
    )
    assert "not found" in done.stderr
    assert "noexec" not in done.stderr


def test_two_hosts_that_share_a_home_each_start_their_own(fresh: Root, for_all: bytes) -> None:
    program = put(fresh, for_all)
    for name in ("glibc", "musl", "glibc"):
        for loader in (X86, MUSL["x86_64"]):
            (fresh.path / loader).unlink(missing_ok=True)
        answers, platform = FITS[name]
        fresh.answer(answers)
        assert fresh.run(program, "x").stdout == f"{platform} x\n"
    assert len(list((fresh.path / "var/cache/waybill").iterdir())) == 2
