"""Steps of systemd in bundle.json: what they may name, their word in `requires`, and both readers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.errors import NeedsNewerError
from installer.core.format import features, manifest_json
from installer.core.format.features import SYSTEMD
from installer.core.format.manifest import Deployment
from installer.core.format.methods import installed_by_method
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build

FILES = {
    "deploy/chat.service": "unit",
    "deploy/chat.service.d/10-limits.conf": "unit",
    "deploy/chat@.service": "unit",
    "deploy/etc/chat.conf": "sysusers",
    "deploy/etc/chat.rules": "udev",
    "deploy/modules/chat.conf": "modules",
    "deploy/sysctl/chat.conf": "sysctl",
    "deploy/tmpfiles/chat.conf": "tmpfiles",
}
OPTIONS = {
    "units": ["deploy/chat.service", "deploy/chat.service.d/10-limits.conf", "deploy/chat@.service"],
    "instances": ["chat@1.service", "chat@a-b.service"],
    "sysusers": ["deploy/etc/chat.conf"],
    "tmpfiles": ["deploy/tmpfiles/chat.conf"],
    "modules": ["deploy/modules/chat.conf"],
    "sysctl": ["deploy/sysctl/chat.conf"],
    "udev": ["deploy/etc/chat.rules"],
}


def plan(options: dict[str, Any], **kinds: str) -> build.Plan:
    """Give a bundle with one step; `kinds` has other files, `_` for their slashes."""
    named = FILES | {f"deploy/{path}": kind for path, kind in kinds.items()}
    files = dict.fromkeys(sorted(named), b"x\n")
    entries = {path: {"kind": kind} for path, kind in named.items()}
    return build.plan(files, entries=entries, deploy=(Deployment("systemd", options),))


def test_a_step_with_everything_is_read_and_requires_its_word() -> None:
    made = plan(OPTIONS)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [SYSTEMD]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == OPTIONS


def test_each_file_has_its_place_and_a_drop_in_the_directory_of_its_unit() -> None:
    places = {entry.path: installed_by_method(entry) for entry in plan(OPTIONS).manifest.files}
    assert places == {
        "deploy/chat.service": "/etc/systemd/system/chat.service",
        "deploy/chat.service.d/10-limits.conf": "/etc/systemd/system/chat.service.d/10-limits.conf",
        "deploy/chat@.service": "/etc/systemd/system/chat@.service",
        "deploy/etc/chat.conf": "/etc/sysusers.d/chat.conf",
        "deploy/etc/chat.rules": "/etc/udev/rules.d/chat.rules",
        "deploy/modules/chat.conf": "/etc/modules-load.d/chat.conf",
        "deploy/sysctl/chat.conf": "/etc/sysctl.d/chat.conf",
        "deploy/tmpfiles/chat.conf": "/etc/tmpfiles.d/chat.conf",
    }


def test_units_alone_require_nothing() -> None:
    made = build.plan(
        {"deploy/chat.service": b"x\n"},
        entries={"deploy/chat.service": {"kind": "unit"}},
        deploy=(Deployment("systemd", {"units": ["deploy/chat.service"]}),),
    )
    assert "requires" not in json.loads(manifest_json.dump(made.manifest))
    build.read(made.tar())


def test_a_reader_from_before_needs_a_newer_version(monkeypatch: pytest.MonkeyPatch) -> None:
    data = manifest_json.dump(plan(OPTIONS).manifest)
    monkeypatch.setattr(features, "KNOWN", features.KNOWN - {SYSTEMD})
    with pytest.raises(NeedsNewerError):
        manifest_json.parse(data)


UNITS = OPTIONS["units"]
BAD = {
    "no files at all": {},
    "instances alone": {"instances": ["chat@1.service"]},
    "an empty list": {"units": UNITS, "sysctl": []},
    "a file twice": {"sysctl": OPTIONS["sysctl"] * 2},
    "an instance twice": {"units": UNITS, "instances": ["chat@1.service"] * 2},
    "an instance without its template": {"units": UNITS, "instances": ["other@1.service"]},
    "a template as an instance": {"units": UNITS, "instances": ["chat@.service"]},
    "an instance that is an option": {"units": UNITS, "instances": ["-h@1.service"]},
    "an instance that is a path": {"units": UNITS, "instances": ["chat@../1.service"]},
    "an instance that is a number": {"units": UNITS, "instances": [1]},
    "a file of another kind": {"sysctl": OPTIONS["tmpfiles"]},
    "a file that is missing": {"sysctl": ["deploy/none.conf"]},
    "one file, not a list": {"sysctl": "deploy/sysctl/chat.conf"},
    "an option of later versions": {"units": UNITS, "presets": ["deploy/x.preset"]},
}


@pytest.mark.parametrize("options", BAD.values(), ids=BAD)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    build.refusal(plan(OPTIONS).resealed(document=_with(options)))


@pytest.mark.parametrize(
    ("option", "path", "kind"),
    [
        ("units", "chat.conf", "unit"),
        ("units", "service.d/chat.conf", "unit"),
        ("units", "chat.service.d/.hidden.conf", "unit"),
        ("units", "chat.service.d/x.service.conf.txt", "unit"),
        ("sysctl", "chat.txt", "sysctl"),
        ("sysctl", ".conf", "sysctl"),
        ("udev", "chat.conf", "udev"),
        ("sysusers", "-x.conf", "sysusers"),
    ],
)
def test_a_file_whose_name_its_program_would_not_read_is_refused(option: str, path: str, kind: str) -> None:
    with_it = plan(OPTIONS, **{path: kind})
    build.refusal(with_it.resealed(document=_with({option: [f"deploy/{path}"]}, with_it)))


def _with(options: dict[str, Any], base: build.Plan | None = None) -> bytes:
    document = json.loads(manifest_json.dump((base or plan(OPTIONS)).manifest))
    document["deploy"] = [{"method": "systemd", "options": options}]
    return dumps_lines(document)
