"""Where the executables come from and where they unpack: the README says it, here it is done."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.freeze.platforms import native
from bundler.freeze.self_extract import selected
from tests.rig.executables import Executables, executables
from tests.rig.needs import needs

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## Get the executables\n", 1)[1].split("\n## ", 1)[0]
LOCKED_DOWN = (TOP / "docs/how-to/run-on-a-locked-down-host.md").read_text(encoding="utf-8")
NOBODY = 65534


@pytest.fixture(scope="session")
def built() -> Executables:
    return executables()


class Reader:
    """An ordinary user with a home directory, who types what the README says."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        self.user = NOBODY if os.geteuid() == 0 else os.geteuid()
        os.chown(self.home, self.user, self.user if os.geteuid() == 0 else -1)

    def gets(self, program: Path) -> Path:
        """Hands a program out: where it was built may be closed to this user."""
        copy = self.home.parent / program.name
        shutil.copyfile(program, copy)
        copy.chmod(0o755)
        return copy

    def types(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {"PATH": f"{self.home}/bin:/usr/bin:/bin", "HOME": str(self.home), **environment}
        other = {"user": self.user, "group": self.user, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.run(
            ["bash", "-euc", script],
            cwd=self.home,
            env=known,
            capture_output=True,
            text=True,
            check=False,
            **other,
        )


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    # A cache must not lie below a directory that others could change, and pytest's are closed to this user.
    place = Path("/var/tmp") / f"waybill-reader-{os.getpid()}-{tmp_path.name}"
    place.mkdir(mode=0o755)
    yield Reader(place)
    shutil.rmtree(place)


def test_bundle_in_a_directory_of_the_path_answers_and_unpacks_where_the_readme_says(
    reader: Reader, built: Executables
) -> None:
    assert "such as `~/bin` or `/usr/local/bin`. `bundle --version` then answers" in SECTION
    assert "others to `~/.cache/waybill`" in SECTION
    done = reader.types(f"mkdir bin; cp {reader.gets(built.bundle)} bin/bundle; bundle --version")
    assert (done.returncode, done.stdout[:7]) == (0, "bundle "), done.stderr
    assert list((reader.home / ".cache/waybill").iterdir())


def test_bundle_writes_the_install_that_it_carries(reader: Reader, built: Executables) -> None:
    (command,) = re.findall(r"`(bundle installer [^`]+)`", SECTION)
    done = reader.types(
        f"mkdir bin; cp {reader.gets(built.bundle)} bin/bundle; {command}; ./install --version"
    )
    assert (done.returncode, done.stdout.splitlines()[-1][:8]) == (0, "install "), done.stderr
    own = native()
    assert own
    with built.install.open("rb") as file:
        assert (reader.home / "install").read_bytes() == b"".join(selected(file, [own.name]))


def test_the_directory_of_waybill_cache_is_used_and_no_other(reader: Reader, built: Executables) -> None:
    (example,) = re.findall(r"`(WAYBILL_CACHE=/var/tmp/[^`]+)`", SECTION)
    # The same as the how-to has, and what a start that fails proposes.
    assert example in LOCKED_DOWN
    own = example.replace("/var/tmp/", f"{reader.home}/")
    done = reader.types(f"cp {reader.gets(built.install)} install; {own} ./install --version")
    assert done.returncode == 0, done.stderr
    assert list((reader.home / f"waybill-{reader.user}").iterdir())
    assert not (reader.home / ".cache").exists()


def test_a_start_without_a_place_names_the_variable_as_the_readme_does(
    reader: Reader, built: Executables
) -> None:
    done = reader.types(f"cp {reader.gets(built.install)} install; HOME=/nonexistent ./install --version")
    assert done.returncode == 126
    assert "set WAYBILL_CACHE" in done.stderr.replace("\n", " ")


def test_every_place_in_the_readme_is_one_of_the_how_to() -> None:
    for place in ("/var/cache/waybill", "~/.cache/waybill"):
        assert f"`{place}`" in SECTION
        assert f"`{place}`" in LOCKED_DOWN
    head = (TOP / "bundler/freeze/self_extract.sh").read_text(encoding="utf-8")
    assert (
        "root: /var/cache/waybill, /run/waybill; everybody:\n# ${XDG_CACHE_HOME:-~/.cache}/waybill," in head
    )


def test_the_commands_of_try_it_lead_to_the_first_transcript(tmp_path: Path, built: Executables) -> None:
    """All are typed; `make installer` was done before, and pip gets the server from this environment."""
    needs("nats")
    script = README.split("```sh\n", 1)[1].split("```", 1)[0]
    assert script.startswith("make installer\n")
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    (checkout / "dist").mkdir(parents=True)
    home.mkdir()
    (checkout / "examples").symlink_to(TOP / "examples")
    for program in (built.bundle, built.install):
        (checkout / "dist" / program.name).symlink_to(program)
    stand_ins = (
        "make() { [ $* = installer ] && ls dist/bundle dist/install; }\n"
        'python3() { mkdir -p "$3/bin"; ln -s "$SCRIPTS/nats-server" "$3/bin/"; '
        'ln -s /bin/true "$3/bin/pip"; }\n'
    )
    done = subprocess.run(
        ["bash", "-euc", f"{stand_ins}{script}\nls; bundle --version; ./install --version"],
        cwd=checkout,
        env={
            "PATH": f"{home}/bin:{os.environ['PATH']}",
            "HOME": str(home),
            "SCRIPTS": sysconfig.get_path("scripts"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [f"lan-chat-1.{minor}.0" in done.stdout for minor in (4, 5, 6)] == [True] * 3
    # What the first transcript starts from.
    assert (home / "try/lan-chat-1.4.0/bundle.yaml").is_file()
