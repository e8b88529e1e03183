"""Releases that require a word, and installers from before it: refused as too new, and left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from installer.core.format.entries.config_file import OnChange
from installer.core.format.manifest import HealthCheck
from tests.rig import baseline
from tests.rig.bench import CLOCK, Bench, environment
from tests.rig.clustered import NEEDS
from tests.rig.configured import configured, in_cluster
from tests.rig.needs import lacks
from tests.rig.products import add, make_product, put
from tests.rig.trustworld import NOW, World, root

EARLY = "Look again where a command begins or ends while status or plan looks"
"""Subject line of a commit that knows what `requires` is, but none of the words below."""
LATE = "Run the suite of the new steps in CI within its time"
"""Subject line of a commit that knows all of them."""
CHECK: Mapping[str, Any] = {"validate": ("test", "-s", "{file}")}
REACT: Mapping[str, Any] = {"on_change": OnChange(command=("true",))}
WORDS: dict[str, Mapping[str, Any]] = {
    "ansible/1": {},
    "ansible-inventory/1": {},
    "salt/1": {},
    "validators/1": CHECK,
    "on-change/1": REACT,
    "cluster/1": {},
    "health/1": {},
    "helm/1": {},
    "kubectl/1": {},
    "layers/1": {},
    "timeouts/1": CHECK | REACT | {"timeout": 300},
}
LAYERS = {"environment/production": "log: debug\n", "cluster/plant-3": "peers: [b]\n"}
MANIFEST = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}\n"
MAIN = """\
from datetime import UTC, datetime
import installer.commands.common.session as session
session.utc_now = lambda: datetime.fromtimestamp(NOW, UTC)
from installer.cli.main import main
main()
"""


def release(word: str, version: str = "1.4.0", sequence: int = 100_040_000_999) -> World:
    if word == "cluster/1":
        defaults = "cluster: {node: '', peers: []}\n"
        return configured(version, sequence, defaults, None, "x\n", mode=0o644, cluster=NEEDS)
    if word == "health/1":
        probe = HealthCheck("command", "", ("true",), start_period=1)
        return configured(version, sequence, health=(probe,))
    if word == "ansible/1":
        return configured(version, sequence, playbook="- hosts: all\n")
    if word == "ansible-inventory/1":
        return configured(version, sequence, playbook="- hosts: all\n", groups=("chat",))
    if word == "salt/1":
        return configured(version, sequence, state="nothing:\n  test.nop: []\n")
    if word == "helm/1":
        return configured(version, sequence, chart="apiVersion: v2\nname: chat\nversion: 1.0.0\n")
    if word == "kubectl/1":
        return configured(version, sequence, manifests=MANIFEST)
    layers = LAYERS if word == "layers/1" else {}
    return configured(version, sequence, said=WORDS[word], layers=layers)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The sources of the two earlier versions."""
    found = {}
    for subject in (EARLY, LATE):
        found[subject] = tmp_path_factory.mktemp("earlier") / "source"
        try:
            baseline.unpack(subject, found[subject])
        except baseline.AbsentError as error:
            lacks("baseline", str(error))
    return found


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A host in production, whose clock stands still."""
    monkeypatch.setattr(CLOCK, lambda: NOW)
    (tmp_path / "host/etc/waybill/trust").mkdir(parents=True)
    bench = Bench(tmp_path / "host", tmp_path, capsys)
    bench.trust(root())
    environment(bench.host, "production\n")
    return bench


def python(source: Path, text: str, *words: str, **more: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", text, *words],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def install(source: Path, bench: Bench, *words: str) -> tuple[int, str]:
    return python(source, MAIN.replace("NOW", str(NOW.timestamp())), *words, "--root", str(bench.host))


@pytest.mark.parametrize("word", WORDS)
def test_an_installer_from_before_a_word_answers_that_it_is_too_old(
    host: Bench, sources: Mapping[str, Path], word: str
) -> None:
    path = str(host.bundle(release(word)))
    for words in (("verify", path), ("apply", path, "--yes")):
        code, said = install(sources[EARLY], host, *words)
        assert code == 19, said
        assert word in said.partition("requires ")[2]
    assert not (host.host / "etc/chat.conf").exists()


@pytest.mark.parametrize("word", WORDS)
def test_an_installer_from_before_a_word_leaves_such_a_release_alone(
    host: Bench, sources: Mapping[str, Path], word: str
) -> None:
    assert host.run(str(host.bundle(release(word))), "--yes")[0] == 0
    before = (host.host / "etc/chat.conf").read_text()
    newer = str(host.bundle(configured("1.5.0", 100_050_000_999), "newer.tar"))
    for words in (("remove", "lan-chat", "--yes"), ("apply", newer, "--yes")):
        code, said = install(sources[EARLY], host, *words)
        assert code != 0, said
        assert "Traceback" not in said
        assert (host.host / "etc/chat.conf").read_text() == before


def test_a_host_of_an_installer_from_before_layers_is_taken_over(
    host: Bench, sources: Mapping[str, Path]
) -> None:
    in_cluster(host, "plant-3")
    # That installer has no filter for the origin of a value.
    old = configured(template="log {{ log }}\npeers {{ peers | join(' ') }}\n")
    code, said = install(sources[EARLY], host, "apply", str(host.bundle(old)), "--yes")
    assert code == 0, said
    newer = release("layers/1", "1.5.0", 100_050_000_999)
    assert host.run(str(host.bundle(newer, "newer.tar")), "--yes")[0] == 0
    assert "log debug\npeers b\n" in (host.host / "etc/chat.conf").read_text()
    assert host.run("rollback", "--yes")[0] == 0
    assert "log info\npeers a\n" in (host.host / "etc/chat.conf").read_text()


def test_a_bundle_of_an_earlier_version_with_commands_has_the_bytes_of_today(
    sources: Mapping[str, Path], tmp_path: Path
) -> None:
    product_dir = make_product(tmp_path / "product")
    put(product_dir, "web.conf.j2", "port 1\n")
    add(
        product_dir,
        "config:\n  - template: web.conf.j2\n    install: /etc/web.conf\n"
        '    validate: [nginx, -t, -c, "{file}"]\n    on_change: {reload: nginx.service}\n',
    )
    here = Path(__file__).parents[2]
    for source, name in ((sources[LATE], "old.tar"), (here, "new.tar")):
        words = ("create", "1.4.0", "-C", str(product_dir), "-o", str(tmp_path / name))
        code, said = python(
            source, "from bundler.cli.main import main; main()", *words, SOURCE_DATE_EPOCH="1790000000"
        )
        assert code == 0, said
    assert (tmp_path / "old.tar").read_bytes() == (tmp_path / "new.tar").read_bytes()
