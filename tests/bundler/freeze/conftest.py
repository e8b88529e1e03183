"""A directory to unpack to, and a small program that is packed behind the real shell head."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundler.freeze.packed import DATA, PROGRAM
from tests.rig.executables import pack
from tests.rig.needs import needs


@pytest.fixture
def trusted() -> Iterator[Path]:
    """A directory that nobody but this user can write to, in no part of its path; /tmp is not."""
    home = Path.home() / ".cache"
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="waybill-test-", dir=home) as made:
        yield Path(made)


@pytest.fixture
def shared(trusted: Path) -> Path:
    """A directory such as /tmp: root's, everybody may write, with the sticky bit."""
    needs("root")
    made = trusted / "shared"
    made.mkdir()
    made.chmod(0o1777)
    return made


@pytest.fixture
def app(tmp_path: Path) -> Path:
    made = tmp_path / "app"
    (made / "lib" / "deep").mkdir(parents=True)
    (made / "tool").write_text(PROGRAM)
    (made / "lib" / "deep" / "data").write_bytes(DATA)
    return made


@pytest.fixture
def tool(app: Path, tmp_path: Path) -> Path:
    made = tmp_path / "stick" / "tool"
    made.parent.mkdir()
    made.write_bytes(pack(app, "tool", "1.2.3"))
    made.chmod(0o755)
    return made
