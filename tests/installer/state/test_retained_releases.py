"""A release that is kept: opened only where its manifest and its record are what was verified and written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.digest import sha256_hex
from installer.core.errors import TamperedError
from installer.core.format.manifest_json import parse
from installer.core.jsonio import dumps_lines
from installer.host.context import Context
from installer.state.release import DamagedReleaseError, open_release
from installer.state.state import Entry, load
from tests.rig.chatd import ONE
from tests.rig.releases import install


def kept(host: Context) -> Entry:
    install(host, ONE)
    entry = load(host.system, host.layout).current
    assert entry is not None
    return entry


def test_a_retained_release_is_opened_with_what_it_has_on_the_host(host: Context) -> None:
    entry = kept(host)
    release = open_release(host.system, host.layout, entry)
    assert (release.manifest.version, release.identity) == ("1.0.0", entry.identity)
    assert [(item.path, item.kind) for item in release.installed] == [("/opt", "dir"), ("/opt/d", "file")]


def test_the_blobs_of_a_retained_release_are_in_its_directory_or_nowhere(host: Context) -> None:
    entry = kept(host)
    release = open_release(host.system, host.layout, entry)
    assert (release.blobs, release.blobs_at) == (None, release.directory)
    assert open_release(host.system, host.layout, replace(entry, blobs=False)).blobs_at == ""
    assert replace(release, blobs="/media/blobs").blobs_at == "/media/blobs"


def test_a_release_that_an_older_version_accepted_is_opened_with_options_of_then(host: Context) -> None:
    entry = kept(host)
    path = Path(host.system.root, f"{host.layout.release(entry.name)}/bundle.json"[1:])
    document = json.loads(path.read_bytes())
    document["deploy"] = [{"method": "files", "options": {"of_then": 1}}]
    path.write_bytes(data := dumps_lines(document))
    release = open_release(host.system, host.layout, replace(entry, manifest=sha256_hex(data)))
    assert release.manifest.deploy[0].options == {"of_then": 1}
    with pytest.raises(TamperedError):
        parse(data)


@pytest.mark.parametrize("changed", ["manifest", "record"])
@pytest.mark.parametrize("hint", ["", "do this"])
def test_a_retained_release_that_was_changed_is_refused_with_a_remedy(
    host: Context, changed: str, hint: str
) -> None:
    entry = kept(host)
    manifest = f"{host.layout.release(entry.name)}/bundle.json"
    where = manifest if changed == "manifest" else f"{host.layout.record(entry.record)}/record.json"
    Path(host.system.root, where[1:]).write_bytes(b"{}")
    with pytest.raises(DamagedReleaseError, match="was changed since it was installed") as caught:
        open_release(host.system, host.layout, entry, hint)
    assert caught.value.where == where
    assert (caught.value.hint == hint) if hint else ("Install lan-chat 1.0.0 again" in caught.value.hint)
