"""Programs that travel with a step, one for each platform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from installer.core.format.entries.method_spec import Option
from installer.core.format.manifest import FileEntry


def faults(
    named: Iterable[tuple[Option, str]], by_path: Mapping[str, FileEntry]
) -> Iterator[tuple[str, str]]:
    """Yield the options of a step with two programs for one platform: no host could tell which one is meant.

    Args:
        named: The files of the step, each with its option.
        by_path: The files of the release.
    """
    seen = Counter((option.key, by_path[path].platform) for option, path in named if option.is_tool)
    yield from ((key, f"has two programs for {platform}") for (key, platform), n in seen.items() if n > 1)
