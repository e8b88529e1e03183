"""Deletes objects from a cluster, and waits until they are gone."""

from __future__ import annotations

from collections.abc import Sequence

from installer.deploy.kubernetes.changes import batches
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.objects import KubeObject, text_of

SECONDS = 120.0
"""Seconds that a deletion may take: finalizers run meanwhile."""


def delete(client: Client, objects: Sequence[KubeObject], *words: str, seconds: float = SECONDS) -> None:
    """Delete objects; those that are not there are no error.

    Args:
        client: The cluster.
        objects: The objects.
        words: More words for `kubectl delete`.
        seconds: How long it may take, for each call.

    Raises:
        StepError: The cluster does not answer, or one is not gone in time.
    """
    for place, batch in batches(client, objects):
        asked = ("delete", "--filename", "-", "--ignore-not-found", "--wait=true", f"--timeout={seconds:g}s")
        ended = place.kubectl(*asked, *words, stdin=text_of(batch).encode(), timeout=seconds + 30)
        if not ended.ok:
            raise client.failure("kubectl delete", ended)
