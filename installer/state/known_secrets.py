"""What a host knows to be secret: from the values of the site, and from configuration rendered earlier."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from installer.core.format.manifest import MANIFEST
from installer.core.limits import LIMITS, MIB
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared import strict_yaml
from installer.shared.secrecy.declared import secret_values
from installer.shared.secrecy.notations import secrets_of
from installer.state.recorded_values import read_secrets
from installer.state.site_layers import all_layer_files

_RENDERED = re.compile(r"/rendered/[0-9]+/[0-9]+$")
_MOST = 16 * MIB
"""Bytes of rendered configuration that are read; the newest first."""
_MOST_VALUES = 4 * MIB
"""Bytes of values files that are read; those of this host first. It takes seconds to parse them."""
# Searched for, not parsed: a manifest may have a hundred thousand files.
_SCHEMA = re.compile(rb'"values_schema":\s?"([^"\\]{1,255})"')
_LAYER = re.compile(r'\{"layer":"[a-z]+","name":"[a-z0-9-]+","path":"(config/[^"\\]{1,255})"\}')


def known_secrets(system: System, layout: Layout) -> set[str]:
    """Return what a product's values and its rendered configuration name as secret.

    What this user may not read, or cannot be read, counts as nothing: it is shown by nobody either.

    Args:
        system: The host.
        layout: Where this product's things lie.
    """
    found = set[str]()
    manifest, left = _manifest(system, layout), _MOST_VALUES
    schema = _schema(system, layout, manifest)
    # Those of the release last: `bundle create` refuses what looks like a secret in them.
    shipped = dict.fromkeys(_LAYER.findall(manifest.decode("utf-8", "surrogateescape")))
    for path in chain(all_layer_files(system, layout), (f"{layout.current}/{each}" for each in shipped)):
        with suppress(OSError):
            data = system.read(path, strict_yaml.MAX_BYTES, follow=True)
            left -= len(data)
            if left < 0:
                break
            found |= values_secrets(data, schema)
    for data in _rendered(system, layout):
        found |= secrets_of(data.decode("utf-8", "replace").splitlines())
    return found | set(_of_stores(system, layout))


def values_secrets(data: bytes, schema: Any = None) -> set[str]:
    """Return the secrets in a values file: by its keys and the schema, and by the notations in its text."""
    # Of a file that is not YAML what its lines look like still counts: support is asked about such files.
    document = strict_yaml.load(data, "values")
    found = set(secret_values(document.value, schema if isinstance(schema, dict) else None).values())
    return found | secrets_of(data.decode("utf-8", "replace").splitlines())


def _manifest(system: System, layout: Layout) -> bytes:
    """Return the manifest of the running release; empty where there is none."""
    with suppress(OSError):
        return system.read(f"{layout.current}/{MANIFEST}", LIMITS.manifest_bytes, follow=True)
    return b""


def _schema(system: System, layout: Layout, manifest: bytes) -> Any:
    """Return the values schema of the running release; None where there is none."""
    with suppress(OSError, ValueError, RecursionError):
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


def _of_stores(system: System, layout: Layout) -> Iterator[str]:
    """Yield the secrets of stores in what was rendered, those that were rotated since included."""
    # No notation need tell of them.
    with suppress(OSError):
        for record in system.names(layout.rendered):
            for place, spans in read_secrets(system, layout, record).spans.items():
                with suppress(OSError, ValueError, LookupError, TypeError):
                    text = _text_at(system, layout.record(record), place)
                    yield from (text[start:end] for start, end in spans)


def _text_at(system: System, record: str, place: str) -> str:
    """Return a rendered file of a record, or a text of a health check."""
    kind, _, number = place.partition(" ")
    if not number:
        return system.read(f"{record}/{place}", LIMITS.document_bytes).decode("utf-8", "replace")
    number, _, name = number.partition(".")
    field, _, place = name.partition("[")
    found = json.loads(system.read(f"{record}/record.json", _MOST))
    key = kind if field in ("", "command") else f"{kind}_more"
    text = found[key][int(number)][field or "target"]
    return str(text[int(place[:-1])] if place else text)
