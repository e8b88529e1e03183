"""The rules of bundle.json, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from common import above, apart, encoded, fits, fold, need, true_name

SECTIONS = ("sbom", "docs", "config", "deploy", "bin", "trees", "images")
KINDS = ("binary", "tree", "template", "values", "schema", "doc", "unit", "compose", "script", "deploy", "image", "sbom")
VERSION = r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?"
TEXT, HEX, DIGEST = r"[^\x00-\x1f\x7f]{0,4096}", "[0-9a-f]{64}", "sha256:[0-9a-f]{64}"
PLATFORM, OWNER = r"[a-z0-9]+/[a-z0-9]+(/v[0-9]+)?", r"[a-z_][a-z0-9_-]{0,31}:[a-z_][a-z0-9_-]{0,31}"
UNIT = r"[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|target|path|mount|automount|swap|slice)"
METHODS = ("files", "systemd", "compose", "images", "script", "helm", "ansible", "salt")
SIZE, MODE, WAIT = (0, 2**53), "0[0-7]{3}", (0, 86400)
# M1-M9. A text is a pattern, a pair a range, a list its elements and their number, `?` may be absent, and a
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
PATHS = [TEXT, 4096]
OPTIONS = {  # M8: options, combinations, and the files that an option names
    "files": ({}, [()]), "images": ({}, [()]), "systemd": ({"units": PATHS}, [("units",)]),
    "compose": ({"file": TEXT, "project?": "[a-z0-9][a-z0-9_-]{0,62}"}, [("file",)]),
    "script": ({"apply": TEXT, "undo?": TEXT, "snapshot?": TEXT, "restore?": TEXT, "timeout?": (1, 999_999 * 604_800),
                "roll_forward_only?": r"[^\x00-\x1f\x7f]{10,200}"},
               [("apply", "undo"), ("apply", "snapshot", "restore"), ("apply", "roll_forward_only")]),
}
NAMED = {"units": "unit", "file": "compose", "apply": "script", "undo": "script", "snapshot": "script", "restore": "script"}


def seconds(text):
    """Return the seconds since 1970 of a time in the one form."""
    need(isinstance(text, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([0-9]{2}:){2}[0-9]{2}Z", text), "no time")
    try:
        found = int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        found = -1
    need(0 <= found < 8**11, f"{text} is no time that a tar header can hold")
    return found


def read(value, form, where="bundle.json"):
    """Refuse a value that is not of a form."""
    if form == "time":
        seconds(value)
    elif isinstance(form, str):
        need(isinstance(value, str) and re.fullmatch(form, value), f"{where} is {str(value)[:40]!r}")
    elif isinstance(form, tuple):
        need(type(value) is int and form[0] <= value <= form[1], f"{where} is not within {form}")
    elif isinstance(form, type):
        need(isinstance(value, form), f"{where} is not a {form.__name__}")
    elif isinstance(form, list):
        need(isinstance(value, list) and len(value) <= form[1], f"{where} is not a list of at most {form[1]}")
        for number, each in enumerate(value):
            read(each, form[0], f"{where}[{number}]")
    else:
        need(isinstance(value, dict), f"{where} is not an object")
        fields = {name.rstrip("?"): name for name in form}
        need(not value.keys() - fields.keys(), f"{where} has unknown fields")
        for name, key in fields.items():
            need(name in value or key.endswith("?"), f"{where}.{name} is missing")
            if name in value:
                read(value[name], form[key], f"{where}.{name}")


def check_manifest(found):
    """Check what bundle.json says; return the names in the tar of its files, in their order."""
    read(found, MANIFEST)
    files, links, directories = (found.get(key, []) for key in ("files", "links", "directories"))
    need(found["platforms"], "no platform")
    names = [entry.get("member") or entry["path"] for entry in files]
    used = _check_names(files, links, directories, names) | _check_destinations(found, [*files, *links, *directories])
    need(found.get("requires", []) == (["names/1"] if used else []), "`requires` is not what is used")  # M10
    _check_order(files, names)
    _check_references(found, {entry["path"]: entry for entry in files})
    for step in found.get("deploy", []):
        _check_step(step, {entry["path"]: entry for entry in files})
    for probe in found.get("health", []):
        _check_probe(probe)
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


def _check_step(step, by_path):  # S1-S4
    options = step.get("options", {})
    if step["method"] not in OPTIONS:
        return
    form, combinations = OPTIONS[step["method"]]
    read(options, form, step["method"])
    bound = {name for combination in combinations for name in combination}
    need(any(set(combination) == bound & options.keys() for combination in combinations), "options that do not go together")
    need(len(set(options.get("units", ["x"]))) == len(options.get("units", ["x"])) > 0, "units twice, or none")
    for option, kind in NAMED.items():
        for path in options.get("units", []) if option == "units" else [options[option]] if option in options else []:
            entry = by_path.get(path, {})
            need(entry.get("kind") == kind, f"{option}: {path!r} is missing or of another kind")
            need(kind != "script" or int(entry["mode"], 8) & 0o100, f"{path} is not executable")
            need(kind != "unit" or re.fullmatch(UNIT, path.rpartition("/")[2]), f"{path} is not the name of a unit")


def _check_probe(probe):  # H1-H4
    kind, target, command = probe["kind"], probe.get("target", ""), probe.get("command", [])
    need((kind == "command") == bool(command) != bool(target) and all(command), "a probe of another kind")
    forms = [re.sub(r"\{\{.*?\}\}", each, target) for each in ("1", "")] if "{{" in target else [target]
    need(kind == "command" or any(_is_target(kind, form) for form in forms), f"the target {target!r}")


def _is_target(kind, text):
    if kind == "container":
        return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text)
    if kind == "tcp":
        found = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]@]+):([0-9]{1,5})", text)
        return found and 0 < int(found[1]) <= 65535
    if not re.fullmatch(r"https?://[^\s/?#]+([/?#]\S*)?", text) or not text.isprintable():
        return False
    try:
        parts = urlsplit(text)
        (parts.hostname or "").encode("idna")
        return parts.hostname and parts.port != 0 and "@" not in parts.netloc and (parts.path + parts.query).isascii()
    except ValueError:
        return False
