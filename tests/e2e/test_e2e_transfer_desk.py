"""The transfer desk has no Python either: the executable `bundle` makes, signs and checks releases there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.rig.desk import GOOD, PASSWORD, Desk, lay_out
from tests.rig.engine import Engine
from tests.rig.host import Host


@pytest.fixture(scope="module")
def transfer(docker_engine: Engine, desk: Desk) -> Iterator[Host]:
    """A host with the executable `bundle`, a release's inputs and keys."""
    host = Host.launch(docker_engine)
    lay_out(GOOD, desk.home / "transfer")
    host.push(desk.home / "transfer", "/srv/chat")
    host.push(desk.programs.bundle, "/usr/local/bin/bundle")
    host.push(desk.key, "/srv/release.key")
    host.push(desk.key.with_suffix(".pub"), "/srv/release.pub")
    host.push(desk.root, "/srv/root.json")
    yield host
    host.close()


def typed(host: Host, words: str, exit_code: int = 0) -> str:
    rc, out, err = host.run(f"cd /srv && COSIGN_PASSWORD='{PASSWORD}' bundle {words}")
    assert rc == exit_code, f"bundle {words}: exit {rc}\n{out}{err}"
    return out


def test_release_is_made_signed_looked_at_and_verified_without_python(transfer):
    assert transfer.run("command -v python3").rc != 0
    typed(transfer, f"create {GOOD} -C chat -o chat.tar")
    assert typed(transfer, "verify chat.tar --root root.json", exit_code=10) == ""
    typed(transfer, "sign chat.tar --key release.key")
    assert "nats-server" in typed(transfer, "inspect chat.tar files")
    verified = json.loads(typed(transfer, "verify chat.tar --root root.json --json"))
    assert verified["to"]["version"] == GOOD
    typed(transfer, "verify chat.tar --key release.pub")


def test_bundle_gives_out_the_installer_that_it_carries(transfer, desk, tmp_path):
    typed(transfer, "installer -o /srv/install")
    transfer.pull("/srv/install", tmp_path / "install")
    assert (tmp_path / "install").read_bytes() == desk.programs.install.read_bytes()


def test_two_machines_make_the_same_bundle(transfer, desk, tmp_path):
    """A second person can make it again and compare: only the signature is not in it."""
    epoch = "SOURCE_DATE_EPOCH=1790000000"
    transfer.check(f"cd /srv && {epoch} bundle create {GOOD} -C chat -o there.tar")
    transfer.pull("/srv/there.tar", tmp_path / "there.tar")
    here = Desk(tmp_path, desk.programs, {"SOURCE_DATE_EPOCH": "1790000000"})
    lay_out(GOOD, tmp_path / "chat")
    here.bundle("create", GOOD, "-C", "chat", "-o", "here.tar")
    assert (tmp_path / "here.tar").read_bytes() == (tmp_path / "there.tar").read_bytes()


def test_new_product_is_laid_down_and_made(transfer):
    typed(transfer, "init fresh")
    typed(transfer, "create v0.1.0 -C fresh -o fresh.tar --key release.key")
    typed(transfer, "verify fresh.tar --key release.pub")
