"""What a fuzz target is: a parser, seeds made by code, and an oracle.

The oracle is the same everywhere: whatever the bytes, the parser ends with a value or with one of the errors
that it names, within the memory and the time that the driver leaves it; and what it accepts, it accepts for a
reason that the target can check by itself: it is written back to the same, or another reader understands it
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from installer.core.errors import WaybillError

Seeds = Callable[[], list[bytes]]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser under fuzz.

    Attributes:
        name: What the driver calls it.
        check: Takes any bytes; raises only where the oracle is violated.
        seeds: Makes the first corpus: good inputs, and bad ones that lead far.
        runs: Executions of the short run.
        most: Bytes of the largest input.
        words: Pieces of the format that the fuzzer may put in.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Seeds
    runs: int = 4000
    most: int = 4096
    words: tuple[bytes, ...] = ()


@contextmanager
def refusal(*kinds: type[WaybillError]) -> Iterator[None]:
    """Lets pass the errors that a parser may end with; each says what is wrong and is no fault of ours."""
    try:
        yield
    except kinds as error:
        if not error.what or error.exit_code == 1:
            raise AssertionError(f"a refusal that says nothing: {error!r}") from error


def same(one: object, two: object) -> None:
    """Demands that two readings are one.

    Raises:
        AssertionError: They differ.
    """
    if one != two:
        raise AssertionError(f"read in two ways: {one!r:.300} and {two!r:.300}")
