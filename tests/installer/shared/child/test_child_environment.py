"""Children of `install` get an environment that is built; libraries of its own process load nothing."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.deploy.docker_cli import engine_problem
from installer.host.system import System
from installer.images.docker_socket import EngineError
from installer.images.engines import connect
from installer.shared.child import engine_address as engines
from installer.shared.child import process
from installer.shared.child.engine_address import (
    DEFAULT_ENGINE,
    engine_address,
    engine_environment,
    interpolation_environment,
    is_podman,
)
from installer.shared.child.environment import (
    LOADERS,
    PROGRAMS,
    built_environment,
    forget_loaders,
    program_path,
)
from tests.rig.hang import ends

HOSTILE = {
    "DOCKER_HOST": "tcp://192.0.2.1:2375", "DOCKER_CONTEXT": "far", "DOCKER_CONFIG": "/srv/me/.docker",
    "COMPOSE_FILE": "/tmp/other.yaml", "COMPOSE_PROJECT_NAME": "other", "COMPOSE_PROFILES": "debug",
    "SYSTEMD_PAGER": "sh", "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/tmp/bus", "BASH_ENV": "/tmp/env",
    "ENV": "/tmp/env", "LD_PRELOAD": "/tmp/lib.so", "LD_LIBRARY_PATH": "/tmp", "PYTHONPATH": "/tmp",
    "WAYBILL_ORIGINAL_LD_PRELOAD": "/tmp/lib.so", "PERL5LIB": "/tmp", "OPENSSL_CONF": "/tmp/openssl.cnf",
    "IFS": "x", "CDPATH": "/tmp", "HOME": "/srv/me", "USER": "me", "SHELL": "/tmp/sh",
    "http_proxy": "http://192.0.2.1", "WAYBILL_EXE": "/stick/x",
}  # fmt: skip


def test_nothing_of_the_operator_decides_for_a_child() -> None:
    built = built_environment(HOSTILE)
    assert set(built) == {"HOME", "USER", "LOGNAME", "SHELL", "PATH"}
    user = pwd.getpwuid(os.geteuid())
    assert (built["HOME"], built["USER"], built["SHELL"]) == (user.pw_dir, user.pw_name, "/bin/sh")


def test_a_user_without_an_entry_in_the_list_of_users_has_a_home_and_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    built = built_environment(HOSTILE)
    assert (built["HOME"], built["USER"], built["LOGNAME"]) == ("/", "54321", "54321")


def test_language_and_terminal_are_kept() -> None:
    kept = {"LANG": "de_DE.UTF-8", "LC_ALL": "C", "LC_TIME": "C", "TZ": "Europe/Berlin", "TERM": "xterm"}
    assert kept.items() <= built_environment(kept | HOSTILE).items()


def test_a_child_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    said = process.run(["env"], timeout=30, env={"WAYBILL_PRODUCT": "chat"}).stdout.decode()
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert names & HOSTILE.keys() == {"HOME", "USER", "SHELL"}
    assert "WAYBILL_PRODUCT" in names


class TestPath:
    def test_the_usual_directories_come_first(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir(mode=0o755)
        given = {"PATH": f"{tmp_path}/bin:/usr/bin"}
        assert program_path(given) == ":".join([*PROGRAMS, f"{tmp_path}/bin"])

    @pytest.mark.parametrize("entry", ["", ".", "bin", "/nowhere"])
    def test_what_is_no_directory_of_its_own_is_left_out(self, entry: str) -> None:
        assert program_path({"PATH": f"{entry}:/usr/bin"}) == ":".join(PROGRAMS)

    def test_what_others_can_write_to_is_left_out(self, tmp_path: Path) -> None:
        for mode in (0o777, 0o775, 0o757):
            tmp_path.chmod(mode)
            assert program_path({"PATH": str(tmp_path)}) == ":".join(PROGRAMS)

    @pytest.mark.needs("root")
    def test_what_belongs_to_somebody_else_is_left_out(self, tmp_path: Path) -> None:
        os.chown(tmp_path, 12345, 12345)
        assert program_path({"PATH": str(tmp_path)}) == ":".join(PROGRAMS)

    def test_a_program_is_looked_for_where_a_child_finds_it(self, tmp_path: Path, monkeypatch) -> None:
        planted = tmp_path / "env"
        planted.write_text("#!/bin/sh\necho planted\n")
        planted.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert process.run(["env"], timeout=30).stdout != b"planted\n"


class TestEngine:
    def test_the_site_says_which_engine_it_is_unless_the_environment_does(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        chosen = tmp_path / "engine"
        chosen.write_text("containerd:///run/mine.sock?namespace=lab\n")
        monkeypatch.setattr(engines, "SITE_ENGINE", str(chosen))
        assert engine_address({}) == "containerd:///run/mine.sock?namespace=lab"
        assert engine_address({"DOCKER_HOST": "unix:///run/mine.sock"}) == "unix:///run/mine.sock"

    @pytest.mark.parametrize(
        ("spoil", "what"),
        [
            (lambda file: file.chmod(0o666), "can be changed by others"),
            (lambda file: (file.unlink(), os.mkfifo(file)), "is not a file"),
            (lambda file: (file.unlink(), file.mkdir()), "is not a file"),
            (lambda file: (file.unlink(), file.symlink_to(file)), "cannot be read (Too many levels of"),
        ],
        ids=["writable by all", "a pipe", "a directory", "a link to itself"],
    )
    def test_no_engine_takes_the_place_of_one_whose_file_cannot_be_used(
        self, spoil: Callable[[Path], object], what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        chosen = tmp_path / "engine"
        chosen.write_text("unix:///run/mine.sock\n")
        monkeypatch.setattr(engines, "SITE_ENGINE", str(chosen))
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        spoil(chosen)
        with ends(), pytest.raises(EngineError) as caught:
            connect(System("/"))
        problem = engine_problem()
        assert problem is not None
        for each in (caught.value, problem):
            assert (each.where, each.what.startswith(what)) == (str(chosen), True)
            assert f"`chmod 0644 {chosen}`" in each.hint

    def test_the_engine_is_the_socket_whatever_the_context(self) -> None:
        context = {"DOCKER_CONTEXT": "far", "DOCKER_CONFIG": "/srv/me/.docker"}
        assert engine_address(context) == DEFAULT_ENGINE
        assert engine_address({**context, "DOCKER_HOST": "unix:///run/mine.sock"}) == "unix:///run/mine.sock"
        assert engine_address({"DOCKER_HOST": ""}) == DEFAULT_ENGINE

    @pytest.mark.parametrize(
        ("there", "engine"),
        [
            ((), "docker"),
            (("docker.sock", "podman.sock", "podman"), "docker"),
            (("dockerd", "podman.sock", "podman"), "docker"),
            (("podman.sock",), "podman"),
            (("podman",), "podman"),
            (("dockerd", "k3s.sock"), "docker"),
            (("podman.sock", "containerd.sock"), "podman"),
            (("k3s.sock", "containerd.sock"), "k3s"),
            (("containerd.sock", "podman"), "containerd"),
        ],
        ids=[
            "nothing",
            "both",
            "docker that is down",
            "podman",
            "podman without its socket",
            "docker that is down, and k3s",
            "podman and containerd",
            "k3s",
            "containerd",
        ],
    )
    def test_a_host_without_docker_uses_podman_or_containerd(
        self, there: tuple[str, ...], engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sockets = {name: f"unix://{tmp_path}/{name}.sock" for name in ("docker", "podman")}
        nodes = {name: f"containerd://{tmp_path}/{name}.sock" for name in ("k3s", "containerd")}
        monkeypatch.setattr(engines, "CONTAINERD_ENGINES", tuple(nodes.values()))
        monkeypatch.setattr(engines, "DEFAULT_ENGINE", sockets["docker"])
        monkeypatch.setattr(engines, "PODMAN_ENGINE", sockets["podman"])
        monkeypatch.setattr(engines, "PROGRAMS", (str(tmp_path),))
        for name in there:
            (tmp_path / name).touch(mode=0o755)
        assert engine_address({}) == {**sockets, **nodes}[engine]

    def test_a_link_in_the_place_of_dockers_socket_leads_to_podman(self, tmp_path: Path) -> None:
        (tmp_path / "podman.sock").touch()
        (tmp_path / "docker.sock").symlink_to("podman.sock")
        assert is_podman(f"unix://{tmp_path}/docker.sock")
        assert not is_podman("unix:///run/docker.sock")

    def test_what_an_operation_recorded_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", "unix:///run/now.sock")
        assert engine_environment("unix:///run/then.sock") == {"DOCKER_HOST": "unix:///run/then.sock"}
        assert engine_environment() == {"DOCKER_HOST": "unix:///run/now.sock"}


def test_nothing_of_the_operator_reaches_what_fills_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = ("LANG", "LC_ALL", "TZ", "TERM", "USER", "TMPDIR", "NO_COLOR", "COMPOSE_FILE", "DOCKER_CONTEXT")
    for name in planted:
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("HOME", "/home/planted")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/x.sock")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    ended = process.run([sys.executable, "-IS", "-c", code], timeout=60, env=interpolation_environment())
    # Python sets the one that the C library needs where there is none.
    found = {name: value for name, value in json.loads(ended.stdout).items() if name != "LC_CTYPE"}
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert found == {"PATH": found["PATH"], "HOME": home, "DOCKER_HOST": "unix:///run/x.sock"}
    assert interpolation_environment("unix:///y.sock")["DOCKER_HOST"] == "unix:///y.sock"


def test_what_loads_code_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOADERS:
        monkeypatch.setenv(name, "/tmp/planted")
    forget_loaders()
    assert not set(LOADERS) & os.environ.keys()


@pytest.mark.parametrize("module", ["installer.cli.main", "bundler.cli.main"])
def test_a_configuration_of_openssl_is_not_read(module: str, tmp_path: Path) -> None:
    """It can name a module, which would be loaded into this process."""
    asked, conf = tmp_path / "asked", tmp_path / "openssl.cnf"
    os.mkfifo(conf)
    # Whoever opens the pipe waits for ever; a reader of it would make this test hang, not fail.
    code = (
        "import os, sys\n"
        f"from {module} import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "import hashlib, ssl\n"
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey\n"
        "Ed25519PrivateKey.generate()\n"
        f"open({str(asked)!r}, 'w').write('done')\n"
    )
    env = {**os.environ, "OPENSSL_CONF": str(conf)}
    subprocess.run(
        [sys.executable, "-c", code, "--help"], env=env, capture_output=True, timeout=120, check=False
    )
    assert asked.read_text() == "done"
