"""What a host knows to be secret: from the values of the site, and from configuration rendered earlier."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from installer.core.format.manifest import MANIFEST
from installer.core.limits import LIMITS, MIB
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared import strict_yaml
from installer.shared.secrecy.known import secret_values
from installer.shared.secrecy.notations import secrets_of

_RENDERED = re.compile(r"/rendered/[0-9]+/[0-9]+$")
_MOST = 16 * MIB
"""Bytes of rendered configuration that are read; the newest first."""
# Searched for, not parsed: a manifest may have a hundred thousand files.
_SCHEMA = re.compile(rb'"values_schema":\s?"([^"\\]{1,255})"')


def known_secrets(system: System, layout: Layout) -> set[str]:
    """Return what a product's values and its rendered configuration name as secret.

    What this user may not read, or cannot be read, counts as nothing: it is shown by nobody either.

    Args:
        system: The host.
        layout: Where this product's things lie.
    """
    found = set[str]()
    with suppress(OSError):
        data = system.read(layout.site_values, strict_yaml.MAX_BYTES, follow=True)
        found |= values_secrets(data, _schema(system, layout))
    for data in _rendered(system, layout):
        found |= secrets_of(data.decode("utf-8", "replace").splitlines())
    return found


def values_secrets(data: bytes, schema: Any = None) -> set[str]:
    """Return the secrets in a values file: by its keys and the schema, and by the notations in its text."""
    # Of a file that is not YAML what its lines look like still counts: support is asked about such files.
    document = strict_yaml.load(data, "values")
    found = set(secret_values(document.value, schema if isinstance(schema, dict) else None).values())
    return found | secrets_of(data.decode("utf-8", "replace").splitlines())


def _schema(system: System, layout: Layout) -> Any:
    """Return the values schema of the running release; None where there is none."""
    with suppress(OSError, ValueError, RecursionError):
        manifest = system.read(f"{layout.current}/{MANIFEST}", LIMITS.manifest_bytes, follow=True)
        if named := _SCHEMA.search(manifest):
            path = f"{layout.current}/{named[1].decode()}"
            return json.loads(system.read(path, LIMITS.document_bytes, follow=True))
    return None


def _rendered(system: System, layout: Layout) -> Iterator[bytes]:
    left = _MOST
    with suppress(OSError):
        # Not what scripts have saved there: it may be a whole database.
        paths = [path for path in system.tree(layout.rendered) if _RENDERED.search(path)]
        for path in sorted(paths, key=lambda path: int(path.split("/")[-2]), reverse=True):
            with suppress(OSError):
                data = system.read(path, LIMITS.document_bytes)
                left -= len(data)
                if left < 0:
                    return
                yield data
