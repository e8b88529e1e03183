"""The images of a bundle, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import hashlib
import io
import json
import re
import shutil
import subprocess
import tempfile
import zlib

from common import MIB, need, parse
from whole import Whole, descriptor

OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
MANIFESTS = (f"{OCI}manifest.v1+json", f"{DOCKER}distribution.manifest.v2+json")
CONFIGS = (f"{OCI}config.v1+json", f"{DOCKER}container.image.v1+json")
TYPES = {f"{OCI}layer.v1.tar": "tar", f"{OCI}layer.v1.tar+gzip": "gzip", f"{OCI}layer.v1.tar+zstd": "zstd",
         f"{DOCKER}image.rootfs.diff.tar": "tar", f"{DOCKER}image.rootfs.diff.tar.gzip": "gzip",
         f"{DOCKER}image.rootfs.diff.tar.zstd": "zstd"}
PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
NAME = re.compile(rf"((?:(?:{LABEL}(?:\.{LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?/)?{PART}(?:/{PART})*)"
                  r":([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})(@sha256:[0-9a-f]{64})?")
BLOBS = "images/blobs/sha256/"


class Images:
    """I1: the section has exactly the files that the images need."""

    def __init__(self, found):
        """Check what bundle.json alone says."""
        self.images = found.get("images", [])
        self.files = {entry["path"]: entry for entry in found["files"] if entry["path"].startswith("images/")}
        self.types, self.whole = {}, Whole(found, self.size)
        needed = {BLOBS + digest[7:] for digest in self.whole.blobs}
        for image in self.images:
            layers = image.setdefault("layers", [])
            need(NAME.fullmatch(image["reference"]), "an image without a name and tag")
            need(all(layer["media_type"] in TYPES for layer in layers), "a layer of another type")
            needed |= {BLOBS + digest[7:] for digest in (image["config"], image["manifest"], *(each["digest"] for each in layers))}
        need(len({(each["reference"], each["platform"]) for each in self.images}) == len(self.images), "an image twice")
        documents = {"images/index.json", "images/manifest.json", "images/oci-layout"} if self.images else set()
        need(self.files.keys() == needed | documents, "files without images")
        need(all((entry["kind"], entry["mode"]) == ("image", "0644") and not entry.get("install") and not entry.get("platform")
                 for entry in self.files.values()), "a file of images/ that is none of them")
        need(all(self.size(image[key]) <= 4 * MIB for image in self.images for key in ("config", "manifest")), "too large")
        need(all(self.size(digest) <= 4 * MIB for digest in self.whole.documents), "too large")
        if self.images:  # I2
            self.same("images/oci-layout", {"imageLayoutVersion": "1.0.0"})
            self.same("images/manifest.json", self.docker_manifest())

    def size(self, digest):
        """Return the size of a blob."""
        return self.files[BLOBS + digest[7:]]["size"]

    def same(self, path, value):
        """I2: refuse a document that is not the one that follows from the images."""
        data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        need(self.files[path]["sha256"] == hashlib.sha256(data).hexdigest(), f"{path} is another document")

    def docker_manifest(self):
        """I3: return the document that `docker load` reads."""
        rows, named = {}, set()
        for image in self.images:
            config, *layers = (f"blobs/sha256/{each[7:]}" for each in (image["config"], *(x["digest"] for x in image["layers"])))
            row = rows.setdefault(image["manifest"], {"Config": config, "RepoTags": [], "Layers": layers})
            row["RepoTags"] += {image["reference"]} - named
            named.add(image["reference"])
        return list(rows.values())

    def finish(self):
        """I4: check index.json, when the media types of the manifests are known."""
        rows = []
        for image in self.images:
            platform = dict(zip(("os", "architecture", "variant"), image["platform"].split("/"), strict=False))
            name, tag, digest = NAME.fullmatch(image["reference"]).groups()
            host, slash, path = name.partition("/")
            if not slash or not ("." in host or ":" in host or host == "localhost"):
                host, path = "docker.io", name
            if host in ("docker.io", "index.docker.io"):
                host, path = "docker.io", path if "/" in path else f"library/{path}"
            notes = {"io.containerd.image.name": f"{host}/{path}:{tag}{digest or ''}",
                     "org.opencontainers.image.ref.name": image["reference"]}
            rows.append({"mediaType": self.types[image["manifest"]], "digest": image["manifest"],
                         "size": self.size(image["manifest"]), "platform": platform, "annotations": notes})
        if rows:
            self.same("images/index.json", {"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": rows})

    def check(self, entry, chunks):
        """I5-I7: check a blob by what the images say of it."""
        digest = f"sha256:{entry['sha256']}"
        for key, examine in (("config", self.check_config), ("manifest", self.check_manifest)):
            named = [image for image in self.images if entry["path"].startswith(BLOBS) and image[key] == digest]
            found = parse(b"".join(chunks()), 4 * MIB) if named else None
            for image in named:
                examine(found, image)
        if entry["path"].startswith(BLOBS):
            self.whole.check(digest, chunks)
        layers = [layer for image in self.images for layer in image["layers"] if layer["digest"] == digest]
        for layer in map(json.loads, {json.dumps(layer) for layer in layers}):
            check_layer(layer, chunks())

    def check_config(self, found, image):
        """I5: the configuration of an image."""
        rootfs, names = found.get("rootfs"), [found.get(key) or "" for key in ("os", "architecture", "variant")]
        need(all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", name) for name in names), "a platform")
        need("unknown" not in names[:2] and "/".join(filter(None, names)) == image["platform"], "another platform")
        need(isinstance(rootfs, dict) and rootfs.get("type") == "layers", "another rootfs")
        listed = [layer["diff_id"] for layer in image["layers"]]
        need((rootfs.get("diff_ids") or []) == listed and len(listed) <= 512, "other layers")

    def check_manifest(self, found, image):
        """I6: the manifest of an image."""
        kind, layers, config = found.get("mediaType", "") or MANIFESTS[0], found.get("layers"), descriptor(found.get("config"))
        need(found.get("schemaVersion") == 2 and "manifests" not in found and kind in MANIFESTS, "no manifest")
        need(isinstance(layers, list) and len(layers) <= 512, "no layers")
        need(config == (image["config"], self.size(image["config"]), config[2]) and config[2] in CONFIGS, "another config")
        listed = [(layer["digest"], layer["size"], layer["media_type"]) for layer in image["layers"]]
        need(list(map(descriptor, layers)) == listed, "other layers")
        self.types[image["manifest"]] = kind


class Stream(io.RawIOBase):
    """The expanded bytes of a layer, counted and hashed as they are read."""

    def __init__(self, pieces, most):
        """Take the pieces, and how many bytes they may have together."""
        self.pieces, self.left, self.digest, self.held = filter(None, pieces), most, hashlib.sha256(), b""

    def readable(self):
        """Return that it can be read."""
        return True

    def readinto(self, buffer):
        """Read the next bytes."""
        if not self.held:
            self.held = next(self.pieces, b"")
            self.left -= len(self.held)
            need(self.left >= 0, "a layer that expands to more")
            self.digest.update(self.held)
        size = min(len(buffer), len(self.held))
        buffer[:size], self.held = self.held[:size], self.held[size:]
        return size


def check_layer(layer, chunks):
    """I7: a layer is a tar archive of its form, and expands to the listed bytes."""
    stream = Stream({"tar": plain, "gzip": gunzip, "zstd": unzstd}[TYPES[layer["media_type"]]](chunks), layer["expanded"])
    file = io.BufferedReader(stream, MIB)
    check_tar(file)
    while file.read(MIB):
        pass
    need(stream.left == 0, "a layer that expands to less")
    need(f"sha256:{stream.digest.hexdigest()}" == layer["diff_id"], "a layer that expands to other bytes")


def plain(chunks):
    """Yield the bytes of a layer that is not compressed."""
    for number, chunk in enumerate(chunks):
        need(number or not chunk.startswith((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")), "compressed")
        yield chunk


def gunzip(chunks):
    """Expand the members of gzip."""
    part = None
    for chunk in chunks:
        while chunk:
            part = part or zlib.decompressobj(31)
            try:
                yield part.decompress(chunk, MIB)
            except zlib.error as error:
                need(False, f"gzip: {error}")
            chunk, part = (part.unused_data, None) if part.eof else (part.unconsumed_tail, part)
    need(part is None, "gzip ends early")


def unzstd(chunks):
    """Expand by the program `zstd`, which refuses windows above 128 MiB as the format does."""
    program = shutil.which("zstd")
    if program is None:
        raise SystemExit("zstd is not installed: layers cannot be checked")
    with tempfile.TemporaryFile() as file:
        file.writelines(chunks)
        file.seek(0)
        with subprocess.Popen([program, "-dcq"], stdin=file, stdout=-1, stderr=-3) as child:
            try:
                yield from iter(lambda: child.stdout.read(MIB), b"")
            except BaseException:
                child.kill()
                raise
        need(child.returncode == 0, "the zstd stream is damaged")


def check_tar(file):
    """I8: read the members of an archive, one after the other."""
    def take(size):
        data = file.read(size)
        need(len(data) == size, "a layer that ends early")
        return data
    size = None
    while block := file.read(512):
        need(len(block) == 512, "a layer that ends early")
        if not any(block):
            second = file.read(512)
            need(not second or second == bytes(512), "a layer that is not a tar archive")
            return
        total, kind = sum(block[:148]) + sum(block[156:]) + 256, block[156:157]
        signed = total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        need(number(block[148:156]) in (total, signed), "a layer that is not a tar archive")
        if size is None:
            size = 0 if kind in b"123456" else number(block[124:136])
        need(size >= 0 and (kind != b"x" or 0 < size <= MIB), "a layer with a size that no reader accepts")
        more = kind == b"S" and block[482]
        while more:
            more = take(512)[504]
        if kind == b"x":
            found = re.findall(rb"(?:\A|\n)[0-9]+ size=([0-9]{1,19})\n", take(size + -size % 512))
            size = int(found[-1]) if found else None
            continue
        for begin in range(0, size + -size % 512, MIB):
            take(min(MIB, size + -size % 512 - begin))
        size = None


def number(field):
    """Return the number in a field of a header; -1 where there is none."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        return value if value < 2**63 else -1
    text = field.strip(b" \0")
    return int(text or b"0", 8) if re.fullmatch(rb"[0-7]*", text) else -1
