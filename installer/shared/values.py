"""The values of a host: the defaults of the bundle, overridden by the files of the site.

    bundle defaults  ←  /etc/waybill/<product>/values.yaml  ←  --values FILE  ←  waybill.version, …

Mappings are merged key by key; anything else replaces what was there. The result has to fit the bundle's
schema. All problems of all files are reported at once, with file, line and key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

from installer.core import schema_errors
from installer.core.errors import HostNotReadyError, Problem
from installer.core.schema_errors import spelling_hint
from installer.shared import strict_yaml
from installer.shared.bounded_child import Bounds, ExceededError, run_bounded

BUILT_IN = "waybill"
BOUNDS = Bounds(seconds=10, total=10)
"""For the validation of a schema, and of the values by it."""
SITE_VALUES = "/etc/waybill/{product}/values.yaml"


@dataclass(frozen=True, slots=True)
class Layer:
    """One values file.

    Attributes:
        name: Its path, as messages show it.
        data: Its bytes; the caller bounds the read (`strict_yaml.MAX_BYTES`).
        mode: Permission bits of the file; 0 where nobody else can read it, or where it is the bundle's.
    """

    name: str
    data: bytes
    mode: int = 0


@dataclass(frozen=True, slots=True)
class BuiltIns:
    """What every template can use as `waybill.version`, `waybill.product`, `waybill.environment`."""

    version: str
    product: str
    environment: str = ""


def resolve(layers: Sequence[Layer], schema: Layer | None, built_ins: BuiltIns) -> dict[str, Any]:
    """Merge values files and check the result.

    Without a schema, a key that the defaults do not have is a fault, except in a group that is empty there.

    Args:
        layers: From the weakest, the bundle's defaults, to the strongest.
        schema: The bundle's values schema, where it has one.
        built_ins: What Waybill itself adds.

    Raises:
        HostNotReadyError: A file is not readable as strict YAML, or the merged values do not fit the schema;
            `problems` has all of it.
    """
    values, problems = examine(layers, schema, built_ins)
    if problems:
        raise HostNotReadyError(
            "the values for the templates are not valid",
            hint="fix the values files; nothing was changed",
            problems=problems,
        )
    return values


def examine(
    layers: Sequence[Layer], schema: Layer | None, built_ins: BuiltIns, *, complete: bool = True
) -> tuple[dict[str, Any], list[Problem]]:
    """Like `resolve`, but returns the problems.

    Args:
        layers: From the weakest to the strongest.
        schema: The values schema.
        built_ins: What Waybill itself adds.
        complete: False where further layers follow on the host, so that missing values are no fault yet.
    """
    problems: list[Problem] = []
    documents = [strict_yaml.load(layer.data, layer.name) for layer in layers]
    usable: list[strict_yaml.Document] = []
    for document in documents:
        problems += document.problems
        if not isinstance(document.value, dict) and document.value is not None:
            what, hint = "must hold a mapping of keys to values", "write lines of the form key: value"
            problems.append(Problem(document.where(), what, hint))
        elif document.value is not None:
            usable.append(document)
    values: dict[str, Any] = {}
    for document in usable:
        # A site could otherwise pretend to be another version or environment in its own templates.
        if BUILT_IN in document.value:
            where = document.where((BUILT_IN,))
            problems.append(Problem(where, f"sets {BUILT_IN}, which Waybill sets itself", "use another name"))
        if schema is None and document.name != layers[0].name:
            problems += _strange(values, document.value, (), document)
        values = _merge(values, document.value, (), document, problems)
    # The schema describes only the values of the release.
    values.pop(BUILT_IN, None)
    if schema is not None:
        schema_findings = _schema_findings(values, schema, usable, problems)
        site = SITE_VALUES.format(product=built_ins.product)
        problems += [
            _said_to_site(finding, site)
            for finding in schema_findings
            if complete or finding.keyword != "required"
        ]
    values[BUILT_IN] = asdict(built_ins)
    return values, problems


def load_schema(schema: Layer) -> tuple[dict[str, Any], list[Problem]]:
    """Read a values schema; gives what is wrong with it too.

    Args:
        schema: A file with a JSON Schema 2020-12.
    """
    value, problems = _parse_schema(schema)
    if not problems:
        problems = [finding.problem for finding in _check(schema.name, value, None, lambda _: schema.name)]
    return value, problems


def _parse_schema(schema: Layer) -> tuple[dict[str, Any], list[Problem]]:
    try:
        value = json.loads(schema.data.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        return {}, [Problem(f"{schema.name}:{error.lineno}", f"is not JSON: {error.msg}", "correct it there")]
    except _DuplicateError as error:
        return {}, [Problem(schema.name, f"has the key {error} twice", "keep one of the two")]
    except (ValueError, RecursionError):
        return {}, [Problem(schema.name, "is not JSON in UTF-8", "save it as UTF-8 JSON")]
    if not isinstance(value, dict):
        return {}, [
            Problem(f"{schema.name}:1", "must hold a JSON object", 'begin with {"type": "object", …}')
        ]
    return value, []


def _check(
    name: str, schema: dict[str, Any], values: dict[str, Any] | None, where: schema_errors.Where
) -> list[schema_errors.Finding]:
    """Return what is wrong with a schema itself, else with values by it, in a bounded child process.

    A pattern that tries every way, and references that multiply, take any time and memory, in a library.

    Args:
        name: What messages call the schema.
        schema: A JSON object that should be a schema.
        values: The values; None to look at the schema only.
        where: Gives `file:line` of a path in the values.
    """
    # Here, so that the child need not: it takes longer than most validations.
    import jsonschema  # noqa: F401

    def job() -> bytes:
        problem = schema_errors.schema_problem(schema, name)
        found = [schema_errors.Finding("schema", (), problem)] if problem else []
        try:
            if not found and values is not None:
                found = schema_errors.findings(schema, values, where)
        except RecursionError:
            problem = Problem(name, "contains a circular reference", "check its $ref")
            found = [schema_errors.Finding("schema", (), problem)]
        return json.dumps([(f.keyword, f.path, astuple(f.problem)) for f in found]).encode()

    try:
        (data,) = run_bounded([job], BOUNDS)
    except ExceededError as error:
        hint = "a pattern such as (a+)+ is very slow: do not nest a repetition inside a repetition"
        return [schema_errors.Finding("schema", (), Problem(name, f"{error} to check these values", hint))]
    return [
        schema_errors.Finding(keyword, tuple(path), Problem(*problem))
        for keyword, path, problem in json.loads(data)
    ]


class _DuplicateError(Exception):
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateError(repr(key))
        found[key] = value
    return found


def _merge(
    below: Mapping[str, Any],
    above: Mapping[str, Any],
    path: strict_yaml.Path,
    document: strict_yaml.Document,
    problems: list[Problem],
) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        here = (*path, key)
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value, here, document, problems)
            continue
        # Replacing a group by a single value is nearly always a mistake in the indentation.
        if isinstance(old, dict) and value is not None:
            group = ", ".join(list(old)[:4])
            what = f"{schema_errors.dotted(here)} is a group of values ({group}), not a single value"
            problems.append(Problem(document.where(here), what, "set the keys inside it"))
            continue
        merged[key] = value
    return merged


def _strange(
    known: Mapping[str, Any], given: Mapping[str, Any], path: strict_yaml.Path, document: strict_yaml.Document
) -> list[Problem]:
    found: list[Problem] = []
    for key, value in given.items() if known else ():
        here = (*path, key)
        if key not in known and here != (BUILT_IN,):
            listed = f"known values at this level: {', '.join(list(known)[:12])}"
            hint = spelling_hint(key, known, listed)
            what = f"{schema_errors.dotted(here)} is not a value of this release"
            found.append(Problem(document.where(here), what, hint))
        elif isinstance(value, dict) and isinstance(known.get(key), dict):
            found += _strange(known[key], value, here, document)
    return found


def _said_to_site(finding: schema_errors.Finding, site: str) -> Problem:
    problem = finding.problem
    if finding.keyword != "required":
        return problem
    meaning = f" ({problem.hint[:1].lower()}{problem.hint[1:]})" if problem.hint else ""
    return Problem(problem.where, problem.what + meaning, f"set it in {site}")


def _schema_findings(
    values: dict[str, Any], schema: Layer, documents: Sequence[strict_yaml.Document], known: Sequence[Problem]
) -> list[schema_errors.Finding]:
    parsed, problems = _parse_schema(schema)
    if problems:
        return [schema_errors.Finding("schema", (), problem) for problem in problems]

    def where(path: strict_yaml.Path) -> str:
        setter = next((document for document in reversed(documents) if path in document.lines), None)
        if setter is not None and path:
            return setter.where(path)
        return where(path[:-1]) if path else (documents[-1].name if documents else "values")

    # One problem per line: a key that is not YAML does not also violate the schema.
    taken = {problem.where for problem in known}
    return [f for f in _check(schema.name, parsed, values, where) if f.problem.where not in taken]
