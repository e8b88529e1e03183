"""The rules of health checks, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import re
from urllib.parse import urlsplit

from common import TEXT, need

METHODS = "files|systemd|compose|quadlet|images|script|helm|ansible|salt"
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
