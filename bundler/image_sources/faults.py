"""Errors of image sources: problems of the input, reported all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from installer.core.errors import Problem, TamperedError, UnfitInputError

AGAIN = "save the image again, and check that the copy was complete"
"""The hint for what ends early, or is not what the rest of the archive says."""
DAMAGED = "the copy is damaged: save or fetch the image again"
"""The hint where bytes do not have their digest or their size."""
HOSTILE = "do not use this archive: no engine writes such archives"
"""The hint for what only somebody writes who wants it to be misread."""
OTHER_FORM = "save or push the image again with a current version of the tool that made it"
"""The hint for a document in a form that is not known."""


@contextmanager
def as_input() -> Iterator[None]:
    """Turn errors of the strict parsers into errors of the input.

    Raises:
        UnfitInputError: In place of TamperedError.
    """
    try:
        yield
    except TamperedError as error:
        # "Tampered" is about bundles; a broken input of a build is another exit code. The remedy of that
        # class says that the file is damaged: nothing shows it where only a form is unknown.
        hint = OTHER_FORM if error.hint == TamperedError.remedy else error.hint
        raise UnfitInputError(error.what, where=error.where, hint=hint) from None


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
