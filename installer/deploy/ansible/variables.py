"""Variables for Ansible that it takes as they are.

Ansible takes every text of a file of variables for a template, wherever it comes from: a password with two
braces would become another one, and one with a lookup would run a command as root, in check mode too. The
tag `!unsafe` of its YAML says of a text that it is none. Values of sites are data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_TAG = "!unsafe"


class _Dumper(yaml.SafeDumper):
    """Writes each text with the tag, keys included: a loop over a mapping makes values of them."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything where it is used: the tag does not belong to what is repeated."""
        return True


def _text(dumper: _Dumper, value: str) -> yaml.Node:
    return dumper.represent_scalar(_TAG, value, style='"')


_Dumper.add_representer(str, _text)


def as_they_are(variables: Mapping[str, Any]) -> bytes:
    """Return a file of variables, YAML in ASCII, in which no text is a template.

    Args:
        variables: What JSON can say, by names of variables.
    """
    # The names themselves are no values; Ansible compares them with those that it knows.
    lines = [f"{name}: {_flow(value)}" for name, value in variables.items()]
    return "".join(lines).encode("ascii") or b"{}\n"


def _flow(value: Any) -> str:
    made = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=1 << 30)
    # It ends a single value with a line that ends the document.
    return str(made).removesuffix("...\n")
