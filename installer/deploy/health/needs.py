"""Which health checks apply to a host, and what they need there: looked at before anything is changed.

A probe that can never pass, because of a typing mistake or a missing program, would stop the services of a
release and roll it back for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.format.entries.health_check import text_fault
from installer.core.format.entries.unit_names import template_of
from installer.core.format.manifest import HealthCheck
from installer.core.format.methods import IMPLICIT, SPECS
from installer.deploy.health.probes import ONE_PROBE, probe_name
from installer.deploy.operation import StepError
from installer.deploy.systemctl import show
from installer.host.context import Context
from installer.host.http_probe import CA_LIMIT, trust
from installer.state.release import Release

_GENERATED = "/etc/containers/systemd/"
_UNIT_FOLDERS = ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/")


def selected(probes: Iterable[HealthCheck], used: Iterable[str], *, live: bool) -> list[HealthCheck]:
    """Return the probes that apply: those of methods that are in use.

    Args:
        probes: Of the release.
        used: Names of the methods that are in use.
        live: Whether this is a running host; else nothing runs unless a method was asked for by name.
    """
    names = frozenset(used)
    return [check for check in probes if _applies(check, names, live=live)]


def _applies(check: HealthCheck, used: frozenset[str], *, live: bool) -> bool:
    return check.when in used if check.when else live or not used <= IMPLICIT


@dataclass(frozen=True, slots=True)
class SkippedProbe:
    """A probe that is not asked on this host.

    Attributes:
        name: The probe in words.
        step: The method that it belongs to, which is not used; empty for none.
        remedy: How it is asked, in words; empty where that is not known.
    """

    name: str
    step: str
    remedy: str = ""

    @property
    def why(self) -> str:
        """Why it is not asked, as it goes on after "is skipped"."""
        if self.step:
            return f'with its step "{self.step}"'
        return f"with --root; {self.remedy}" if self.remedy else "with --root"

    def text(self) -> str:
        """Return it as a sentence for people."""
        return f'health check "{self.name}" is skipped {self.why}'

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"name": self.name, "step": self.step or None, "reason": f"skipped {self.why}"}


def skipped(
    probes: Iterable[HealthCheck], used: Iterable[str], *, live: bool, remedy: str = ""
) -> list[SkippedProbe]:
    """Return the probes that do not apply; see `selected`.

    Args:
        probes: Of the release.
        used: Names of the methods that are in use.
        live: Whether this is a running host.
        remedy: How those are asked that `--root` leaves out.
    """
    names = frozenset(used)
    left = [check for check in probes if not _applies(check, names, live=live)]
    return [SkippedProbe(probe_name(each), each.when, "" if each.when else remedy) for each in left]


def probe_problems(context: Context, checks: Iterable[HealthCheck], release: Release | None) -> list[Problem]:
    """Return what probes need, and neither this host nor the release has.

    Args:
        context: The host.
        checks: The probes that will be asked, their texts rendered.
        release: The release, as it is planned; None where none is.
    """
    listed = list(checks)
    asked = [check.target for check in listed if check.kind == "container"]
    found = []
    if asked and context.system.which("docker") is None:
        what = f"is not installed, but the health checks of {', '.join(asked)} need it"
        hint = "install Docker's command line; the engine alone is not enough"
        found.append(Problem("docker", what, hint))
    if release is not None:
        delivered = _Delivered(context, release)
        looks: dict[str, Callable[[HealthCheck], Iterator[Problem]]] = {
            "command": delivered.command,
            "unit": delivered.unit,
        }
        for check in listed:
            found += looks.get(check.kind, delivered.certificates)(check)
    return list(dict.fromkeys(found))


class _Delivered:
    """What a release brings to a host, and what is there without it."""

    def __init__(self, context: Context, release: Release) -> None:
        self._context, self._release = context, release
        self._items = {item.path: item for item in release.installed}
        # What a script, or a tool that it starts, puts on the host is known to nobody before.
        specs = [SPECS.get(step.method) for step in release.manifest.deploy]
        self._brings_more = any(spec is None or spec.brings_more for spec in specs)

    def command(self, check: HealthCheck) -> Iterator[Problem]:
        program = check.command[0]
        if "/" not in program:
            if self._context.system.which(program) is None and not self._brings_more:
                what = "is not on the PATH of this host, but a health check runs it"
                yield Problem(program, what, "install it; a program of the release needs its absolute path")
        elif not self._is_there(program):
            what = "is neither in the release nor on this host, but a health check runs it"
            yield Problem(program, what, _ASK)

    def unit(self, check: HealthCheck) -> Iterator[Problem]:
        names = {check.target, template_of(check.target)}
        # Podman's generator makes units of these files: which ones, systemd knows once it is reloaded.
        if any(path.startswith(_GENERATED) for path in self._items):
            return
        if self._brings_more or any(
            f"{folder}{name}" in self._items for folder in _UNIT_FOLDERS for name in names
        ):
            return
        if self._context.system.which("systemctl") is None:
            what = f"is not on this host, but the health check of {check.target} needs it"
            yield Problem("systemctl", what, "use a host that systemd runs")
            return
        try:
            state = show(self._context, check.target, "LoadState", timeout=ONE_PROBE)["LoadState"]
        except StepError as error:
            yield Problem(check.target, error.what, "the health check of this unit needs systemd")
            return
        if state == "masked":
            what = "is masked on this host, but a health check expects it to run"
            yield Problem(check.target, what, f"run `systemctl unmask {check.target}`")
        elif state == "not-found":
            what = "is neither in the release nor on this host, but a health check expects it to run"
            yield Problem(check.target, what, _ASK)

    def certificates(self, check: HealthCheck) -> Iterator[Problem]:
        # What values have spoiled is a problem already.
        if not check.ca or text_fault(check.kind, "ca", check.ca):
            return
        used = f"the health check {probe_name(check)} needs it"
        try:
            trust(self._certificates(check.ca))
        except OSError as error:
            what = f"cannot be used: {error.strerror or error}; {used}"
            yield Problem(check.ca, what, "put a file with the CA's certificate in PEM form there")

    def _certificates(self, path: str) -> str:
        """Return a file with certificates: that of the release, or that of the host."""
        system, item = self._context.system, self._items.get(path)
        if path in self._release.rendered:
            return self._release.rendered[path].decode("ascii", "replace")
        if item is not None and item.origin:
            data = system.read(self._release.now(item.origin), CA_LIMIT)
            return data.decode("ascii", "replace")
        return system.certificates(path)

    def _is_there(self, path: str) -> bool:
        # Programs are started on this machine, also where the files of the release go below a directory.
        if self._brings_more or path in self._items or self._context.system.which(path) is not None:
            return True
        current = f"{self._context.layout.current}/"
        if path.startswith(current):
            return path.removeprefix(current) in {entry.path for entry in self._release.manifest.files}
        try:
            seen = self._context.system.observe(path, digest=False)
        except OSError:
            return False
        return seen.kind in ("file", "link")


_ASK = "correct the values that name it, or ask the publisher of the release"
