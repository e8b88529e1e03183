"""`/etc/waybill/kubernetes.yaml`: which cluster this host installs in, and with which programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from installer.core.errors import Problem
from installer.core.limits import KIB
from installer.core.remedies import remedy
from installer.core.schema_errors import findings
from installer.deploy.operation import Json
from installer.host.host import Host
from installer.host.layout import CONFIG
from installer.host.ownership import unprotected
from installer.shared import strict_yaml
from installer.shared.published_schema import published_schema

SETTINGS = f"{CONFIG}/kubernetes.yaml"
SCHEMA = "v1/kubernetes-yaml.schema.json"
_LIMIT = 64 * KIB
_KNOWN = ("/etc/rancher/k3s/k3s.yaml", "/etc/rancher/rke2/rke2.yaml", "/etc/kubernetes/admin.conf")
"""Where distributions put the kubeconfig of the administrator."""
PROGRAMS = ("helm", "kubectl")
_PRIVATE = 0o077


@dataclass(frozen=True, slots=True)
class Site:
    """How this host reaches its cluster: all paths are those of the host.

    Attributes:
        kubeconfig: The kubeconfig.
        context: Its context; empty for the current one.
        helm: The program; empty where only kubectl is needed.
        kubectl: The program.
        carried: SHA-256 of those of the programs that the release brings, by their paths.
    """

    kubeconfig: str
    context: str
    helm: str
    kubectl: str
    carried: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> Json:
        """Return it for the arguments of operations: an undo goes to the cluster of the transaction."""
        return {
            "kubeconfig": self.kubeconfig,
            "context": self.context,
            "helm": self.helm,
            "kubectl": self.kubectl,
            **({"carried": dict(self.carried)} if self.carried else {}),
        }

    def moved(self, old: str, new: str) -> Site:
        """Return it for a release that is in the directory `new`, not in `old`."""

        def to(path: str) -> str:
            return new + path.removeprefix(old) if path in self.carried else path

        carried = {to(path): sha256 for path, sha256 in self.carried.items()}
        return replace(self, helm=to(self.helm), kubectl=to(self.kubectl), carried=carried)

    @classmethod
    def from_json(cls, value: Json) -> Site:
        """Return what `as_json` was made of."""
        # Operations of earlier versions know of no carried programs.
        return cls(
            value["kubeconfig"], value["context"], value["helm"], value["kubectl"], value.get("carried", {})
        )


def site_of(
    host: Host, own: Mapping[str, tuple[str, str]], names: Sequence[str], otherwise: str = ""
) -> Site | list[Problem]:
    """Read and check the settings, and look for the programs; return what is wrong with them.

    Args:
        host: The host.
        own: Place and SHA-256 of programs that a release carries, by their names.
        names: The programs that are needed.
        otherwise: What a hint says of hosts that have none.
    """
    try:
        if host.observe(SETTINGS, digest=False).kind == "absent":
            return [
                Problem(
                    SETTINGS, "does not exist: this host does not know which cluster to use", _create(host)
                )
            ]
        # Whoever can change it can send the release to a cluster of his own.
        if problem := next(iter(unprotected(host, SETTINGS)), None):
            return [Problem(SETTINGS, f"is not safe: {problem.where} {problem.what}", problem.hint)]
        data = host.read(SETTINGS, _LIMIT, follow=True)
    except OSError as error:
        return [Problem(SETTINGS, f"cannot be read: {error.strerror}", remedy(error))]
    document = strict_yaml.load(data, SETTINGS)
    problems = [*document.problems]
    if not problems:
        problems = [
            each.problem for each in findings(published_schema(SCHEMA), document.value, document.where)
        ]
    if problems:
        return problems
    problems = _kubeconfig_problems(host, document.value["kubeconfig"])
    # The release was tested with what it carries: that comes before what the host has.
    programs: dict[str, str | Problem] = {
        name: own[name][0] if name in own else _program(host, name, document.value.get(name, ""), otherwise)
        for name in names
    }
    problems += [each for each in programs.values() if isinstance(each, Problem)]
    if problems:
        return problems
    found = {name: str(each) for name, each in programs.items()}
    helm, kubectl = (found.get(name, "") for name in PROGRAMS)
    where = document.value["kubeconfig"]
    return Site(where, document.value.get("context", ""), helm, kubectl, dict(own.values()))


_COPY = "copy the kubeconfig from the cluster again: this is none, or a part of one"


def _create(host: Host) -> str:
    there = next((path for path in _KNOWN if host.observe(path, digest=False).kind != "absent"), "")
    return f"create it with the line `kubeconfig: {there or '/path/of/the/kubeconfig'}`"


def _kubeconfig_problems(host: Host, path: str) -> list[Problem]:
    try:
        if host.observe(path, digest=False).kind == "absent":
            return [
                Problem(path, "does not exist", f"correct `kubeconfig` in {SETTINGS}, or put the file there")
            ]
        # It may name programs that are run, and it holds the login.
        if problem := next(iter(unprotected(host, path)), None):
            return [Problem(path, f"is not safe: {problem.where} {problem.what}", problem.hint)]
        if host.mode_of(path) & _PRIVATE:
            what = "can be read by other users, and holds the login of this host"
            return [Problem(path, what, f"run `chmod 0600 {path}`")]
        document = strict_yaml.load(host.read(path, strict_yaml.MAX_BYTES + 1, follow=True), path)
    except OSError as error:
        return [Problem(path, f"cannot be read: {error.strerror}", remedy(error))]
    # With an empty one, kubectl asks a server on this host, and says that it does not answer.
    broken = [each for each in document.problems if each.what.startswith("is not YAML")]
    if broken:
        return [Problem(broken[0].where, broken[0].what, _COPY)]
    has_cluster = isinstance(document.value, dict) and document.value.get("clusters")
    return [] if has_cluster or document.problems else [Problem(path, "names no cluster", _COPY)]


def _program(host: Host, name: str, given: str, otherwise: str) -> str | Problem:
    """Return the path of a program, or why it cannot be used."""
    if not given:
        # The usual directories are root's: nobody else can put a program there.
        found = host.which(name)
        hint = f"install it, or write where it is: `{name}: /path/of/{name}` in {SETTINGS}{otherwise}"
        return found or Problem(name, "is not installed", hint)
    if host.which(given) is None:
        return Problem(given, "is no program", f"correct `{name}` in {SETTINGS}")
    if problem := next(iter(unprotected(host, given)), None):
        return Problem(given, f"is not safe: {problem.where} {problem.what}", problem.hint)
    return given
