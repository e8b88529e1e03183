"""Errors of image sources: problems of the input, reported all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from installer.core.errors import Problem, TamperedError, UnfitInputError

AGAIN = "save the image again, and check that the copy was complete"
"""The hint for an archive that is damaged."""


@contextmanager
def as_input() -> Iterator[None]:
    """Turn errors of the strict parsers into errors of the input.

    Raises:
        UnfitInputError: In place of TamperedError.
    """
    try:
        yield
    except TamperedError as error:
        # "Tampered" is about bundles; a broken input of a build is another exit code.
        raise UnfitInputError(error.what, where=error.where, hint=error.hint or AGAIN) from None


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise all problems as one error; a single problem without a list.

    Raises:
        UnfitInputError: There is a problem.
    """
    # A list of one item would only hide the message one level deeper.
    if len(problems) == 1:
        raise UnfitInputError(problems[0].what, where=problems[0].where, hint=problems[0].hint)
    if problems:
        raise UnfitInputError(f"{len(problems)} problems with images", problems=problems)
