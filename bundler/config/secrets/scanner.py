"""Search inputs for secrets. Messages show the kind and line of a finding, never its value.

Files up to 1 MiB are read: larger ones are not what somebody wrote. Images and archives are not opened.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from bundler.config.secrets.allowances import Allowances
from bundler.config.secrets.key_files import key_in
from bundler.config.secrets.patterns import KEY_FILES, Found, secrets_in
from installer.core.errors import Problem

MAX_BYTES = 1024 * 1024
HINT = (
    "remove it and change the secret; if it is not a secret, list the file under secrets_allow with a reason"
)
TREE_HINT = (
    "leave it out with exclude, and change the secret if it was published; if it is not a secret, list the "
    "file under secrets_allow with a reason"
)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def secrets_of(
    data: bytes, shown: str, allowances: Allowances, *, is_config: bool = False, is_tree: bool = False
) -> list[Problem]:
    """Search the content of a file.

    Args:
        data: The file; more than 1 MiB is not searched.
        shown: Its name in messages; allowances are matched against it.
        allowances: The exceptions of bundle.yaml.
        is_config: Whether `password: …` lines count too.
        is_tree: Whether it is a file of a tree.
    """
    found = list(_findings(data, shown, is_config=is_config, is_tree=is_tree))
    if not found or allowances.let_through(shown, [what for _, what in found]):
        return []
    hint = TREE_HINT if is_tree else HINT
    return [
        Problem(f"{shown}:{line}" if line else shown, f"contains {what}", hint)
        # The same place may have two forms of one secret.
        for line, what in dict.fromkeys(found)
    ]


def _findings(data: bytes, shown: str, *, is_config: bool, is_tree: bool) -> Iterator[Found]:
    if KEY_FILES.fullmatch(shown.rpartition("/")[2]):
        yield 0, "a secret, according to its name"
        return
    if len(data) > MAX_BYTES:
        return
    if key := key_in(data):
        yield 0, key
        return
    # Windows tools write UTF-16, which would pass for binary data.
    if data.startswith(_UTF16):
        data = data.decode("utf-16", "replace").encode("utf-8", "replace")
    # Binary files match patterns of text by accident.
    if b"\0" not in data[:8192]:
        yield from secrets_in(data, is_config=is_config, is_tree=is_tree)
