"""CONTRIBUTING's example of a secret store works, taken from the guide's own text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.secrets.references import Reference
from installer.secrets.registry import STORES, parse
from installer.secrets.resolve import examine
from installer.shared.progress import Progress

GUIDE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the store of the guide, which is registered."""
    section = GUIDE.read_text(encoding="utf-8").split("## Add a secret store\n", 1)[1].split("\n## ", 1)[0]
    (source,) = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    module: dict[str, Any] = {"__name__": "installer.secrets.container"}
    exec(compile(source, "CONTRIBUTING.md", "exec"), module)
    made = module["ContainerStore"]
    monkeypatch.setitem(STORES, made.name, made)
    return str(made.name)


def test_the_store_of_the_guide_resolves_its_references(store: str, tmp_path: Path) -> None:
    (tmp_path / "run/secrets").mkdir(parents=True)
    (tmp_path / "run/secrets/db").write_text("hunter22\n")
    (tmp_path / "run/secrets/db").chmod(0o444)
    context = Context(System(tmp_path), Layout("shop"), Progress())
    reference = parse(f"secret://{store}/db")
    assert reference == Reference(store, "db")
    assert examine(context, [reference]).secrets[reference].reveal() == "hunter22"
    assert context.secrets.hide("hunter22") == "***"
