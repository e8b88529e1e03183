"""Releases with one step, whose template a site fills with values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from installer.core.format.manifest import Deployment, HealthCheck
from tests.rig.releases import Member, ReleaseSpec

VALUES = "config/values.yaml"


def stepped(
    number: int,
    step: Deployment,
    members: Mapping[str, Member],
    template: tuple[str, str, str],
    defaults: str = "",
    health: tuple[HealthCheck, ...] = (),
) -> ReleaseSpec:
    """Return a release with a step.

    Args:
        number: Which release.
        step: The step, without its template.
        members: The files of the step, and others.
        template: The option that names the template, its path in the bundle, and its text; no text for none.
        defaults: The default values of the bundle; empty for none.
        health: Probes.
    """
    option, path, text = template
    found, options = dict(members), dict[str, Any](step.options)
    if text:
        found[path] = Member(text.encode(), kind="template")
        options[option] = path
    if defaults:
        found[VALUES] = Member(defaults.encode(), kind="values")
    return ReleaseSpec(
        f"{number}.0.0",
        number,
        found,
        deploy=(Deployment(step.method, options),),
        health=health,
        values=VALUES if defaults else "",
    )
