"""Whole images, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import re

from common import MIB, need, parse

OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker.distribution.manifest."
MANIFESTS, INDEXES = (f"{OCI}manifest.v1+json", f"{DOCKER}v2+json"), (f"{OCI}index.v1+json", f"{DOCKER}list.v2+json")


def check_rows(found, by_path):
    """R6: what the list says, before any blob is read."""
    rows, tops = found.get("whole_images", []), {each["manifest"] for each in found.get("images", [])}
    need(len({row["reference"] for row in rows}) == len(rows), "a whole image twice")
    for row in rows:
        own, attached = {each["manifest"] for each in found.get("images", []) if each["reference"] == row["reference"]}, row.get("attached", [])
        need(own and (row["digest"] not in tops or own == {row["digest"]}), "a whole image without images, or without an index")
        manifests, tags = [each["manifest"] for each in attached], [each["tag"] for each in attached if each.get("tag")]
        need(len({*own, row["digest"], *manifests}) == len(own | {row["digest"]}) + len(manifests), "a manifest twice")
        need(len(set(tags)) == len(tags), "a tag twice")
        need(all(f"sha256:{tag[7:71]}" in own | {row["digest"]} for tag in tags), "the tag of another image")
        subjects = [each for each in attached if each.get("subject")]
        need(all(not each.get("tag") and each["subject"] in own | {row["digest"]} for each in subjects), "a subject")
        need(all(len(set(each["blobs"])) == len(each["blobs"]) for each in attached), "a blob twice")
        needed = [row["digest"], *manifests, *(blob for each in attached for blob in each["blobs"])]
        need(all(f"images/blobs/sha256/{each[7:]}" in by_path for each in needed), "a blob that is missing")


class Whole:
    """I9-I10: the index of an image, and the manifests that belong to it."""

    def __init__(self, found, size):
        """Take the manifest, and what returns the size of a blob."""
        self.rows, self.images, self.size = found.get("whole_images", []), found.get("images", []), size
        attached = [each for row in self.rows for each in row.get("attached", [])]
        self.documents = {*(row["digest"] for row in self.rows), *(each["manifest"] for each in attached)}
        self.blobs = {*self.documents, *(blob for each in attached for blob in each["blobs"])}

    def check(self, digest, chunks):
        """Check a blob by what the list says of it."""
        for row in self.rows:
            own = {each["manifest"]: each["platform"] for each in self.images if each["reference"] == row["reference"]}
            if digest == row["digest"] and digest not in {each["manifest"] for each in self.images}:
                self.check_index(parse(b"".join(chunks()), 4 * MIB), row, own)
            for each in row.get("attached", []):
                if digest == each["manifest"]:
                    self.check_attached(parse(b"".join(chunks()), 4 * MIB), each)

    def check_index(self, found, row, own):
        """I9: an index has the images and manifests of its row, and no others."""
        kind, rows = found.get("mediaType") or INDEXES[0], found.get("manifests")
        need(found.get("schemaVersion") == 2 and kind in INDEXES and not {"layers", "config"} & found.keys(), "no index")
        need(isinstance(rows, list) and len(rows) <= 1024, "no list of manifests")
        listed = [descriptor(each)[0] for each in rows]
        others = {each["manifest"] for each in row.get("attached", []) if not each.get("tag") and not each.get("subject")}
        need(set(listed) == own.keys() | others, "other manifests")
        for digest, each in zip(listed, rows, strict=True):
            names = [(each.get("platform") or {}).get(key) or "" for key in ("os", "architecture", "variant")]
            need(all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", name) for name in names), "a platform")
            known = all(names[:2]) and "unknown" not in names[:2] and digest in own
            need(each["size"] == self.size(digest), "another size")
            need(not known or names[:2] == own[digest].split("/")[:2], "another platform")

    def check_attached(self, found, row):
        """I10: a manifest has the blobs of its row, and no others."""
        need(found.get("schemaVersion") == 2 and "manifests" not in found, "no manifest")
        need((found.get("mediaType") or MANIFESTS[0]) in MANIFESTS, "another media type")
        layers = found.get("layers")
        need(isinstance(layers, list) and len(layers) <= 256, "no layers")
        blobs = {each[0]: each[1] for each in map(descriptor, [found.get("config"), *layers])}
        subject = descriptor(found["subject"])[0] if found.get("subject") else ""
        need(row.get("subject", "") in ("", subject), "another subject")
        need([*blobs.items()] == [(each, self.size(each)) for each in row["blobs"]], "other blobs")


def descriptor(value):
    """Return digest, size and media type of a descriptor."""
    need(isinstance(value, dict) and not value.get("urls") and type(value.get("size")) is int, "no descriptor")
    notes, kind = value.get("annotations") or {}, value.get("mediaType")
    need(isinstance(value.get("platform", {}) or {}, dict) and isinstance(notes, dict), "a platform or annotations")
    need(all(isinstance(note, str) for note in notes.values()), "annotations")
    need(isinstance(kind, str) and re.fullmatch(r"[a-zA-Z0-9!#$&^_.+/-]{1,255}", kind), "a media type")
    need(isinstance(value.get("digest"), str), "a digest")
    return value["digest"], value["size"], kind
