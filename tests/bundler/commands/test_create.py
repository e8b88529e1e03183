"""`bundle create`: the same inputs give the same bytes, and a failure leaves nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.commands.create import plan_bundle, write_bundle
from bundler.config.loader import load
from bundler.signing.bundle import sign
from installer.core.errors import UnfitInputError
from installer.core.format.bundle_source import FileSource
from installer.core.limits import LIMITS
from installer.shared.progress import Progress
from tests.rig import bundlebuild as build
from tests.rig.product import EPOCH, ROOT, YAML, Product


@pytest.fixture(autouse=True)
def _epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)


class TestReproducible:
    def test_two_runs_give_the_same_bytes(self, product: Product, tmp_path: Path) -> None:
        one = product.create(tmp_path / "1.tar")
        two = product.create(tmp_path / "2.tar")
        assert one.identity == two.identity
        assert one.path.read_bytes() == two.path.read_bytes()

    def test_what_is_written_is_read_by_the_strict_reader_and_by_tar(self, product: Product) -> None:
        created = product.create()
        medium = FileSource(created.path)
        bundle = build.read(medium)
        medium.close()
        assert (bundle.identity, created.size) == (created.identity, created.path.stat().st_size)
        done = subprocess.run(["tar", "-tf", created.path], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [
            "SHA256SUMS",
            "SHA256SUMS.room",
            "bundle.json",
            "docs/CHANGELOG.md",
            "docs/RELEASE-NOTES.md",
            "docs/UPGRADE.md",
            "bin/linux-amd64/chatd",
            "trees/web/index.html",
            "trees/web/js/app.js",
        ]

    def test_nothing_about_the_machine_or_the_moment_is_in_the_bytes(self, tmp_path: Path) -> None:
        first = Product.make(tmp_path / "a")
        second = Product.make(tmp_path / "some" / "other" / "place")
        for number, path in enumerate(sorted(second.directory.rglob("*"))):
            if not path.is_symlink():
                os.utime(path, (10**9 + number, 10**9 + number))
        old = os.umask(0o077)
        try:
            one = first.run("create", "v1.4.0", TZ="Asia/Kathmandu", LC_ALL="C", LANG="C")
            os.umask(0o002)
            two = subprocess.run(
                second.command("create", "1.4.0", "-C", str(second.directory)),
                cwd="/",
                env=os.environ
                | {
                    "PYTHONPATH": str(ROOT),
                    "SOURCE_DATE_EPOCH": EPOCH,
                    "TZ": "America/St_Johns",
                    "LC_ALL": "tr_TR.UTF-8",
                    "PYTHONHASHSEED": "7",
                    "HOME": "/nonexistent",
                    "COLUMNS": "20",
                },
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            os.umask(old)
        assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
        assert first.target.read_bytes() == second.target.read_bytes()

    def test_the_number_of_cores_is_not_in_the_bytes(
        self, product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (product.directory / "web/large.bin").write_bytes(os.urandom(9 << 20))
        (product.directory / "web/large.bin").chmod(0o644)
        data = set()
        for cores in (1, 2, 7):
            monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
            data.add(product.create(tmp_path / f"{cores}.tar").path.read_bytes())
        assert len(data) == 1

    def test_without_git_or_epoch_the_newest_input_gives_the_time(
        self, product: Product, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SOURCE_DATE_EPOCH")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(product.directory.parent))
        for path in product.directory.rglob("*"):
            os.utime(path, (10**9, 10**9), follow_symlinks=False)
        os.utime(product.directory / "web/index.html", (1_780_000_000, 1_780_000_000))
        assert product.create().manifest.created == 1_780_000_000

    @pytest.mark.parametrize("epoch", ["yesterday", "-1", "1.5", "\u00b2", "99999999999"])
    def test_an_epoch_that_is_no_time_is_refused(
        self, product: Product, monkeypatch: pytest.MonkeyPatch, epoch: str
    ) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        with pytest.raises(UnfitInputError, match="SOURCE_DATE_EPOCH"):
            product.create()


class TestExisting:
    def test_the_same_content_is_left_as_it_is(self, product: Product) -> None:
        product.create()
        before = product.target.stat()
        again = product.create()
        assert again.unchanged
        assert (product.target.stat().st_ino, product.target.stat().st_mtime_ns) == (
            before.st_ino,
            before.st_mtime_ns,
        )

    def test_the_same_content_gets_the_signature_that_it_lacks(self, product: Product) -> None:
        product.create()
        created = product.create(signers=(build.key()[0],))
        assert created.unchanged
        assert [name.rpartition(".")[2] for name in created.signatures] == ["sig", "json"]

    @pytest.mark.parametrize(
        "content", [b"", b"precious", build.plan().tar()], ids=["empty", "text", "bundle"]
    )
    def test_other_content_is_refused_and_kept(self, product: Product, content: bytes) -> None:
        product.target.parent.mkdir()
        product.target.write_bytes(content)
        with pytest.raises(UnfitInputError, match="already exists, with different content"):
            product.create()
        assert product.target.read_bytes() == content
        assert product.leftovers() == []

    def test_a_damaged_copy_of_the_same_bundle_is_other_content(self, product: Product) -> None:
        product.create()
        with product.target.open("r+b") as file:
            file.seek(-1500, os.SEEK_END)
            file.write(b"\xff")
        with pytest.raises(UnfitInputError, match="with different content"):
            product.create()

    def test_a_directory_of_that_name_is_refused(self, product: Product) -> None:
        product.target.mkdir(parents=True)
        with pytest.raises(UnfitInputError, match="with different content"):
            product.create()


class TestFailure:
    """Nothing under the final name, nothing beside it."""

    def nothing(self, product: Product) -> None:
        assert not product.target.exists()
        assert product.leftovers() == []

    def test_an_input_that_vanishes_between_looking_and_reading_ends_create(self, product: Product) -> None:
        from bundler.config.loader import load

        config = load(product.directory, "1.4.0")
        from bundler.commands.create import plan_bundle, write_bundle
        from installer.shared.progress import Progress

        planned = plan_bundle(config)
        (product.directory / "web/index.html").unlink()
        with pytest.raises(UnfitInputError, match=r"cannot be read: No such file") as caught:
            write_bundle(planned, product.target, (), Progress())
        assert caught.value.where.endswith("web/index.html")
        self.nothing(product)

    @pytest.mark.parametrize(
        "change",
        [lambda data: data + b"more", lambda data: data[:-1], lambda data: b""],
        ids=["grown", "shrunk", "emptied"],
    )
    def test_an_input_of_another_size_than_was_planned(
        self, product: Product, change: Callable[[bytes], bytes]
    ) -> None:
        from bundler.commands.create import plan_bundle, write_bundle
        from bundler.config.loader import load
        from installer.shared.progress import Progress

        config = load(product.directory, "1.4.0")
        planned = plan_bundle(config)
        path = product.directory / "web/js/app.js"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(UnfitInputError, match="changed while it was read") as caught:
            write_bundle(planned, product.target, (), Progress())
        assert caught.value.where.endswith("web/js/app.js")
        assert "wait until the build" in caught.value.hint
        self.nothing(product)

    def test_a_full_disk_leaves_nothing(self, product: Product) -> None:
        """RLIMIT_FSIZE gives the same short write and error as a file system that is full for this file."""
        (product.directory / "web/large.bin").write_bytes(os.urandom(3 << 20))
        done = subprocess.run(
            product.command("create", "v1.4.0"),
            cwd=product.directory,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        )
        assert done.returncode == 30, done.stderr
        assert "cannot be written: File too large" in done.stderr
        assert "hint: the file system, or `ulimit -f`" in done.stderr
        self.nothing(product)

    @pytest.mark.needs("root")
    def test_space_is_asked_for_before_anything_is_written(self, product: Product) -> None:
        """On a real small disk: what was asked before is told by numbers, not by a write that failed."""
        small = product.target.parent
        small.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "none", small], check=True)
        try:
            with pytest.raises(UnfitInputError, match="for other programs, and 1,048,576 are free"):
                product.create()
            self.nothing(product)
        finally:
            subprocess.run(["umount", small], check=True)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_a_signal_in_the_middle_leaves_nothing(self, product: Product, number: signal.Signals) -> None:
        (product.directory / "web/large.bin").write_bytes(os.urandom(64 << 20))
        for _ in range(5):
            running = subprocess.Popen(
                product.command("create", "v1.4.0"),
                cwd=product.directory,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self._writes(running, product.target.parent):
                running.send_signal(number)
                code = running.wait(30)
                if code != 0:
                    break
                product.target.unlink()
            else:
                running.wait(30)
                product.target.unlink(missing_ok=True)
        else:
            pytest.fail("create was never met in the middle")
        assert code in (-signal.SIGKILL, 130)
        self.nothing(product)
        # and the next run makes the bundle as if nothing had happened
        (product.directory / "web/large.bin").write_bytes(b"small")
        product.create()
        assert product.leftovers() == []

    def _writes(self, running: subprocess.Popen[bytes], folder: Path) -> bool:
        """Waits until the process has the nameless output open and written to."""
        until = time.monotonic() + 120
        while time.monotonic() < until and running.poll() is None:
            try:
                for link in Path(f"/proc/{running.pid}/fd").iterdir():
                    if os.readlink(link).startswith(f"{folder}/") and os.stat(link).st_blocks > 2000:
                        return True
            except OSError:
                pass
            time.sleep(0.002)
        return False

    def test_an_input_that_is_written_to_while_it_is_read_ends_create(self, product: Product) -> None:
        """The writer never stops: whatever is read changes before or after it."""
        path = product.directory / "web/large.bin"
        path.write_bytes(bytes(24 << 20))

        class Scribbling(Progress):
            def advance(self, _count: int) -> None:
                with path.open("r+b", 0) as file:
                    file.seek(12 << 20)
                    file.write(os.urandom(16))

        with pytest.raises(UnfitInputError, match="changed while it was read"):
            write_bundle(plan_bundle(load(product.directory, "1.4.0")), product.target, (), Scribbling())
        self.nothing(product)

    @pytest.mark.parametrize("limit", ["members", "manifest_bytes", "sums_bytes"])
    def test_more_than_the_reader_takes_is_refused_before_anything_is_read(
        self, product: Product, monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        monkeypatch.setattr("bundler.commands.create.LIMITS", replace(LIMITS, **{limit: 8}))
        monkeypatch.setattr("bundler.commands.create.write_files", None)
        with pytest.raises(UnfitInputError, match="at most 8 are allowed") as caught:
            product.create()
        assert "into one archive file" in caught.value.hint
        self.nothing(product)

    def test_a_bundle_that_would_be_refused_is_not_written(self, product: Product) -> None:
        (product.directory / "bundle.yaml").write_text(
            YAML.replace("/opt/lan-chat/bin/chatd", "/opt/lan-chat/web/index.html")
        )
        with pytest.raises(UnfitInputError):
            product.create()
        self.nothing(product)


def test_create_with_a_key_gives_what_create_and_sign_give_but_for_the_signature(
    product: Product, tmp_path: Path
) -> None:
    signer = build.key()[0]
    one = product.create(tmp_path / "1.tar", (signer,))
    two = product.create(tmp_path / "2.tar")
    sign(two.path, signer)
    assert one.identity == two.identity
    first, second = one.path.read_bytes(), two.path.read_bytes()
    assert len(first) == len(second)
    head = first.index(b"bundle.json\0")
    assert first[head:] == second[head:]
