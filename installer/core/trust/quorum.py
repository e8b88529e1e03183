"""Assigns owners to roles: each owner counts once, however many keys and roles they have.

A policy requires a number of owners in each role. Whether the owners who signed can fill all places is the
assignment problem; augmenting paths solve it exactly, so that the order of signatures never decides.
"""

from __future__ import annotations

from collections.abc import Mapping


def assign_owners(
    needs: Mapping[str, int], signed: Mapping[str, frozenset[str]]
) -> dict[str, tuple[str, ...]]:
    """Fill as many places as can be filled.

    Args:
        needs: Number of owners that each role requires.
        signed: Role to the owners whose signatures count for it, as `fold_owner` gives them.

    Returns:
        The owners of each role, sorted; each owner appears once. A role that could not be filled has fewer
        owners than it requires.
    """
    place_of: dict[str, tuple[str, int]] = {}
    holder: dict[tuple[str, int], str] = {}

    def seat(place: tuple[str, int], seen: set[str]) -> bool:
        for owner in sorted(signed.get(place[0], frozenset())):
            if owner in seen:
                continue
            seen.add(owner)
            taken = place_of.get(owner)
            # An owner who sits elsewhere may move if that place can be given to somebody else.
            if taken is None or seat(taken, seen):
                place_of[owner], holder[place] = place, owner
                return True
        return False

    for role in needs:
        for number in range(needs[role]):
            if not seat((role, number), set()):
                break
    return {
        role: tuple(
            sorted(holder[place] for place in holder if place[0] == role and place_of[holder[place]] == place)
        )
        for role in needs
    }


def fold_owner(owner: str) -> str:
    """Return an owner's name as it is compared: two spellings in upper and lower case are one person."""
    return owner.casefold()
