"""Which places on a host no release may write to, and which of them decide who controls the host.

A host asks with the place that a destination leads to, links resolved. The connected side asks with the path
as the manifest has it. Both use this one list.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from installer.core.format.manifest import Manifest
from installer.core.format.member_names import WAYBILL_DIRECTORIES
from installer.core.format.methods import installed_by_method

OWN_LINK = "/usr/local/bin/waybill-install"
"""The name of the installer on the PATH."""
OWN_UNIT = "waybill-recover.service"
"""The unit that recovers at boot."""
_OWN_UNIT = re.compile(rf"/systemd/(?:[^/]+/)*{re.escape(OWN_UNIT)}(?:\.d|\.wants|\.requires)?(?:/|\Z)")
KERNEL = ("/proc", "/sys", "/dev")
RUNTIME = ("/run", "/var/run")
_CHECKED = tuple(f"{top}/" for top in (*WAYBILL_DIRECTORIES, OWN_LINK, *KERNEL, *RUNTIME))
UNIT_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""Where systemd reads the units of the system, the strongest first."""
_STANDARD = (
    r"/(?:bin|boot|dev|etc|home|lib(?:32|64|x32)?|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var"
    r"|boot/(?:efi|grub2?)"
    r"|etc/(?:cron\.[a-z]+|default|init\.d|ld\.so\.conf\.d|logrotate\.d|opt|pam\.d|profile\.d|security|ssh|ssl"
    r"|ssl/(?:certs|private)|sudoers\.d|sysctl\.d|systemd|systemd/(?:system|user)|tmpfiles\.d|udev"
    r"|udev/rules\.d|xdg)"
    r"|usr/(?:bin|games|include|lib(?:32|64|x32|exec)?|sbin|share|src|local"
    r"|local/(?:bin|etc|games|include|lib(?:64)?|libexec|man|sbin|share|src)"
    r"|lib/(?:systemd|systemd/system|[a-z0-9_]+-linux-[a-z0-9]+))"
    r"|var/(?:backups|cache|crash|lib|lib/(?:docker|containerd|systemd)|local|lock|log|mail|opt|run|spool"
    r"|spool/cron|tmp))"
)
"""Directories of the Filesystem Hierarchy Standard 3.0 and of every systemd host: never a release's own."""


def forbidden(path: str, product: str) -> str:
    """Return why no release may put anything at a place, in a few words; empty where it may.

    Args:
        path: A host path. On a host: where it leads, without links.
        product: The product of the release.
    """
    # One comparison for the many paths that are allowed: a release has up to 250,000 of them.
    if not f"{path}/".startswith(_CHECKED) and OWN_UNIT not in path:
        return ""
    if within(path, (*WAYBILL_DIRECTORIES, OWN_LINK)) or _OWN_UNIT.search(path):
        return "is reserved for Waybill"
    if within(path, KERNEL):
        return "is on a file system of the kernel"
    if within(path, RUNTIME):
        own = tuple(f"{top}/{product}" for top in RUNTIME)
        return "" if within(path, own) else f"belongs to running programs; only /run/{product} is allowed"
    return ""


def holds_waybill(directory: str) -> bool:
    """Return whether a directory holds places of Waybill: who may write there decides what is trusted."""
    top = directory.rstrip("/") + "/"
    unit = f"{UNIT_DIRECTORIES[0]}/{OWN_UNIT}"
    return any(place.startswith(top) for place in (*WAYBILL_DIRECTORIES, OWN_LINK, unit))


def is_standard(directory: str) -> bool:
    """Return whether a directory is part of every host, so that removing it is never a release's to do."""
    return directory == "/" or _standard().fullmatch(directory) is not None


def within(path: str, tops: Iterable[str]) -> bool:
    """Return whether a path is one of some directories or lies in one."""
    return f"{path}/".startswith(tuple(f"{top}/" for top in tops))


def unit_of(path: str) -> str:
    """Return the unit that systemd takes from a path; empty where the path is none."""
    directory, _, name = path.rpartition("/")
    return name if directory in UNIT_DIRECTORIES else ""


def extended_unit(path: str) -> str:
    """Return the unit that a file changes from outside: a drop-in, or a link that starts it; or empty."""
    directory, _, name = path.rpartition("/")
    top, _, last = directory.rpartition("/")
    if top not in UNIT_DIRECTORIES:
        return ""
    if last.endswith(".d"):
        return last.removesuffix(".d")
    return name if last.endswith((".wants", ".requires", ".upholds")) else ""


_SENSITIVE = (
    (r"/etc/(?:passwd|group|shadow|gshadow|subuid|subgid)-?", "the accounts and passwords of this host"),
    (
        (
            r"/etc/(?:sudoers(?:\.d/.*)?|sudo\.conf|sudo_logsrvd\.conf|doas\.conf|doas\.d/.*|polkit-1/.*)"
            r"|/usr/share/polkit-1/.*|/usr/local/share/polkit-1/.*|/etc/dbus-1/.*"
        ),
        "who may act as root",
    ),
    (
        (
            r"/etc/(?:pam\.conf|pam\.d/.*|update-motd\.d/.*|security/.*|nsswitch\.conf|login\.defs|securetty|shells|sssd/.*|krb5\..*)"
            r"|/(?:usr/)?lib(?:32|64|x32)?/(?:[^/]+-linux-[^/]+/)?security/.*|/usr/lib/pam\.d/.*"
        ),
        "how users log in",
    ),
    (r"/etc/ssh/.*|(?:/root|/home/[^/]+)/\.ssh/.*", "logins by ssh"),
    (r"/etc/ld\.so\..*|/etc/ld\.so", "the libraries that every program loads"),
    (
        (
            r"/(?:boot|efi)/.*|/etc/(?:default/grub.*|grub\.d/.*|kernel/.*|initramfs-tools/.*|dracut\.conf.*"
            r"|mkinitcpio\..*|fstab|crypttab|inittab)"
        ),
        "how this host boots",
    ),
    (
        (
            r"/etc/(?:cron\.[^/]+(?:/.*)?|crontab|anacrontab|at\.(?:allow|deny))|/var/spool/(?:cron|at|anacron)/.*"
        ),
        "what cron runs",
    ),
    (
        (
            r"/etc/(?:init\.d/.*|rc\.local|rc.?\.d/.*|systemd/(?:system|user)\.conf(?:\.d/.*)?)"
            r"|/(?:etc|run|usr/local/lib|usr/lib|lib)/systemd/(?:system|user)(?:-environment)?-(?:generators|preset"
            r"|shutdown)/.*|/(?:etc|run|usr/local/lib|usr/lib)/(?:tmpfiles|sysusers|binfmt)\.d/.*"
        ),
        "what runs as root at boot",
    ),
    (
        (r"/(?:etc|usr/lib|lib)/(?:modprobe\.d|modules-load\.d|depmod\.d|modules)(?:/.*)?|/etc/modules"),
        "the kernel modules that are loaded",
    ),
    (r"/(?:etc|usr/lib|lib)/udev/.*", "what runs as root when a device appears"),
    (
        (
            r"/etc/(?:network/.*|networkd-dispatcher/.*|dhcp/dhclient[^/]*(?:/.*)?|dhcpcd\..*|ppp/.*)"
            r"|/(?:etc|usr/lib)/NetworkManager/dispatcher\.d/.*|/usr/lib/networkd-dispatcher/.*"
        ),
        "what runs as root when the network changes",
    ),
    (
        (
            r"/etc/(?:profile|profile\.d/.*|environment|environment\.d/.*|bash\.bashrc|bashrc|zsh/.*|zshrc|zshenv"
            r"|zprofile|csh\..*)|(?:/root|/home/[^/]+)/\.(?:bashrc|bash_profile|bash_login|profile|zshrc|zshenv"
            r"|zprofile|pam_environment|config/environment\.d/.*)"
        ),
        "what every login shell runs",
    ),
    (
        (
            r"/etc/(?:ssl/.*|pki/.*|ca-certificates.*|apt/.*|yum\.repos\.d/.*|yum\.conf|dnf/.*|zypp/.*)"
            r"|/usr/(?:local/)?share/(?:ca-certificates|pki)/.*"
        ),
        "the certificates and packages that this host trusts",
    ),
    (
        (
            r"/etc/(?:selinux/.*|apparmor(?:\.d)?/.*|audit/.*|sysctl\.conf|sysctl\.d/.*|nftables\.conf|nftables/.*"
            r"|iptables/.*|firewalld/.*|ufw/.*|fapolicyd/.*|ima/.*)|/usr/lib/sysctl\.d/.*"
        ),
        "what protects this host",
    ),
    (
        (
            r"/etc/(?:docker|containerd|containers|crio|cni|kubernetes|rancher)/.*|/etc/sub[ug]id"
            r"|/usr/share/containers/.*"
            r"|/var/lib/rancher/[^/]+/(?:server/manifests|agent/(?:images|pod-manifests))/.*"
        ),
        "what the container engine trusts and runs",
    ),
    (r"/etc/(?:hosts|resolv\.conf|hosts\.allow|hosts\.deny|host\.conf)", "where names of hosts lead"),
)
MOST = 20
"""How many sensitive destinations are listed for people; `--json` lists all of them."""


# Compiled when they are first needed: most commands need none of them, and all wait for their start.
@functools.cache
def _any() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern, _ in _SENSITIVE))


@functools.cache
def _standard() -> re.Pattern[str]:
    return re.compile(_STANDARD)


@dataclass(frozen=True, slots=True)
class SensitivePlace:
    """A destination by which a release decides over the host itself.

    Attributes:
        path: The destination.
        what: What it decides.
        place: Where it leads on this host, if that is another path; else empty.
    """

    path: str
    what: str
    place: str = ""

    def text(self) -> str:
        """Return it as a line for people."""
        return f"{self.path}{f' (leads to {self.place})' if self.place else ''}: {self.what}"

    def as_json(self) -> dict[str, str]:
        """Return it as a JSON object."""
        return asdict(self)


def sensitive(path: str) -> str:
    """Return what a file at a place decides over the host, in words; empty where nothing."""
    # One match for the many paths that are harmless: a release has up to 250,000 of them.
    if _any().fullmatch(path) is None:
        return ""
    return next(what for pattern, what in _SENSITIVE if re.fullmatch(pattern, path))


def sensitive_places(
    files: Mapping[str, str], directories: Mapping[str, tuple[str, int]]
) -> Iterator[SensitivePlace]:
    """Yield the sensitive ones of a release's destinations, sorted by path.

    Args:
        files: Destinations of files and links, each with the place where it leads.
        directories: Destinations of directories with modes of their own, each with its place and mode.
    """
    found: list[SensitivePlace] = []
    units = {unit for place in files.values() if (unit := unit_of(place))}
    for path, place in files.items():
        unit = extended_unit(place)
        # A drop-in for a unit of the same release changes nobody else's.
        if what := sensitive(place) or (unit and unit not in units and f"the settings of the unit {unit}"):
            found.append(SensitivePlace(path, what, place if place != path else ""))
    for path, (place, mode) in directories.items():
        what = sensitive(f"{place}/x")
        if is_standard(place):
            what = f"a directory that every host has; its mode would be {mode:04o}"
        if what:
            found.append(SensitivePlace(path, what, place if place != path else ""))
    yield from sorted(found, key=lambda each: each.path)


def sensitive_destinations(manifest: Manifest) -> tuple[SensitivePlace, ...]:
    """Return the sensitive destinations of a release by their text: no host can say where they lead."""
    files = [entry.install or installed_by_method(entry) for entry in manifest.files]
    paths = [*files, *(link.install for link in manifest.links)]
    return tuple(
        sensitive_places(
            {path: path for path in paths if path},
            {each.install: (each.install, each.mode) for each in manifest.directories if each.install},
        )
    )


def sensitive_lines(places: Sequence[SensitivePlace], *, everything: bool = False) -> Iterator[str]:
    """Yield a line for people for each sensitive destination, and one for those that are left out.

    Args:
        places: The destinations.
        everything: Whether none is left out, however many there are.
    """
    yield from (each.text() for each in places[: None if everything else MOST])
    if len(places) > MOST and not everything:
        yield f"… and {len(places) - MOST} more; --json lists all of them"
