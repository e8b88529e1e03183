"""The shell head, with a program so small that every test starts afresh."""

from __future__ import annotations

import marshal
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
import zstandard

from bundler.freeze import settle
from installer.shared.child.environment import child_environment
from tests.bundler.freeze.packed import DATA, SHELLS, damage, refusal, run, unpacked, wait_for
from tests.rig.answers import Document
from tests.rig.executables import pack
from tests.rig.needs import needs

LOADERS = (
    "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "LOCPATH", "NLSPATH", "MALLOC_TRACE",
    "GLIBC_TUNABLES", "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "SSLKEYLOGFILE", "PYTHONPATH",
    "PYTHONHOME", "PYTHONSTARTUP", "BASH_ENV", "ENV",
)  # fmt: skip
USERS = (65534, 54321)
"""Users without a home: one whom the host knows, and one without an entry in its list of users."""


class TestStart:
    @pytest.mark.parametrize("name", SHELLS)
    def test_every_shell_starts_it_first_and_again(self, tool: Path, trusted: Path, name: str) -> None:
        if name == "busybox":
            needs("busybox")
        first = run(tool, trusted / "c", "a b", "", "*", shell=SHELLS[name])
        again = run(tool, trusted / "c", "a b", "", "*", shell=SHELLS[name])
        (home,) = unpacked(trusted / "c")
        assert (first.returncode, first.stderr) == (0, "")
        assert first.stdout == again.stdout == f"{home}/tool\na b\n\n*\n"

    def test_the_directory_is_complete_and_for_the_user_only(self, tool: Path, trusted: Path) -> None:
        run(tool, trusted / "c")
        (home,) = unpacked(trusted / "c")
        assert (home / ".complete").exists()
        assert not list((trusted / "c").glob(".tool-*"))
        assert not (home / ".payload").exists()
        assert (home / "lib/deep/data").read_bytes() == DATA
        assert home.stat().st_mode & 0o077 == 0

    def test_the_exit_status_is_the_programs(self, tool: Path, trusted: Path) -> None:
        assert [run(tool, trusted, "fail").returncode for _ in range(2)] == [7, 7]

    def test_the_umask_stays_the_users(self, app: Path, tool: Path, trusted: Path) -> None:
        (app / "tool").write_text("#!/bin/sh\numask\n")
        tool.write_bytes(pack(app, "tool", "1"))
        command = ["sh", "-c", f"umask 027; {tool}; {tool}"]
        done = subprocess.run(
            command, env={**os.environ, "WAYBILL_CACHE": str(trusted)}, capture_output=True, check=True
        )
        assert done.stdout.split() == [b"0027", b"0027"]

    def test_a_second_start_does_not_unpack(self, tool: Path, trusted: Path) -> None:
        run(tool, trusted)
        (home,) = unpacked(trusted)
        before = (home / "tool").stat().st_ino
        run(tool, trusted)
        assert (home / "tool").stat().st_ino == before

    def test_many_first_starts_at_once_all_work(self, tool: Path, trusted: Path) -> None:
        environment = {**os.environ, "WAYBILL_CACHE": str(trusted)}
        started = [subprocess.Popen([tool, "x"], env=environment, stdout=subprocess.PIPE) for _ in range(6)]
        said = {child.communicate(timeout=300)[0] for child in started}
        (home,) = unpacked(trusted)
        assert said == {f"{home}/tool\nx\n".encode()}

    def test_an_executable_starts_by_a_relative_path_and_through_a_link(
        self, tool: Path, trusted: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "link").symlink_to(tool)
        environment = {**os.environ, "WAYBILL_CACHE": str(trusted)}
        for command in ("stick/tool env", "./link env", "sh link env", "PATH=stick:$PATH; tool env"):
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            said = next(line for line in done.stdout.splitlines() if line.startswith("WAYBILL_EXE="))
            assert Path(said.partition("=")[2]).is_absolute()
            assert Path(said.partition("=")[2]).resolve() == tool

    def test_what_loads_foreign_libraries_is_kept_from_it(self, tool: Path, trusted: Path) -> None:
        done = run(tool, trusted, "env", LD_LIBRARY_PATH="/foreign", WAYBILL_ORIGINAL_LD_PRELOAD="/planted")
        lines = done.stdout.splitlines()
        assert "WAYBILL_ORIGINAL_LD_LIBRARY_PATH=/foreign" in lines
        assert not [line for line in lines if line.startswith(("LD_", "WAYBILL_ORIGINAL_LD_PRELOAD"))]

    def test_no_variable_that_loads_code_reaches_it_or_the_tools_of_the_head(
        self, tool: Path, trusted: Path, tmp_path: Path
    ) -> None:
        foreign = {name: f"{tmp_path}/{name}" for name in LOADERS}
        # GNU tar would run this at the first start.
        foreign["TAR_OPTIONS"] = f"--checkpoint=1 --checkpoint-action=exec='touch {tmp_path}/ran'"
        for _ in range(2):
            done = run(tool, trusted, "env", **foreign)
            seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
            assert done.returncode == 0, done.stderr
            assert not foreign.keys() & seen.keys()
            assert {name: seen[f"WAYBILL_ORIGINAL_{name}"] for name in foreign} == foreign
            assert child_environment(seen).items() >= foreign.items()
        assert not (tmp_path / "ran").exists()

    def test_an_exported_function_of_bash_does_not_stand_in_for_a_tool(
        self, tool: Path, trusted: Path, tmp_path: Path
    ) -> None:
        ran = tmp_path / "ran"
        functions = {
            f"BASH_FUNC_{name}%%": f"() {{ : >{ran}; }}" for name in ("id", "ls", "stat", "tar", "cd")
        }
        done = run(tool, trusted, "x", shell=("bash", "--posix"), **functions)
        assert (done.returncode, ran.exists()) == (0, False)

    @pytest.mark.parametrize("shell", SHELLS)
    @pytest.mark.parametrize("stream", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
    def test_a_stream_that_is_closed_leads_nowhere(
        self, tool: Path, app: Path, trusted: Path, stream: str, shell: str
    ) -> None:
        """Not into the next file that the program opens: its texts would land there."""
        if shell == "busybox":
            needs("busybox")
        (app / "tool").write_text(f"#!/bin/sh\nls -l /proc/$$/fd >{trusted}/seen\necho end || :\n")
        tool.write_bytes(pack(app, "tool", "1"))
        words = " ".join(SHELLS[shell])
        for _ in range(2):
            command = ["sh", "-c", f"exec {words} {tool} x {stream}"]
            done = subprocess.run(
                command, env={**os.environ, "WAYBILL_CACHE": str(trusted / "c")}, check=False
            )
            assert done.returncode == 0
            seen = (trusted / "seen").read_text()
            closed = [number for number in "02" if f"{number}<&-" in stream or f"{number}>&-" in stream]
            assert all(f" {number} -> /dev/null" in seen for number in closed), seen

    def test_the_path_stays_the_users(self, tool: Path, trusted: Path) -> None:
        assert f"PATH={os.environ['PATH']}" in run(tool, trusted, "env").stdout.splitlines()


class TestDistrust:
    def test_a_directory_that_others_can_write_to_is_refused(self, tool: Path, trusted: Path) -> None:
        (trusted / "c").mkdir()
        (trusted / "c").chmod(0o770)
        assert f"{trusted}/c is writable by others (drwxrwx---" in refusal(run(tool, trusted / "c"))

    def test_a_part_of_the_path_that_others_can_write_to_is_refused(self, tool: Path, trusted: Path) -> None:
        (trusted / "c" / "own").mkdir(parents=True, mode=0o700)
        (trusted / "c").chmod(0o777)
        assert f"{trusted}/c is writable by others (drwxrwxrwx" in refusal(run(tool, trusted / "c" / "own"))

    def test_a_sticky_directory_of_root_is_no_place_itself(self, tool: Path, trusted: Path) -> None:
        needs("root")
        (trusted / "c").mkdir()
        (trusted / "c").chmod(0o1777)
        assert f"{trusted}/c is writable by others (drwxrwxrwt" in refusal(run(tool, trusted / "c"))

    def test_a_link_into_a_directory_that_others_can_write_to_is_refused(
        self, tool: Path, trusted: Path
    ) -> None:
        (trusted / "loose" / "own").mkdir(parents=True)
        (trusted / "loose").chmod(0o777)
        (trusted / "c").symlink_to(trusted / "loose" / "own")
        assert f"{trusted}/loose is writable by others" in refusal(run(tool, trusted / "c"))

    def test_an_own_directory_below_a_sticky_directory_of_root_is_trusted(
        self, tool: Path, shared: Path
    ) -> None:
        done = run(tool, shared / "own", "x")
        assert (done.returncode, done.stderr) == (0, "")
        assert (shared / "own").stat().st_mode & 0o777 == 0o700

    def test_a_sticky_directory_of_another_user_protects_nothing(self, tool: Path, shared: Path) -> None:
        os.chown(shared, 65534, 65534)
        assert f"{shared} is writable by others (drwxrwxrwt" in refusal(run(tool, shared / "own"))

    def test_a_directory_of_another_user_below_a_sticky_one_is_distrusted(
        self, tool: Path, shared: Path
    ) -> None:
        (shared / "own").mkdir(mode=0o700)
        os.chown(shared / "own", 65534, 65534)
        assert f"{shared}/own belongs to user 65534" in refusal(run(tool, shared / "own"))

    def test_a_directory_of_another_user_is_refused(self, tool: Path, trusted: Path) -> None:
        needs("root")
        (trusted / "c").mkdir(mode=0o755)
        os.chown(trusted / "c", 65534, 65534)
        assert f"{trusted}/c belongs to user 65534" in refusal(run(tool, trusted / "c"))

    def test_a_planted_program_is_never_started(self, app: Path, tool: Path, trusted: Path) -> None:
        needs("root")
        run(tool, trusted / "c")
        (home,) = unpacked(trusted / "c")
        (home / "tool").write_text("#!/bin/sh\necho planted\n")
        os.chown(home, 65534, 65534)
        done = run(tool, trusted / "c", "x")
        assert done.stdout == f"{home}/tool\nx\n"
        assert home.stat().st_uid == os.geteuid()

    def test_a_name_with_a_line_break_is_refused(self, tool: Path, trusted: Path) -> None:
        done = run(tool, trusted / "a\nb")
        assert (done.returncode, done.stderr.count("a line break")) == (126, 1)

    @pytest.mark.parametrize("name", SHELLS)
    def test_with_json_the_reason_is_a_document(self, tool: Path, trusted: Path, name: str) -> None:
        if name == "busybox":
            needs("busybox")
        place = trusted / 'a"b\\c \x1b\u202e'
        place.write_text("")
        done = run(tool, place, "status", "--json", shell=SHELLS[name])
        assert (done.returncode, "cannot unpack and start itself" in done.stderr) == (126, True)
        # The program of this test has a name of its own.
        found = Document.read(done.stdout.replace("waybill/cli/tool/v1", "waybill/cli/install/v1"))
        assert (found["exit"], found["code"], found["changed"]) == (126, "not-started", False)
        assert found.what == "cannot unpack and start itself"
        assert found.hint.startswith("set WAYBILL_CACHE to a directory")
        assert "/a'b/c ????" in found.others[0]["what"]
        plain = run(tool, place, "--", "--json", shell=SHELLS[name])
        assert (plain.returncode, plain.stdout) == (126, "")

    def test_a_file_in_place_of_the_directory_is_refused(self, tool: Path, trusted: Path) -> None:
        (trusted / "c").write_text("")
        refusal(run(tool, trusted / "c"))

    def test_nowhere_to_unpack_says_where_it_tried(self, tool: Path) -> None:
        done = run(tool, Path("/proc/none"))
        assert "/proc/none: " in refusal(done)


class TestFaults:
    @pytest.mark.parametrize("where", [-1, -200, -1000])
    def test_a_flipped_bit_is_found_before_anything_runs(self, tool: Path, trusted: Path, where: int) -> None:
        content = bytearray(tool.read_bytes())
        content[where] ^= 1
        tool.write_bytes(content)
        assert f"{tool} is damaged" in damage(run(tool, trusted))
        assert list(trusted.iterdir()) == []

    @pytest.mark.parametrize("change", [-1, 1])
    def test_a_byte_less_or_more_is_found(self, tool: Path, trusted: Path, change: int) -> None:
        content = tool.read_bytes()
        tool.write_bytes(content[:-1] if change < 0 else content + b"\0")
        assert "is damaged" in damage(run(tool, trusted))

    def test_an_unfinished_directory_is_made_anew(self, tool: Path, trusted: Path) -> None:
        run(tool, trusted)
        (home,) = unpacked(trusted)
        (home / ".complete").unlink()
        (home / "tool").write_text("#!/bin/sh\necho half\n")
        assert run(tool, trusted, "x").stdout == f"{home}/tool\nx\n"

    def test_a_clock_before_the_build_is_no_fault(
        self, tool: Path, app: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(2**32))
        tool.write_bytes(pack(app, "tool", "1"))
        done = run(tool, trusted, "x")
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.parametrize("shell", ["dash", "bash"])
    def test_a_first_start_that_is_ended_leaves_nothing(
        self, tool: Path, app: Path, trusted: Path, number: signal.Signals, shell: str
    ) -> None:
        (app / "tool").write_text(f"#!/bin/sh\n: >{trusted}/started\nexec sleep 60\n")
        tool.write_bytes(pack(app, "tool", "1"))
        environment = {**os.environ, "WAYBILL_CACHE": str(trusted / "c")}
        child = subprocess.Popen([shell, str(tool)], env=environment, start_new_session=True)
        wait_for((trusted / "started").exists)
        os.killpg(child.pid, number)
        assert child.wait(timeout=120) != 0
        wait_for(lambda: not list((trusted / "c").iterdir()))

    def test_a_noexec_place_is_told(self, tool: Path, trusted: Path) -> None:
        needs("unshare")
        script = 'mount -t tmpfs -o noexec,mode=700 tmpfs "$1" && WAYBILL_CACHE=$1 "$2"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", str(trusted), str(tool)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "is it mounted noexec?" in refusal(done)

    def test_a_full_place_is_told_and_left_clean(self, tool: Path, app: Path, trusted: Path) -> None:
        needs("unshare")
        (app / "big").write_bytes(os.urandom(3 << 20))
        tool.write_bytes(pack(app, "tool", "1"))
        mount = 'mount -t tmpfs -o size=4m,mode=700 tmpfs "$1"'
        script = mount + ' && { WAYBILL_CACHE=$1 "$2"; status=$?; ls -A "$1"; exit $status; }'
        command = ["unshare", "-m", "sh", "-c", script, "sh", str(trusted), str(tool)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "cannot be filled (7 MB are needed)" in refusal(done)

    @pytest.mark.parametrize("user", USERS)
    def test_a_user_without_a_home_reads_why(self, tool: Path, user: int) -> None:
        needs("root")
        with tempfile.TemporaryDirectory(dir="/tmp") as place:
            Path(place).chmod(0o755)
            copy = shutil.copy(tool, place)
            for environment in ({}, {"HOME": "/nonexistent"}, {"HOME": ""}, {"WAYBILL_CACHE": "/root/x"}):
                done = subprocess.run(
                    [copy], env=environment, user=user, group=user, extra_groups=[], cwd="/",
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
                said = refusal(done)
                assert re.search(r"start itself:\n  \S.*[a-zA-Z]{4}", said), said
                assert f"such as /var/tmp/waybill-{user}" in said

    @pytest.mark.parametrize("user", USERS)
    def test_what_the_hint_names_works_for_a_user_without_a_home(self, tool: Path, user: int) -> None:
        needs("root")
        with tempfile.TemporaryDirectory(dir="/tmp") as place:
            Path(place).chmod(0o1777)
            copy = shutil.copy(tool, place)
            done = subprocess.run(
                [copy, "x"], env={"WAYBILL_CACHE": f"{place}/own"}, user=user, group=user, extra_groups=[],
                capture_output=True, text=True, check=False, cwd="/",
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")

    def test_a_start_without_a_cache_and_a_home_says_so(self, tool: Path, tmp_path: Path) -> None:
        needs("unshare")
        script = 'mount -t tmpfs -o ro tmpfs /var/cache && mount -t tmpfs -o ro tmpfs /run && "$1"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", str(tool)]
        done = subprocess.run(
            command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
        )
        assert "/var/cache/waybill: " in refusal(done)
        assert "/run/waybill: " in done.stderr


class TestPack:
    def test_the_same_directory_makes_the_same_bytes(self, app: Path, tmp_path: Path) -> None:
        copy = tmp_path / "elsewhere"
        shutil.copytree(app, copy)
        for path in copy.rglob("*"):
            os.utime(path, (1, 1))
        assert pack(app, "tool", "1") == pack(copy, "tool", "1")

    def test_dates_and_build_paths_are_taken_out(self, tmp_path: Path) -> None:
        made = []
        for name in ("one", "two"):
            code = compile("def f():\n    return 1\n", f"/{name}/main.py", "exec")
            stamp = name.encode().ljust(8)
            made.append(settle.settled("__main__tool.pyc", b"magic123" + stamp + marshal.dumps(code)))
        assert made[0] == made[1]
        assert settle.settled("data", b"magic123 kept") == b"magic123 kept"

    def test_a_library_without_symbols_still_loads(self, tmp_path: Path) -> None:
        shutil.copytree(Path(zstandard.__file__).parent, tmp_path / "zstandard")
        (library,) = tmp_path.glob("zstandard/backend_c.*.so")
        original = library.read_bytes()
        blanked = settle.without_symbols(original)
        library.write_bytes(blanked)
        program = "import zstandard as z; print(z.__file__, z.decompress(z.compress(b'good')))"
        command = [sys.executable, "-c", program]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == f"{tmp_path}/zstandard/__init__.py b'good'\n"
        assert len(blanked) == len(original)
        assert len(zlib.compress(blanked, 1)) < len(zlib.compress(original, 1)) * 3 / 4
