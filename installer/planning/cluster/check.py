"""Whether a cluster can do without this host while its services restart: the preflight of peers and quorum.

A peer that does not answer is a note. It is a problem where the release names a quorum and fewer peers than
that would be left: the operator repairs the cluster first, or says that its loss is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from installer.core.errors import Problem
from installer.core.format.manifest import MAJORITY, ClusterNeeds, Manifest
from installer.host.context import Context
from installer.host.system import System
from installer.planning.cluster.discovery import static_notes
from installer.planning.cluster.members import Cluster, recorded_members, sight_of
from installer.planning.cluster.probe import PeerState, ask
from installer.shared.terminal.listing import more
from installer.state.release import Release
from installer.state.state import Entry

OPTION = "--allow-quorum-loss"
_NAMED = 20
"""Peers that a plan lists without `--all`."""
_HEALTHY = {"connect": "answers", "resolve": "can be resolved", "seen": "seen"}
"""What is said of a peer that is healthy, by what was looked at."""
_SHORT = 5
"""Peers that a note names."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction does to the member of the cluster that this host is.

    Attributes:
        restarts: Whether services of this host are stopped or started.
        runs: Whether a release runs here by now, so that the cluster counts on this host.
        stays: Whether it runs afterwards; False for a removal.
        allowed: Whether the operator accepts that the quorum is lost.
    """

    restarts: bool
    runs: bool
    stays: bool
    allowed: bool = False


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """The cluster of a plan.

    Attributes:
        cluster: The cluster.
        states: What was found of each peer; empty where nobody was asked.
        quorum: How many peers have to answer; 0 where that is not checked.
        left: How many of the others answer: those that are left without this host.
        problems: Why the plan cannot be carried out now.
        notes: What the operator should know.
        accepted: The loss of the quorum that the operator accepted, in words; empty for none.
        checked: What was looked at of each peer.
    """

    cluster: Cluster
    states: tuple[PeerState, ...] = ()
    quorum: int = 0
    left: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    accepted: str = ""
    checked: str = "connect"

    @property
    def healthy(self) -> int:
        """How many peers answer, this host included."""
        return sum(not each.fault for each in self.states)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        asked = {each.peer.id: each for each in self.states}
        return {
            "id": self.cluster.id,
            "node": self.cluster.node,
            "source": "mdns" if self.cluster.settings and self.cluster.settings.renders else "values",
            "peers": [
                {
                    "id": peer.id,
                    "address": peer.address,
                    "port": peer.port or None,
                    "own": peer.id == self.cluster.node,
                    "healthy": not asked[peer.id].fault if peer.id in asked else None,
                    "seen": asked[peer.id].seen if peer.id in asked else None,
                    "fault": (asked[peer.id].fault if peer.id in asked else "") or None,
                }
                for peer in self.cluster.peers
            ],
            "quorum": self.quorum or None,
            "left": self.left if self.states else None,
            "quorum_loss_accepted": bool(self.accepted),
        }

    def lines(self, *, everything: bool = False) -> Iterator[str]:
        """Yield it for people; of many peers the first, unless `everything` is to be shown."""
        cluster, asked = self.cluster, {each.peer.id: each for each in self.states}
        if not cluster.peers:
            return
        settings = cluster.settings
        source = f", peers as seen on {settings.interface}" if settings and settings.renders else ""
        yield f"cluster {cluster.id}, this host is {cluster.node}{source}:"
        # Those that do not answer come first where not all can be shown.
        peers = sorted(cluster.peers, key=lambda peer: not (peer.id in asked and asked[peer.id].fault))
        shown = list(cluster.peers) if everything or len(peers) <= _NAMED else peers[:_NAMED]
        width = max(len(peer.id) for peer in shown)
        for peer in shown:
            state = asked.get(peer.id)
            own = "this host" if peer.id == cluster.node else ""
            said = "" if state is None else self._said(state)
            seen = "" if state is None or state.seen is None else "seen" if state.seen else "not seen"
            words = ", ".join(filter(None, [own, said, "" if seen and seen in said else seen]))
            yield f"  {peer.id:{width}}  {peer.endpoint}" + (f"  {words}" if words else "")
        if len(shown) < len(peers):
            yield f"  {more(len(peers) - len(shown), 'peers')}"
        if self.quorum and self.states:
            yield f"  quorum: {self.quorum} of {len(peers)} peers; {self.healthy} answer"

    def _said(self, state: PeerState) -> str:
        if not state.fault:
            return _HEALTHY[self.checked]
        return f"does not answer: {state.fault}" if self.checked == "connect" else state.fault


def check_plan(
    context: Context,
    verb: str,
    current: Entry | None,
    old: Release | None,
    new: Release | None,
    cluster: Cluster | None,
    change: Change,
) -> ClusterReport | None:
    """Return what `check` finds for a plan; None where nothing is expected of a cluster.

    Args:
        context: The product.
        verb: `apply`, `rollback` or `remove`.
        current: The entry of the running release; None where none runs.
        old: The running release.
        new: The release that is to run; None for a removal.
        cluster: The cluster by the values, for `apply`.
        change: What the transaction does to this member.
    """
    needs = new.manifest.cluster if new else None
    # A rollback renders the members of long ago: the running release knows those of today.
    if verb != "apply" and current is not None and old is not None:
        needs = old.manifest.cluster
        cluster = _recorded(context, current, old.manifest) if needs else None
    return check(context.system, needs, cluster, change) if needs and cluster else None


def _recorded(context: Context, current: Entry, manifest: Manifest) -> Cluster | None:
    """Return the cluster of the running release, and who is seen of it now."""
    needs, sight = manifest.cluster, sight_of(context, current, manifest)
    found = recorded_members(context.system, context.layout, current.record, needs) if needs else None
    settings, _ = sight.settings() if needs and needs.mdns else (None, [])
    if needs is None or found is None:
        return found
    # What is wrong with the settings is told by the next installation, and keeps no host from its rollback.
    return replace(found, settings=settings, sight=sight)


def check(system: System, needs: ClusterNeeds, cluster: Cluster, change: Change) -> ClusterReport:
    """Ask the peers, and decide whether the cluster keeps its quorum.

    Args:
        system: The host.
        needs: What the release expects.
        cluster: The cluster of this host.
        change: What the transaction does.
    """
    # Below --root nothing is started, and this machine's network is not that of the host.
    if not cluster.peers or not (system.live or change.restarts):
        return ClusterReport(cluster)
    cluster = cluster.looked(needs)
    states = _states(system, needs, cluster)
    left = sum(not each.fault for each in states if not each.own)
    quorum = needs.quorum_of(len(cluster.peers))
    notes = list(_silent(states))
    problems, accepted = list[Problem](), ""
    if cluster.seen is not None:
        problems += cluster.seen.problems
        notes += static_notes(cluster.seen, cluster.peers)
    # A cluster that is being set up has no quorum yet that a first installation could take away.
    if change.restarts and change.runs and quorum and len(cluster.peers) > 1:
        told = _told(cluster, needs, states, left, quorum, change)
        if left >= quorum:
            notes += [told] if any(each.fault for each in states) else []
        elif change.allowed:
            accepted = told
            notes.append(f"{told}; {OPTION}: you accept this")
        else:
            hint = f"bring the other peers back first, or accept the loss of the quorum with `{OPTION}`"
            problems.append(Problem(f"cluster {cluster.id}", told, hint))
    return ClusterReport(cluster, states, quorum, left, tuple(problems), tuple(notes), accepted, needs.check)


def _states(system: System, needs: ClusterNeeds, cluster: Cluster) -> tuple[PeerState, ...]:
    """Ask the peers as the release says, and compare them with those that are seen."""
    if needs.check == "seen":
        states = [PeerState(peer, peer.id == cluster.node) for peer in cluster.peers]
    else:
        states = ask(system, needs, cluster.peers, cluster.node)
    if cluster.seen is None or cluster.settings is None:
        return tuple(states)
    made = []
    for each in states:
        seen = bool(cluster.seen.of(each.peer))
        silent = needs.check == "seen" and not seen
        fault = f"not seen on {cluster.settings.interface} within {cluster.settings.wait} s"
        made.append(replace(each, seen=seen, fault=fault if silent else each.fault))
    return tuple(made)


def _silent(states: tuple[PeerState, ...]) -> Iterator[str]:
    """Yield one sentence for all others that do not answer; the plan lists them with the reasons."""
    silent = [each.peer.id for each in states if each.fault and not each.own]
    if silent:
        rest = f", … {len(silent) - _SHORT} more" if len(silent) > _SHORT else ""
        do = "does" if len(silent) == 1 else "do"
        yield f"{len(silent)} of {len(states)} peers {do} not answer: {', '.join(silent[:_SHORT])}{rest}"


def _told(
    cluster: Cluster,
    needs: ClusterNeeds,
    states: tuple[PeerState, ...],
    left: int,
    quorum: int,
    change: Change,
) -> str:
    """Return in words what the change leaves of the cluster."""
    count, healthy = len(states), sum(not each.fault for each in states)
    answer = "answers" if healthy == 1 else "answer"
    does = f"restarts {cluster.node}" if change.stays else f"stops {cluster.node}"
    then = f"then {left} of {count} {'is' if left == 1 else 'are'} left"
    asked = f"{quorum}, the majority" if needs.quorum == MAJORITY else f"{quorum}"
    return f"{healthy} of {count} peers {answer}; this {does}, {then}: the quorum is {asked}"
