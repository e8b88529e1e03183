"""Hosts whose values refer to secrets of stores, and a release that renders them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.rig.bench import Bench
from tests.rig.configured import CONFIG, configured

DEFAULTS = "db:\n  host: db.lan\n  password: ''\n  pin: 1\nplain: x\n"
TEMPLATE = "host {{ db.host }}\nrequirepass {{ db.password }}\n"
OLD, NEW = "tr0ub4dor-and-3", "correct-horse-9"
VALUES = "db:\n  password: secret://file/db\n"
STORE = f"{CONFIG}/secrets"


def secret(bench: Bench, value: str, name: str = "db") -> Path:
    """Write a secret into the store of files."""
    path = bench.host / STORE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")
    path.chmod(0o600)
    return path


def bundle(bench: Bench, template: str = TEMPLATE, schema: Any = None, **fields: Any) -> str:
    """Return the path of a bundle whose one file is rendered with `db.password`."""
    made = configured(defaults=DEFAULTS, schema=schema, template=template, **fields)
    return str(bench.bundle(made, f"{fields.get('version', '1.4.0')}.tar"))


def install(bench: Bench, path: str) -> str:
    """Install a bundle, and return what was said."""
    code, said = bench.text("apply", path, "--yes")
    assert code == 0, said
    return said


def places(host: Path, value: str) -> list[str]:
    """Return the files of a host that contain a value, without the store itself."""
    return sorted(
        str(path.relative_to(host))
        for path in host.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and host / STORE not in path.parents
        and value.encode() in path.read_bytes()
    )
