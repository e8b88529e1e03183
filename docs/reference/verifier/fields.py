"""The forms of values in bundle.json, for the verifier: written from format.md alone, without Waybill."""

# fmt: off
import re
from datetime import UTC, datetime

from common import need

TEXT = r"[^\x00-\x1f\x7f]{0,4096}"


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
