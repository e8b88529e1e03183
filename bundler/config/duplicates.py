"""Files that bundle.yaml lists more than once, and files that would get one name in the bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bundler.config.model import InputFile, InputTree
from installer.core.errors import Problem
from installer.core.format.member_names import fold_name


def merge_duplicates(
    items: Sequence[InputFile], trees: Sequence[InputTree], where: Callable[[InputFile | InputTree], str]
) -> tuple[list[InputFile], list[Problem]]:
    """Join the entries of one file, and name different files that would get one name in the bundle.

    Args:
        items: The files, in the order of bundle.yaml.
        trees: The trees.
        where: Returns the place of an entry in bundle.yaml.

    Returns:
        The files, each once, and the problems.
    """
    merged: dict[tuple[str, str], InputFile] = {}
    seen: dict[str, InputFile | InputTree] = {}
    problems: list[Problem] = []
    for item in items:
        # Without case: hosts and sticks may have file systems that do not tell A from a.
        first = seen.setdefault(fold_name(item.member), item)
        if first is item:
            merged[item.member, item.install] = item
        elif not isinstance(first, InputFile) or first.source != item.source or first.kind != item.kind:
            problems.append(_clash(item, first, where(item)))
        elif item.install != first.install:
            what = f"{item.given} is also listed in line {first.line}, with another destination"
            problems.append(Problem(where(item), what, "copy the file to another name, and list the copy"))
    names: dict[str, InputTree] = {}
    for tree in trees:
        if (named := names.setdefault(fold_name(tree.member), tree)) is not tree:
            problems.append(_clash(tree, named, where(tree)))
    # The same file twice, for example a unit in two steps, is one member.
    return list(merged.values()), problems


def _clash(item: InputFile | InputTree, first: InputFile | InputTree, where: str) -> Problem:
    what = f"{item.given} and {first.given} (line {first.line}) would both be {first.member} in the bundle"
    return Problem(where, what, "rename one of them")
