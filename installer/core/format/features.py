"""What a bundle requires of its readers: a schema, and the words of the features that it uses.

A manifest of a later version may have fields, numbers and files that this version refuses. That is no
tampering: the publisher signed it, and a newer reader accepts it. So the two lines that say what the manifest
requires are looked for in its bytes, before anything else of it is parsed. Every version of the format keeps
these two lines in this form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from installer.core.errors import NeedsNewerError

ANSIBLE = "ansible/1"
"""Playbooks that are run on the host, and their files."""
ANSIBLE_CORE = "ansible-core/1"
"""ansible-core that travels with a step, as files for the Python of the host."""
ANSIBLE_INVENTORY = "ansible-inventory/1"
"""Playbooks that run on hosts of an inventory of the site."""
ATTRIBUTES = "attributes/1"
"""Capabilities of files, and directories with an owner, a setgid or a sticky bit."""
NAMES = "names/1"
"""Names that do not fit a tar header: blanks, letters of every script, long names."""
COMPOSE_ENV = "compose-env/1"
"""Compose projects whose variables are filled in from a rendered environment file."""
COMPOSE_OVERRIDE = "compose-override/1"
"""Compose projects to which the site may add a file of its own."""
CLUSTER = "cluster/1"
"""What a release expects of the cluster of a host: its peers, and how many of them have to answer."""
HEALTH = "health/1"
"""Probes of units and of Prometheus servers, and what a probe says of an answer besides its one status."""
HELM = "helm/1"
"""Charts that are installed in a cluster, and the files of charts."""
KUBECTL = "kubectl/1"
"""Manifests of Kubernetes that are applied as they are."""
LAYERS = "layers/1"
"""Values for environments and clusters, besides the defaults."""
COMPOSE_PROJECT = "compose-project/1"
"""Compose projects of several files, and of files that they refer to."""
TOOLS = "tools/1"
"""Programs that steps run, carried for each platform, with their licences."""
TIMEOUTS = "timeouts/1"
"""Configuration files that say how long their commands may take."""
ON_CHANGE = "on-change/1"
"""Configuration files whose change reloads or restarts a unit, or runs a command."""
QUADLET = "quadlet/1"
"""Files that Podman's generator makes units of."""
QUADLET_KUBE = "quadlet-kube/1"
"""Files of Podman's generator that end in `.kube` and `.image`, and the manifests that they name."""
SALT = "salt/1"
"""Salt states that are applied to the host."""
SCRIPT_VALUES = "script-values/1"
"""Scripts that get the values of the site."""
SYSTEMD = "systemd/1"
"""Drop-ins, instances, and files for sysusers.d, tmpfiles.d, modules-load.d, sysctl.d and udev."""
USER_UNITS = "user-units/1"
"""Units that the manager of a user runs."""
VALIDATORS = "validators/1"
"""Configuration files that a command checks before anything is changed."""
WHOLE_IMAGES = "whole-images/1"
"""Images with the index of their maker, for all its platforms, and with their signatures."""
KNOWN = frozenset(
    {
        *(ANSIBLE, ANSIBLE_INVENTORY, ATTRIBUTES, NAMES, CLUSTER, COMPOSE_ENV, COMPOSE_OVERRIDE),
        *(COMPOSE_PROJECT, HEALTH, HELM, KUBECTL),
        *(LAYERS, ON_CHANGE, QUADLET, QUADLET_KUBE, SALT, SCRIPT_VALUES, SYSTEMD, TIMEOUTS, USER_UNITS),
        *(ANSIBLE_CORE, TOOLS, VALIDATORS, WHOLE_IMAGES),
    }
)
"""The words of this version. A word is never taken back: bundles that use it exist."""
WORD = re.compile(r"[a-z][a-z0-9-]{0,62}/[1-9][0-9]{0,5}")
WORD_FORM = "words such as names/1"
MOST = 64
"""The largest number of words in one manifest."""

LATER = re.compile(r"waybill/bundle/v(?!1\Z)[1-9][0-9]{0,5}")
_SCHEMA = re.compile(rb'\n"schema":"(waybill/bundle/v(?!1")[1-9][0-9]{0,5})"')
_LIST = re.compile(rb'\n"requires":\[((?:\n"%b",?){1,%d})\n\]' % (WORD.pattern.encode(), MOST))
_HINT = (
    "the bundle is not damaged: get a newer version of Waybill from the publisher of the bundle (`--version` "
    "shows the version of this one), and run the command again with it"
)


def check_known(data: bytes, where: str) -> None:
    """Refuse a manifest that this version cannot understand, before it is parsed.

    Args:
        data: bundle.json. Its digest was compared with the signed list before.
        where: How errors name it.

    Raises:
        NeedsNewerError: It has another schema, or requires a word that this version does not know.
    """
    # By bytes, not by a parser: this must not fail at what only a newer parser understands. No text of JSON
    # contains a raw newline, so only a key at the beginning of a line can match.
    if schema := _SCHEMA.search(data):
        raise needs_newer_error(f"has the schema {schema[1].decode()}", where)
    if words := _LIST.search(data):
        require_known(words[1].decode().replace('"', "").replace(",", "").split(), where)


def is_word(value: object) -> bool:
    """Return whether a value of a list has the form of a word."""
    return isinstance(value, str) and WORD.fullmatch(value) is not None


def require_known(words: Iterable[str], where: str) -> None:
    """Refuse words that this version does not know.

    Raises:
        NeedsNewerError: There is one.
    """
    if unknown := sorted(set(words) - KNOWN):
        raise needs_newer_error(f"requires {', '.join(unknown)}", where)


def needs_newer_error(what: str, where: str) -> NeedsNewerError:
    """Return the error for a manifest of a newer version; `what` is what this version does not know."""
    return NeedsNewerError(
        f"needs a newer version of Waybill: it {what}, which this version does not know",
        where=where,
        hint=_HINT,
    )
