"""mutmut, with our operators, on the functions that it would leave out, and with a name for every change."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation import file_mutation
from mutmut.mutation.file_mutation import Mutation, MutationVisitor, deep_replace, group_by_top_level_node
from mutmut.mutation.pragma_handling import get_ignored_lines
from mutmut.mutation.trampoline_templates import mangle_function_name
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.utils.file_utils import change_cwd

from tests.mutants.operators import OPERATORS, OTHER_ERROR, STATUS, name_of, only_words

DECORATORS = ("contextmanager", "property")
"""What may stand above a function that is changed; mutmut itself knows `classmethod` and `staticmethod`."""
MORE_PEOPLE = ("Ana", "Ann", "Ben", "Bo", "Eve", "Sam")
BEFORE, AFTER = 60, 30
"""Characters of the statement that are shown to the left and to the right of a change."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Attributes:
        key: mutmut's name of it.
        module: The file, below the checkout.
        line: Where in it.
        function: `function` or `Class.method`.
        change: The statement, with `[before → after]` in it.
    """

    key: str
    module: str
    line: int
    function: str
    change: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.function}: {self.change}"


class Visitor(MutationVisitor):
    """Finds what to change."""

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Also decorated functions; nothing in what only words a message, and of a `raise` only itself."""
        if only_words(node):
            return False
        return super().on_visit(node) and not isinstance(node, cst.Raise)

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        return not _kept(node) and super()._skip_node_and_children(node)


def _kept(node: cst.CSTNode) -> bool:
    """Says whether a node is a function with one decorator that does not stand in the way."""
    return (
        isinstance(node, cst.FunctionDef)
        and len(node.decorators) == 1
        and name_of(node.decorators[0].decorator) in DECORATORS
    )


def _arrange(real: Any) -> Any:
    """Lets the decorator stand above the switch between the mutants, not above each of them."""

    def arrange(function: cst.FunctionDef, mutants: Iterable[Mutation], class_name: str | None) -> Any:
        if not _kept(function):
            return real(function, mutants, class_name)
        declared, nodes, assigned, names = real(function.with_changes(decorators=[]), mutants, class_name)
        switch = nodes[0].with_changes(decorators=[*function.decorators, *nodes[0].decorators])
        return declared, [switch, *nodes[1:]], assigned, names

    return arrange


def _quickest_first(self: PytestRunner, tests: Iterable[str]) -> list[str]:
    known = state().duration_by_test
    chosen = sorted(tests, key=lambda test: known.get(test, 0))
    # pytest does not find a test again by a name with a backslash in it: then all of its parameters are taken
    named = dict.fromkeys(test.partition("[")[0] if "\\" in test else test for test in chosen)
    return ["-x", "-q", *(named or self._pytest_add_cli_args_test_selection)]


def _warm(real: Callable[[PytestRunner], None]) -> Callable[[PytestRunner], None]:
    """Makes the keys of the tests' people before a process is forked for each mutant: that takes long."""

    def warm_up(self: PytestRunner) -> None:
        real(self)
        with change_cwd("mutants"):
            from tests.rig.trustworld import TEAM, person
        for name in (*TEAM.values(), *MORE_PEOPLE):
            person(name)

    return warm_up


def install() -> None:
    """Makes mutmut do as we say, in this process and in those that it forks."""
    file_mutation.mutation_operators = OPERATORS
    file_mutation.MutationVisitor = Visitor
    file_mutation.function_trampoline_arrangement = _arrange(file_mutation.function_trampoline_arrangement)
    PytestRunner._pytest_args_regular_run = _quickest_first
    PytestRunner.warm_up = _warm(PytestRunner.warm_up)


def mutants(top: Path, module: str) -> list[Mutant]:
    """Gives all mutants of a module, in mutmut's order and by mutmut's names."""
    wrapper = MetadataWrapper(cst.parse_module((top / module).read_text()))
    visitor = Visitor(OPERATORS, get_ignored_lines(module, wrapper.module.code, wrapper))
    wrapper.visit(visitor)
    places, parents = wrapper.resolve(PositionProvider), wrapper.resolve(ParentNodeProvider)
    found, seen = [], Counter[tuple[str, str]]()
    for function, changes in group_by_top_level_node(visitor.mutations).items():
        if not isinstance(function, cst.FunctionDef):
            continue  # mutmut leaves what stands in a class beside its methods
        holder = parents[parents[function]] if not isinstance(parents[function], cst.Module) else None
        class_name = holder.name.value if isinstance(holder, cst.ClassDef) else None
        mangled = mangle_function_name(name=function.name.value, class_name=class_name)
        name = f"{class_name}.{function.name.value}" if class_name else function.name.value
        for number, mutation in enumerate(changes, 1):
            text = describe(mutation, parents)
            seen[name, text] += 1
            if seen[name, text] > 1:
                text += f" ({seen[name, text]})"
            key = f"{module.removesuffix('.py').replace('/', '.')}.{mangled}__mutmut_{number}"
            found.append(Mutant(key, module, places[mutation.original_node].start.line, name, text))
    return found


def describe(mutation: Mutation, parents: Any) -> str:
    """Gives the statement of a change on one line, with the change in brackets and sentences left out."""
    statement = mutation.original_node
    while not isinstance(statement, cst.SimpleStatementLine | cst.BaseCompoundStatement | cst.ExceptHandler):
        statement = parents[statement]
    changed = deep_replace(statement, mutation.original_node, mutation.mutated_node)
    assert isinstance(changed, cst.CSTNode)
    return difference(_line(statement), _line(changed))


class _Brief(cst.CSTTransformer):
    """Takes out what is longer than it helps: bodies and sentences."""

    def leave_IndentedBlock(self, _old: cst.IndentedBlock, new: cst.IndentedBlock) -> Any:  # noqa: N802
        raises = len(new.body) == 1 and cst.Module([new.body[0]]).code.strip() == "raise"
        return cst.SimpleStatementSuite([cst.Raise() if raises else cst.Expr(cst.Ellipsis())])

    def leave_FormattedString(self, *_nodes: Any) -> Any:  # noqa: N802
        return cst.SimpleString('"…"')

    leave_ConcatenatedString = leave_FormattedString  # noqa: N815

    def leave_SimpleString(self, _old: cst.SimpleString, new: cst.SimpleString) -> Any:  # noqa: N802
        if STATUS.fullmatch(new.value) or " " not in new.value or "b" in new.prefix:
            return new
        return cst.SimpleString('"…"')


def _line(node: cst.CSTNode) -> str:
    if isinstance(node, cst.If):
        node = node.with_changes(orelse=None)
    if isinstance(node, cst.Try):
        node = node.with_changes(handlers=[], orelse=None)
    brief = node.with_changes(leading_lines=[]).visit(_Brief())
    assert isinstance(brief, cst.CSTNode)
    code = cst.Module([]).code_for_node(brief).replace(OTHER_ERROR, "AnotherError")
    return re.sub(r"(?<=[(\[{]) | (?=[)\]}])|,(?= [)\]}])", "", " ".join(code.split()))


def difference(before: str, after: str) -> str:
    """Gives a line, with where two differ as `[before → after]`."""
    old, new = (re.findall(r'"[^"]*"|\w+|\s+|[<>=!]=|.', text) for text in (before, after))
    head = _same(old, new)
    tail = _same(old[head:][::-1], new[head:][::-1])
    left, right = "".join(old[:head]), "".join(old[len(old) - tail :])
    mark = f"[{''.join(old[head : len(old) - tail])} → {''.join(new[head : len(new) - tail])}]"
    left = f"…{left[-BEFORE:]}" if len(left) > BEFORE else left
    right = f"{right[:AFTER]}…" if len(right) > AFTER else right
    return f"{left}{mark}{right}".replace("`", "'")


def _same(old: list[str], new: list[str]) -> int:
    """Gives how many of their first words two lists share."""
    pairs = zip(old, new, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
