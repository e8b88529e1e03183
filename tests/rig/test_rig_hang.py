"""The guard against hanging tests counts the processor time of the test, and waits longer by the clock."""

from __future__ import annotations

import signal
import time

import pytest

from tests.rig.hang import ends


def compute_for_ever() -> None:
    while True:
        pass


def test_a_block_that_computes_for_ever_is_stopped_by_its_processor_time() -> None:
    with pytest.raises(AssertionError, match="of processor time"), ends(within=2):
        compute_for_ever()


def test_a_block_that_waits_for_ever_is_stopped_by_the_clock() -> None:
    with pytest.raises(AssertionError, match=r"still running after \d+ s$"), ends(within=0.02):
        time.sleep(600)


def test_a_block_that_waits_as_long_as_it_may_compute_is_not_stopped() -> None:
    with ends(within=2):
        time.sleep(2.1)


def test_the_handlers_are_what_they_were_afterwards() -> None:
    numbers = (signal.SIGALRM, signal.SIGPROF)
    before = [signal.getsignal(number) for number in numbers]
    with ends():
        pass
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
