"""Names and JSON, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import hashlib
import json
import re
import unicodedata

MIB, SPACE = 2**20, re.compile(r"[ \t\n\r]*")
WORD = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._@+%=,][A-Za-z0-9._@+%=,~-]*"
PLAIN = re.compile(rf"{WORD}(/{WORD})*")
HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef"
    "\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]")


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
    keep = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+=,~-"
    parts = ["".join(chr(byte) if byte in keep and (at or byte not in b"-~") else f"%{byte:02X}"
                     for at, byte in enumerate(part.encode())) for part in path.split("/")]
    short = ["%", hashlib.sha256(path.encode()).hexdigest()]
    top = parts[:2 if parts[0] == "trees" else 1]
    return next(name for name in map("/".join, (parts, top + short, parts[:1] + short)) if fits(name))


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


def decoder():
    """J2, J3: refuse duplicate keys and numbers that are not integers up to 2^53."""
    def pairs(items):
        need(len(dict(items)) == len(items), "a key twice")
        return dict(items)

    def integer(digits):
        need(len(digits) <= 17 and abs(int(digits)) <= 2**53, "an integer beyond 2^53")
        return int(digits)

    def refuse(token):
        raise Refused(11, f"{token[:9]} is not an integer")
    return json.JSONDecoder(object_pairs_hook=pairs, parse_int=integer, parse_float=refuse, parse_constant=refuse)


def check(value, levels):
    """J4, J5: refuse what is nested deeper, and lone surrogates."""
    json.dumps(value, ensure_ascii=False).encode()
    level = [value]
    for _ in range(levels):
        level = [below for each in level if isinstance(each, dict | list)
                 for below in (each.values() if isinstance(each, dict) else each)]
    need(not any(isinstance(each, dict | list) for each in level), "nested more than 32 levels deep")
    return value


def strict(data, most):
    """J1: parse a small document."""
    need(len(data) <= most, "a document is too large")
    try:
        return check(decoder().decode(data.decode("utf-8")), 32)
    except (ValueError, RecursionError) as error:
        raise Refused(11, f"not JSON: {error}") from None


def load(data):
    """J6: parse bundle.json: the elements of its long lists one by one, each with a limit."""
    need(len(data) <= 64 * MIB, "bundle.json is too large")
    try:
        return _load(data.decode("utf-8"))
    except (ValueError, RecursionError, IndexError) as error:
        raise Refused(11, f"not JSON: {error}") from None


def _load(text):
    scan, found, other = decoder().raw_decode, {}, 0

    def skip(at, sign=""):  # the sign at `at`, and white space on both sides of it
        at = SPACE.match(text, at).end()
        need(text.startswith(sign, at), f"{sign} is expected")
        return SPACE.match(text, at + len(sign)).end()

    def value(at, levels):
        item, end = scan(text, at)
        need(end - at <= MIB, "a value of more than 1 MiB")
        return check(item, levels), end

    def more(at, close):  # after an element: the place of the next one, or of the end
        at = skip(at)
        need(text[at] in (",", close), f", or {close} is expected")
        after = skip(at, ",") if text[at] == "," else at
        need(text[at] == close or text[after] != close, "a comma too many")
        return after
    at = skip(0, "{")
    while text[at] != "}":
        key, end = value(at, 0)
        need(isinstance(key, str) and key not in found, "a key twice, or none")
        size, at = end - at, skip(end, ":")
        if key in ("files", "links", "directories", "images") and text[at] == "[":
            found[key], at = [], skip(at, "[")
            while text[at] != "]":
                item, end = value(at, 30)
                found[key].append(item)
                need(len(found[key]) <= 250_000, f"more than 250,000 {key}")
                at = more(end, "]")
            at = more(at + 1, "}")
        else:
            found[key], end = value(at, 31)
            other += size + end - at
            need(other <= MIB, "more than 1 MiB outside of the lists")
            at = more(end, "}")
    need(skip(at, "}") == len(text), "text after the object")
    return found
