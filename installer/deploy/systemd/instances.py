"""The instances of templates that run on a host, or are started there at boot."""

from __future__ import annotations

import re
from collections.abc import Sequence

from installer.core.format.entries.unit_names import is_template, template_of
from installer.deploy.operation import StepError
from installer.deploy.systemctl import systemctl
from installer.host.context import Context

_GLOB = re.compile(r"([*?\[\]])")
_STATES = "--state=active,activating,reloading"


def host_instances(context: Context, templates: Sequence[str]) -> list[str]:
    """Return the instances of templates that run or are enabled, whoever started or enabled them.

    Args:
        context: The host.
        templates: Such as `chat@.service`.

    Raises:
        StepError: systemd does not answer.
    """
    if not templates:
        return []
    patterns = [_GLOB.sub(r"[\1]", name).replace("@.", "@*.") for name in templates]
    words = ("--plain", "--no-legend", "--no-pager")
    found: dict[str, None] = {}
    for asked in (("list-units", "--all", _STATES), ("list-unit-files", "--state=enabled")):
        ended = systemctl(context, *asked, *words, *patterns)
        # `list-unit-files` of some versions fails where it finds nothing, and says nothing then.
        if not ended.ok and (ended.stderr.strip() or ended.timed_out):
            what = f"cannot list the instances of {', '.join(templates)}: {ended.reason(context.secrets)}"
            raise StepError(what).of(ended, context.secrets)
        for line in ended.stdout.decode("utf-8", "replace").splitlines():
            unit = line.split()[0] if line.split() else ""
            if template_of(unit) in templates and not is_template(unit):
                found[unit] = None
    return list(found)
