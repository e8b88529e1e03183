"""Find secrets in what travels besides files: the texts of bundle.yaml, and the names in the bundle.

bundle.json and SHA256SUMS are made of both, and every host and every listing shows them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from bundler.config.secrets.allowances import Allowances
from bundler.config.secrets.patterns import secrets_in
from bundler.config.secrets.scanner import hidden
from installer.core.errors import Problem
from installer.core.schema_errors import dotted
from installer.shared.strict_yaml import Document, Path

_NOT_CARRIED = {("trees", "exclude"), ("secrets_allow", "path")}
"""Keys of lists that name files only to leave them out or to let them through."""


def in_texts(
    document: Document, value: object, problems: Iterable[Problem], allowances: Allowances
) -> Iterator[Problem]:
    """Yield a problem for each text of bundle.yaml that has a secret in it.

    Args:
        document: bundle.yaml.
        value: What of it is valid.
        problems: What is wrong with its entries.
        allowances: The exceptions.
    """
    # What is refused for another reason has to be written again: that is said once.
    refused = {(each.where, each.what.split(" ")[0]) for each in problems}
    for path, texts in _listed(value):
        where = document.where(path)
        if (where, dotted(path)) in refused:
            continue
        # What a list says together, such as `--password` and the word behind it, counts if no part does.
        found = next((found for text in texts if (found := _found(text))), [])
        place = f"{document.name}: {dotted(path)}"
        if found and not allowances.let_through(place, found):
            hint = (
                "give the hosts a file with the secret instead, and change the secret; if it is not a secret,"
                f" list `{place}` under secrets_allow with a reason"
            )
            for what in found:
                yield Problem(where, f"{dotted(path)} contains {what}", hint)


def _found(text: str) -> list[str]:
    data = text.encode("utf-8", "replace")
    return list(dict.fromkeys(what for _, what in secrets_in(data, is_config=True)))


def _listed(value: Any, path: Path = ()) -> Iterator[tuple[Path, list[str]]]:
    """Yield the texts at each place: a mapping's with their keys, and lists of words also as a whole."""
    if isinstance(value, dict):
        for key, child in value.items():
            below = (*path, key)
            if tuple(part for part in below if isinstance(part, str)) in _NOT_CARRIED:
                continue
            if isinstance(child, dict | list):
                yield below, [str(key)]
                yield from _listed(child, below)
            else:
                yield below, [f"{key}: {child}"]
    elif isinstance(value, list):
        found = [
            (each, texts)
            for index, child in enumerate(value)
            for each, texts in _listed(child, (*path, index))
        ]
        yield from found
        words = [each for each in value if isinstance(each, str)]
        if len(words) > 1 and not any(_found(text) for _, texts in found for text in texts):
            yield path, [json.dumps(words, ensure_ascii=False)]
    elif isinstance(value, str):
        yield path, [value]


def in_names(names: Iterable[tuple[str, str]], allowances: Allowances) -> Iterator[Problem]:
    """Yield a problem for each name that has a secret in it.

    Args:
        names: How messages name a file, a directory or a link, and the text to search.
        allowances: The exceptions.
    """
    for shown, what in _with_secrets(names):
        if not allowances.let_through(shown, [what]):
            hint = (
                "rename it, and change the secret; if it is not a secret, list the file under secrets_allow"
                " with a reason"
            )
            yield Problem(hidden(shown), f"has {what} in its name", hint)


def _with_secrets(names: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the names that have a secret in them, and what it is.

    Args:
        names: How messages name a file, and the text to search. There may be 250,000: they are one text.
    """
    rows = list(names)
    text = b"\n".join(os.fsencode(text).replace(b"\n", b" ") for _, text in rows)
    for line, what in dict.fromkeys(secrets_in(text, is_config=False)):
        yield rows[line - 1][0], what
