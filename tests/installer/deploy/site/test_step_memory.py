"""Errors of steps that need memory for their secrets: they name the place and the remedy."""

from __future__ import annotations

import pytest

from installer.deploy.operation import StepError
from installer.deploy.site.step_memory import memory_problems, step_memory
from installer.host import private_copy


def test_a_host_without_a_file_system_in_memory_is_told_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert memory_problems("Salt has to write secrets") == []
    monkeypatch.setattr(private_copy, "_PLACES", ("/", "/nowhere"))
    (problem,) = memory_problems("Salt has to write secrets")
    assert str(problem).startswith("/dev/shm: is no file system in memory, where Salt has to write secrets")
    assert problem.hint == "mount a tmpfs on it"
    with pytest.raises(StepError) as caught, step_memory(lambda _: {}):
        raise AssertionError
    assert (caught.value.where, caught.value.what) == (
        "/ or /nowhere",
        "cannot be used: no file system in memory",
    )
    assert caught.value.hint.startswith("mount a tmpfs on /dev/shm, with space for")


def test_files_that_cannot_be_written_are_told_and_errors_of_the_step_itself_stay() -> None:
    with (
        pytest.raises(StepError, match="cannot be used: File name too long"),
        step_memory(lambda _: {"a" * 300: b""}),
    ):
        raise AssertionError
    with pytest.raises(PermissionError), step_memory(lambda _: {}):
        raise PermissionError
