"""Assigns owners to roles: each owner counts once, however many keys and roles they have.

A policy requires a number of owners in each role. Whether the owners who signed can fill all places is the
assignment problem; augmenting paths solve it exactly, so that the order of signatures never decides.

`unmet` asks the same of a whole root: the thresholds and policies that too few owners are left for. The desk
refuses to write such a root, and hosts warn of it. Hosts do not refuse it: a root that revokes a stolen key
has to take effect at once, also where the key leaves a gap.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from installer.core.trust.root import Root

_IGNORABLE = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
"""Characters that are not shown: Default_Ignorable_Code_Point in DerivedCoreProperties.txt of Unicode 15.0.

Whole, with what Unicode reserves for more of them: the table need not follow Unicode.
"""
_BLANK = (0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0)
"""Characters that are shown as a blank and are no white space: the Hangul fillers, the empty Braille cell."""
_UNSEEN = {
    **{code: None for first, last in _IGNORABLE for code in range(first, last + 1)},
    **dict.fromkeys(_BLANK, " "),
}


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
    """Return an owner's name as it is compared: what people read as the same name is one person.

    Case, runs of white space, the forms of Unicode for one letter and characters that nobody sees make no
    difference.
    """
    # Folding can make letters that are composed again, as does leaving out what is between a letter and its
    # accent: the form is made once more at the end.
    folded = unicodedata.normalize("NFKC", owner).casefold().translate(_UNSEEN)
    return " ".join(unicodedata.normalize("NFKC", folded).split())


@dataclass(frozen=True, slots=True)
class Unmet:
    """One threshold, or one policy, that nobody can satisfy.

    Attributes:
        place: What is not met: `role NAME` or `environment NAME`.
        what: Why, in words.
        roles: The roles that lack owners.
        missing: How many owners are missing.
    """

    place: str
    what: str
    roles: tuple[str, ...]
    missing: int

    @property
    def text(self) -> str:
        """Place and reason as one sentence."""
        return f"{self.place}: {self.what}"


def unmet(root: Root) -> tuple[Unmet, ...]:
    """Return everything that the keys of a root, without those that are revoked, cannot satisfy."""
    found = []
    for name, role in sorted(root.roles.items()):
        owners = len({fold_owner(key.owner) for key in root.holders(name)})
        if owners < role.threshold:
            # Keys are not counted here: several can be of one person.
            left = "1 owner has" if owners == 1 else f"{owners or 'no'} owners have"
            asks = "1 owner" if role.threshold == 1 else f"{role.threshold} owners"
            what = f"signatures of {asks} are required, but {left} a key that is not revoked"
            found.append(Unmet(f"role {name}", what, (name,), role.threshold - owners))
    for name, policy in sorted(root.environments.items()):
        ways = [root.needs(policy)]
        if policy.break_glass:
            glass = root.roles["break-glass"].threshold
            ways.append({"release": ways[0]["release"], "break-glass": glass})
        lacks = [short_roles(root, needs) for needs in ways]
        if short := sorted({role for lack in lacks for role in lack}):
            what = f"the policy cannot be met: too few owners have a key for {', '.join(short)}"
            missing = sum(sum(lack.values()) for lack in lacks)
            found.append(Unmet(f"environment {name}", what, tuple(short), missing))
    return tuple(found)


def short_roles(
    root: Root,
    needs: Mapping[str, int],
    same: Callable[[str], str] = fold_owner,
    *,
    with_revoked: bool = False,
) -> dict[str, int]:
    """Return how many owners each role lacks that gets too few, although all owners sign as well as possible.

    Args:
        root: The keys and roles.
        needs: Number of owners that each role requires.
        same: Makes names of one person equal.
        with_revoked: Whether keys count that are revoked.
    """
    held = {
        role: [root.keys[keyid] for keyid in root.roles[role].keys] if with_revoked else root.holders(role)
        for role in needs
    }
    owners = {role: frozenset(same(key.owner) for key in keys) for role, keys in held.items()}
    filled = assign_owners(needs, owners)
    lack = {role: count - len(filled[role]) for role, count in needs.items()}
    return {role: count for role, count in lack.items() if count > 0}
