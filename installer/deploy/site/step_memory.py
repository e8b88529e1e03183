"""Private directories in memory for steps, and the errors of hosts that have no place for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from installer.core.errors import Problem
from installer.deploy.operation import StepError
from installer.host.private_copy import memory_directory, memory_place

_PLACE = "/dev/shm"  # noqa: S108 - where a host lacks one, this is where it belongs


def memory_problems(use: str) -> list[Problem]:
    """Return why this host cannot keep the secrets of a step in memory.

    Args:
        use: Who does what there, such as `Salt has to write secrets`.
    """
    if memory_place():
        return []
    return [Problem(_PLACE, f"is no file system in memory, where {use}", "mount a tmpfs on it")]


@contextmanager
def step_memory(files_of: Callable[[str], Mapping[str, bytes]]) -> Iterator[str]:
    """Yield a private directory in memory for a step.

    Args:
        files_of: Returns the contents of the files by their paths below the directory, which it gets.

    Raises:
        StepError: There is no file system in memory, or no space in it.
    """
    with ExitStack() as stack:
        # Not around the `yield`: errors of the step itself are not about memory.
        try:
            place = stack.enter_context(memory_directory(files_of))
        except OSError as error:
            hint = f"mount a tmpfs on {_PLACE}, with space for secrets and temporary files of the step"
            what = f"cannot be used: {error.strerror}"
            raise StepError(what, where=str(error.filename or _PLACE), hint=hint) from error
        yield place
