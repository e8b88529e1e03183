"""What a JSON Schema finds, said in words a person can act on, all of it at once.

References are resolved inside the schema only; nothing is ever fetched.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.exact_numbers import validator_class

Path = tuple[str | int, ...]
Where = Callable[[Path], str]
ValidationError = Any
"""jsonschema's; its stubs call every attribute of an error possibly unset."""

_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing (null)",
}
_MANY = 12
_PER_ERROR = 3
"""Characters for each typing error that is allowed, of which there are at most `_ERRORS`."""
_ERRORS = 3
_LONGEST = 200
"""Characters of a word that is compared; the comparison takes quadratic time."""
_QUOTED = 60
"""Characters of a value that is quoted."""
_ABOUT_KEYS = ("dependentRequired", "unevaluatedProperties")
"""Keywords of which the library's message has names of keys only."""
_PREFIX = 3
"""Characters that are enough of a beginning."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: the keyword, the path of the offending value, and the problem in words."""

    keyword: str
    path: Path
    problem: Problem


def schema_problem(schema: Mapping[str, Any], name: str) -> Problem | None:
    """Return what is wrong with a JSON Schema itself (2020-12), or return None when it can be used.

    Args:
        schema: The schema.
        name: What to call it in messages.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        at = "/".join(str(part) for part in error.absolute_path) or "its root"
        return Problem(
            name, f"is not a JSON Schema: at {at}, {_shorten(error.message)}", "see JSON Schema 2020-12"
        )
    foreign = next((ref for ref in _references(schema) if not ref.startswith("#")), None)
    if foreign is not None:
        return Problem(
            name, f"refers to {foreign}, which is outside the file", 'use "#/$defs/…"; nothing is fetched'
        )
    broken = next((ref for ref in _references(schema) if not _resolves(schema, ref)), None)
    if broken is not None:
        return Problem(name, f"refers to {broken}, which is not in the file", "define it under $defs")
    return None


def findings(schema: Mapping[str, Any], value: Any, where: Where) -> list[Finding]:
    """Validate a value and return every violation in words, in the order of the document.

    Args:
        schema: A JSON Schema 2020-12 that `schema_problem` has nothing against.
        value: The parsed document.
        where: Gives `file:line` of a path.
    """
    from referencing import Registry

    # An empty registry: references to other documents fail instead of being fetched.
    validator = validator_class()(schema, registry=Registry())
    found = [finding for error in validator.iter_errors(value) for finding in _explain(error, where)]
    unique = {(finding.path, finding.problem.what): finding for finding in found}
    return list(unique.values())


def spelling_hint(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint that names the closest known word, or another one if no word is near."""
    close = did_you_mean(word, known)
    return f"did you mean {close}?" if close else otherwise


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the known word that is near a misspelt one, or an empty text.

    Near is a word with few typing errors (a letter too many, too few, another one, or two that changed
    places), or one that starts with the misspelt word.
    """
    meant = word.lower()
    if not meant or len(meant) > _LONGEST:
        return ""
    allowed = min(_ERRORS, max(1, len(meant) // _PER_ERROR))
    words = list(known)
    rated = [(_typing_errors(meant, each.lower(), allowed), each) for each in words]
    near = [(errors, each) for errors, each in rated if errors <= allowed and errors < len(meant)]
    if near:
        return min(near)[1]
    begun = [each for each in words if each.lower().startswith(meant)]
    return begun[0] if len(begun) == 1 and len(meant) >= _PREFIX else ""


def _typing_errors(one: str, other: str, most: int) -> int:
    """Return the number of typing errors between two words; any number above `most` where there are more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before, row = list[int](), list(range(len(other) + 1))
    for at, letter in enumerate(one, start=1):
        older, before, row = before, row, [at]
        for place, there in enumerate(other, start=1):
            errors = min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != there))
            # Two letters that changed places are one error: `stauts`.
            if at > 1 and place > 1 and letter == other[place - 2] and one[at - 2] == there:
                errors = min(errors, older[place - 2] + 1)
            row.append(errors)
    return row[-1]


def dotted(path: Sequence[str | int]) -> str:
    """Show a path as people write it: `deploy[2].units`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _explain(error: ValidationError, where: Where) -> list[Finding]:
    keyword = str(error.validator)
    if keyword in ("oneOf", "anyOf") and error.context:
        return _explain_branches(error, where)
    path = tuple(error.absolute_path)
    if (
        keyword == "additionalProperties"
        and isinstance(error.instance, dict)
        and error.validator_value is False
    ):
        return [_unknown_key(key, error, path, where) for key in _extra_keys(error)]
    what, hint = _say(keyword, error, path)
    return [Finding(keyword, path, Problem(where(path), what, hint or _description(error)))]


def _explain_branches(error: ValidationError, where: Where) -> list[Finding]:
    """Pick the alternative that the author most likely meant and explain only that one."""
    branches: dict[int, list[ValidationError]] = {}
    for child in error.context or ():
        branches.setdefault(int(child.relative_schema_path[0]), []).append(child)
    # A form with one small error is what the author meant; explaining all forms would hide it.
    ranked = sorted(branches.items(), key=lambda item: (_distance(item[1]), item[0]))
    children = ranked[0][1]
    path = tuple(error.absolute_path)
    # No form is close: then the forms are listed.
    if _distance(children) >= _OTHER_TYPE:
        options = [_title(option) for option in error.validator_value]
        what = f"{_subject(path)} is {_shown(error.instance)}, which is not one of: {'; '.join(options)}"
        return [Finding("oneOf", path, Problem(where(path), what, _description(error)))]
    if chosen := _unknown_choice(error, where):
        return [chosen]
    ways = [lacks for errors in branches.values() if (lacks := _only_lacks(errors))]
    if len(ways) > 1 and error.instance:
        what = f"{', or '.join(ways)} is missing" + (f" in {dotted(path)}" if path else "")
        hint = "the reference documentation shows the form of each"
        return [Finding("required", path, Problem(where(path), what, hint))]
    found = [finding for child in children for finding in _explain(child, where)]
    return _without_followers(found)


def _unknown_choice(error: ValidationError, where: Where) -> Finding | None:
    """Return the problem of a key like `method`, whose value chooses the alternative, but names none."""
    value, path = error.instance, tuple(error.absolute_path)
    forms = [each.get("properties", {}) for each in error.validator_value if isinstance(each, dict)]
    fixed = [
        {key: spec["const"] for key, spec in each.items() if isinstance(spec, dict) and "const" in spec}
        for each in forms
    ]
    key = next((key for key in fixed[0] if all(key in each for each in fixed)), None) if fixed else None
    if key is None or not isinstance(value, dict):
        return None
    allowed = [str(each[key]) for each in fixed]
    listed = f"allowed: {', '.join(allowed)}"
    is_misspelt = key not in value and any(did_you_mean(str(each), [key]) for each in value)
    if is_misspelt or str(value.get(key)) in allowed:
        return None
    if key not in value:
        what = f"{key} is missing" + (f" in {dotted(path)}" if path else "")
        return Finding("required", path, Problem(where(path), what, listed))
    here, hint = (*path, key), spelling_hint(str(value[key]), allowed, listed)
    return Finding("const", here, Problem(where(here), f"{_subject(here)} is {_shown(value[key])}", hint))


def _only_lacks(errors: Sequence[ValidationError]) -> str:
    """Return what an alternative lacks, in words; empty where anything else is wrong with it too."""
    if any(error.validator != "required" or error.relative_path for error in errors):
        return ""
    return " and ".join(_missing(errors[0]))


_OTHER_TYPE = 1000


def _distance(errors: Sequence[ValidationError]) -> float:
    """How far a value is from one alternative; a foreign type or discriminator is furthest."""
    total = 0.0
    for error in errors:
        if len(error.relative_path) == 0 and error.validator == "type":
            total += _OTHER_TYPE
        elif error.validator in ("const", "enum") and len(error.relative_path) == 1:
            total += _OTHER_TYPE / 2
        elif error.validator == "required" and len(error.relative_path) == 0:
            total += 2 - max((_likeness(name, error.instance) for name in _missing(error)), default=0.0)
        else:
            total += 1
    return total


def _likeness(name: str, instance: Any) -> float:
    keys = [key for key in instance if isinstance(key, str)] if isinstance(instance, dict) else []
    return max((difflib.SequenceMatcher(None, name, key).ratio() for key in keys), default=0.0)


def _without_followers(found: list[Finding]) -> list[Finding]:
    """Drop "X is missing" where the same place has "unknown key Y; did you mean X"."""
    meant = {
        f.problem.hint.partition("did you mean ")[2].rstrip("?")
        for f in found
        if f.keyword == "additionalProperties"
    }
    return [
        f
        for f in found
        if not (f.keyword == "required" and any(f"{m} is missing" in f.problem.what for m in meant if m))
    ]


def _missing(error: ValidationError) -> list[str]:
    return [name for name in error.validator_value if name not in error.instance]


def _extra_keys(error: ValidationError) -> list[str]:
    known = error.schema.get("properties", {})
    patterns = error.schema.get("patternProperties", {})
    return [
        key
        for key in error.instance
        if key not in known and not any(re.search(pattern, key) for pattern in patterns)
    ]


def _unknown_key(key: str, error: ValidationError, path: Path, where: Where) -> Finding:
    known = list(error.schema.get("properties", {}))
    listed = (
        f"known keys: {', '.join(known)}" if 0 < len(known) <= _MANY else "see the reference documentation"
    )
    hint = spelling_hint(key, known, listed)
    inside = f" in {dotted(path)}" if path else ""
    return Finding(
        "additionalProperties", (*path, key), Problem(where((*path, key)), f"unknown key {key}{inside}", hint)
    )


def _say(keyword: str, error: ValidationError, path: Path) -> tuple[str, str]:
    subject, shown, limit = _subject(path), _shown(error.instance), error.validator_value
    if keyword == "required":
        name = error.message.split("'")[1] if "'" in error.message else str(limit)
        spec = error.schema.get("properties", {}).get(name, {})
        inside = f" in {dotted(path)}" if path else ""
        meaning = _first_sentence(spec.get("description", "")) if isinstance(spec, dict) else ""
        return f"{name} is missing{inside}", meaning
    if keyword == "type":
        wanted = limit if isinstance(limit, list) else [limit]
        names = " or ".join(_NAMES.get(str(name), str(name)) for name in wanted)
        return f"{subject} must be {names}, but is {shown}", _quote(error) if "string" in wanted else ""
    if keyword in ("enum", "const"):
        allowed = [str(item) for item in (limit if keyword == "enum" else [limit])]
        hint = spelling_hint(str(error.instance), allowed, f"allowed: {', '.join(allowed)}")
        return f"{subject} is {shown}", hint
    templates = {
        "pattern": "{subject} is {shown}, which is not in the required form",
        "minLength": "{subject} is too short",
        "maxLength": "{subject} is longer than {limit} characters",
        "minItems": "{subject} needs at least {limit} entries",
        "maxItems": "{subject} has more than {limit} entries",
        "minProperties": "{subject} is empty",
        "minimum": "{subject} is {shown}, the minimum is {limit}",
        "maximum": "{subject} is {shown}, the maximum is {limit}",
        "exclusiveMinimum": "{subject} is {shown}, but must be more than {limit}",
        "exclusiveMaximum": "{subject} is {shown}, but must be less than {limit}",
        "uniqueItems": "{subject} contains the same value twice",
        "maxProperties": "{subject} has more than {limit} keys",
        "multipleOf": "{subject} is {shown}, which is not a multiple of {limit}",
        "format": "{subject} is {shown}, which is not in the form {limit}",
        "contains": "{subject} lacks an entry that the schema requires",
        "items": "{subject} has more entries than the schema allows",
        "unevaluatedItems": "{subject} has entries that the schema does not allow",
    }
    if keyword in templates:
        return templates[keyword].format(subject=subject, shown=shown, limit=limit), ""
    if keyword in _ABOUT_KEYS:
        return f"{subject}: {_shorten(error.message)}", ""
    # Not the message of the library: it quotes values, and half of a secret is not recognised as one.
    return f"{subject} is {shown}, which the schema does not allow", ""


def _subject(path: Path) -> str:
    return dotted(path) or "the document"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value)


def quoted(value: str | float) -> str:
    """Return a value as a message shows it: in full, or its length.

    The beginning of a secret is not recognised as one when the message is shown.

    Args:
        value: A text or number of a document.
    """
    shown = " ".join(repr(value).split()) if isinstance(value, str) else str(value)
    return shown if len(shown) <= _QUOTED else f"a value of {len(str(value))} characters"


def _quote(error: ValidationError) -> str:
    value = error.instance
    text = str(value).lower() if isinstance(value, bool) else str(value)
    fits = isinstance(value, int | float) and re.search(error.schema.get("pattern", ""), text)
    return f'put it in quotes: "{text}"' if fits else ""


def _shorten(text: str, limit: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def _description(error: ValidationError) -> str:
    schema = error.schema if isinstance(error.schema, dict) else {}
    said = _first_sentence(str(schema.get("description", "")))
    # What a pattern asks for, an example shows; many descriptions have one.
    examples = schema.get("examples") if error.validator == "pattern" and "such as" not in said else None
    return f"{said}, such as {_shorten(str(examples[0]))}" if said and examples else said


def _title(option: Any) -> str:
    option = option if isinstance(option, dict) else {}
    named = option.get("title") or option.get("description")
    return str(named) if named else _NAMES.get(str(option.get("type")), "another form")


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            elif key not in ("const", "enum", "default", "examples"):
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _resolves(schema: Mapping[str, Any], reference: str) -> bool:
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resource = DRAFT202012.create_resource(dict(schema))
    try:
        Registry().with_resource("", resource).resolver().lookup(reference)
    except (Unresolvable, ValueError):
        return False
    return True
