"""Capabilities of files: their texts, the bytes of the kernel, and what a manifest may say of them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from installer.core.format.entries.capabilities import (
    NAMES,
    CapabilityError,
    canonical,
    fault,
    text_of,
    xattr,
)
from installer.core.format.manifest import DirectoryEntry, Manifest
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build
from tests.rig.independent import verifier
from tests.rig.inodes import CAPABILITY, attributes
from tests.rig.manifests import BASE
from tests.rig.needs import needs

SCHEMA = json.loads((Path(__file__).parents[5] / "schemas/v1/bundle.schema.json").read_text())
TEXTS = {
    "cap_net_bind_service=ep": "cap_net_bind_service=ep",
    "cap_net_bind_service+ep": "cap_net_bind_service=ep",
    "CAP_NET_RAW,cap_net_admin=pe": "cap_net_admin,cap_net_raw=ep",
    "cap_chown=p": "cap_chown=p",
    "cap_chown=i": "cap_chown=i",
    "cap_chown+pie-i": "cap_chown=ep",
    "cap_net_raw=eip cap_chown=ep": "cap_chown=ep cap_net_raw=eip",
    "cap_chown,cap_net_raw+p cap_net_raw+i": "cap_chown=p cap_net_raw=ip",
    "  cap_chown=p\tcap_bpf+p ": "cap_chown,cap_bpf=p",
    "cap_chown=p cap_chown= cap_kill=p": "cap_kill=p",
    "cap_checkpoint_restore=ep": "cap_checkpoint_restore=ep",
    "cap_chown=ei": "cap_chown=ei",
}
REFUSED = {
    "": "must be",
    "cap_nothing=ep": "not the name of a capability",
    "cap_chown": "is not valid",
    "cap_chown=x": "is not valid",
    "all=ep": "means all capabilities",
    "=ep": "means all capabilities",
    "cap_chown=": "grants nothing",
    "cap_chown=e": "grants nothing",
    "cap_chown=ep cap_kill=p": "for all of the capabilities, or for none",
    "3=ep": "is not valid",
    "cap_chown,=ep": "not the name of a capability",
    "cap_chown=p;reboot": "is not valid",
    "cap_chown=p " * 200: "must be",
}


@pytest.mark.parametrize(("text", "wanted"), TEXTS.items())
def test_a_text_has_one_form_and_one_value(text: str, wanted: str) -> None:
    assert canonical(text) == wanted
    assert fault(wanted) == ""
    assert text_of(xattr(text)) == wanted


@pytest.mark.parametrize(("text", "what"), REFUSED.items())
def test_a_text_that_no_file_can_have_is_refused(text: str, what: str) -> None:
    with pytest.raises(CapabilityError, match=what):
        canonical(text)
    assert what in fault(text)


@pytest.mark.parametrize("text", TEXTS)
def test_setcap_and_getcap_agree(tmp_path: Path, text: str) -> None:
    tool, file = needs("setcap"), tmp_path / "x"
    file.write_bytes(b"")
    subprocess.run([tool, text, file], capture_output=True, check=True)
    assert attributes(file)[CAPABILITY] == xattr(text)
    shown = subprocess.run(
        [tool.replace("setcap", "getcap"), file], capture_output=True, text=True, check=True
    )
    # It may use + where this form has =.
    assert canonical(shown.stdout.strip().removeprefix(f"{file} ")) == canonical(text)


@pytest.mark.parametrize("value", [b"", b"\0\0\0", b"\xff" * 20, xattr("cap_chown=p")[:-4], b"\0" * 20])
def test_a_value_of_another_kind_is_shown_as_it_is(value: bytes) -> None:
    assert text_of(value) == f"0x{value.hex()}"


def test_values_of_other_revisions_are_read() -> None:
    second = xattr("cap_chown=ep")
    third = (0x03000001).to_bytes(4, "little") + second[4:] + bytes(4)
    first = (0x01000001).to_bytes(4, "little") + second[4:12]
    assert text_of(third) == text_of(first) == "cap_chown=ep"
    # Of a user namespace: its root is another user.
    assert text_of(third[:-4] + b"\1\0\0\0").startswith("0x")


def with_attributes(capabilities: str = "", **fields: Any) -> Manifest:
    row = {"kind": "binary", "install": "/opt/x/srv", "mode": 0o755, "capabilities": capabilities, **fields}
    entry = build.entry_for("bin/linux-amd64/srv", b"x")
    order = ("docs", "config", "bin", "trees", "images")
    files = sorted(
        (*BASE.files, replace(entry, **row)),
        key=lambda each: (order.index(each.path.partition("/")[0]), each.path),
    )
    return replace(BASE, files=tuple(files))


def both(document: Any) -> bool:
    """Return whether both readers accept a manifest; they agree."""
    main: Any = verifier()
    try:
        manifest_json.parse(dumps_lines(document))
        first = True
    except TamperedError:
        first = False
    try:
        main.check_manifest(document)
        second = True
    except main.Refused:
        second = False
    assert first == second
    return first


def test_capabilities_are_read_as_they_were_written_and_need_their_word() -> None:
    manifest = with_attributes("cap_net_bind_service=ep")
    data = manifest_json.dump(manifest)
    assert manifest_json.parse(data) == manifest
    document = json.loads(data)
    assert document["requires"] == ["attributes/1"]
    Draft202012Validator(SCHEMA).validate(document)
    assert both(document)
    del document["requires"]
    assert not both(document)


@pytest.mark.parametrize(
    "text", [*REFUSED, *(text for text, form in TEXTS.items() if text != form), *TEXTS.values()]
)
def test_both_readers_take_the_one_form_only(text: str) -> None:
    document = json.loads(manifest_json.dump(with_attributes("cap_kill=p")))
    next(each for each in document["files"] if "capabilities" in each)["capabilities"] = text
    assert both(document) == (text in TEXTS.values())


@pytest.mark.parametrize("fields", [{"install": ""}, {"kind": "script"}])
def test_only_a_program_that_is_installed_has_capabilities(fields: dict[str, str]) -> None:
    document = json.loads(manifest_json.dump(with_attributes("cap_kill=p", **fields)))
    assert not both(document)


@pytest.mark.parametrize(
    ("row", "special"),
    [
        (DirectoryEntry("trees/web/a", 0o2775, "/srv/a"), True),
        (DirectoryEntry("trees/web/a", 0o1777, "/srv/a"), True),
        (DirectoryEntry("trees/web/a", 0o755, "/srv/a", "root:chat"), True),
        (DirectoryEntry("trees/web/a", 0o700, "/srv/a"), False),
    ],
)
def test_a_directory_may_have_an_owner_and_special_bits(row: DirectoryEntry, special: bool) -> None:
    manifest = replace(BASE, directories=(row,))
    data = manifest_json.dump(manifest)
    assert manifest_json.parse(data) == manifest
    document = json.loads(data)
    assert document.get("requires") == (["attributes/1"] if special else None)
    Draft202012Validator(SCHEMA).validate(document)
    assert both(document)
    document["directories"][0].pop("install")
    assert both(document) != special


@pytest.mark.parametrize("mode", ["4755", "6755", "7777", "755", "02755"])
def test_no_directory_is_setuid(mode: str) -> None:
    document = json.loads(
        manifest_json.dump(replace(BASE, directories=(DirectoryEntry("trees/web/a", 0o755, "/a"),)))
    )
    document["directories"][0]["mode"] = mode
    assert not both(document)
    assert not Draft202012Validator(SCHEMA).is_valid(document)


def test_a_file_never_has_a_special_bit() -> None:
    document = json.loads(manifest_json.dump(BASE))
    document["files"][0]["mode"] = "2755"
    assert not both(document)


def test_there_are_41_names() -> None:
    assert len(set(NAMES)) == 41
    assert (NAMES[0], NAMES[10], NAMES[40]) == ("cap_chown", "cap_net_bind_service", "cap_checkpoint_restore")
