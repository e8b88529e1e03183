"""Make `installer/shared/secrecy/kept_rules.json` of the rules of gitleaks (ADR 0692).

`python .ci/secret_rules.py gitleaks.toml COMMIT` takes `config/gitleaks.toml` of a commit of gitleaks. What
is left out, and why, stands in this file: new rules are one command, and one difference to read.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

OUT = Path(__file__).parents[1] / "installer/shared/secrecy/kept_rules.json"
LEFT_OUT = {
    # The search has its own, which know the structure or the format of the file.
    "generic-api-key", "private-key", "pkcs12-file", "jwt", "jwt-base64", "nuget-config-password",
    "hashicorp-tf-password", "freemius-secret-key", "kubernetes-secret-yaml", "curl-auth-header",
    "curl-auth-user",
    # Names of accounts and keys that are public by their purpose.
    "adobe-client-id", "alibaba-access-key-id", "asana-client-id", "bitbucket-client-id", "discord-client-id",
    "flutterwave-public-key", "lob-pub-api-key", "looker-client-id", "mailgun-pub-key", "mapbox-api-token",
    "messagebird-client-id", "new-relic-user-api-id", "plaid-client-id", "sendbird-access-id",
    "sumologic-access-id",
}  # fmt: skip
BEFORE = "\t\n\r \"'`=:,;/>(@|[{"
"""What stands before a word, where the mark alone is a part of too many words."""
MARKS = {
    # Without the name of the service its pattern matches digests and identifiers of any kind.
    "sourcegraph-access-token": ["sgp_"],
    # Their marks are the token's own, which is enough.
    "airtable-personnal-access-token": [f"{sign}pat" for sign in BEFORE],
    "vault-service-token": ["hvs.", *(f"{sign}s." for sign in BEFORE)],
}
PATTERNS = {
    "sourcegraph-access-token": (r"|[a-fA-F0-9]{40})\b", r")\b"),
    # This pattern is what it looks for: scanners would take the file of the rules for a leak.
    "aws-amazon-bedrock-api-key-short-lived": ("key-YmVk", "key-[Y]mVk"),
}
# The name of the service stands somewhere near, or nowhere: the token alone is no more than a number.
LEFT_OUT |= {"facebook-access-token"}
LEAD = r"[\w.-]{0,50}?"
"""What may stand before the name of a service: it decides nothing, and would be tried at every byte."""
SAMPLES = 200


def main(source: str, commit: str) -> None:
    """Write the rules."""
    data = Path(source).read_bytes()
    document = tomllib.loads(data.decode())
    rules = [rule(each) for each in document["rules"] if each["id"] not in LEFT_OUT]
    examples = {
        text.replace("\\+", "+").strip("^$")
        for each in document["rules"]
        if each["id"] == "gcp-api-key"
        for allow in each["allowlists"]
        for text in allow["regexes"]
    }
    # No rule takes a path for a token.
    placeholders = [
        translated(text) for text in document["allowlist"]["regexes"] if not text.startswith("^/")
    ]
    lines = {
        "source": "https://github.com/gitleaks/gitleaks config/gitleaks.toml",
        "commit": commit,
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "MIT, Copyright (c) 2019 Zachary Rice",
        # As digests: scanners of repositories would take the examples themselves for leaks.
        "examples": sorted(hashlib.sha256(text.encode()).hexdigest() for text in examples),
        "placeholders": placeholders,
        "rules": sorted(rules, key=lambda each: each["id"]),
    }
    OUT.write_text(_one_rule_a_line(lines))
    sys.stdout.write(f"{OUT}: {len(rules)} rules\n")


def rule(given: dict[str, Any]) -> dict[str, Any]:
    """Return a rule in our form."""
    name, pattern = given["id"], given["regex"]
    if name in PATTERNS:
        _require(PATTERNS[name][0] in pattern, f"{name}: the pattern has changed")
        pattern = pattern.replace(*PATTERNS[name])
    pattern = translated(pattern)
    while LEAD in pattern:
        pattern = pattern.replace(LEAD, "", 1)
    marks = sorted(MARKS.get(name, given["keywords"]))
    found = {"id": name, "marks": marks, "pattern": pattern, "back": back(name, pattern, marks)}
    if entropy := given.get("entropy"):
        found["entropy"] = entropy
    if group := given.get("secretGroup"):
        found["group"] = group
    allowed = [text for each in given.get("allowlists", ()) for text in each.get("regexes", ())]
    if allowed and name != "gcp-api-key":
        found["allowed"] = [translated(text) for text in allowed]
    return found


def translated(pattern: str) -> str:
    r"""Return a pattern of RE2 as Python writes it: flags where their group begins, classes, `\z`."""
    pattern = pattern.replace("[[:alnum:]]", "[a-zA-Z0-9]").replace(r"\z", r"\Z")
    # `$` of RE2 is the end of the text alone; that of Python is also before the last line feed.
    pattern = re.sub(r"(?<![\\\[])\$(?=\)|$|\|)", r"\\Z", pattern)
    at = 1
    while (start := pattern.find("(?i)", at)) > 0:
        end = _end_of_group(pattern, start + 4)
        # Without alternatives on its level, the rest of the group is one sequence.
        pattern = f"{pattern[:start]}(?i:{pattern[start + 4 : end]}){pattern[end:]}"
        at = start
    re.compile(pattern.encode())
    return pattern


def _end_of_group(pattern: str, at: int) -> int:
    depth, in_class = 0, False
    while at < len(pattern):
        sign = pattern[at]
        if sign == "\\":
            at += 1
        elif in_class:
            in_class = sign != "]"
        elif sign == "[":
            in_class = True
        elif sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth < 0:
                return at
        at += 1
    return at


def back(name: str, pattern: str, marks: list[str]) -> int:
    """Return how far before its mark a match can begin; 0 if all of them begin with it."""
    chance, most, count = random.Random(name), 0, 0  # noqa: S311 - examples, no secrets
    compiled = re.compile(pattern)
    for _ in range(SAMPLES):
        text = "".join(_sample(_parser.parse(pattern), chance))
        # An example that ends in a sign where the pattern wants the end of a word is none.
        if not (match := compiled.search(f" {text}")):
            continue
        count += 1
        low = match[0].lower()
        places = [low.find(mark) for mark in marks if mark in low]
        # Behind the sign of its mark.
        places += [0 for mark in marks if mark[0] in BEFORE and low.startswith(mark[1:])]
        _require(bool(places), f"{name}: none of its marks is in {match[0]}")
        most = max(most, min(places))
    _require(count > SAMPLES / 2, f"{name}: few examples of {pattern}")
    # Examples show only some of the lengths.
    return 0 if not most else 1 if most == 1 else 320


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)


def _sample(tree: Any, chance: random.Random) -> Iterator[str]:
    for op, value in tree:
        if op is _constants.LITERAL:
            yield chr(value)
        elif op is _constants.ANY:
            yield "."
        elif op is _constants.IN:
            yield _member(value, chance)
        elif op is _constants.BRANCH:
            yield from _sample(chance.choice(value[1]), chance)
        elif op is _constants.SUBPATTERN:
            yield from _sample(value[3], chance)
        elif op in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            low, high, inner = value
            for _ in range(chance.randint(low, min(int(high), low + 20))):
                yield from _sample(inner, chance)
        elif op is _constants.NOT_LITERAL:
            yield " "


def _member(items: Any, chance: random.Random) -> str:
    if items[0][0] is _constants.NEGATE:
        return " "
    op, value = chance.choice(items)
    if op is _constants.LITERAL:
        return chr(value)
    if op is _constants.RANGE:
        return chr(chance.randint(*value))
    words = {
        _constants.CATEGORY_WORD: "abcXYZ019_",
        _constants.CATEGORY_DIGIT: "0123456789",
        _constants.CATEGORY_SPACE: " \t",
        _constants.CATEGORY_NOT_SPACE: "abcXYZ019",
    }
    return chance.choice(words[value])


def _one_rule_a_line(document: dict[str, Any]) -> str:
    """Return JSON in which a difference shows the rule that changed."""
    rules = ",\n".join(f"  {json.dumps(each, ensure_ascii=False)}" for each in document["rules"])
    head = json.dumps({**document, "rules": []}, indent=1, ensure_ascii=False)
    return head.replace('"rules": []', f'"rules": [\n{rules}\n ]') + "\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
