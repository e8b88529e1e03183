"""Where secrets stand in text: in every notation in which configuration files usually name them.

A line is looked at by itself; a few notations go over several lines: private keys, YAML blocks, the pair
`name:` and `value:` of Kubernetes. What no name stands next to cannot be found here: the values that are
known to be secret are hidden wherever they occur, see `known`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from installer.shared.secrecy import MASK
from installer.shared.secrecy.keys import key_bodies
from installer.shared.secrecy.names import names_secret
from installer.shared.secrecy.tokens import marks_in, tokens_in

LONGEST = 16 * 1024
"""Characters of a line that are searched; what follows is hidden if anything is, or looks like a name."""
_NEAR = 256
"""Characters before a secret within which its name stands."""
_NAME = r"(?P<name>[A-Za-z_][\w.\-]{1,79})"
_QUOTED = r"\"(?:[^\"\\]|\\.){1,4096}\"|'(?:[^'\\]|\\.){1,4096}'"
_SIGN = r"\s{0,8}(?:=>|[?:]?=|:(?!//))\s{0,8}"
# The rest of the line belongs to it: `password: correct horse`. A name with `key` in it counts here, too:
# hiding too much of one line does no harm.
_LINE = re.compile(
    r"""^(?P<head>\W{0,80}?(?:(?:export|set|setx|declare|readonly|local|const|let|var)\s+)?[-"']?[ ]?["'$]?
        (?P<name>[\w.-]{2,128})["']?\s{0,40}(?:=>|[?:]?=|:)\s{0,40})(?P<value>[^\s>].*)$""",
    re.VERBOSE | re.IGNORECASE,
)
_BROAD = re.compile(r"password|passwd|passphrase|secret|token|credential|key", re.IGNORECASE)
# They take long to compile, and every command starts: it is done for the first line that needs them.
_NAMED = (
    # An assignment in quotes, as systemd and shells have it, may hold blanks.
    (rf"(?P<q>[\"']){_NAME}=(?P<value>(?:(?!(?P=q)).){{1,4096}})(?P=q)", 0),
    # DB_PASSWORD=x, {"password": "x"}, ?user=u&password=x, host=h password=x, SetCredential=db.password:x
    (rf"(?<![\w.-])[\"']?{_NAME}[\"']?{_SIGN}(?P<value>{_QUOTED}|[^\s\"'&;,<>{{}}\[\]()]{{1,4096}})", 0),
    # --token x, --token=x, -password x
    (rf"(?<![\w-])--?{_NAME}(?:=|[ \t]{{1,8}})(?P<value>{_QUOTED}|[^\s\"'-][^\s\"']{{0,4095}})", 0),
    # <password>x</password>, <entry key="db.password">x</entry>
    (rf"<(?:[\w.-]{{1,40}}:)?{_NAME}(?:\s[^<>]{{0,400}})?>(?P<value>[^<>]{{1,4096}})<", 0),
    (rf"\b(?:name|key|id)\s?=\s?[\"']{_NAME}[\"'][^<>]{{0,400}}>(?P<value>[^<>]{{1,4096}})<", 0),
    # <property name="password" value="x"/>, in either order
    (
        rf"\b(?:name|key|id)\s?=\s?[\"']{_NAME}[\"'][^<>]{{0,400}}?\bvalue\s?=\s?(?P<value>{_QUOTED})",
        re.IGNORECASE,
    ),
    (
        rf"\bvalue\s?=\s?(?P<value>{_QUOTED})[^<>]{{0,400}}?\b(?:name|key|id)\s?=\s?[\"']{_NAME}[\"']",
        re.IGNORECASE,
    ),
    # define('DB_PASSWORD', 'x'), {password, "x"}, {default_pass, <<"x">>}, ["--password", "x"]
    (rf"[\"'{{(]\s?-{{0,2}}{_NAME}[\"']?\s?,\s?(?:<<)?(?P<value>{_QUOTED})", 0),
    # IDENTIFIED BY 'x', WITH PASSWORD 'x'
    (r"\b(?P<name>password)\s{1,8}(?P<value>'[^']{1,4096}')", re.IGNORECASE),
    # machine h login u password x
    (r"\blogin\s{1,8}\S{1,200}\s{1,8}(?P<name>password)\s{1,8}(?P<value>\S{1,4096})", 0),
)
# requirepass x, SetEnv DB_PASSWORD x, proxy_set_header X-Api-Key x;
_DIRECTIVE = (
    rf"^\s{{0,80}}[#;]?\s{{0,8}}(?P<lead>[A-Za-z_]{{2,40}}\s{{1,8}})?{_NAME}\s{{1,8}}"
    rf"(?P<value>{_QUOTED}|[^\s=:;][^\s;]{{0,4095}})\s{{0,8}};?\s{{0,8}}$"
)
# These have no name next to the value.
_BARE = (
    r"://[^/\s:@\"]{0,256}:(?P<value>[^/\s@\"]{1,1024})@",
    r"jdbc:oracle:\w{1,10}:[^/\s@]{1,128}/(?P<value>[^@\s]{1,1024})@",
    r"\b(?:Bearer|Basic)\s{1,8}(?P<value>[A-Za-z0-9._~+/=-]{8,4096})",
    r"(?i:\bidentified\s{1,8}by)\s{1,8}(?P<value>'[^']{1,1024}')",
    # Docker's config.json, and .npmrc: a user and a password in Base64.
    r"\"auth\"\s{0,8}:\s{0,8}\"(?P<value>[A-Za-z0-9+/=]{4,4096})\"",
    r":_auth\s{0,8}=\s{0,8}[\"']?(?P<value>[^\s\"']{1,4096})",
    r"(?<!\S)(?:-u|--user)[ =]{1,8}[\"']?[^\s:\"']{1,128}:(?P<value>[^\s\"']{1,1024})",
    # sshpass -p x, mysql -u root -px, redis-cli -h db -a x: programs whose option is one letter.
    r"\bsshpass\s{1,8}-p\s{0,8}[\"']?(?P<value>[^\s\"']{1,1024})",
    r"\b(?:mysql|mariadb)[\w-]{0,16}\s(?:[^\n]{0,200}?\s)?-p[\"']?(?P<value>[^\s\"']{1,1024})",
    r"\bredis-cli\s(?:[^\n]{0,200}?\s)?-a\s{1,8}[\"']?(?P<value>[^\s\"']{1,1024})",
    # user admin insecure-password x; stats auth admin:x
    r"\buser\s{1,8}\S{1,128}\s{1,8}(?:insecure-)?password\s{1,8}(?P<value>\S{1,1024})",
    r"\bstats\s{1,8}auth\s{1,8}[^\s:]{1,128}:(?P<value>\S{1,1024})",
    # https://0123…@sentry.lan/4, the address to which a program reports its errors
    r"://(?P<value>[0-9a-f]{32})@",
    # db.lan:5432:chat:u:x, a line of .pgpass; addresses of IPv6 and Ethernet have only digits
    r"^(?![0-9A-Fa-f:.%/]+\s*$)[^\s:#]{1,255}:(?:\d{1,5}|\*):[^\s:]{1,128}:[^\s:]{1,128}:(?P<value>\S.{0,1023})",
    # SNMP: rocommunity x, snmp-server community x RO, com2sec admin default x, trap2sink h x
    r"\b(?:ro|rw)community6?\s{1,8}[\"']?(?P<value>[^\s\"']{1,256})",
    r"\b(?:snmp-server|snmp)\s{1,8}community\s{1,8}(?P<value>\S{1,256})",
    r"\bcom2sec6?\s{1,8}(?:-Cn\s{1,8}\S{1,128}\s{1,8})?\S{1,128}\s{1,8}\S{1,255}\s{1,8}(?P<value>\S{1,256})",
    r"\b(?:trap2?|inform)sink\s{1,8}\S{1,255}\s{1,8}(?P<value>\S{1,256})",
    rf"\bcreateUser\s(?:[^\n]{{0,200}}?\s)?(?:MD5|SHA[\d-]{{0,4}})\s{{1,8}}(?P<value>{_QUOTED}|\S{{1,1024}})",
    rf"\bcreateUser\s(?:[^\n]{{0,600}}?\s)?(?:DES|AES[\d-]{{0,4}})\s{{1,8}}(?P<value>{_QUOTED}|\S{{1,1024}})",
)
_PAIR_NAME = re.compile(
    r"^\s{0,200}(?:-\s{1,8})?[\"']?name[\"']?\s?:\s{1,8}[\"']?(?P<name>[\w.-]{2,128})[\"']?,?\s*$"
)
_PAIR_VALUE = re.compile(r"^\s{0,200}[\"']?value[\"']?\s?:\s{1,8}(?P<value>\S.*)$")
_BLOCK = re.compile(r"[|>][-+0-9]{0,3}")
_HINT = re.compile(
    r"pass|pwd|pw|psk|secret|token|cred|auth|key|bearer|basic|jwt|cookie|://|identified|-u |--user|jdbc"
    r"|mysql|mariadb|redis-cli|community|com2sec|sink|createuser|:(?:\d{1,5}|\*):",
    re.IGNORECASE,
)
_MORE = re.compile(r"[,&;{}<>\[\]]|\s\w+=")
_QUOTES = re.compile(_QUOTED)
# A reference or a placeholder is where a secret should stand, and is none. But `$uper-2.0` is a password.
_REFERENCE = re.compile(
    r"\$\w*|\$\{[^{}]*\}|\$\([^()]*\)|\$\{\{.*\}\}|\{\{.*\}\}|\{%.*%\}|%\(\w+\)s|%\w*%?|<[a-z][\w .-]*>"
    r"|@[A-Z][A-Z0-9_]*@"
    r"|[a-z][a-z+.-]*://\S*|/(?:run|etc)/\S*|(?:file|env|vault):\S*"
    # Jenkins: the name of an entry in its store.
    r"|credentials\(['\"][\w.-]{1,128}['\"]\)"
)
_NO_VALUE = re.compile(
    r"true|false|yes|no|on|off|null|none|nil|undefined|required|optional|enabled|disabled|default|changeme"
    r"|string|str|int|bool|bytes|text|password|secret|token|key|\*+",
    re.IGNORECASE,
)


class _Compiled(NamedTuple):
    named: tuple[re.Pattern[str], ...]
    directive: re.Pattern[str]
    bare: tuple[re.Pattern[str], ...]


@cache
def _compiled() -> _Compiled:
    named = tuple(re.compile(pattern, flags) for pattern, flags in _NAMED)
    return _Compiled(named, re.compile(_DIRECTIVE), tuple(map(re.compile, _BARE)))


@dataclass(frozen=True, slots=True)
class Found:
    """One secret in a line.

    Attributes:
        start: Where its value starts.
        end: Where it ends.
        sure: Whether its name says that it is one; a name with `key` in it may mean anything.
    """

    start: int
    end: int
    sure: bool = True


def mask(lines: list[str]) -> Iterator[str]:
    """Replace values in a notation of a secret, blocks below such keys, and private keys."""
    for line, found in _looked_at(lines):
        yield _without(line, found)


def secrets_of(lines: list[str]) -> frozenset[str]:
    """Return the values that certainly are secrets: their names say so, and they are no references."""
    values = set[str]()
    for line, found in _looked_at(lines):
        values |= {bare(line[each.start : each.end]) for each in found if each.sure}
    return frozenset(value for value in values if is_literal(value))


def bare(text: str) -> str:
    """Return a value without quotes, comment and the sign that ends it."""
    value = text.strip()
    if value[:1] in ("'", '"') and (end := value.find(value[0], 1)) > 0:
        return value[1:end]
    return value.split(" #")[0].strip().rstrip(",;").strip("\"'")


def is_literal(value: str) -> bool:
    """Return whether a value is written out, and not a reference, a placeholder or a word like `true`."""
    return bool(value) and not _REFERENCE.fullmatch(value) and not is_word(value)


def is_word(value: str) -> bool:
    """Return whether a value is a word like `true` or `none`, which says that there is no secret."""
    return _NO_VALUE.fullmatch(value) is not None


def _looked_at(lines: list[str]) -> Iterator[tuple[str, list[Found]]]:
    """Yield each line with what is secret in it."""
    keys, block, pair = key_bodies(lines), -1, False
    marks = marks_in(lines)
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        whole = [Found(indent, len(line))] if line.strip() else []
        if block >= 0 and (indent > block or not line.strip()):
            yield line, whole
            continue
        block = -1
        # A key has no name in front of its lines; on one line it may have one.
        key = [Found(*span) for span in keys.get(number, ())]
        if any((each.start, each.end) == (0, len(line)) for each in key):
            yield line, key
            continue
        if pair and (value := _PAIR_VALUE.match(line)):
            block = indent if _BLOCK.fullmatch(value["value"].strip()) else -1
            yield line, [Found(*value.span("value"))] if block < 0 else []
            pair = False
            continue
        named = _PAIR_NAME.match(line[:LONGEST])
        pair = bool(named and names_secret(named["name"])) or (pair and not line.strip())
        found = [*key, *(_tokens(line, marks[number]) if number in marks else ()), *_in_line(line[:LONGEST])]
        # What follows is not searched for notations: it is hidden where it may have one.
        if len(line) > LONGEST and (found or _HINT.search(line, LONGEST - _NEAR)):
            found.append(Found(LONGEST, len(line), sure=False))
        if found and _BLOCK.fullmatch(line[found[0].start :].strip()):
            block = indent
            found = []
        yield line, found


def _tokens(line: str, marks: list[bytes]) -> Iterator[Found]:
    # One byte for each character, so that places are the same.
    yield from (Found(each.start, each.end) for each in tokens_in(line.encode("ascii", "replace"), marks))


def _in_line(line: str) -> Iterator[Found]:
    # Most lines of most files have none of these letters.
    if not _HINT.search(line):
        return
    whole = _LINE.match(line)
    if whole and (names_secret(whole["name"]) or _BROAD.search(whole["name"])):
        start, end = whole.span("value")
        # An element of a JSON object or of a YAML flow mapping has others behind it.
        alone = names_secret(whole["name"]) and not _MORE.search(
            _QUOTES.sub("", whole["value"].rstrip(",; "))
        )
        yield Found(start, end, sure=alone)
        if alone:
            # SetCredential=db.password:x, Authorization: Bearer x
            yield from _named(line, start)
            yield from _unnamed(line, start)
            return
    yield from _named(line)
    yield from _unnamed(line)
    if not whole and (match := _compiled().directive.match(line)) and names_secret(match["name"]):
        # `the password expired` is a sentence.
        word = match["value"].isalpha()
        if not (match["lead"] and word):
            yield Found(*match.span("value"), sure=not word)


def _unnamed(line: str, start: int = 0) -> Iterator[Found]:
    for pattern in _compiled().bare:
        for match in pattern.finditer(line, start):
            yield Found(*match.span("value"))


def _named(line: str, start: int = 0) -> Iterator[Found]:
    for pattern in _compiled().named:
        at = start
        while match := pattern.search(line, at):
            secret = names_secret(match["name"])
            if secret:
                yield Found(*match.span("value"))
            # In `Environment=DB_PASSWORD=x` the value of the first name has a name of its own.
            at = match.end() if secret else match.end("name")


def _without(line: str, found: list[Found]) -> str:
    parts, at = list[str](), 0
    for each in sorted(found, key=lambda each: (each.start, -each.end)):
        if each.start < at:
            # One within another, or overlapping it: the longer one covers both.
            at = max(at, each.end)
            continue
        parts += [line[at : each.start], MASK]
        at = each.end
    return "".join([*parts, line[at:]])
