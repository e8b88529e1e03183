"""The rules of bundle.json, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
from common import above, apart, encoded, fits, fold, need, true_name
from fields import TEXT, read
from steps import METHODS, check_probe, check_step

SECTIONS = ("sbom", "docs", "config", "deploy", "bin", "trees", "images")
KINDS = ("binary", "tree", "template", "values", "schema", "doc", "unit", "compose", "script", "deploy", "image", "sbom")
VERSION = r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?"
HEX, DIGEST = "[0-9a-f]{64}", "sha256:[0-9a-f]{64}"
PLATFORM, OWNER = r"[a-z0-9]+/[a-z0-9]+(/v[0-9]+)?", r"[a-z_][a-z0-9_-]{0,31}:[a-z_][a-z0-9_-]{0,31}"
SIZE, MODE, WAIT = (0, 2**53), "0[0-7]{3}", (0, 86400)
# M1-M3. A text is a pattern, a pair a range, a list its elements and their number, `?` may be absent, and a
# pattern in brackets with `?` may also be empty.
LAYER = {"digest": DIGEST, "size": SIZE, "media_type": TEXT, "diff_id": DIGEST, "expanded": SIZE}
MANIFEST = {
    "schema": "waybill/bundle/v1", "requires?": [r"[a-z][a-z0-9-]{0,62}/[1-9][0-9]{0,5}", 64],
    "product": "[a-z0-9][a-z0-9-]{0,62}", "version": VERSION, "sequence": SIZE, "created": "time", "expires": "time",
    "platforms": [PLATFORM, 64],
    "files": [{"path": TEXT, "size": SIZE, "sha256": HEX, "mode": MODE, "kind": "|".join(KINDS), "install?": TEXT,
               "owner?": f"({OWNER})?", "platform?": f"({PLATFORM})?", "expanded?": SIZE, "member?": TEXT}, 250_000],
    "links?": [{"path": TEXT, "target": TEXT, "install?": TEXT}, 250_000],
    "directories?": [{"path": TEXT, "mode": MODE, "install?": TEXT}, 250_000],
    "images?": [{"reference": "[a-z0-9][A-Za-z0-9._/:-]{0,254}", "platform": PLATFORM, "config": DIGEST,
                 "manifest": DIGEST, "layers?": [LAYER, 1024]}, 4096],
    "deploy?": [{"method": "|".join(METHODS), "options?": dict, "optional?": bool}, 256],
    "health?": [{"kind": "http|tcp|command|container", "target?": TEXT, "command?": [TEXT, 256], "within?": WAIT,
                 "stable?": WAIT, "status?": (100, 599), "when?": f"({'|'.join(METHODS)})?"}, 256],
    "rollback?": TEXT, "values?": TEXT, "values_schema?": TEXT, "upgrade_from?": f"({VERSION})?",
    "source?": {"commit?": "([0-9a-f]{40}([0-9a-f]{24})?)?", "tag?": TEXT, "dirty?": bool},
}
def check_manifest(found):
    """Check what bundle.json says; return the names in the tar of its files, in their order."""
    read(found, MANIFEST)
    files, links, directories = (found.get(key, []) for key in ("files", "links", "directories"))
    need(found["platforms"], "no platform")
    names = [entry.get("member") or entry["path"] for entry in files]
    used = _check_names(files, links, directories, names) | _check_destinations(found, [*files, *links, *directories])
    need(found.get("requires", []) == (["names/1"] if used else []), "`requires` is not what is used")  # V4
    _check_order(files, names)
    _check_references(found, {entry["path"]: entry for entry in files})
    for step in found.get("deploy", []):
        check_step(step, {entry["path"]: entry for entry in files})
    for probe in found.get("health", []):
        check_probe(probe)
    return names


def _check_names(files, links, directories, names):
    paths, folders = [row["path"] for row in [*files, *links]], [row["path"] for row in directories]
    need(all(map(true_name, paths + folders)), "a name that cannot be carried")  # N2
    need(all(path.startswith("trees/") for path in folders), "a directory outside of the trees")
    need(apart(list(map(fold, paths)), list(map(fold, folders))), "two names that clash")  # N5
    for entry, name in zip(files, names, strict=True):  # N3
        need(name == (entry["path"] if fits(entry["path"]) else encoded(entry["path"])), f"{name} is not the encoding")
        need(name != entry["path"] or not entry.get("member"), "a member for a plain name")
    need(apart([name.lower() for name in names]), "two encoded names that clash")
    for link in links:  # L1-L3
        top, here, climbing = "/".join(link["path"].split("/")[:2]), link["path"].split("/")[:-1], True
        target = link["target"]
        need(link["path"].startswith("trees/") and target and target[0] != "/" and len(target) <= 1024, "a link's place")
        parts = [part for part in target.split("/") if part not in ("", ".", "..")]
        need(_graphic(target) or true_name("/".join(parts)), "the target of a link")
        for part in target.split("/"):
            need(part != ".." or (climbing and here), "a link that leaves its tree")
            if part == "..":
                here.pop()
            elif part not in ("", "."):
                here, climbing = [*here, part], False
        need(here[:len(top.split("/"))] == top.split("/"), "a link that leaves its tree")
        install = link.get("install")
        need(not install or install.endswith(link["path"].removeprefix(top)), "a link that is installed elsewhere")
    return (any(entry.get("member") for entry in files) or not all(map(fits, paths[len(files):] + folders))
            or not all(_graphic(link["target"]) for link in links))


def _graphic(text):
    return all("!" <= sign <= "~" for sign in text)


def _check_destinations(found, rows):
    taken, used, folders = {}, False, {row.get("install") for row in found.get("directories", [])}
    for row in rows:  # D1-D4
        need(row.get("platform", "") in ("", *found["platforms"]), "a platform that is not listed")
        place = row.get("install")
        if not place:
            continue
        own = ("/var/lib/waybill/", "/etc/waybill/", "/var/cache/waybill/", "/opt/waybill/")
        need(place[0] == "/" and true_name(place[1:]) and len(place.encode()) <= 1024, "a destination that is none")
        need(not f"{place}/".startswith(own), "a destination that is Waybill's")
        used |= not _graphic(place) or any(sign in "\\'\"`$*?[]{}<>|&;!#" for sign in place)
        need(not _meet([row.get("platform", "")], taken.get(place, [])), "a destination twice")
        taken.setdefault(place, []).append(row.get("platform", ""))
    for place, platforms in taken.items():
        clash = any(up in taken and up not in folders and _meet(platforms, taken[up]) for up in above(place))
        need(not clash, "a destination below a file or link")
    return used


def _meet(some, others):
    return bool(some and others) and ("" in some or "" in others or not set(some).isdisjoint(others))


def _check_order(files, names):  # O1
    last = (-1, "")
    for name in names:
        top, _, rest = name.partition("/")
        need(top in SECTIONS and rest, f"{name} is in no section")
        rank = (SECTIONS.index(top), "" if top == "images" else name)
        need(rank > last or (top == "images" and rank == last), f"{name} is in the wrong place")
        last = rank


def _check_references(found, by_path):  # R1-R4
    need(all(found.get(key, "") in ("", *by_path) for key in ("rollback", "values", "values_schema")), "a missing file")
    blob = "images/blobs/sha256/"
    for path, entry in by_path.items():
        need(not path.startswith("images/blobs/") or path == blob + entry["sha256"], "a blob under another digest")
    seen = {}
    for image in found.get("images", []):
        for digest in (image["config"], image["manifest"]):
            need(blob + digest[7:] in by_path, f"{digest} is missing")
        for layer in image.get("layers", []):
            entry, plain = by_path.get(blob + layer["digest"][7:], {}), layer["digest"] == layer["diff_id"]
            need(entry.get("size") == layer["size"], "a layer that is missing or has another size")
            need(entry.get("expanded", 0) == (0 if plain else layer["expanded"]), "a layer of another size when expanded")
            form = (layer["diff_id"], layer["expanded"])
            need(seen.setdefault(layer["digest"], form) == form, "a layer that is listed differently")
            need(not plain or layer["expanded"] == layer["size"], "a plain layer with two sizes")
