"""What create says of the files of Podman's generator: their images, and keys that Podman knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from installer.core.format.manifest import Deployment
from tests.rig.products import add, faults, hints, put

WEB = """[Container]
Image=registry.lan/shop/web:1
Pull=never
Volume=data.volume:/data
Network=lan.network
"""
FILES = {
    "units/web.container": WEB,
    "units/shop.pod": "[Pod]\nPublishPort=8080:80\n",
    "units/data.volume": "[Volume]\n",
    "units/lan.network": "[Network]\nSubnet=10.9.0.0/24\n",
}


def product(directory: Path, **changed: str) -> Path:
    """Lay down a product with a step of all files; `__` in a name stands for its dot."""
    files = FILES | {f"units/{name.replace('__', '.')}": text for name, text in changed.items()}
    for name, text in files.items():
        put(directory, name, text)
    rows = "".join(f"      - {name}\n" for name in sorted(files))
    add(
        directory,
        f"images: [registry.lan/shop/web:1]\ndeploy:\n  - method: quadlet\n    files:\n{rows}",
    )
    return directory


def warnings(directory: Path) -> list[str]:
    return [
        f"{each.where}: {each.what}" for each in load(directory, "v1.4.0").warnings if each.code == "podman"
    ]


def test_a_step_with_every_kind_of_file_is_accepted_and_requires_its_word(product_dir: Path) -> None:
    loaded = load(product(product_dir), "v1.4.0")
    files = [f"deploy/quadlet/{name}" for name in ("data.volume", "lan.network", "shop.pod", "web.container")]
    assert loaded.manifest.deploy == (Deployment("quadlet", {"files": files}),)
    assert warnings(product_dir) == []


BAD = {
    "no image": ("[Container]\nPull=never\n", "web.container: has no Image="),
    "two images": (WEB + "Image=registry.lan/shop/web:1\n", "web.container: has more than one Image="),
    "a short name": (
        WEB.replace("registry.lan/", ""),
        "web.container:2: Image=shop/web:1 is not a full name: each host decides for itself which registry",
    ),
    "an image that is not in the release": (
        WEB.replace("web:1", "web:2"),
        "web.container:2: service web.service uses registry.lan/shop/web:2, which is not listed under images",
    ),
    "an image that a file fetches": (
        WEB.replace("registry.lan/shop/web:1", "x.image"),
        "Image=x.image is no file of this step",
    ),
    "an image that a variable names": (WEB.replace("web:1", "${X}"), "is not the name of an image"),
    "a pull": (WEB.replace("Pull=never", "Pull=missing"), "web.container: does not have Pull=never"),
    "no word on pulls": (WEB.replace("Pull=never\n", ""), "web.container: does not have Pull=never"),
    "a pull by an argument": (WEB + "PodmanArgs=--pull=always\n", "web.container:6: PodmanArgs= has --pull"),
    "an update by Podman": (WEB + "AutoUpdate=registry\n", "web.container:6: AutoUpdate= replaces the image"),
    "another section": ("[Pod]\nPodName=x\n", "web.container: has no section [Container]"),
}


@pytest.mark.parametrize(("text", "what"), BAD.values(), ids=BAD)
def test_a_container_that_would_not_be_of_the_release_is_refused(
    product_dir: Path, text: str, what: str
) -> None:
    found = faults(product(product_dir, web__container=text))
    assert any(what in each for each in found), found


@pytest.mark.parametrize("name", ["web.build", "web@.container", "web.service", "-w.pod", "web.json"])
def test_a_file_of_another_kind_is_refused_by_its_name(product_dir: Path, name: str) -> None:
    put(product_dir, f"units/{name}", WEB)
    add(product_dir, f"deploy:\n  - {{method: quadlet, files: [units/{name}]}}\n")
    assert any(f"units/{name} is not a valid name" in each for each in faults(product_dir))
    assert ".container, .pod, .network, .volume, .kube or .image" in hints(product_dir)


def test_two_files_of_one_service_are_refused(product_dir: Path) -> None:
    found = faults(product(product_dir, other__container=WEB + "ServiceName=web\n"))
    assert any("makes web.service, as " in each for each in found)


DOUBTS = {
    "an unknown key": (
        WEB + "Enviroment=A=1\n",
        "6: Podman 5.4 has no Enviroment= in [Container]",
    ),
    "an unknown section": (
        WEB + "[Servcie]\nRestart=no\n",
        "7: [Servcie] is no section of a file",
    ),
    "a volume that is not there": (
        WEB.replace("data.", "dat."),
        "4: names dat.volume, which is not",
    ),
}


@pytest.mark.parametrize(("text", "what"), DOUBTS.values(), ids=DOUBTS)
def test_what_a_host_would_refuse_is_a_warning(product_dir: Path, text: str, what: str) -> None:
    (found,) = warnings(product(product_dir, web__container=text))
    assert what in found


POD = """apiVersion: v1
kind: Pod
metadata: {name: shop}
spec:
  containers:
    - name: web
      image: registry.lan/shop/web:1
      imagePullPolicy: Never
"""
KUBE = {"shop.kube": "[Kube]\nYaml=pod.yaml\n", "pod.yaml": POD}
IMAGE = "[Image]\nImage=containers-storage:registry.lan/shop/web:1\nImageTag=registry.lan/shop/web:1\n"


def with_pod(directory: Path, **changed: str) -> Path:
    """Lay down a product with a pod of a manifest; `__` in a name stands for its dot."""
    return product(directory, **{"shop__kube": KUBE["shop.kube"], "pod__yaml": POD, **changed})


def test_a_pod_of_a_manifest_and_an_image_of_the_release_are_accepted(product_dir: Path) -> None:
    web = WEB.replace("registry.lan/shop/web:1", "web.image")
    loaded = load(with_pod(product_dir, web__image=IMAGE, web__container=web), "v1.4.0")
    assert "deploy/quadlet/pod.yaml" in loaded.manifest.deploy[0].options["files"]
    assert warnings(product_dir) == []


BAD_PODS = {
    "an image that is not in the release": (
        {"pod__yaml": POD.replace("web:1", "web:2")},
        "pod.yaml:7: Pod shop uses registry.lan/shop/web:2, which is not listed under images",
    ),
    "a container that may pull": (
        {"pod__yaml": POD.replace("Never", "IfNotPresent")},
        "pod.yaml:7: the image of Pod shop does not have imagePullPolicy: Never",
    ),
    "an init container that may pull": (
        {"pod__yaml": POD + "  initContainers: [{image: registry.lan/shop/web:1}]\n"},
        "pod.yaml:9: the image of Pod shop does not have imagePullPolicy: Never",
    ),
    "a short name": (
        {"pod__yaml": POD.replace("registry.lan/", "")},
        "pod.yaml:7: image: shop/web:1 is not a full name",
    ),
    "no YAML": ({"pod__yaml": "a: [\n"}, "pod.yaml:2: is not YAML"),
    "a manifest that is not there": (
        {"shop__kube": "[Kube]\nYaml=other.yaml\n"},
        "shop.kube:2: names other.yaml, which is no file of this step",
    ),
    "a manifest in a directory": (
        {"shop__kube": "[Kube]\nYaml=/etc/pod.yaml\n"},
        "shop.kube:2: names /etc/pod.yaml, which is no file of this step",
    ),
    "volumes that go with the pod": (
        {"shop__kube": KUBE["shop.kube"] + "KubeDownForce=true\n"},
        "shop.kube:3: KubeDownForce= deletes the volumes",
    ),
    "an update by Podman": (
        {"shop__kube": KUBE["shop.kube"] + "AutoUpdate=registry\n"},
        "shop.kube:3: AutoUpdate= replaces the image",
    ),
    "an image that is fetched": (
        {"web__image": IMAGE.replace("containers-storage:", "")},
        "web.image:2: Image=registry.lan/shop/web:1 would be fetched from a registry",
    ),
    "an image without its tag": (
        {"web__image": IMAGE.partition("ImageTag")[0]},
        "web.image:2: needs ImageTag= with the name of the image",
    ),
    "an image of the store that is not in the release": (
        {"web__image": IMAGE.replace("web:1", "web:3")},
        "web.image:2: service web-image.service uses registry.lan/shop/web:3, which is not listed",
    ),
}


@pytest.mark.parametrize(("files", "what"), BAD_PODS.values(), ids=BAD_PODS)
def test_a_pod_or_an_image_that_would_not_be_of_the_release_is_refused(
    product_dir: Path, files: dict[str, str], what: str
) -> None:
    found = faults(with_pod(product_dir, **files))
    assert any(what in each for each in found), found


def test_a_manifest_that_nothing_names_is_a_warning(product_dir: Path) -> None:
    with_pod(product_dir, extra__yaml=POD)
    assert warnings(product_dir) == ["units/extra.yaml: is named by no .kube file of this step"]
