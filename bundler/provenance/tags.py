"""Which tag of a commit names a release: its version, and the product where a repository has several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from installer.core.errors import UsageError
from installer.core.semver import parse

# A part of what git allows in a tag (git-check-ref-format(1)); no sign of it means something to a shell.
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+-]{0,99}")
_SEPARATORS = ("/", "-", "_", "@")


@dataclass(frozen=True, slots=True)
class ReleaseName:
    """What a tag has to name.

    Attributes:
        product: The product.
        version: Its version, without a leading `v`.
        prefix: The text before the version in its tags; empty: the product's name, or nothing.
    """

    product: str
    version: str
    prefix: str = ""

    def choose(self, tags: Iterable[str]) -> str:
        """Return the tag that names this release; empty if none does.

        The result depends only on tags of this version, not on others that were fetched or not.

        Args:
            tags: All tags of the commit.
        """
        there = set(tags)
        return next((tag for tag in self.candidates() if tag in there), "")

    def candidates(self) -> Iterator[str]:
        """Yield the tags that would name this release, the preferred one first."""
        prefixes = (self.prefix,) if self.prefix else ("", *(self.product + each for each in _SEPARATORS))
        for prefix in prefixes:
            yield f"{prefix}v{self.version}"
            yield f"{prefix}{self.version}"

    @property
    def example(self) -> str:
        """The tag to make."""
        return next(self.candidates())


def checked_prefix(given: str) -> str:
    """Return the value of `--tag-prefix`.

    Raises:
        UsageError: No tag could begin like this, or it has the version in it.
    """
    if not given or _PREFIX.fullmatch(given):
        return given
    raise UsageError(
        f"{given!r:.80} cannot be the beginning of a tag",
        where="--tag-prefix",
        hint="give the text before the version, for example --tag-prefix svc-a/ for svc-a/v1.4.0",
    )


def names_a_version(tag: str) -> bool:
    """Return whether a tag is the name of some version, such as `svc-b/v2.0.0`."""
    match = re.search(r"v?[0-9]+\.[0-9]+\.[0-9]+[^/]*$", tag)
    try:
        return match is not None and bool(parse(match[0]))
    except UsageError:
        return False
