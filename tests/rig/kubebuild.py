"""Builds Kubernetes from Debian's source package to one static program; provision.py calls it once."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PROGRAM = Path(__file__).with_name("waykube.go")
PATCH = Path(__file__).with_name("waykube.patch")
"""What these sources need for the compiler of the same suite."""
VERSION = "v1.20.2"
PACKAGE = "k8s.io/kubernetes"
# Without the clouds and Docker: neither is here.
TAGS = "providerless,dockerless"
VERSIONED = ("vendor/k8s.io/client-go/pkg/version", "vendor/k8s.io/component-base/version")
DEFINITIONS = "pkg/generated/openapi"
MARK = re.compile(rb"^\s*// \+k8s:openapi-gen=", re.MULTILINE)
# They mark their own types and are no part of the daemons.
NO_PART = ("/code-generator/", "/sample-apiserver/")


def build(sources: Path, go: Path, work: Path, program: Path) -> None:
    """Build the program.

    Args:
        sources: The directory with the downloaded files of the source package.
        go: Go's root directory.
        work: A directory of this build; 2 GB.
        program: The file to write.
    """
    tree = work / "gopath/src" / PACKAGE
    _unpack(sources, tree)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GO")},
        "GOROOT": str(go),
        "GOPATH": str(work / "gopath"),
        "GOCACHE": os.environ.get("WAYBILL_RIG_GOCACHE") or str(work / "gocache"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
        "PATH": f"{go}/bin:{os.environ['PATH']}",
    }
    _generate(tree, work, environment)
    main = tree / "cmd/waykube"
    main.mkdir()
    (main / "main.go").write_bytes(PROGRAM.read_bytes())
    facts = {"gitVersion": VERSION, "gitMajor": "1", "gitMinor": "20", "gitTreeState": "clean"}
    flags = [f"-X {PACKAGE}/{path}.{name}={value}" for path in VERSIONED for name, value in facts.items()]
    command = ["go", "build", "-tags", TAGS, "-trimpath", "-ldflags", " ".join(["-s -w", *flags])]
    _run([*command, "-o", str(program), f"{PACKAGE}/cmd/waykube"], tree, environment)


def _run(command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, cwd=cwd, env=environment, check=True)


def _unpack(sources: Path, tree: Path) -> None:
    """Unpack Debian's source package with its patches, as dpkg-source does."""
    (original,) = sources.glob("*.orig.tar.gz")
    (debian,) = sources.glob("*.debian.tar.xz")
    tree.mkdir(parents=True)
    _run(["tar", "xf", str(original), "--strip-components=1"], tree)
    _run(["tar", "xf", str(debian)], tree)
    for line in (tree / "debian/patches/series").read_text().splitlines():
        if line and not line.startswith("#"):
            _run(["patch", "--silent", "-p1", "-i", f"debian/patches/{line}"], tree)
    _run(["patch", "--silent", "-p1", "-i", str(PATCH)], tree)


def _generate(tree: Path, work: Path, environment: Mapping[str, str]) -> None:
    """Write the definitions of the API, the only generated file that the source package does not have."""
    generator = work / "openapi-gen"
    _run(
        ["go", "build", "-o", str(generator), f"{PACKAGE}/vendor/k8s.io/kube-openapi/cmd/openapi-gen"],
        tree,
        environment,
    )
    command = [str(generator), "--logtostderr", "-i", ",".join(_marked(tree)), "-O", "zz_generated.openapi"]
    command += ["-p", f"{PACKAGE}/{DEFINITIONS}", "-r", str(work / "violations")]
    command += ["-h", "vendor/k8s.io/code-generator/hack/boilerplate.go.txt"]
    _run([*command, "--output-base", str(work / "gopath/src")], tree, environment)


def _marked(tree: Path) -> list[str]:
    """Return the packages whose types have definitions."""
    found = set()
    for top in ("staging/src/k8s.io", "vendor", "pkg", "plugin", "cmd"):
        for file in (tree / top).rglob("*.go"):  # does not follow the links from vendor to staging
            if (
                file.is_file()
                and not any(part in str(file) for part in NO_PART)
                and MARK.search(file.read_bytes())
            ):
                found.add(str(file.parent.relative_to(tree)).replace("staging/src", "vendor"))
    return [f"{PACKAGE}/{path}" for path in sorted(found)]
