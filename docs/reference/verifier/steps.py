"""Steps and probes, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import re
from urllib.parse import urlsplit

from common import need
from fields import TEXT, read

METHODS = ("files", "systemd", "compose", "images", "script", "helm", "ansible", "salt")
UNIT = r"[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|target|path|mount|automount|swap|slice)"
PATHS = [TEXT, 4096]
OPTIONS = {  # S1-S3: options, and which of them go together
    "files": ({}, [()]), "images": ({}, [()]), "systemd": ({"units": PATHS}, [("units",)]),
    "compose": ({"file": TEXT, "project?": "[a-z0-9][a-z0-9_-]{0,62}"}, [("file",)]),
    "script": ({"apply": TEXT, "undo?": TEXT, "snapshot?": TEXT, "restore?": TEXT, "timeout?": (1, 999_999 * 604_800),
                "roll_forward_only?": r"[^\x00-\x1f\x7f]{10,200}"},
               [("apply", "undo"), ("apply", "snapshot", "restore"), ("apply", "roll_forward_only")]),
}
NAMED = {"units": "unit", "file": "compose", "apply": "script", "undo": "script", "snapshot": "script", "restore": "script"}


def check_step(step, by_path):
    """S1-S4: the options of a step, and its files."""
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


def check_probe(probe):
    """H1, H2, H4: a probe has what its kind needs."""
    kind, target, command = probe["kind"], probe.get("target", ""), probe.get("command", [])
    need((kind == "command") == bool(command) != bool(target) and all(command), "a probe of another kind")
    forms = [re.sub(r"\{\{.*?\}\}", each, target) for each in ("1", "")] if "{{" in target else [target]
    need(kind == "command" or any(is_target(kind, form) for form in forms), f"the target {target!r}")


def is_target(kind, text):
    """H3: what a probe may ask."""
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
