"""What decides about trust on a host is refused by name where others could have changed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.commands.metrics import SETTING
from installer.core.trust.root import fingerprint
from installer.state.host_identity import ENVIRONMENT_FILE
from installer.state.trust_store import ROOT_FILE, TIME_FILE
from tests.rig.bench import Bench, newer, release

PARTS = {
    "the root": (ROOT_FILE, 0o666),
    "its directory": ("/etc/waybill/trust", 0o777),
    "the settings": ("/etc/waybill", 0o775),
    "the environment": (ENVIRONMENT_FILE, 0o664),
    "the known time": (TIME_FILE, 0o646),
    "the state": ("/var/lib/waybill", 0o757),
}


@pytest.fixture
def installed(bench: Bench) -> Bench:
    for version, sequence in (("1.3.0", 100_030_000_999), ("1.4.0", 100_040_000_999)):
        assert bench.run(str(bench.bundle(release(version, sequence), "first.tar")), "--yes")[0] == 0
    return bench


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("verb", ["verify", "plan", "apply", "rollback"])
def test_nothing_is_verified_or_installed(installed: Bench, part: str, verb: str) -> None:
    path, mode = PARTS[part]
    place = installed.host / path[1:]
    bundle = [newer(installed)] if verb != "rollback" else []
    before = (installed.host / "opt/a").stat().st_mtime_ns
    place.chmod(mode)
    yes = ["--yes"] if verb in ("apply", "rollback") else []
    code, document, _ = installed.run(verb, *bundle, *yes)
    assert (code, document["code"], document.where) == (10, "untrusted", str(place))
    assert f"`chmod go-w {place}`" in document.hint
    assert (installed.host / "opt/a").stat().st_mtime_ns == before
    place.chmod(mode & ~0o022)
    assert installed.run(verb, *bundle, *yes)[0] == 0


def test_the_setting_of_the_directory_of_metrics_is_protected(installed: Bench, tmp_path: Path) -> None:
    (installed.host / "metrics").mkdir()
    setting = installed.host / SETTING[1:]
    setting.write_text("/metrics\n")
    setting.chmod(0o666)
    code, document, _ = installed.run("metrics")
    assert (code, document.where) == (10, str(setting))
    # No command fails for its metrics; the operator is told.
    code, _, said = installed.run("rollback", "--yes")
    assert code == 0
    assert f"the metrics were not written: {setting}: can be written by everybody" in said
    assert list((installed.host / "metrics").iterdir()) == []


@pytest.mark.parametrize("part", ["the root", "its directory", "the settings"])
@pytest.mark.parametrize("verb", ["show", "update", "ensure", "init"])
def test_no_command_of_trust_builds_on_what_others_could_have_changed(
    installed: Bench, tmp_path: Path, part: str, verb: str
) -> None:
    here = installed.host / ROOT_FILE[1:]
    carried = tmp_path / "root.json"
    carried.write_bytes(here.read_bytes())
    words = [verb, *([] if verb == "show" else [str(carried)])]
    words += ["--fingerprint", fingerprint(carried.read_bytes())] if verb in ("ensure", "init") else []
    assert installed.run("trust", *words)[0] == 0
    path, mode = PARTS[part]
    (installed.host / path[1:]).chmod(mode)
    code, document, _ = installed.run("trust", *words)
    assert (code, document["code"], document.where) == (10, "untrusted", str(installed.host / path[1:]))
    assert here.read_bytes() == carried.read_bytes()


def test_the_status_names_what_others_could_have_changed(installed: Bench) -> None:
    assert "NO TRUST" not in installed.text("status")[1]
    root = installed.host / ROOT_FILE[1:]
    root.chmod(0o666)
    code, said = installed.text("status")
    assert code == 0
    assert f"  NO TRUST   {root}: can be written by everybody (mode 0666): what this host trusts" in said
