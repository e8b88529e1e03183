"""Lists of all files of a directory that travels as a whole with a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from installer.core.format.entries import ansible_core_files, chart_files, playbook_files, salt_states
from installer.core.format.entries.method_spec import Option


def faults(options: Iterable[Option], given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with such lists, each with the key of its option.

    Args:
        options: What the method of the step has.
        given: What the step says.
    """
    for option in options:
        named, fault = given.get(option.key), ""
        # A chart may be one archive, which says nothing of a directory.
        if option.kind == chart_files.KIND and isinstance(named, list):
            fault = chart_files.fault(named)
        elif option.kind == ansible_core_files.KIND and isinstance(named, list):
            fault = ansible_core_files.fault(named)
        elif option.kind == playbook_files.KIND and option.list_feature:
            files = named if isinstance(named, list) else [str(named)]
            fault = playbook_files.fault(files, str(given.get("undo", "")))
        elif option.kind == salt_states.KIND and isinstance(named, list):
            yield from salt_states.faults(given)
        if fault:
            yield option.key, fault
