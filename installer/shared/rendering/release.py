"""Renders the templates of a release in a child process that the kernel bounds.

`template.py` renders one template; it counts loops and measures texts, so that the usual mistake has an error
with its line. What it cannot count ends with the child.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from installer.core.limits import LIMITS, MIB
from installer.shared.child.bounded_child import Bounds, ExceededError, run_bounded
from installer.shared.rendering.template import RenderError, render

BOUNDS = Bounds()
BATCH_BYTES = 2 * LIMITS.document_bytes
"""Templates that are held in memory for one child."""
TOTAL_BYTES = 256 * MIB
"""All that the templates of one release may produce."""
Origin = Callable[[str], str]
_HINT = "simplify the template, or ship the file as it is"


@dataclass(frozen=True, slots=True)
class Template:
    """One template: what errors call it, and a function that reads its bytes."""

    name: str
    read: Callable[[], bytes]


def render_all(
    templates: Sequence[Template], values: Mapping[str, Any], origin: Origin | None = None
) -> Iterator[bytes | RenderError]:
    """Render templates with the same values; yield the bytes of each, or why there are none.

    After a template that took too much it ends, without the ones that follow: a thousand such templates would
    take a thousand times as long.

    Args:
        templates: Read when it is their turn.
        values: What they may use; plain mappings, lists, texts, numbers, booleans.
        origin: Returns where the value of a key comes from.
    """
    if not templates:
        return
    # Once, here: every child has it then, and starts at once.
    import installer.shared.rendering.template_sandbox  # noqa: F401

    total = 0
    batch: list[tuple[str, bytes]] = []
    for number, template in enumerate(templates, 1):
        batch.append((template.name, template.read()))
        if number < len(templates) and sum(len(data) for _, data in batch) < BATCH_BYTES:
            continue
        results = run_bounded([_job(data, name, values, origin) for name, data in batch], BOUNDS)
        for name, _ in batch:
            try:
                message = next(results)
            except ExceededError as error:
                yield RenderError(str(error), template=name, hint=_HINT)
                return
            total += len(message)
            if total > TOTAL_BYTES:
                what = f"makes the rendered files of the release larger than {TOTAL_BYTES // MIB} MiB"
                yield RenderError(what, template=name, hint=_HINT)
                return
            yield _result(message, name)
        batch = []


def _job(data: bytes, name: str, values: Mapping[str, Any], origin: Origin | None) -> Callable[[], bytes]:
    def job() -> bytes:
        try:
            return b"=" + render(data, name, values, origin)
        except RenderError as error:
            fields = {"what": error.what, "line": error.line, "key": error.key, "hint": error.hint}
            return b"!" + json.dumps(fields).encode()

    return job


def _result(message: bytes, name: str) -> bytes | RenderError:
    if message[:1] == b"=":
        return message[1:]
    try:
        fields = json.loads(message[1:])
        return RenderError(
            str(fields["what"]), template=name, line=int(fields["line"]), key=str(fields["key"]),
            hint=str(fields["hint"]),
        )  # fmt: skip
    except (ValueError, TypeError, KeyError):
        return RenderError("cannot be rendered", template=name, hint=_HINT)
