"""Search inputs for secrets. Messages show the kind and line of a finding, never its value."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bundler.config.secrets.allowances import Allowances
from bundler.config.secrets.archives import ContentSearch, Report
from bundler.config.secrets.search import Finding, pieces
from installer.core.errors import Problem
from installer.core.limits import CHUNK
from installer.shared.secrecy.tokens import tokens_in

HINT = (
    "remove it and change the secret; if it is not a secret, list the file under secrets_allow with a reason"
)
TREE_HINT = (
    "leave it out with exclude, and change the secret if it was published; if it is not a secret, list the "
    "file under secrets_allow with a reason"
)
# The same mistake in a thousand lines is one mistake.
_MOST = 25


def search_data(data: bytes, shown: str, *, is_config: bool = False, is_tree: bool = False) -> Report:
    """Search the content of a file.

    Args:
        data: The whole file.
        shown: Its name in messages.
        is_config: Whether `password: …` lines count too.
        is_tree: Whether it is a file of a tree.
    """
    report = Report()
    search = ContentSearch(shown, report, is_config=is_config, is_tree=is_tree)
    for piece in pieces(data):
        search.feed(piece)
    search.finish()
    return report


def search_file(source: Path | str, shown: str, *, is_config: bool = False, is_tree: bool = False) -> Report:
    """Search a file, from its start until nothing more can be found in it; arguments as `search_data`.

    Raises:
        OSError: It cannot be read.
    """
    report = Report()
    search = ContentSearch(shown, report, is_config=is_config, is_tree=is_tree)
    # O_NONBLOCK: a pipe among the inputs must not block the check.
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb", 0) as file:
        while not search.done and (data := file.read(CHUNK)):
            search.feed(data)
    search.finish()
    return report


def secrets_of(
    data: bytes, shown: str, allowances: Allowances, *, is_config: bool = False, is_tree: bool = False
) -> list[Problem]:
    """Return the problems of the content of a file; arguments as `search_data` and `problems_of`."""
    report = search_data(data, shown, is_config=is_config, is_tree=is_tree)
    return problems_of(report.found, allowances, TREE_HINT if is_tree else HINT)


def problems_of(found: Iterable[Finding], allowances: Allowances, hint: str) -> list[Problem]:
    """Return the problems that findings are.

    Args:
        found: The findings.
        allowances: The exceptions of bundle.yaml.
        hint: What to do about them.

    Returns:
        For each file at most 25 findings, and the number of the others.
    """
    of_file: dict[str, list[Finding]] = {}
    # The same place may have two forms of one secret.
    for finding in dict.fromkeys(found):
        of_file.setdefault(finding.path, []).append(finding)
    problems: list[Problem] = []
    for path, findings in of_file.items():
        if not allowances.let_through(path, [finding.what for finding in findings]):
            problems += _of_file(path, findings, hint)
    return problems


def _of_file(path: str, findings: Sequence[Finding], hint: str) -> list[Problem]:
    path = hidden(path)
    problems = [
        Problem(f"{path}:{each.line}" if each.line else path, f"contains {each.what}", hint)
        for each in findings[:_MOST]
    ]
    if len(findings) > _MOST:
        problems.append(Problem(path, f"contains {len(findings) - _MOST:,} more such secrets", hint))
    return problems


def hidden(name: str) -> str:
    """Return the name of a file as messages show it, without the tokens in it."""
    data = os.fsencode(name)
    for token in sorted(tokens_in(data), reverse=True):
        data = data[: token.start] + b"***" + data[token.end :]
    return os.fsdecode(data)


def unsearched_of(report: Report, before: str = "") -> list[Problem]:
    """Return a warning for each archive that was not searched to its end.

    Args:
        report: The report.
        before: The text before its paths in messages.
    """
    hint = "check it with another tool, or ship what is in it as a tree"
    return [
        Problem(
            f"{before}{path}",
            f"was not searched for secrets to its end: it {why}",
            hint,
            "not-searched-for-secrets",
        )
        for path, why in report.unsearched.items()
    ]
