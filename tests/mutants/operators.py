"""The changes that are tried: those of a return path. What only words a message is left alone.

Each operator takes a node of libcst and gives what may stand in its place; mutmut tries them one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import libcst as cst
import libcst.matchers as m

MESSAGES = frozenset(
    {"aside", "busy", "has", "hint", "is_", "people", "stands", "what", "where", "who", "words"}
)
"""Variables and keywords that hold nothing but words for people, or the name of a place."""
SPEAKERS = frozenset({"Problem", "note", "step"})
"""Calls that only say something."""
TEXTS = frozenset(
    {"__init__", "as_json", "brief", "format_time", "reason", "report", "rows", "text", "warning"}
)
"""Functions that only say something, or only keep what they are given."""
STATUS = re.compile(r"""["']\.?[A-Za-z][A-Za-z0-9]*([-./ _][A-Za-z0-9]+)?["']""")
"""A word that the program goes by: `COMMIT`, `never-began`, `rolled back`. Sentences are longer."""
OTHER_ERROR = '__import__("installer.core.errors", fromlist=["MediaError"]).MediaError'
"""An error with another exit code than any decision of the verification and of the recovery."""
PASS = cst.Pass()
TRUE, FALSE = cst.Name("True"), cst.Name("False")
SWAPS: dict[type[cst.CSTNode], type[cst.CSTNode]] = {
    cst.LessThan: cst.LessThanEqual,
    cst.LessThanEqual: cst.LessThan,
    cst.GreaterThan: cst.GreaterThanEqual,
    cst.GreaterThanEqual: cst.GreaterThan,
    cst.Equal: cst.NotEqual,
    cst.NotEqual: cst.Equal,
    cst.Is: cst.IsNot,
    cst.IsNot: cst.Is,
    cst.In: cst.NotIn,
    cst.NotIn: cst.In,
}
LEAVES = m.IndentedBlock([m.SimpleStatementLine([m.Raise() | m.Return() | m.Continue() | m.Break()])])
FUNCTIONS = {"any": "all", "all": "any", "min": "max", "max": "min"}


def only_words(node: cst.CSTNode) -> bool:
    """Says whether everything in a node only words a message."""
    if isinstance(node, cst.Arg):
        return node.keyword is not None and node.keyword.value in MESSAGES
    if isinstance(node, cst.Assign):
        return name_of(node.targets[0].target) in MESSAGES
    if isinstance(node, cst.AugAssign):
        return name_of(node.target) in MESSAGES
    if isinstance(node, cst.Call):
        return name_of(node.func) in SPEAKERS
    if isinstance(node, cst.FunctionDef):
        return node.name.value in TEXTS
    if isinstance(node, cst.IfExp):
        return _sentence(node.body) and _sentence(node.orelse)
    return isinstance(node, cst.FormattedString)


def _sentence(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.FormattedString | cst.ConcatenatedString) or (
        isinstance(node, cst.SimpleString) and not STATUS.fullmatch(node.value)
    )


def name_of(node: cst.CSTNode) -> str:
    """Gives the name that an expression ends in, where it has one."""
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return node.value if isinstance(node, cst.Name) else ""


def conditions(test: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """Gives a condition that always holds and one that never does; what is named in it stays named."""
    if m.matches(test, m.Name("True")):
        return
    if m.findall(test, m.NamedExpr()):
        held = test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield cst.BooleanOperation(held, cst.Or(), TRUE)
        yield cst.BooleanOperation(held, cst.And(), FALSE)
    else:
        yield TRUE
        yield FALSE


def branches(node: cst.If | cst.CompIf) -> Iterator[cst.CSTNode]:
    """A condition always holds, or never; not never where its one statement is taken away on its own."""
    always_and_never = list(conditions(node.test))
    alone = isinstance(node, cst.If) and node.orelse is None and m.matches(node.body, LEAVES)
    for test in always_and_never[:1] if alone else always_and_never:
        yield node.with_changes(test=test)


def loops(node: cst.While) -> Iterator[cst.CSTNode]:
    """A loop is never entered."""
    for test in list(conditions(node.test))[1:]:
        yield node.with_changes(test=test)


def choices(node: cst.IfExp) -> Iterator[cst.CSTNode]:
    """One of two values is always taken."""
    for value in (node.body, node.orelse):
        yield value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def gone(_node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A `raise`, `return`, `break` or `continue` is not there."""
    yield PASS


def errors(node: cst.Raise) -> Iterator[cst.CSTNode]:
    """An error of another kind is raised, with another exit code."""
    call = node.exc
    name = name_of(call.func) if isinstance(call, cst.Call) else ""
    if isinstance(call, cst.Call) and name.endswith("Error") and not OTHER_ERROR.endswith(f".{name}"):
        yield node.with_changes(exc=call.with_changes(func=cst.parse_expression(OTHER_ERROR)))


def calls(node: cst.Expr) -> Iterator[cst.CSTNode]:
    """What is called for its effect, or because it may refuse, is not called."""
    if isinstance(node.value, cst.Call) and not only_words(node.value):
        yield PASS


def stores(node: cst.Assign | cst.AugAssign) -> Iterator[cst.CSTNode]:
    """An attribute or an item is not set, or nothing is added."""
    if isinstance(node, cst.AugAssign) or not isinstance(node.targets[0].target, cst.Name | cst.Tuple):
        yield PASS


def operands(node: cst.BooleanOperation) -> Iterator[cst.CSTNode]:
    """Of `and` or `or` only one side is looked at."""
    for side in (node.left, node.right):
        yield side.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def swaps(node: cst.ComparisonTarget) -> Iterator[cst.CSTNode]:
    """A comparison is off by one, or the other way round."""
    if isinstance(node.comparator, cst.Integer):
        yield node.with_changes(comparator=cst.Integer(str(node.comparator.evaluated_value + 1)))
    if other := SWAPS.get(type(node.operator)):
        yield node.with_changes(operator=other())


def nots(node: cst.UnaryOperation) -> Iterator[cst.CSTNode]:
    """A `not` is not there."""
    if isinstance(node.operator, cst.Not):
        yield node.expression


def handlers(node: cst.ExceptHandler) -> Iterator[cst.CSTNode]:
    """An error is not handled: every one of a kind, or one of several kinds."""
    first = node.body.body[0]
    if not m.matches(first, m.SimpleStatementLine([m.Raise(exc=None)])):
        yield node.with_changes(body=cst.IndentedBlock([cst.SimpleStatementLine([cst.Raise()])]))
    if isinstance(node.type, cst.Tuple):
        for at in range(len(node.type.elements)):
            left = [*node.type.elements[:at], *node.type.elements[at + 1 :]]
            yield node.with_changes(type=node.type.with_changes(elements=left))


def functions(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`any` for `all`, `min` for `max`, forwards for backwards; one kind of error is not suppressed."""
    name = name_of(node.func)
    if name in FUNCTIONS and isinstance(node.func, cst.Name):
        yield node.with_changes(func=cst.Name(FUNCTIONS[name]))
    if name == "reversed":
        yield node.args[0].value
    if name == "suppress":
        for at in range(len(node.args)):
            yield node.with_changes(args=[*node.args[:at], *node.args[at + 1 :]])


def steps(node: cst.Call) -> Iterator[cst.CSTNode]:
    """A step of the verification has another number."""
    if name_of(node.func) == "verification_step":
        yield node.with_changes(args=[cst.Arg(cst.Integer("99"))])


def truths(node: cst.Name) -> Iterator[cst.CSTNode]:
    """True for False, False for True."""
    if node.value in ("True", "False"):
        yield FALSE if node.value == "True" else TRUE


def statuses(node: cst.SimpleString) -> Iterator[cst.CSTNode]:
    """A word that the program goes by is another one."""
    if STATUS.fullmatch(node.value):
        yield node.with_changes(value='"other"' if node.evaluated_value != "other" else '"another"')


Operator = Callable[[Any], Iterable[cst.CSTNode]]
OPERATORS: list[tuple[type, Operator]] = [
    (cst.If, branches),
    (cst.CompIf, branches),
    (cst.While, loops),
    (cst.IfExp, choices),
    (cst.Raise, gone),
    (cst.Return, gone),
    (cst.Break, gone),
    (cst.Continue, gone),
    (cst.Raise, errors),
    (cst.Expr, calls),
    (cst.Assign, stores),
    (cst.AugAssign, stores),
    (cst.BooleanOperation, operands),
    (cst.ComparisonTarget, swaps),
    (cst.UnaryOperation, nots),
    (cst.ExceptHandler, handlers),
    (cst.Call, functions),
    (cst.Call, steps),
    (cst.Name, truths),
    (cst.SimpleString, statuses),
]
