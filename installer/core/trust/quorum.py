"""Who counts for what: each owner fills one place at most, however many keys and roles are theirs.

A policy asks for so many owners of each role. Whether the owners who signed can fill all places, each of them
one, is the assignment problem; augmenting paths solve it exactly, so that the order of signatures never
decides.
"""

from __future__ import annotations

from collections.abc import Mapping


def assign_owners(
    needs: Mapping[str, int], signed: Mapping[str, frozenset[str]]
) -> dict[str, tuple[str, ...]]:
    """Fill as many places as can be filled.

    Args:
        needs: Role to how many owners it asks for.
        signed: Role to the owners whose signatures count for it, as `fold_owner` gives them.

    Returns:
        Role to the owners that fill its places, sorted; each owner is there once. A role that could not be
        filled has fewer owners than it asks for.
    """
    place_of: dict[str, tuple[str, int]] = {}
    holder: dict[tuple[str, int], str] = {}

    def seat(place: tuple[str, int], seen: set[str]) -> bool:
        for owner in sorted(signed.get(place[0], frozenset())):
            if owner in seen:
                continue
            seen.add(owner)
            taken = place_of.get(owner)
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
    """Return an owner's name as it is compared: letter case makes no second person."""
    return owner.casefold()
