"""Which rendered texts depend on secrets of stores, and where the secrets stand in them.

Each text is rendered a second time with the references in place of the secrets: if the two are the same, it
tells nothing about them. To follow a value through filters, loops and conditions would miss some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from installer.shared.rendering.release import Origin, Template, render_all
from installer.shared.rendering.template import RenderError
from installer.shared.secrecy.known import Secrets

Renderer = Callable[[Sequence[Template]], Iterator[bytes | RenderError]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The result of one template.

    Attributes:
        data: The bytes, or why there are none.
        confidential: Whether they depend on a secret.
        spans: The first character of each secret in them, and the one behind it.
        referring: If they do, the same with the references in place of the secrets; None where there is none.
    """

    data: bytes | RenderError = field(repr=False)
    confidential: bool = False
    spans: tuple[tuple[int, int], ...] = ()
    referring: bytes | RenderError | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """Renders the templates of a release.

    Attributes:
        values: What they may use, references resolved.
        unresolved: The same with the references; None where there are none.
        origin: Returns where the value of a key comes from.
        secrets: The secrets in `values`.
    """

    values: Mapping[str, Any] = field(repr=False)
    unresolved: Mapping[str, Any] | None
    origin: Origin
    secrets: Secrets = field(repr=False)

    @classmethod
    def of(
        cls,
        values: Mapping[str, Any],
        unresolved: Mapping[str, Any],
        origin: Origin,
        secrets: Iterable[str],
    ) -> Rendering:
        """Return what renders with these values.

        Args:
            values: References resolved.
            unresolved: The same with the references.
            origin: Returns where the value of a key comes from.
            secrets: The secrets.
        """
        known = Secrets()
        known.add(secrets)
        return cls(values, None if values == unresolved else unresolved, origin, known)

    def __call__(self, templates: Sequence[Template]) -> Iterator[Rendered]:
        """Yield the result of each template; after one that took too much, none."""
        results = list(render_all(templates, self.values, self.origin))
        if self.unresolved is None:
            yield from map(Rendered, results)
            return
        others = render_all(templates[: len(results)], self.unresolved, self.origin)
        # Where the second one ends early or fails, it depends on what was different.
        for made, other in zip_longest(results, others):
            if isinstance(made, RenderError):
                yield Rendered(made, confidential=True)
            elif made == other:
                yield Rendered(made)
            else:
                spans = self.secrets.spans(made.decode("utf-8", "replace"))
                yield Rendered(made, confidential=True, spans=tuple(spans), referring=other)
