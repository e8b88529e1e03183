"""The rules of bundle.json, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import re
from itertools import pairwise

from common import MIB, TEXT, above, apart, encoded, fits, fold, need, read, true_name
from probes import METHODS, PROBE, SALTS, SLS, UNIT, WORDS, check_folders, check_probe, check_tools, says_more
from whole import check_rows

SECTIONS = ("sbom", "docs", "config", "deploy", "bin", "trees", "images")
KINDS = ("binary", "tree", "template", "values", "schema", "doc", "unit", "compose", "script", "deploy", "image", "sbom",
         "podman", "user-unit", "chart", "playbook", "tool", "licence", "ansible-core", "kubernetes", "sysusers", "tmpfiles", "modules", "sysctl", "udev")
SETTINGS, KUBE, CONF = KINDS[-5:], "kube|image|ya?ml", r"[A-Za-z0-9_][A-Za-z0-9_.@:-]*\.conf"
TOOLS, EXTRA = ("helm", "kubectl"), {"env": ".env", "override": "compose.override.yaml"}
OWN = ("/var/lib/waybill/", "/etc/waybill/", "/var/cache/waybill/", "/opt/waybill/")
VERSION = r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?"
DIGEST, PLATFORM, OWNER = "sha256:[0-9a-f]{64}", r"[a-z0-9]+/[a-z0-9]+(/v[0-9]+)?", "[a-z_][a-z0-9_-]{0,31}"
KEY = r"[A-Za-z_][A-Za-z0-9_-]{0,62}(\.[A-Za-z_][A-Za-z0-9_-]{0,62}){0,7}"  # Q1
SERVICE = r"(_(?=[a-z0-9-]{0,14}[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?\._(tcp|udp))?"  # Q2
INSTANCE = r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\-]*@[A-Za-z0-9:_.\\-]+" + UNIT[UNIT.index(r"+\.") + 1:]
SIZE, MODE, ROWS = (0, 2**53), "0[0-7]{3}", 250_000
LAYER = {"digest": DIGEST, "size": SIZE, "media_type": TEXT, "diff_id": DIGEST, "expanded": SIZE}
MANIFEST = {  # M1
    "schema": "waybill/bundle/v1", "requires?": [r"[a-z][a-z0-9-]{0,62}/[1-9][0-9]{0,5}", 64],
    "product": "[a-z0-9][a-z0-9-]{0,62}", "version": VERSION, "sequence": SIZE, "created": "time", "expires": "time",
    "platforms": [PLATFORM, 64],
    "files": [{"path": TEXT, "size": SIZE, "sha256": "[0-9a-f]{64}", "mode": MODE, "kind": "|".join(KINDS),
               "install?": TEXT, "owner?": f"({OWNER}:{OWNER})?", "platform?": f"({PLATFORM})?", "expanded?": SIZE,
               "member?": TEXT, "validate?": WORDS,
               "on_change?": {"reload?": UNIT, "restart?": UNIT, "command?": WORDS}, "timeout?": (1, 3600),
               "capabilities?": TEXT}, ROWS],
    "links?": [{"path": TEXT, "target": TEXT, "install?": TEXT}, ROWS],
    "directories?": [{"path": TEXT, "mode": "[0-3][0-7]{3}", "install?": TEXT, "owner?": f"({OWNER}:{OWNER})?"}, ROWS],
    "images?": [{"reference": "[a-z0-9][A-Za-z0-9._/:-]{0,254}", "platform": PLATFORM, "config": DIGEST,
                 "manifest": DIGEST, "layers?": [LAYER, 1024]}, 4096],
    "whole_images?": [{"reference": "[a-z0-9][A-Za-z0-9._/:-]{0,254}", "digest": DIGEST, "attached?": [
        {"manifest": DIGEST, "blobs": [DIGEST, 256], "tag?": r"(sha256-[0-9a-f]{64}\.(sig|att|sbom))?",
         "subject?": f"({DIGEST})?"}, 256]}, 4096],
    "deploy?": [{"method": METHODS, "options?": dict, "optional?": bool}, 256],
    "health?": [PROBE, 256],
    "rollback?": TEXT, "values?": TEXT, "values_schema?": TEXT, "upgrade_from?": f"({VERSION})?",
    "values_layers?": [{"layer": "environment|cluster", "name": "[a-z0-9][a-z0-9-]{0,31}", "path": TEXT}, 256],
    "cluster?": {"peers": KEY, "node?": f"({KEY})?", "port?": (0, 65535), "check?": "resolve|connect|seen",
                 "quorum?": "(majority|[1-9][0-9]{0,2})?", "mdns?": SERVICE},
    "source?": {"commit?": "([0-9a-f]{40}([0-9a-f]{24})?)?", "tag?": TEXT, "dirty?": bool},
}
BOUND = r"(>=|<=|==|!=|>|<) ?[0-9]{1,4}(\.[0-9]{1,4}){1,2}"
OPTIONS = {  # S1-S3: options, and which of them go together
    "systemd": ({**{f"{key}?": [TEXT, 4096] for key in ("units", *SETTINGS)}, "instances?": [INSTANCE, 4096], "user?": "(?!root$)[a-z_][a-z0-9_-]{0,31}"}, [()]),
    "files": ({}, [()]), "images": ({}, [()]), "quadlet": ({"files": [TEXT, 4096]}, [("files",)]),
    "helm": ({"chart": TEXT, "release?": r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?", "namespace?": r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "values?": TEXT, "timeout?": (1, 999_999 * 604_800), "test?": bool, **{f"{key}?": [TEXT, 4096] for key in TOOLS}, **{f"{key}_licence?": TEXT for key in TOOLS}}, [("chart",)]),
    "kubectl": ({"manifests?": [TEXT, 4096], "template?": TEXT, "namespace?": r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "timeout?": (1, 999_999 * 604_800), "kubectl?": [TEXT, 4096], "kubectl_licence?": TEXT}, [()]),
    "ansible": ({"playbook": TEXT, "ansible?": [TEXT, 4096], "undo?": TEXT, "values?": TEXT, "ansible_core?": f"{BOUND}(, ?{BOUND}){{0,7}}", "timeout?": (1, 999_999 * 604_800), "inventory?": r"[a-z0-9][a-z0-9._-]{0,58}\.ya?ml", "groups?": ["(?!(all|ungrouped)$)[A-Za-z_][A-Za-z0-9_]{0,62}", 4096]}, [("playbook",)]),
    "compose": ({"file": TEXT, "project?": "[a-z0-9][a-z0-9_-]{0,62}", "env?": TEXT, "override?": r"[a-z0-9][a-z0-9._-]{0,58}\.ya?ml"}, [("file",)]),
    "salt": ({"state": [TEXT, 4096], "undo?": rf"{SLS}(\.{SLS})*", "pillar?": TEXT, "salt_version?": rf"{SALTS}(, ?{SALTS}){{0,7}}", "timeout?": (1, 999_999 * 604_800)}, [("state",)]),
    "script": ({"apply": TEXT, "undo?": TEXT, "snapshot?": TEXT, "restore?": TEXT, "values?": TEXT, "timeout?": (1, 999_999 * 604_800),
                "roll_forward_only?": r"[^\x00-\x1f\x7f]{10,200}"}, [("apply", "undo"), ("apply", "snapshot", "restore"), ("apply", "roll_forward_only")]),
}
FORMS = {**dict.fromkeys(("unit", "user-unit"), rf"{UNIT}(\.d/{CONF})?"), "udev": CONF[:-4] + "rules", **dict.fromkeys(SETTINGS[:4], CONF),
         "kubernetes": r"[^/]+\.(ya?ml|json)", "podman": rf"[A-Za-z0-9][A-Za-z0-9_.-]*\.(container|pod|network|volume|{KUBE})"}  # S5, S8, S15
NAMED = {**{key: key for key in SETTINGS}, "units": "unit", "files": "podman", "file": "compose", "chart": "chart", "manifests": "kubernetes", "template": "template", "playbook": "playbook", "ansible": "ansible-core", "state": "deploy", "pillar": "template", "env": "template", "values": "template", "apply": "script", "undo": "script", "snapshot": "script", "restore": "script", **dict.fromkeys(TOOLS, "tool"), **{f"{key}_licence": "licence" for key in TOOLS}}


def check_manifest(found):
    """Check what bundle.json says; return the names in the tar of its files, in their order."""
    read(found, MANIFEST)
    files, links, directories = (found.get(key, []) for key in ("files", "links", "directories"))
    by_path, names = {entry["path"]: entry for entry in files}, [entry.get("member") or entry["path"] for entry in files]
    need(found["platforms"], "no platform")
    used = check_names(files, links, directories, names) | check_destinations(found, [*files, *links, *directories])
    need(found.get("cluster", {}).get("check") != "seen" or found["cluster"].get("mdns"), "peers that nobody sees")
    special = [row for row in directories if row.get("owner") or row["mode"][0] != "0"]
    need(all(row.get("install") for row in special), "a special directory that is not installed")  # K6
    ranks = [(SECTIONS.index(top), "" if top == "images" else name) for name in names  # O1
             for top, _, rest in [name.partition("/")] if top in SECTIONS and rest]
    need(len(ranks) == len(names), "a file outside of the sections")
    need(all(one < other or (one == other and not one[1]) for one, other in pairwise(ranks)), "order")
    check_references(found, by_path)
    check_rows(found, by_path)
    for entry in files:
        if {"validate", "on_change", "timeout"} & entry.keys():
            check_configuration(entry)
        if "capabilities" in entry:
            check_capabilities(entry)
    for step in found.get("deploy", []):
        if step["method"] in OPTIONS:
            check_step(step["method"], step.get("options", {}), by_path)
    extended = any(step.get("options", {}).keys() - {"user"} != {"units"} or ".conf" in {path[-5:] for path in step["options"]["units"]}
                   for step in found.get("deploy", []) if step["method"] == "systemd")
    need(len(set(people := [step["options"]["user"] for step in found.get("deploy", []) if step["method"] == "systemd" and "user" in step["options"]])) == len(people), "two steps of one user")  # S9
    projects = [step.get("options", {}) for step in found.get("deploy", []) if step["method"] == "compose"]
    places = [(each, [each["file"]] if isinstance(each["file"], str) else each["file"]) for each in projects]
    taken = [fold(f"{first.rpartition('/')[0]}/{EXTRA[key]}".lstrip("/")) for each, (first, *_) in places for key in EXTRA if key in each]
    engines = [(step["options"], step["options"][key]) for step in found.get("deploy", [])
               for key in ({"helm": "chart", "ansible": "playbook", "script": "apply"}.get(step["method"]),) if key]
    firsts = [(options, named if isinstance(named, str) else named[0]) for options, named in engines]
    taken += [fold(f"{first.rpartition('/')[0]}/site-values.yaml".lstrip("/")) for each, first in firsts if "values" in each] + [fold(f"{step['options']['state'][0].rpartition('/')[0]}/site-pillar.yaml") for step in found.get("deploy", []) if step["method"] == "salt" and "pillar" in step["options"]] + [fold(f"{first.rpartition('/')[0]}/site-inventory.yaml") for each, first in firsts if "inventory" in each] + [fold(f"{[*each.get('manifests', []), each['template']][0].rpartition('/')[0]}/site-manifests.yaml".lstrip("/")) for step in found.get("deploy", []) if step["method"] == "kubectl" for each in [step["options"]] if "template" in each]
    need(len({*taken, *map(fold, by_path)}) == len(taken) + len(by_path), "a rendered file in the place of another")  # S7
    words = {"ansible-core/1": any(entry["kind"] == "ansible-core" for entry in files), "ansible-inventory/1": any("inventory" in step["options"] for step in found.get("deploy", []) if step["method"] == "ansible"), "ansible/1": any(step["method"] == "ansible" for step in found.get("deploy", [])) or any(entry["kind"] == "playbook" for entry in files),
             "attributes/1": special or any("capabilities" in entry for entry in files), "cluster/1": "cluster" in found,
             **{f"compose-{key}/1": any(key in each for each in projects) for key in EXTRA},
             "compose-project/1": any(isinstance(each["file"], list) for each in projects),
             "health/1": any(map(says_more, found.get("health", []))),
             "helm/1": any(step["method"] == "helm" for step in found.get("deploy", [])) or any(entry["kind"] == "chart" for entry in files),
             "kubectl/1": any(step["method"] == "kubectl" for step in found.get("deploy", [])) or any(entry["kind"] == "kubernetes" for entry in files), "layers/1": found.get("values_layers"), "names/1": used,
             "on-change/1": any(entry.get("on_change") for entry in files), "salt/1": any(step["method"] == "salt" for step in found.get("deploy", [])), "script-values/1": any(step["method"] == "script" and "values" in step["options"] for step in found.get("deploy", [])),
             "quadlet-kube/1": any(entry["kind"] == "podman" and re.search(rf"\.({KUBE})$", entry["path"]) for entry in files),
             "quadlet/1": any(step["method"] == "quadlet" for step in found.get("deploy", [])) or any(entry["kind"] == "podman" for entry in files),
             "systemd/1": extended or any(entry["kind"] in SETTINGS for entry in files),
             "timeouts/1": any("timeout" in entry for entry in files),
             "tools/1": any(entry["kind"] in ("tool", "licence") for entry in files),
             "user-units/1": any(entry["kind"] == "user-unit" for entry in files),
             "validators/1": any(entry.get("validate") for entry in files),
             "whole-images/1": found.get("whole_images")}
    need(found.get("requires", []) == [word for word in words if words[word]], "`requires` is not what is used")  # V4
    for probe in found.get("health", []):
        check_probe(probe)
    return names


def graphic(text):
    """Return whether a text is of U+0021-007E alone."""
    return all("!" <= sign <= "~" for sign in text)


def check_names(files, links, directories, names):
    """N2-N5, M3, L1-L3: check every name; return whether one is used that names/1 is for."""
    paths, folders = [row["path"] for row in [*files, *links]], [row["path"] for row in directories]
    need(all(map(true_name, paths + folders)), "a name that cannot be carried")
    need(all(path.startswith("trees/") for path in folders), "a directory outside of the trees")
    need(apart(list(map(fold, paths)), list(map(fold, folders))), "two names that clash")
    for entry, name in zip(files, names, strict=True):
        need(name == (entry["path"] if fits(entry["path"]) else encoded(entry["path"])), f"{name} is not the encoding")
        need(name != entry["path"] or not entry.get("member"), "a member for a plain name")
    need(apart([name.lower() for name in names]), "two encoded names that clash")
    for link in links:
        target, top, folder = link["target"], link["path"].split("/")[:2], link["path"].split("/")[:-1]
        need(top[0] == "trees" and target and target[0] != "/" and len(target) <= 1024, "a link's place")
        parts = [part for part in target.split("/") if part not in ("", ".")]
        down = [part for part in parts if part != ".."]
        climbs = len(parts) - len(down)
        need(graphic(target) or true_name("/".join(down)), "the target of a link")
        need(parts[climbs:] == down and climbs <= len(folder), "`..` after a name, or too many")
        need([*folder[:len(folder) - climbs], *down][:2] == top, "a link that leaves its tree")
        install = link.get("install")
        need(not install or install.endswith(link["path"].removeprefix("/".join(top))), "a link installed elsewhere")
    return (any(entry.get("member") for entry in files) or not all(map(fits, paths[len(files):] + folders))
            or not all(graphic(link["target"]) for link in links))


def check_destinations(found, rows):
    """D1-D4: check every destination; return whether one is used that names/1 is for."""
    def meet(some, others):
        return bool(some and others) and ("" in some or "" in others or not set(some).isdisjoint(others))
    taken, used, folders = {}, False, {row.get("install") for row in found.get("directories", [])}
    for row in rows:
        need(row.get("platform", "") in ("", *found["platforms"]), "a platform that is not listed")
        if place := row.get("install"):
            need(place[0] == "/" and true_name(place[1:]) and len(place.encode()) <= 1024, "a destination that is none")
            need(not f"{place}/".startswith(OWN), "a destination that is Waybill's")
            need(not meet([row.get("platform", "")], taken.get(place, [])), "a destination twice")
            used |= not graphic(place) or any(sign in "\\'\"`$*?[]{}<>|&;!#" for sign in place)
            taken.setdefault(place, []).append(row.get("platform", ""))
    for place, platforms in taken.items():
        clash = any(up in taken and up not in folders and meet(platforms, taken[up]) for up in above(place))
        need(not clash, "a destination below a file or link")
    return used


def check_references(found, by_path):
    """R1-R5: what is named by its path or digest is there, and of the right form."""
    rows, blob, seen = found.get("values_layers", []), "images/blobs/sha256/", {}
    need((keys := [(row["layer"], row["name"]) for row in rows]) == sorted(set(keys)), "the order of layers of values")
    fit = {path for path, row in by_path.items() if row["kind"] == "values" and row["size"] <= MIB and not row.get("platform")}
    need(all(row["path"].startswith("config/") and row["path"] in fit for row in rows), "a layer of values that is none")
    need(all(found.get(key, "") in ("", *by_path) for key in ("rollback", "values", "values_schema")), "a missing file")
    for path, entry in by_path.items():
        need(not path.startswith("images/blobs/") or path == blob + entry["sha256"], "a blob under another digest")
    for image in found.get("images", []):
        need(all(blob + image[key][7:] in by_path for key in ("config", "manifest")), "a blob is missing")
        for layer in image.get("layers", []):
            entry, plain = by_path.get(blob + layer["digest"][7:], {}), layer["digest"] == layer["diff_id"]
            form = (layer["diff_id"], layer["expanded"])
            need(entry.get("size") == layer["size"], "a layer that is missing or has another size")
            need(entry.get("expanded", 0) == (0 if plain else layer["expanded"]), "a layer of another size when expanded")
            need(seen.setdefault(layer["digest"], form) == form, "a layer that is listed differently")
            need(not plain or layer["expanded"] == layer["size"], "a plain layer with two sizes")


def check_configuration(entry):
    """K1-K4: the commands of a configuration file, and what its change does."""
    checked, change = entry.get("validate"), entry.get("on_change", {"command": ["true"]})
    need(entry["kind"] == "template" and entry.get("install"), "a command for a file that is not rendered")
    need(len(change) == 1 and change.get("reload", "")[:1] != "-" != change.get("restart", "")[:1], "what a change does")
    for words in (["true"] if checked is None else checked, change.get("command", ["true"])):
        need(words and all(words) and (words[0][0] == "/" or "/" not in words[0]), f"the command {words}")
    need("timeout" not in entry or checked or "command" in entry.get("on_change", {}), "a time limit for nothing")
    count = sum(word.count("{file}") for word in checked or ())
    need(checked is None or (count == 1 and "{file}" not in checked[0]), "{file} is not there once")


CAPABILITIES = ["chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore"]


def check_capabilities(entry):
    """K5: the capabilities of a file, in their one form."""
    need(entry["kind"] in ("binary", "tree") and entry.get("install"), "capabilities of no program")
    groups = [group.partition("=")[::2] for group in entry["capabilities"].split(" ")]
    rows = [[f" {name}".partition(" cap_")[2] for name in names.split(",")] for names, _ in groups]
    need(all(name in CAPABILITIES for row in rows for name in row), "an unknown capability")
    numbers, flags = [[CAPABILITIES.index(name) for name in row] for row in rows], [each for _, each in groups]
    need(all(row == sorted(row) for row in numbers) and numbers == sorted(numbers), "the order of capabilities")
    need(len({number for row in numbers for number in row}) == sum(map(len, numbers)), "a capability twice")
    need(len(set(flags)) == len(flags) and all(re.fullmatch("e?(i|p|ip)", each) for each in flags), "the flags")
    need(len({each[0] == "e" for each in flags}) == 1, "some effective")


def check_step(method, options, by_path):
    """S1-S15: the options of a step, and its files."""
    form, combinations = OPTIONS[method]
    lists = {name: value if isinstance(value, list) else [value] for name, value in options.items()}
    several = {key: [TEXT, 4096] for key in ("file", "chart", "playbook") if key in form and isinstance(options.get(key), list)}
    read(options, {**form, **several}, method)
    check_folders(method, options, lists, several)  # S10-S12, S14, S15
    bound = {name for combination in combinations for name in combination} & options.keys()
    need(any(set(combination) == bound for combination in combinations) and {"inventory", "groups"} & options.keys() in (set(), {"inventory", "groups"}) and ("groups" not in options or "undo" in options), "options that do not go together")  # S2
    units = {path.rpartition("/")[2] for path in options.get("units", [])}
    need(all(re.sub(r"@[^@]+(?=\.[a-z]+\Z)", "@", each) in units for each in options.get("instances", [])), "no template")
    need((method != "systemd" or options.keys() - {"instances"}) and (method != "kubectl" or options.keys() & {"manifests", "template"}), "no files")
    check_tools({"helm": TOOLS, "kubectl": TOOLS[1:]}.get(method, ()), options, lists, by_path)  # S13
    need("user" not in options or not options.keys() - {"user", "units", "instances"}, "options that a user's step cannot have")
    for option, kind in {**NAMED, "instances": None, "groups": None, **({"undo": "playbook"} if method == "ansible" else {}), **({"undo": None} if method == "salt" else {}), **({"units": "user-unit"} if "user" in options else {})}.items():
        need(len(set(lists.get(option, ["x"]))) == len(lists.get(option, ["x"])) > 0, "files twice, or none")
        for path in lists.get(option, []) if kind else []:
            entry, parts = by_path.get(path, {}), path.split("/")
            need(entry.get("kind") == kind and not (kind == "template" and (entry.get("install") or entry.get("platform"))), f"{option}: {path!r}")
            need(kind not in ("script", "tool") or int(entry["mode"], 8) & 0o100, f"{path} is not executable")
            name = "/".join(parts[-2:] if option == "units" and path.endswith(".conf") else parts[-1:])
            need(re.fullmatch(FORMS.get(kind, ".*"), name), f"{path} is not a name of its kind")
