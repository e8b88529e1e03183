"""The values of a host: the defaults of the bundle, overridden by the layers of the host and of the command.

    the bundle's defaults  ←  its environment  ←  its cluster
    ←  the site's environment  ←  cluster  ←  host  ←  --values FILE  ←  --set KEY=VALUE  ←  waybill.…

`configuration.merge` has the rules. The result has to fit the bundle's schema. All problems of all layers are
reported at once, with file, line and key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

from installer.core import schema_errors
from installer.core.errors import HostNotReadyError, Problem
from installer.core.jsonio import not_json
from installer.shared import strict_yaml
from installer.shared.child.bounded_child import Bounds, ExceededError, run_bounded
from installer.shared.configuration.known_keys import unknown_keys
from installer.shared.configuration.merge import LayerKind, Merged, Part, merge
from installer.shared.configuration.set_option import INTO_FILE, OPTION, as_typed, parse_setting
from installer.shared.configuration.substitution import NOTHING_REPLACED, Substitution, not_resolved
from installer.shared.secrecy.declared import secret_values

BUILT_IN = "waybill"
UNKNOWN = "unknown"
"""Takes the place of a keyword of the schema for a key that nothing knows."""
BOUNDS = Bounds(seconds=10, total=10)
"""For the validation of a schema, and of the values by it."""
SITE_VALUES = "/etc/waybill/{product}/values.yaml"
MAX_LAYERS = 256
"""Layers of one command, each `--set` counted."""
MAX_BYTES = 8 * strict_yaml.MAX_BYTES
"""Bytes of all layers together."""
MAX_VALUES = 3 * strict_yaml.MAX_NODES
"""Keys and entries of all layers together."""
MAX_PROBLEMS = 50
"""Problems that are listed; of the others only the number is told."""
Substitute = Callable[[Merged], Substitution]
"""Returns what takes the place of the references among merged values."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One values file, or one `--set`.

    Attributes:
        name: Its path, as messages show it; `--set KEY` for what was typed.
        data: Its bytes; the caller bounds the read (`strict_yaml.MAX_BYTES`).
        mode: Permission bits of the file; 0 where nobody else can read it, or where it is the bundle's.
        kind: Which layer it is.
    """

    name: str
    data: bytes
    mode: int = 0
    kind: LayerKind = "host"

    @classmethod
    def setting(cls, key: str, text: str) -> Layer:
        """Return the layer of `--set KEY=VALUE`."""
        return cls(f"{OPTION} {key}", text.encode("utf-8", "surrogateescape"), kind="set")

    def parse(self, most: int = strict_yaml.MAX_NODES) -> strict_yaml.Document:
        """Parse it strictly; never raises, all problems are in the result.

        Args:
            most: The largest number of values.
        """
        if self.kind == "set":
            key = self.name.removeprefix(f"{OPTION} ")
            return parse_setting(key, self.data.decode("utf-8", "surrogateescape"))
        return strict_yaml.load(self.data, self.name, most)


@dataclass(frozen=True, slots=True)
class BuiltIns:
    """What every template can use as `waybill.version`, `waybill.product`, `waybill.environment`."""

    version: str
    product: str
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The values of a host for one release.

    Attributes:
        values: What templates may use; not to be used where there are problems.
        merged: The values of the layers, with the origin of each; references are not resolved.
        problems: Everything wrong in all layers.
        substitution: What took the place of references.
    """

    values: dict[str, Any] = field(repr=False)
    merged: Merged
    problems: tuple[Problem, ...] = ()
    substitution: Substitution = NOTHING_REPLACED


def resolve(layers: Sequence[Layer], schema: Layer | None, built_ins: BuiltIns) -> dict[str, Any]:
    """Merge values files and check the result; see `configure`.

    Raises:
        HostNotReadyError: A file is not readable as strict YAML, or the merged values do not fit the schema;
            `problems` has all of it.
    """
    found = configure(layers, schema, built_ins)
    if found.problems:
        raise HostNotReadyError(
            "the values for the templates are not valid",
            hint="fix the values files; nothing was changed",
            problems=found.problems,
        )
    return found.values


def examine(
    layers: Sequence[Layer], schema: Layer | None, built_ins: BuiltIns, *, complete: bool = True
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the values and what is wrong with them; see `configure`."""
    found = configure(layers, schema, built_ins, complete=complete)
    return found.values, list(found.problems)


def configure(
    layers: Sequence[Layer],
    schema: Layer | None,
    built_ins: BuiltIns,
    *,
    complete: bool = True,
    substitute: Substitute = not_resolved,
) -> Configuration:
    """Merge layers and check the result.

    Args:
        layers: From the weakest, the bundle's defaults, to the strongest.
        schema: The bundle's values schema, where it has one.
        built_ins: What Waybill itself adds.
        complete: False where further layers follow on the host, so that missing values are no fault yet.
        substitute: Resolves references; by default what the schema says of them is not known yet. It is
            not called if a file cannot be read.
    """
    merged, problems = merge_layers(layers)
    parts = merged.parts
    described, schema_problems = _parse_schema(schema) if schema is not None else (None, [])
    for part in parts:
        problems += _layer_problems(part, None if schema_problems else described)
    taken = not_resolved(merged) if problems else substitute(merged)
    problems += taken.problems
    # The schema describes only the values of the release.
    values = {key: value for key, value in taken.applied(merged.values).items() if key != BUILT_IN}
    if schema is None or described is None:
        problems += _unknown(parts, None)
    else:
        findings = [schema_errors.Finding("schema", (), problem) for problem in schema_problems]
        # What is said of a secret shows its reference.
        shown = {
            key: value for key, value in taken.applied(merged.values, shown=True).items() if key in values
        }
        findings = findings or [
            finding
            for finding in _check(
                schema.name, described, shown, merged.where, lambda: _unknown(parts, described)
            )
            if not taken.may_be_wrong(finding.keyword, finding.path)
        ]
        site = SITE_VALUES.format(product=built_ins.product)
        problems += [
            _said_to_site(finding, site)
            for finding in _not_known_yet(findings, problems)
            if complete or finding.keyword != "required"
        ]
    values[BUILT_IN] = asdict(built_ins)
    return Configuration(values, merged, tuple(_readable(problems)), taken)


def _readable(problems: list[Problem]) -> list[Problem]:
    # A file of something else has a problem in each of its lines; nobody reads them all.
    if (left := len(problems) - MAX_PROBLEMS) <= 0:
        return problems
    what = f"have {left} more problems, which are not listed"
    return [*problems[:MAX_PROBLEMS], Problem("the values", what, "correct those above first")]


def merge_layers(layers: Sequence[Layer]) -> tuple[Merged, list[Problem]]:
    """Return layers, merged, and what cannot be read or merged.

    Args:
        layers: From the weakest to the strongest.
    """
    parts, problems = ([], excess) if (excess := excess_of(layers)) else _parsed(layers)
    merged = merge(parts)
    return merged, [*problems, *merged.problems]


def excess_of(layers: Sequence[Layer]) -> list[Problem]:
    """Return why layers are too much to be parsed together; empty where they are not."""
    if len(layers) > MAX_LAYERS:
        what = f"are more than {MAX_LAYERS} layers of values"
        return [Problem("--values and --set", what, "put the values into one file")]
    if sum(len(layer.data) for layer in layers) > MAX_BYTES:
        what = f"are larger than {MAX_BYTES // 1024**2} MiB together"
        return [Problem("the values files", what, "move large data into separate files")]
    return []


def _parsed(layers: Sequence[Layer]) -> tuple[list[Part], list[Problem]]:
    parts: list[Part] = []
    problems: list[Problem] = []
    left = MAX_VALUES
    for layer in layers:
        document = layer.parse(min(left, strict_yaml.MAX_NODES))
        left -= len(document.lines)
        problems += document.problems
        if not isinstance(document.value, dict) and document.value is not None:
            what, hint = "must hold a mapping of keys to values", "write lines of the form key: value"
            problems.append(Problem(document.where(), what, hint))
        elif document.value is not None:
            parts.append(Part(layer.kind, document))
    return parts, problems


def _layer_problems(part: Part, schema: dict[str, Any] | None) -> list[Problem]:
    """Return what no layer of its kind may set."""
    found, document = list[Problem](), part.document
    # A site could otherwise pretend to be another version or environment in its own templates.
    if BUILT_IN in document.value:
        where = document.where((BUILT_IN,))
        found.append(Problem(where, f"sets {BUILT_IN}, which Waybill sets itself", "use another name"))
    # By its name it was refused before; the schema is known only now.
    if part.kind == "set" and (secret := next(iter(secret_values(document.value, schema)), None)):
        what = f"sets {schema_errors.dotted(secret)}, which is a secret by the schema of the release"
        found.append(Problem(document.name, what, INTO_FILE))
    return found


def _unknown(parts: Sequence[Part], schema: dict[str, Any] | None) -> list[Problem]:
    """Return the keys that neither the defaults nor the schema know."""
    # The defaults define the keys, unless a release has none.
    base = next((part for part in parts if part.kind == "defaults"), None)
    defaults = base.document.value if base is not None else {}
    return [
        problem
        for part in parts
        if part is not base
        for problem in unknown_keys(part.document, defaults, schema, BUILT_IN)
    ]


def _not_known_yet(
    findings: Sequence[schema_errors.Finding], known: Sequence[Problem]
) -> list[schema_errors.Finding]:
    # One problem per line: a key that is not YAML does not also violate the schema.
    taken = {problem.where for problem in known}
    said = taken | {finding.problem.where for finding in findings if finding.keyword != UNKNOWN}
    return [
        finding
        for finding in findings
        if finding.problem.where not in (said if finding.keyword == UNKNOWN else taken)
    ]


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
        return {}, [Problem(f"{schema.name}:{error.lineno}", not_json(error), "correct it there")]
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
    name: str,
    schema: dict[str, Any],
    values: dict[str, Any] | None,
    where: schema_errors.Where,
    unknown: Callable[[], list[Problem]] = list,
) -> list[schema_errors.Finding]:
    """Return what is wrong with a schema itself, else with values by it, in a bounded child process.

    A pattern that tries every way, and references that multiply, take any time and memory, in a library.

    Args:
        name: What messages call the schema.
        schema: A JSON object that should be a schema.
        values: The values; None to look at the schema only.
        where: Gives `file:line` of a path in the values.
        unknown: Looks for keys that nothing knows.
    """
    # Here, so that the child need not: it takes longer than most validations.
    import jsonschema  # noqa: F401

    def job() -> bytes:
        problem = schema_errors.schema_problem(schema, name)
        found = [schema_errors.Finding("schema", (), problem)] if problem else []
        try:
            if not found and values is not None:
                found = schema_errors.findings(schema, values, where)
                found += [schema_errors.Finding(UNKNOWN, (), problem) for problem in unknown()]
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


def _said_to_site(finding: schema_errors.Finding, site: str) -> Problem:
    problem = finding.problem
    if finding.keyword != "required":
        return as_typed(problem)
    meaning = f" ({problem.hint[:1].lower()}{problem.hint[1:]})" if problem.hint else ""
    return Problem(problem.where, problem.what + meaning, f"set it in {site}")
