"""Ask many at once, and wait for the answers only so long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from installer.host.system import System
from installer.shared.terminal import interrupts

T = TypeVar("T")


def ask_all(
    system: System, questions: Sequence[Callable[[], T]], *, at_once: int, seconds: float
) -> list[T | None]:
    """Return the answers to some questions, in their order; None for one that did not come in time.

    Args:
        system: The host, for its clock.
        questions: Each is asked in a thread of its own.
        at_once: Most threads.
        seconds: How long one question may take; the wait for all of them follows from it.
    """
    work: queue.SimpleQueue[int] = queue.SimpleQueue()
    found: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    for number in range(len(questions)):
        work.put(number)

    def asks() -> None:
        while True:
            try:
                number = work.get_nowait()
            except queue.Empty:
                return
            found.put((number, questions[number]()))

    # A name server that is silent blocks its thread longer than we wait: the program ends without it.
    for _ in range(min(at_once, len(questions))):
        threading.Thread(target=asks, daemon=True).start()
    rounds = -(-len(questions) // at_once)
    end = system.monotonic() + rounds * seconds + 1
    answers: list[T | None] = [None] * len(questions)
    with interrupts.waiting():
        for _ in questions:
            try:
                number, answer = found.get(timeout=max(end - system.monotonic(), 0.0))
            except queue.Empty:
                break
            answers[number] = answer
    return answers
