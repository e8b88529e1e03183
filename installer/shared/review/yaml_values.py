"""YAML as the engines read it, with anchors, aliases and merge keys, as values: bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from installer.shared.strict_yaml import MAX_BYTES, MAX_NODES

if TYPE_CHECKING:
    from yaml import Node

MAX_DEPTH = 64
_MERGE = "tag:yaml.org,2002:merge"


class NotReadableError(ValueError):
    """The text is not YAML, or says too much."""


def yaml_values(data: bytes) -> Any:
    """Return the values of a YAML text; scalars stay text, but for true, false and null.

    Aliases are multiplied out, as engines do it, up to the bound of values.

    Raises:
        NotReadableError: It is no YAML, or too large.
    """
    import yaml

    if len(data) > MAX_BYTES:
        raise NotReadableError(f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        node = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError):
        raise NotReadableError("is not YAML") from None
    except RecursionError:
        raise NotReadableError("is nested too deep") from None
    return _Expander().value(node, MAX_DEPTH) if node is not None else None


class _Expander:
    def __init__(self) -> None:
        self._left = MAX_NODES

    def value(self, node: Node, depth: int) -> Any:
        import yaml

        self._left -= 1
        if depth < 0:
            raise NotReadableError(f"is nested deeper than {MAX_DEPTH} levels")
        if self._left < 0:
            raise NotReadableError(f"contains more than {MAX_NODES} values")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, depth - 1) for each in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        words = {"true": True, "false": False}
        if node.tag == "tag:yaml.org,2002:null":
            return None
        is_bool = node.tag == "tag:yaml.org,2002:bool"
        return words.get(str(node.value).lower(), node.value) if is_bool else node.value

    def _mapping(self, node: Node, depth: int) -> dict[str, Any]:
        own, merged = dict[str, Any](), dict[str, Any]()
        for key, value in node.value:
            made = self.value(value, depth - 1)
            if key.tag != _MERGE:
                own[str(key.value)] = made
                continue
            # Of several merged mappings the first wins; a key of its own wins over all.
            for each in made if isinstance(made, list) else [made]:
                merged = {**each, **merged} if isinstance(each, dict) else merged
        return {**merged, **own}
