"""What a manifest that is applied as it is must have, and must not have."""

from __future__ import annotations

import pytest

from installer.shared.review.kube_documents import MOST, faults

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def said(*texts: str) -> str:
    files = [(f"{number}.yaml", text.encode()) for number, text in enumerate(texts, 1)]
    return "\n".join(f"{each.file}: {each.what}" for each in faults(files))


@pytest.mark.parametrize(
    "texts",
    [
        (GOOD,),
        (f"---\n---\n{GOOD}---\n",),
        ('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}',),
        (GOOD, GOOD.replace("name: a", "name: a, namespace: other"), GOOD.replace("ConfigMap", "Secret")),
    ],
    ids=["one object", "empty documents", "JSON", "one name in two places"],
)
def test_manifests_that_can_be_applied_have_no_faults(texts: tuple[str, ...]) -> None:
    assert said(*texts) == ""


BAD = {
    "no YAML": ("a: [", "1.yaml: is not YAML"),
    "no object": ("- a\n", "document 1 is no object"),
    "no kind": ("apiVersion: v1\nmetadata: {name: a}\n", "document 1 has no apiVersion or no kind"),
    "no name": ("apiVersion: v1\nkind: Secret\n", "document 1 (Secret) has no name"),
    "a name that each installation makes": (
        "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n",
        "document 1 (Pod) has generateName",
    ),
    "a list": ("apiVersion: v1\nkind: List\nitems: []\n", "document 1 is a List"),
    "labels that are null": (GOOD.replace("name: a", "name: a, labels: "), "metadata.labels is no mapping"),
    "a label of Waybill": (
        GOOD.replace("name: a", "name: a, labels: {waybill.product: x}"),
        "ConfigMap a has waybill.product, which only Waybill sets",
    ),
    "a hook of Helm": (
        GOOD.replace("name: a", "name: a, annotations: {helm.sh/hook: pre-install}"),
        "ConfigMap a is a hook of Helm",
    ),
    "an object twice": (f"{GOOD}---\n{GOOD}", "has ConfigMap a, which 1.yaml has, too"),
    "too many objects": (
        "---\n".join(GOOD.replace("name: a", f"name: a{number}") for number in range(MOST + 1)),
        f"is one of files with {MOST + 1} objects",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_document_that_cannot_be_applied_is_named(name: str) -> None:
    text, fault = BAD[name]
    assert fault in said(text)


def test_an_object_that_two_files_have_is_named_whatever_the_version_of_its_api() -> None:
    old, new = (
        f"apiVersion: apps/{each}\nkind: Deployment\nmetadata: {{name: web}}\n" for each in ("v1", "v2")
    )
    assert said(old, new) == "2.yaml: has Deployment web, which 1.yaml has, too"
