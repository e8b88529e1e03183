"""A thread that carries out tasks in order while its caller goes on: hashing, compressing, writing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

DEPTH = 4
"""Tasks of one lane that may be waiting or running; a buffer can be reused after so many more `put`."""


class Lane:
    """A context manager around one thread; at its end all tasks are done, or their first error is raised."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)
        self._pending: deque[Future[None]] = deque()

    def put(self, task: Callable[..., None], *args: object) -> None:
        """Add a task; wait while `DEPTH` are pending. Raises what an earlier task has raised."""
        self._pending.append(self._pool.submit(task, *args))
        # Without a bound, a fast reader would fill the memory in front of a slow writer.
        if len(self._pending) == DEPTH:
            self._pending.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._pending:
                self._pending.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)
