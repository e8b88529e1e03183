"""The rules of health checks and of directories that steps name, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import re
from urllib.parse import urlsplit

from common import TEXT, need

METHODS = "files|systemd|compose|quadlet|helm|kubectl|images|script|ansible|salt"
UNIT = r"[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|target|path|mount|automount|swap|slice)"
WAIT, WORDS = (0, 86400), [TEXT, 256]
NUMBER, HEALTH = r"(-?[0-9]{1,15}(\.[0-9]{1,9})?)?", ("statuses", "body", "headers", "ca", "unix", "query", "min", "max", "equals")
PROBE = {"kind": "http|tcp|command|container|unit|prometheus", "target?": TEXT, "command?": WORDS, "within?": WAIT,
         "stable?": WAIT, "status?": (100, 599), "when?": f"({METHODS})?",
         "statuses?": [r"[1-5][0-9]{2}(-[1-5][0-9]{2})?", 16], "body?": TEXT, "headers?": [TEXT, 16], "ca?": TEXT, "unix?": TEXT,
         "query?": TEXT, **{f"{key}?": NUMBER for key in ("min", "max", "equals")}, "start_period?": WAIT}


def says_more(probe):
    """Return whether a probe says what health/1 is for."""
    return probe["kind"] in ("unit", "prometheus") or any(map(probe.get, (*HEALTH, "start_period")))


def check_probe(probe):
    """H1, H2, H4: which fields a probe has, and its target."""
    kind, target, command = probe["kind"], probe.get("target", ""), probe.get("command", [])
    need((kind == "command") == bool(command) != bool(target) and all(command), "a probe of another kind")
    forms = [re.sub(r"\{\{.*?\}\}", each, target) for each in ("1", "")] if "{{" in target else [target]
    need(kind == "command" or any(is_target(kind, form) for form in forms), f"the target {target!r}")
    check_answer(kind, target, {key: probe[key] for key in HEALTH if probe.get(key)}, probe.get("status", 200))


def check_answer(kind, target, said, status):
    """H5-H7: what a probe says of its answer, and how it is sent."""
    allowed = {"http": HEALTH[:5], "prometheus": HEALTH[3:]}.get(kind, ())
    need(said.keys() <= set(allowed), "what a probe of this kind does not say")
    need("statuses" not in said or status == 200, "a status besides the list of them")
    need(all(each[4:] >= each[:3] or not each[4:] for each in said.get("statuses", [])), "a range that is empty")
    need(all("{{" in each or re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}: .{1,1024}", each) for each in said.get("headers", [])), "a header")
    for path in (said.get("ca", "/"), said.get("unix", "/")):
        need("{{" in path or (path[0] == "/" and ".." not in path.split("/") and path.isprintable()), f"the path {path!r}")
    need("{{" in said.get("unix", "") or len(said.get("unix", "").encode()) <= 107, "a socket with a long path")
    need("ca" not in said or target.startswith("https:"), "a CA without TLS")
    if kind == "prometheus":
        low, high = float(said.get("min", "-inf")), float(said.get("max", "inf"))
        need("query" in said and not {"?", "#"} & set(target), "no query, or one in the URL")
        need(("equals" in said) != bool({"min", "max"} & said.keys()) and low <= high, "what the result is compared with")


def is_target(kind, text):
    """H3: what a probe may ask."""
    if kind == "unit":
        return text[:1] != "-" and re.fullmatch(UNIT, text)
    if kind == "container":
        return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text)
    if kind == "tcp":
        found = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]@]+):([0-9]{1,5})", text)
        return found and 0 < int(found[1]) <= 65535
    try:
        parts = urlsplit(text)
        (parts.hostname or "").encode("idna")
        return (re.fullmatch(r"https?://[^\s/?#]+([/?#]\S*)?", text) and text.isprintable() and parts.hostname
                and parts.port != 0 and "@" not in parts.netloc and (parts.path + parts.query).isascii())
    except ValueError:
        return False


SLS, SALTS = "[A-Za-z0-9_-]+", r"(>=|<=|==|!=|>|<) ?[0-9]{1,6}(\.[0-9]{1,6}){0,2}"


def is_state(state, undo=None, **_):
    """S12: whether the files are those of one directory, and what undoes them is one of them."""
    folder, first = str([*state, ""][0]).rpartition("/")[::2]
    root, name = (folder, "top") if first == "top.sls" else folder.rpartition("/")[::2]
    path = f"{root}/{str(undo).replace('.', '/')}"
    return (first in ("init.sls", "top.sls") and "/" in folder and all(each.startswith(f"{folder}/") for each in state)
            and re.fullmatch(SLS, name) and (undo is None or {f"{path}.sls", f"{path}/init.sls"} & {*state}))


def is_chart(files):
    """S10: whether several files are those of the directory of a chart."""
    top = str([*files, ""][0]).rpartition("/")[0]
    return top and files[0] == f"{top}/Chart.yaml" and all(str(path).startswith(f"{top}/") for path in files)


def is_core(files):
    """S14: whether files are those of a directory with ansible-core."""
    top, end, rest = str([*files, ""][0]).rpartition("/ansible/cli/playbook.py")
    return top and end and not rest and all(str(path).startswith(f"{top}/") for path in files)


def is_playbook(files, undo):
    """S11: whether files are those of the directory of a playbook, and what undoes it is next to it."""
    first = str([*files, ""][0])
    top = first.rpartition("/")[0]
    return (top and first.endswith((".yml", ".yaml")) and all(str(path).startswith(f"{top}/") for path in files)
            and (not undo or (undo in files and undo.rpartition("/")[0] == top)))


def check_folders(method, options, lists, several):
    """Check the lists of all files of a directory."""
    need("chart" not in several or is_chart(lists["chart"]), "no Chart.yaml, or a file elsewhere")
    need(method != "ansible" or is_playbook(lists["playbook"], options.get("undo")), "no playbook in a directory, or undo elsewhere")
    need("ansible" not in options or is_core(lists["ansible"]), "no ansible-core, or a file elsewhere")
    need(method != "salt" or is_state(**options), "no state of Salt, or none that undoes it")


def check_tools(keys, options, lists, by_path):
    """S13: programs that a host can choose, with their licences."""
    for key in keys:
        made = ["" if (row := by_path.get(path, {})).get("install") else row.get("platform", "") for path in lists.get(key, [])]
        need(all(made) and len(set(made)) == len(made), "a tool that no host can choose")
        need((key in options) == (f"{key}_licence" in options), "a tool without its licence")
