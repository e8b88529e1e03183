"""The SBOM and the licences that the build writes into an executable."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from bundler.freeze import build, sbom
from bundler.freeze.standard_library import SERIES
from installer import __version__
from installer.core.errors import UnfitInputError, UsageError
from installer.shared.standalone.self_report import licences
from tests.rig.needs import needs

PROGRAMS = ["install", "bundle"]


def say(name: str, *words: str) -> str:
    program = Path(needs("executables")) / name
    done = subprocess.run([program, *words], capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(params=PROGRAMS)
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    shown = say(request.param, "licenses", "--sbom")
    found: dict[str, Any] = json.loads(shown)
    assert found == json.loads(say(request.param, "licenses", "--json"))["sbom"]
    assert found["metadata"]["component"]["name"] == request.param
    return found


def test_the_sbom_is_a_valid_document_of_cyclonedx(document: dict[str, Any]) -> None:
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    assert "timestamp" not in document["metadata"]


def test_every_part_has_a_version_a_licence_and_an_address(document: dict[str, Any]) -> None:
    assert document["metadata"]["component"]["version"] == __version__
    for part in document["components"]:
        assert part["version"], part
        assert part["licenses"], part
        assert re.fullmatch(r"pkg:(pypi|cargo|generic|rpm/centos)/[^?]+@[^?]+", part["purl"]), part
    (depends,) = [each for each in document["dependencies"] if "dependsOn" in each]
    assert sorted(depends["dependsOn"]) == sorted(part["bom-ref"] for part in document["components"])


def test_python_openssl_and_zlib_are_named_as_they_run(document: dict[str, Any]) -> None:
    name = document["metadata"]["component"]["name"]
    report = json.loads(say(name, "--version", "--json"))
    assert (report["name"], report["version"]) == (name, __version__)
    by_purl = {part["purl"]: part for part in document["components"]}
    python = by_purl[f"pkg:generic/python@{report['python']['interpreter']}"]
    assert python["cpe"].startswith(f"cpe:2.3:a:python:python:{SERIES}.")
    if report["python"]["library"] != report["python"]["interpreter"]:
        assert f"pkg:generic/python@{report['python']['library']}#Lib" in by_purl
    version = report["openssl"].split()[1]
    assert by_purl[f"pkg:generic/openssl@{version}"]["cpe"].startswith("cpe:2.3:a:openssl:openssl:")
    (zlib,) = [purl for purl in by_purl if purl.startswith("pkg:generic/zlib@")]
    assert f"cmeel-zlib=={zlib.partition('@')[2]}" in build.lock("libz.txt").read_text()


def test_every_frozen_package_is_in_it_with_the_locked_version(document: dict[str, Any]) -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", build.lock("freeze.txt").read_text(), re.MULTILINE))
    listed = {
        part["purl"].removeprefix("pkg:pypi/").partition("@")[0]: part["version"]
        for part in document["components"]
        if part["purl"].startswith("pkg:pypi/")
    }
    assert listed.items() <= locked.items()
    assert {"cryptography", "docker", "jinja2", "jsonschema"} <= listed.keys()
    # A library of libraries that only older Pythons need.
    assert ("typing-extensions" in listed) == (SERIES < "3.13")
    signs = {"pynacl", "python-gnupg", "segno"}
    assert signs & listed.keys() == (
        signs if document["metadata"]["component"]["name"] == "bundle" else set()
    )
    assert not {"pyelftools", "setuptools", "cyclonedx-python-lib", "packaging"} & listed.keys()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_text_of_every_licence_is_printed(name: str) -> None:
    shown = say(name, "licenses")
    heads = re.findall(r"^={78}\n(.+)\n={78}$", shown, re.MULTILINE)
    named = ", ".join(heads)
    for part in json.loads(say(name, "licenses", "--sbom"))["components"]:
        if part["purl"].startswith("pkg:pypi/"):
            assert f"{part['name']} {part['version']}" in named
    for other in ("CPython", "OpenSSL", "zlib", "bzip2-libs", "libffi", "libuuid", "mpdecimal", "xz-libs"):
        assert other in named
    assert "Apache License" in shown
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in shown


def test_a_library_that_nobody_can_name_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmystery-12345678.so.1").touch()
    with pytest.raises(UnfitInputError, match="belongs to no package") as caught:
        list(sbom._of_wheels(tmp_path, []))
    assert caught.value.where == "libmystery"


def test_a_library_that_its_wheel_does_not_list_has_its_name_and_version(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmpdec-12345678.so.4.0.1").touch()
    (part,) = sbom._of_wheels(tmp_path, [])
    assert part.purl
    assert part.purl.to_string() == "pkg:generic/mpdecimal@4.0.1"


def test_a_part_without_a_licence_stops_the_build() -> None:
    with pytest.raises(UnfitInputError, match="has no licence"):
        sbom._component("thing", "1", "pkg:pypi/thing@1", "")


def test_a_run_from_source_says_where_they_are() -> None:
    assert not getattr(sys, "frozen", False)
    with pytest.raises(UsageError, match="only the standalone executables"):
        licences()
