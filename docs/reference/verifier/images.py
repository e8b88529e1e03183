"""The images of a bundle, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import hashlib
import json
import re

from common import MIB, need, strict
from layers import TYPES, check_layer

OCI = "application/vnd.oci.image.manifest.v1+json"
MANIFESTS = (OCI, "application/vnd.docker.distribution.manifest.v2+json")
CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
NAME = re.compile(rf"((?:(?:{LABEL}(?:\.{LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?/)?{PART}(?:/{PART})*)"
                  r":([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})(@sha256:[0-9a-f]{64})?")
BLOB = "images/blobs/sha256/"


def compact(value):
    """I2: the written form of the three documents."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def full_name(reference):
    """I4: the name by which containerd knows an image."""
    name, tag, digest = NAME.fullmatch(reference).groups()
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = "docker.io", name
    if host in ("docker.io", "index.docker.io"):
        host, path = "docker.io", path if "/" in path else f"library/{path}"
    return f"{host}/{path}:{tag}{digest or ''}"


class Images:
    """I1: the section has exactly the files that the images need."""

    def __init__(self, found):
        """Check what bundle.json alone says."""
        self.images = found.get("images", [])
        self.files = {entry["path"]: entry for entry in found["files"] if entry["path"].startswith("images/")}
        self.types, needed, named = {}, set(), set()
        for image in self.images:
            need(NAME.fullmatch(image["reference"]), "an image without a name and tag")
            need((image["reference"], image["platform"]) not in named, "an image twice")
            named.add((image["reference"], image["platform"]))
            need(all(layer["media_type"] in TYPES for layer in image.get("layers", [])), "a layer of another type")
            needed |= {image["config"], image["manifest"], *(layer["digest"] for layer in image.get("layers", []))}
        documents = {"images/index.json", "images/manifest.json", "images/oci-layout"} if self.images else set()
        need(self.files.keys() == {BLOB + digest[7:] for digest in needed} | documents, "files without images")
        for entry in self.files.values():
            need((entry["kind"], entry["mode"]) == ("image", "0644") and not entry.get("install")
                 and not entry.get("platform"), "a file of images/ that is none of them")
        for image in self.images:
            need(all(self.size(image[key]) <= 4 * MIB for key in ("config", "manifest")), "a document is too large")
        if self.images:
            self.same("images/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            self.same("images/manifest.json", compact(self.docker_manifest()))

    def size(self, digest):
        """Return the size of a blob."""
        return self.files[BLOB + digest[7:]]["size"]

    def same(self, path, data):
        """Refuse a document that is not the one that follows from the images."""
        need(self.files[path]["sha256"] == hashlib.sha256(data).hexdigest(), f"{path} is another document")

    def docker_manifest(self):
        """I3: the document that `docker load` reads."""
        rows, named = {}, set()
        for image in self.images:
            layers = ["blobs/sha256/" + layer["digest"][7:] for layer in image.get("layers", [])]
            new = {"Config": "blobs/sha256/" + image["config"][7:], "RepoTags": [], "Layers": layers}
            row = rows.setdefault(image["manifest"], new)
            if image["reference"] not in named:
                named.add(image["reference"])
                row["RepoTags"].append(image["reference"])
        return list(rows.values())

    def finish(self):
        """I4: index.json."""
        rows = []
        for image in self.images:
            os, arch, *variant = image["platform"].split("/")
            rows.append({
                "mediaType": self.types[image["manifest"]], "digest": image["manifest"],
                "size": self.size(image["manifest"]),
                "platform": {"os": os, "architecture": arch, **({"variant": variant[0]} if variant else {})},
                "annotations": {"io.containerd.image.name": full_name(image["reference"]),
                                "org.opencontainers.image.ref.name": image["reference"]}})
        if rows:
            index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": rows}
            self.same("images/index.json", compact(index))

    def check(self, entry, chunks):
        """I5-I7: a blob is what each image says of it."""
        digest = "sha256:" + entry["path"].removeprefix(BLOB)
        for image in self.images:
            if digest == image["config"]:
                check_config(strict(b"".join(chunks()), 4 * MIB), image)
            if digest == image["manifest"]:
                self.types[digest] = self.check_manifest(strict(b"".join(chunks()), 4 * MIB), image)
        unique = {json.dumps(layer) for image in self.images for layer in image.get("layers", [])
                  if layer["digest"] == digest}
        for layer in map(json.loads, unique):
            check_layer(layer, chunks())

    def check_manifest(self, found, image):
        """I6: the manifest of an image."""
        need(isinstance(found, dict) and found.get("schemaVersion") == 2 and "manifests" not in found, "no manifest")
        kind = found.get("mediaType", "") or OCI
        need(kind in MANIFESTS, "another media type")
        config, layers = descriptor(found.get("config")), found.get("layers")
        need(isinstance(layers, list) and len(layers) <= 512, "no layers")
        need(config == (image["config"], self.size(image["config"]), config[2]) and config[2] in CONFIGS, "another config")
        listed = [(layer["digest"], layer["size"], layer["media_type"]) for layer in image.get("layers", [])]
        need(list(map(descriptor, layers)) == listed, "other layers")
        return kind


def descriptor(value):
    """Return digest, size and media type of a descriptor."""
    need(isinstance(value, dict) and not value.get("urls") and type(value.get("size")) is int, "no descriptor")
    need(isinstance(value.get("platform", {}) or {}, dict), "a platform")
    notes = value.get("annotations") or {}
    need(isinstance(notes, dict) and all(isinstance(note, str) for note in notes.values()), "annotations")
    return value.get("digest"), value["size"], value.get("mediaType")


def check_config(found, image):
    """I5: the configuration of an image."""
    need(isinstance(found, dict) and isinstance(found.get("rootfs"), dict), "no configuration")
    names = [found.get(key) or "" for key in ("os", "architecture", "variant")]
    need(all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", name) for name in names), "a platform")
    need("unknown" not in names[:2] and "/".join(filter(None, names)) == image["platform"], "another platform")
    need(found["rootfs"].get("type") == "layers", "another rootfs")
    listed = [layer["diff_id"] for layer in image.get("layers", [])]
    need((found["rootfs"].get("diff_ids") or []) == listed and len(listed) <= 512, "other layers")
