"""Real cosign signs and verifies a file without a network."""

from __future__ import annotations

import os
import subprocess

import pytest


@pytest.mark.parametrize("name", ["cosign", "cosign3"])
def test_cosign_signs_and_verifies(request, tmp_path, name):
    program = request.getfixturevalue(name)
    env = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(tmp_path)}

    def run(*args):
        return subprocess.run([program, *args], cwd=tmp_path, env=env, check=True, capture_output=True)

    (tmp_path / "file").write_text("x")
    run("generate-key-pair")
    old = ["--use-signing-config=false"] if name == "cosign3" else []
    signature = ["--bundle", "bundle.json"] if name == "cosign3" else ["--output-signature", "file.sig"]
    run("sign-blob", "--key", "cosign.key", "--yes", "--tlog-upload=false", *old, *signature, "file")
    proof = (
        ["--bundle", "bundle.json"]
        if name == "cosign3"
        else ["--signature", "file.sig", "--private-infrastructure=true"]
    )
    run("verify-blob", "--key", "cosign.pub", *proof, "--insecure-ignore-tlog", "file")
