"""Variables of the caller make neither the program nor the tools of its head load foreign code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.rig.needs import needs

CONFIGURATION = """\
openssl_conf = start
[start]
providers = both
[both]
default = kept
planted = planted
[kept]
activate = 1
[planted]
activate = 1
module = {module}
"""
OPENED = re.compile(r'^(\d+) +.*"([^"]*planted[^"]*)"', re.MULTILINE)
STARTED = re.compile(r'^(\d+) +execve\("([^"]+)".* = 0$', re.MULTILINE)


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    """A real module of OpenSSL's in each place that a variable can name."""
    (module,) = Path("/usr/lib").glob(f"{sysconfig.get_config_var('MULTIARCH')}/ossl-modules/legacy.so")
    place = tmp_path / "planted"
    (place / "gconv").mkdir(parents=True)
    for name in ("module.so", "legacy.so", "gconv/EVIL.so", "libz.so.1", "libcrypto.so.3"):
        shutil.copy(module, place / name)
    (place / "gconv/gconv-modules").write_text("module INTERNAL EVIL// EVIL 1\n")
    (place / "sitecustomize.py").write_text("raise SystemExit('planted')\n")
    (place / "openssl.cnf").write_text(CONFIGURATION.format(module=place / "module.so"))
    return {
        "OPENSSL_CONF": f"{place}/openssl.cnf",
        "OPENSSL_MODULES": str(place),
        "OPENSSL_ENGINES": str(place),
        "GCONV_PATH": f"{place}/gconv",
        "LOCPATH": str(place),
        "PYTHONPATH": str(place),
        "PYTHONHOME": str(place),
        "PYTHONSTARTUP": f"{place}/sitecustomize.py",
        "LD_LIBRARY_PATH": str(place),
        "LD_PRELOAD": f"{place}/module.so",
        "LD_AUDIT": f"{place}/module.so",
    }


def opened(log: Path, command: list[str], variables: dict[str, str]) -> dict[str, set[str]]:
    """Run a command under strace; give the planted files that each of its programs opened."""
    log.unlink(missing_ok=True)
    words = ["strace", "-f", "-qq", "-s", "300", "-o", str(log), "-e", "trace=execve,openat"]
    words += [each for name, value in variables.items() for each in ("-E", f"{name}={value}")]
    subprocess.run([*words, "--", *command], capture_output=True, check=False, timeout=120)
    text = log.read_text()
    started = [(match.start(), *match.groups()) for match in STARTED.finditer(text)]
    found: dict[str, set[str]] = {}
    for match in OPENED.finditer(text):
        if "openat(" not in match[0]:
            continue
        runs = [program for at, pid, program in started if pid == match[1] and at < match.start()]
        found.setdefault(runs[-1] if runs else "", set()).add(Path(match[2]).name)
    return found


@pytest.mark.parametrize("name", ["install", "bundle"])
def test_no_variable_makes_it_load_foreign_code(planted: dict[str, str], tmp_path: Path, name: str) -> None:
    needs("strace")
    program = str(Path(needs("executables")) / name)
    log = tmp_path / "log"
    control = {"OPENSSL_CONF": planted["OPENSSL_CONF"]}
    openssl = needs("openssl")
    assert "module.so" in opened(log, [openssl, "list", "-providers"], control)[openssl]
    with_cache = {"WAYBILL_CACHE": str(Path.home() / ".cache" / f"waybill-test-{os.getpid()}")}
    try:
        for _ in range(2):  # the first start, with its tools, and one from the cache
            others = {name: value for name, value in planted.items() if not name.startswith("LD_")}
            assert opened(log, [program, "selftest"], {**others, **with_cache}) == {}
            loader = {name: value for name, value in planted.items() if name.startswith("LD_")}
            # The loader loads for the shell before the shell can do anything about it.
            assert opened(log, [program, "selftest"], {**loader, **with_cache}).keys() <= {program}
    finally:
        shutil.rmtree(with_cache["WAYBILL_CACHE"], ignore_errors=True)
