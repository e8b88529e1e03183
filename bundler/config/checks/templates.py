"""Check templates before they are shipped: syntax, and that every value they use can be set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from installer.core.errors import Problem
from installer.core.format.entries.health_check import text_fault
from installer.core.format.health_target import without_secrets
from installer.core.schema_errors import did_you_mean
from installer.shared.child.bounded_child import ExceededError, run_bounded
from installer.shared.configuration.peers import BUILT_IN as PEERS
from installer.shared.rendering.release import BOUNDS
from installer.shared.rendering.template import RenderError, chain, parse, render

if TYPE_CHECKING:
    from jinja2 import nodes

# With one of these keywords it cannot be told without a value what is allowed.
_OPEN = ("allOf", "anyOf", "oneOf", "if", "$dynamicRef")
_ABSENT = object()
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownValues:
    """The values that templates can use.

    Attributes:
        values: The defaults, with the built-ins.
        schema: The values schema; None: the site may set anything.
        of: The hosts that have these values, as messages name them; empty for the defaults alone. Which keys
            there are is known from the defaults: it is not checked again for single hosts.
    """

    values: Mapping[str, Any]
    schema: Mapping[str, Any] | None
    of: str = ""

    @property
    def words(self) -> str:
        """What messages call the values."""
        return f"the values for {self.of}" if self.of else "the default values"

    def set_by_default(self, path: Path) -> bool:
        """Return whether the defaults have a value there that is not null."""
        return self._default(path) not in (_ABSENT, None)

    def possible(self, path: Path) -> bool:
        """Return whether the defaults have the key, or the schema lets the site set it."""
        if self._default(path) is not _ABSENT:
            return True
        return path[0] != "waybill" and self.schema is not None and _allows(self.schema, self.schema, path)

    def _default(self, path: Path) -> Any:
        value: Any = self.values
        for part in path:
            # Elements of lists have no names to check.
            if isinstance(value, list):
                return value
            if not isinstance(value, Mapping) or part not in value:
                return _ABSENT
            value = value[part]
        return value

    def beside(self, path: Path) -> list[str]:
        """Return the known keys next to the last part of a path, for suggestions."""
        value: Any = self.values
        node: Any = self.schema or {}
        for part in path[:-1]:
            value = value.get(part, {}) if isinstance(value, Mapping) else {}
            node = node.get("properties", {}).get(part, {}) if isinstance(node, Mapping) else {}
        listed = list(node.get("properties", {})) if isinstance(node, Mapping) else []
        return [str(key) for key in value] + listed if isinstance(value, Mapping) else listed


@dataclass(frozen=True, slots=True)
class Template:
    """A template to be checked.

    Attributes:
        name: Its path in bundle.yaml, for messages.
        read: Reads its bytes.
        probe: The kind of the probe that it is a text of, and the name of that text; empty for a file.
        inspect: Returns what is wrong with the bytes that it makes of the values that the second argument
            names. The bytes are None where values of the site are needed.
    """

    name: str
    read: Callable[[], bytes]
    probe: tuple[str, str] | tuple[()] = ()
    inspect: Callable[[bytes | None, str], list[Problem]] | None = None


def check_all(templates: Sequence[Template], known: KnownValues | None) -> Iterator[list[Problem]]:
    """Check templates in a bounded child process, and yield the problems of each.

    After a template that took too much it ends: the ones that follow are not checked.

    Args:
        templates: The templates.
        known: The values that they can use; None to check the syntax only.
    """
    if not templates:
        return
    # Once, here: the child has it then.
    import installer.shared.rendering.template_sandbox  # noqa: F401

    def job(template: Template) -> bytes:
        found = check(template.read(), template.name, known, template.probe, template.inspect)
        return json.dumps([(each.where, each.what, each.hint) for each in found]).encode()

    results = run_bounded([partial(job, template) for template in templates], BOUNDS)
    for template in templates:
        try:
            yield [Problem(*row) for row in json.loads(next(results))]
        except ExceededError as error:
            hint = "simplify the template, or ship the file as it is"
            yield [Problem(template.name, str(error), hint)]
            return


def check(
    template: bytes,
    name: str,
    known: KnownValues | None,
    probe: tuple[str, str] | tuple[()] = (),
    inspect: Callable[[bytes | None, str], list[Problem]] | None = None,
) -> list[Problem]:
    """Check one template.

    Args:
        template: Its bytes.
        name: Its path in bundle.yaml, for messages.
        known: The values that templates can use; None to check the syntax only.
        probe: As `Template.probe`.
        inspect: As `Template.inspect`.
    """
    from jinja2 import meta

    try:
        tree = parse(template, name)
        free = meta.find_undeclared_variables(tree)
    except RenderError as error:
        return [Problem(error.where, error.what, error.hint)]
    if known is None:
        return []
    uses = list(_uses(tree, guarded=False))
    guarded = {path for _, path, is_guarded in uses if is_guarded}
    wanted = {
        path: line
        for line, path, is_guarded in reversed(uses)
        if path[0] in free - {"range", "dict", "namespace"}
        and not is_guarded
        and not any(path[: len(known_path)] == known_path for known_path in guarded)
    }
    problems = [
        Problem(f"{name}:{line}", f"uses {'.'.join(path)}, which is not a known value", _hint(path, known))
        for path, line in sorted(wanted.items(), key=lambda use: use[1])
        if not known.possible(path)
    ]
    problems += [
        problem for line, path in _origins(tree) for problem in _origin(f"{name}:{line}", path, known)
    ]
    if known.of:
        problems = []
    # A template that needs values of the site cannot be rendered yet.
    if problems or not all(known.set_by_default(path) for path in wanted):
        return problems + (inspect(None, "") if inspect and not problems and not known.of else [])
    try:
        made = render(template, name, known.values)
    except RenderError as error:
        return [Problem(error.where, f"{error.what} (rendered with {known.words})", error.hint)]
    if inspect:
        return inspect(made, known.words)
    text = made.decode("utf-8")
    if probe and (form := text_fault(*probe, text)):
        text = without_secrets(text)
        return [Problem(name, f"is {text!r:.80} with {known.words}, but must be {form}", "correct it")]
    return []


def _hint(path: Path, known: KnownValues) -> str:
    close = did_you_mean(path[-1], known.beside(path))
    if close:
        return f"did you mean {'.'.join((*path[:-1], close))}?"
    if path[0] == "waybill":
        if path[1:2] == (PEERS,):
            return "waybill.cluster needs `cluster:` in bundle.yaml; it has: id, node, peers, others"
        return "waybill has: version, product, environment"
    return "give it a default in the values file, or describe it in the values schema"


def _uses(node: nodes.Node, *, guarded: bool) -> Iterator[tuple[int, Path, bool]]:
    """Yield the values that a template reads: line, path, and whether it handles a missing value."""
    from jinja2 import nodes

    path = chain(node)
    if path is not None:
        if not (isinstance(node, nodes.Name) and node.ctx != "load"):
            yield node.lineno, path, guarded
        return
    # A method of a value: `name.upper()` uses `name`, not a key `upper`.
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        yield from _uses(node.node.node, guarded=guarded)
        for argument in (*node.args, *node.kwargs):
            yield from _uses(argument, guarded=guarded)
        return
    # `default` and `is defined` say that the template works without the value.
    is_guard = (isinstance(node, nodes.Filter) and node.name in ("default", "d")) or (
        isinstance(node, nodes.Test) and node.name in ("defined", "undefined")
    )
    first = getattr(node, "node", None) if is_guard else None
    for child in node.iter_child_nodes():
        yield from _uses(child, guarded=guarded or child is first)


def _origin(where: str, path: Path, known: KnownValues) -> Iterator[Problem]:
    asks = f"asks for the origin of {'.'.join(path)}"
    if path[0] == "waybill":
        yield Problem(where, f"{asks}, which Waybill sets itself", "ask for the origin of a value of a layer")
    elif not known.possible(path):
        yield Problem(where, f"{asks}, which is not a known value", _hint(path, known))


def _origins(tree: nodes.Template) -> Iterator[tuple[int, Path]]:
    """Yield the keys whose origin a template asks for, with their lines, as far as they are written out."""
    from jinja2 import nodes

    for each in tree.find_all(nodes.Filter):
        if each.name == "origin" and isinstance(each.node, nodes.Const) and isinstance(each.node.value, str):
            yield each.lineno, tuple(each.node.value.split("."))


def _allows(schema: Mapping[str, Any], node: Any, path: Path, depth: int = 0) -> bool:
    """Return whether a schema allows a path; True if that cannot be decided."""
    # References may go in circles; then anything is possible, and nothing is reported.
    if depth > 32 or node is True:
        return True
    if not isinstance(node, Mapping):
        return False
    reference = node.get("$ref")
    if isinstance(reference, str):
        target = _local(schema, reference)
        return target is None or _allows(schema, target, path, depth + 1)
    if not path or any(keyword in node for keyword in _OPEN):
        return True
    if "properties" not in node and "additionalProperties" not in node and "patternProperties" not in node:
        return (node.get("type", "object") in ("object", "array") and "type" not in node) or "items" in node
    if path[0] in node.get("properties", {}):
        return _allows(schema, node["properties"][path[0]], path[1:], depth + 1)
    if node.get("patternProperties"):
        return True
    more = node.get("additionalProperties", False)
    return _allows(schema, more, path[1:], depth + 1) if more is not True else True


def _local(schema: Mapping[str, Any], reference: str) -> Any:
    node: Any = schema
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, Mapping) else None
    return node
