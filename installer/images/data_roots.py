"""Where an engine of this host keeps its images."""

from __future__ import annotations

from pathlib import Path


def data_roots(root: str, *, containerd: bool) -> tuple[str, ...]:
    """Return the directories in which an engine keeps images; none where they are not on this host.

    Args:
        root: What the engine calls its root.
        containerd: Whether images are in containerd's store.
    """
    wanted = [root]
    if containerd:
        # Docker reports its own root only; the blobs are in containerd's.
        wanted += ["/var/lib/containerd", *_configured_containerd_root()]
    return tuple(folder for folder in wanted if folder and Path(folder).is_dir())


def _configured_containerd_root() -> list[str]:
    # Imported here: only hosts with the containerd store need it.
    import tomllib

    try:
        root = tomllib.loads(Path("/etc/containerd/config.toml").read_text("utf-8")).get("root")
    except (OSError, ValueError):
        return []
    return [root] if isinstance(root, str) else []
