"""Names, JSON and forms, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import hashlib
import json
import re
import unicodedata
from datetime import UTC, datetime

MIB = 2**20
WORD = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._@+%=,][A-Za-z0-9._@+%=,~-]*"
PLAIN = re.compile(rf"{WORD}(/{WORD})*")
HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef"
    "\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]")
TEXT = r"[^\x00-\x1f\x7f]{0,4096}"  # M1
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]|[^][{},:"\s]+')


class Refused(Exception):  # noqa: N818 - its arguments are the exit code and the reason
    """The bundle is refused."""


def need(good, what, code=11):
    """Refuse the bundle unless something holds."""
    if not good:
        raise Refused(code, what)


def fits(name):
    """N1: whether a name fits a tar header as it is."""
    cut = name.find("/", len(name) - 101) if len(name) > 100 else 1
    return PLAIN.fullmatch(name) is not None and 1 <= cut <= 155


def true_name(path):
    """N2: whether a path can be carried, as it is or encoded."""
    parts = path.split("/")
    return (not {"", ".", ".."}.intersection(parts) and not HIDDEN.search(path) and len(path.encode()) <= 1024
            and unicodedata.is_normalized("NFC", path) and all(len(part.encode()) <= 255 for part in parts))


def encoded(path):
    """N3: the name in the tar of a file whose true name does not fit."""
    text = re.sub(rb"[^A-Za-z0-9._@+=,~/-]|(?:(?<=/)|\A)[~-]", lambda sign: b"%%%02X" % sign[0][0], path.encode()).decode()
    short, top = f"/%/{hashlib.sha256(path.encode()).hexdigest()}", text.split("/")
    long = "/".join(top[:2 if top[0] == "trees" else 1]) + short
    return next(name for name in (text, long, top[0] + short) if fits(name))


def fold(path):
    """N4: a path without regard to case (Unicode D145) and joiners."""
    bare = unicodedata.normalize("NFD", path.replace("\u200c", "").replace("\u200d", ""))
    return unicodedata.normalize("NFD", bare.casefold())


def above(path):
    """Return the directories above a path."""
    return (path[:at] for at, sign in enumerate(path) if sign == "/" and at)


def apart(files, directories=()):
    """N5: whether no path occurs twice and none is both a file and a directory."""
    every, taken = [*files, *directories], set(files)
    return len(set(every)) == len(every) and not any(up in taken for path in every for up in above(path))


def parse(data, most, part=2**53):
    """J1-J3, J5: parse a document of at most `most` bytes; the parts of bundle.json have a limit, too."""
    def pairs(items):
        need(len(dict(items)) == len(items), "a key twice")
        return dict(items)

    def integer(digits):
        need(len(digits) <= 17 and abs(int(digits)) <= 2**53, f"{digits[:20]} is not an integer up to 2^53")
        return int(digits)

    def refuse(token):
        raise Refused(11, f"{token[:20]} is not an integer")
    need(len(data) <= most, "a document is too large")
    try:
        text = data.decode("utf-8")
        found = json.loads(text, object_pairs_hook=pairs, parse_int=integer, parse_float=refuse, parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(11, f"not JSON: {error}") from None
    need(isinstance(found, dict), "not an object")
    measure(text, part)
    return found


def measure(text, most):
    """J4, J6: how deep a valid document is nested, and how long elements of its long lists, and the rest, are."""
    level, start, last, inside, rest = 0, 0, "", False, 0
    for token in TOKEN.finditer(text):
        sign = token[0]
        level -= sign in "]}"
        if inside and level == 1:
            inside = False
        elif level == 1 and sign == "[" and json.loads(last) in ("files", "links", "directories", "images"):
            inside, rest = True, rest - len(last)
        elif level == 1 + inside:
            start, last = start if sign in "]}" else token.start(), sign
            size = 0 if sign in "[{" else token.end() - start
            rest += 0 if inside else size
            need(size <= most and rest <= most, "more than 1 MiB in an element of a list, or outside of the lists")
        level += sign in "[{"
        need(level <= 32, "nested more than 32 levels deep")


def seconds(text):
    """M2: return the seconds since 1970 of a time."""
    need(isinstance(text, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([0-9]{2}:){2}[0-9]{2}Z", text), "no time")
    try:
        found = int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        found = -1
    need(0 <= found < 8**11, f"{text} is no time that a tar header can hold")
    return found


def read(value, form, where="bundle.json"):
    """M1: refuse a value that is not of a form: a pattern, a range, a type, [elements, number], or fields.

    A field may be absent where its name ends with `?`. With the field `*` there may be others.
    """
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
        need("*" in form or all(name in form or f"{name}?" in form for name in value), f"{where} has unknown fields")
        for key, inner in form.items():
            name = key.rstrip("?")
            need(name in value or key != name or key == "*", f"{where}.{name} is missing")
            if name in value and key != "*":
                read(value[name], inner, f"{where}.{name}")
