"""The objects of a step as a site gets them: references of its registry, labels, order, verified files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from installer.core.digest import sha256_hex
from installer.deploy.kubectl.manifests import key_of, loaded, named
from installer.deploy.operation import StepError
from installer.deploy.release_files import ChangedFileError
from installer.host.system import System
from tests.rig.manifested import SETTINGS, WEB
from tests.rig.releases import context

ON_SITE = "registry.lan:5000/rig.example/web@sha256:" + "a" * 64
LAST = "apiVersion: v1\nkind: Namespace\nmetadata: {name: talk}\n"


def step(root: Path, files: dict[str, str]) -> dict[str, Any]:
    """Lay down the files of an installed release, and return what operations know of its step."""
    for name, text in files.items():
        (root / "release").mkdir(exist_ok=True)
        (root / "release" / name).write_text(text)
    recorded = {name: [sha256_hex(text.encode()), 0o644] for name, text in files.items()}
    return {
        "directory": "/release",
        "files": recorded,
        "template": None,
        "product": "chat",
        "namespace": "talk",
        "images": {"rig.example/web:1": ON_SITE},
    }


def test_objects_get_labels_and_the_references_of_the_site_and_namespaces_come_first(tmp_path: Path) -> None:
    args = step(tmp_path, {"a.yaml": WEB, "b.yaml": SETTINGS.format(level=1), "z.yaml": LAST})
    objects = loaded(context(System(tmp_path)), args)
    assert [each.label for each in objects] == ["Namespace/talk", "Deployment/web", "ConfigMap/settings"]
    for each in objects:
        own = yaml.safe_load(each.text)["metadata"]["labels"]
        assert own == {"waybill.product": "chat", "waybill.step": "talk"}
    spec = yaml.safe_load(objects[1].text)["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == ON_SITE
    # A selector is for ever: pods get no label that another release would not have.
    assert spec["template"]["metadata"]["labels"] == spec["selector"]["matchLabels"]


def test_what_a_journal_has_of_an_object_names_it_and_nothing_else(tmp_path: Path) -> None:
    (each,) = loaded(context(System(tmp_path)), step(tmp_path, {"b.yaml": SETTINGS.format(level=1)}))
    key = key_of(each, "talk")
    assert key == ["v1", "ConfigMap", "talk", "settings"]
    (found,) = named([key])
    assert (found.label, found.namespace, found.type) == ("ConfigMap/settings", "talk", "v1/ConfigMap")


def test_a_file_that_is_not_what_was_verified_is_not_read(tmp_path: Path) -> None:
    args = step(tmp_path, {"b.yaml": SETTINGS.format(level=1)})
    (tmp_path / "release/b.yaml").write_text(SETTINGS.format(level=2))
    with pytest.raises(ChangedFileError):
        loaded(context(System(tmp_path)), args)


def test_a_file_of_anybody_that_cannot_be_applied_is_refused_with_its_name(tmp_path: Path) -> None:
    args = step(tmp_path, {"b.yaml": "apiVersion: v1\nkind: List\nitems: []\n"})
    with pytest.raises(StepError, match="document 1 is a List") as caught:
        loaded(context(System(tmp_path)), args)
    assert caught.value.where == "b.yaml"
