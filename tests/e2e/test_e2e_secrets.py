"""The executable resolves secrets from files, systemd and a real OpenBao server, and leaves them nowhere."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.executables import executables
from tests.rig.hostdir import HostDir
from tests.rig.needs import needs
from tests.rig.openbao import OpenBao

VALUES = """\
db: {password: "secret://vault/secret/app/db#password", user: "secret://vault/secret/app/db#user"}
licence: secret://file/licence
key: secret://systemd-credential/key
"""
SETTINGS = """\
address: {address}
ca_file: /etc/waybill/ca.crt
auth: {{method: approle, role_id_file: /etc/waybill/role, secret_id_file: /etc/waybill/secret}}
"""
SECRETS = ("of-the-vault-22", "user-of-the-vault", "of-the-file-22", "of-systemd-22")


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    (root / path).chmod(0o600)


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    server = OpenBao.launch()
    try:
        server.put("app/db", {"password": SECRETS[0], "user": SECRETS[1]})
        yield server
    finally:
        server.stop()


@pytest.fixture
def host(tmp_path: Path, bao: OpenBao) -> HostDir:
    root = tmp_path / "host"
    root.mkdir()
    put(root, "etc/waybill/lan-chat/values.yaml", VALUES)
    put(root, "etc/waybill/lan-chat/secrets/licence", SECRETS[2])
    put(root, "etc/credstore/key", SECRETS[3])
    put(root, "etc/waybill/ca.crt", (bao.home / "ca.crt").read_text())
    put(root, "etc/waybill/role", bao.role_id())
    put(root, "etc/waybill/secret", bao.secret_id())
    put(root, "etc/waybill/vault.yaml", SETTINGS.format(address=bao.address))
    return HostDir(root, executables().install)


def test_all_stores_work_in_the_executable(host: HostDir) -> None:
    document = host.document("secrets", "check")
    assert [each["resolved"] for each in document["secrets"]] == [True] * 4


def test_a_sealed_server_is_told_and_the_rest_is_resolved(host: HostDir, bao: OpenBao) -> None:
    bao.seal()
    try:
        rc, out, err = host.run("secrets", "check", "--json")
    finally:
        bao.unseal()
    document = json.loads(out)
    assert (rc, [each["resolved"] for each in document["secrets"]]) == (15, [False, False, True, True])
    assert {each["what"] for each in document["secrets"][:2]} == {f"the Vault {bao.address} is sealed"}
    assert "of-the" not in out + err


def test_no_secret_is_printed_written_or_handed_on(host: HostDir, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "trace=execve,openat,write,pwrite64,rename,unlink"
    under = [needs("strace"), "-f", "-y", "-v", "-s", "100000", "-e", calls, "-o", str(trace)]
    rc, out, err = host.run("--log-format", "json", "secrets", "check", under=under)
    assert rc == 0, err
    said = trace.read_text(errors="replace") + out + err
    assert "secret://vault/secret/app/db#password" in said
    login = [(host.root / f"etc/waybill/{name}").read_text() for name in ("role", "secret")]
    # What goes to the server goes through TLS.
    assert [each for each in (*SECRETS, *login) if each in said] == []
    shutil.rmtree(host.root / "etc")
    left = subprocess.run(["grep", "-rlE", "|".join(SECRETS), host.root], capture_output=True, check=False)
    assert left.stdout == b""
