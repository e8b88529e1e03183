"""VERB metrics: metrics of this host for Prometheus, through the textfile collector of node_exporter.

If `/etc/waybill/metrics-directory` names a directory, every command that changes something or is refused
writes `waybill.prom` (what was done here) and `waybill-<product>.prom` (what runs) into it, each replaced
atomically. What changes by itself, such as drift, is updated by `install metrics`, which a timer runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from installer.audit import log as audit_log
from installer.audit.attempts import Attempts, Counted, count_all, count_new, note
from installer.commands.common.health_report import ask_health
from installer.commands.common.session import Session
from installer.commands.status import Status, product_status
from installer.core.errors import HostNotReadyError, TamperedError, UsageError, WaybillError, os_errors_as
from installer.core.format.manifest import BLOBS, Manifest
from installer.host.atomic_file import replace_file
from installer.host.context import Context
from installer.host.layout import CONFIG
from installer.host.ownership import require_protected
from installer.host.system import System
from installer.state.retained import read_manifest
from installer.state.state import Entry, host_readable
from installer.state.trust_store import load_trust

SETTING = f"{CONFIG}/metrics-directory"
PREFIX = "waybill"
Value = int | float


@dataclass(slots=True)
class Metric:
    """A metric family of the exposition format: a gauge, or a counter where its name ends in `_total`.

    Attributes:
        name: Without the prefix.
        help: What it is, in one line.
        samples: Labels and values.
    """

    name: str
    help: str
    samples: list[tuple[Mapping[str, str], Value]] = field(default_factory=list)

    def add(self, value: Value, **labels: str) -> None:
        """Add a sample."""
        self.samples.append((labels, value))

    def lines(self) -> Iterable[str]:
        """Yield it in the text exposition format 0.0.4; nothing where it has no sample."""
        name = f"{PREFIX}_{self.name}"
        if self.samples:
            yield f"# HELP {name} {self.help}"
            yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
        for labels, value in self.samples:
            inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            yield f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def text(metrics: Iterable[Metric]) -> bytes:
    """Return metrics as a file for the textfile collector."""
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines()).encode()


def directory(system: System) -> str:
    """Return the directory that this host is configured with; empty where there is none.

    Raises:
        UntrustedError: Somebody else could have changed the setting.
        HostNotReadyError: The setting cannot be read, or names no directory.
    """
    require_protected(system, SETTING)  # root writes where it says
    try:
        found = system.read(SETTING, 4096).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HostNotReadyError(f"cannot be read: {error.strerror}", where=SETTING) from error
    if not found.startswith("/") or "\n" in found or not system.is_dir(found):
        raise HostNotReadyError(
            f"does not name a directory: {found.splitlines()[0] if found else 'it is empty'}",
            where=SETTING,
            hint="write one line into it: the path that node_exporter has in --collector.textfile.directory",
        )
    return found


@os_errors_as(HostNotReadyError, "cannot write the metrics", default=SETTING)
def write(system: System, wanted: Iterable[str] | None = None, *, health: bool = False) -> list[str]:
    """Write the metrics of this host and of some products.

    Args:
        system: The host.
        wanted: Which products; None for all that this host knows.
        health: Whether the health checks of the installed releases are asked, each once.

    Returns:
        The files, as host paths.

    Raises:
        UsageError: No directory was chosen.
        HostNotReadyError: It is not one, cannot be written, or this user cannot read what is reported.
    """
    into = directory(system)
    if not into:
        raise UsageError(
            "no directory for metrics is configured",
            where=SETTING,
            hint="write the path of the directory into this file",
        )
    session = Session(system)
    # Files of products that do not exist any more stay: Prometheus shows them as stale.
    known = session.products()
    names = known if wanted is None else [name for name in wanted if name in known]
    found = {
        f"{into}/{PREFIX}-{name}.prom": text(of_product(session.context(name), health=health))
        for name in names
    }
    with host_readable():
        counted = count_all(system) if wanted is None else count_new(system)
    found[f"{into}/{PREFIX}.prom"] = text(of_host(system, counted=counted))
    with system.lock(audit_log.LOCK, audit_log.WAIT):  # one writer at a time
        for path, data in found.items():
            # Readable for the collector, which takes *.prom only. Not synced: the next run writes it again.
            replace_file(system, path, data, 0o644, durable=False)
        note(system, counted)
    return sorted(found)


def publish(system: System, product: str, warn: Callable[[str], None]) -> None:
    """Write the metrics after something was done; no command fails for them, but the operator is warned."""
    try:
        if directory(system):
            write(system, [product] if product else [])
    except WaybillError as error:
        warn(f"WARNING: the metrics were not written: {error.where}: {error.what}")
    except Exception as error:  # an internal error must not hide how the command itself ended
        warn(f"WARNING: the metrics were not written: {type(error).__name__}: {error}")


def _metric(name: str, text: str, value: Value | None, **labels: str) -> Metric:
    """Return a metric with one sample, or with none where there is no value."""
    return Metric(name, text, [(labels, value)] if value is not None else [])


def of_product(context: Context, *, health: bool = False) -> list[Metric]:
    """Return what is true of one product on this host now.

    Args:
        context: The product.
        health: Whether its health checks are asked: they may take seconds, and run programs.
    """
    product = context.layout.product
    name, what = (
        "state_readable",
        "Whether the product's state on this host can be read (1) or is damaged (0).",
    )
    try:
        found = product_status(context)
    except WaybillError:
        return [_metric(name, what, 0, product=product)]
    return [_metric(name, what, 1, product=product), *_running(found), *_kept(context, found)] + (
        [_health(context, found)] if health else []
    )


def _health(context: Context, found: Status) -> Metric:
    metric = Metric("health", "Whether a health check of the installed release passes now (1) or not (0).")
    with suppress(WaybillError):
        report = ask_health(context, found.current, is_changing=found.is_changing)
        # Two checks of one name, such as those of two methods: the worse one counts, once.
        worst: dict[str, bool] = {}
        for each in report.checks if report else ():
            worst[each.name] = worst.get(each.name, True) and each.healthy
        for name, healthy in worst.items():
            metric.add(int(healthy), product=found.product, probe=name)
    return metric


def _running(found: Status) -> Iterable[Metric]:
    product, now = found.product, found.current
    info = Metric("release_info", "The installed release; the value is always 1.")
    sequence = Metric("release_sequence", "Sequence number of the installed release.")
    installed = Metric("release_installed_timestamp_seconds", "Installation time of the installed release.")
    incomplete = Metric(
        "release_incomplete",
        "Whether a step of the installed release failed past the point of no return (1) or not (0).",
    )
    if now is not None:
        labels = {"product": product, "version": now.version, "identity": now.identity}
        info.add(1, **labels, environment=now.evidence.environment)
        sequence.add(now.sequence, product=product)
        installed.add(now.installed, product=product)
        incomplete.add(int(bool(now.incomplete)), product=product)
    what = "Highest sequence number ever installed on this host; -1 for none."
    highest = _metric("highest_sequence", what, found.highest, product=product)
    what = "Number of differences between the host and the installed release (drift)."
    drift = _metric("drift", what, len(found.drift), product=product)
    what = "Whether a transaction is running or was interrupted (1) or not (0)."
    unfinished = _metric("unfinished", what, int(bool(found.unfinished)), product=product)
    what = "Number of old files and directories that could not be cleared."
    leftover = _metric("leftovers", what, len(found.leftover), product=product)
    return [info, sequence, installed, highest, drift, incomplete, unfinished, leftover]


def _stored_bytes(context: Context, entry: Entry, manifest: Manifest, shared: set[str]) -> int:
    """Return the bytes that a retained release takes, besides the blobs in `shared`, which gets its own."""
    total, directory = 0, context.layout.release(entry.name)
    for each in manifest.for_platform(context.system.platform()):
        if each.path.startswith(BLOBS):
            seen = context.system.observe(f"{directory}/{each.path}", digest=False)
            # Absent where the engine alone has the images.
            if seen.kind == "absent" or (seen.links > 1 and each.path in shared):
                continue
            shared |= {each.path} if seen.links > 1 else set()
        total += each.size
    return total


def _kept(context: Context, found: Status) -> Iterable[Metric]:
    product, total, expires, shared = found.product, 0, None, set[str]()
    for entry in found.kept:
        # A retained release that is damaged is counted without its size.
        with suppress(OSError, TamperedError):
            manifest, _ = read_manifest(context.system, context.layout.release(entry.name))
            total += _stored_bytes(context, entry, manifest, shared)
            expires = manifest.expires if entry == found.current else expires
    free = context.system.space(context.layout.base).bytes
    rows = [
        ("release_expiry_timestamp_seconds", "When the bundle of the installed release expires.", expires),
        ("retained_releases", "Releases retained here, including the installed one.", len(found.kept)),
        (
            "damaged_releases",
            "Retained releases with missing or changed files: no rollback to them.",
            len(found.damaged),
        ),
        ("retained_bytes", "Bytes of the releases retained on this host, shared blobs once.", total),
        ("state_free_bytes", "Free bytes on the file system where the releases are stored.", free),
    ]
    return [_metric(*row, product=product) for row in rows]


def of_host(system: System, *, counted: Counted | None = None) -> list[Metric]:
    """Return what was done here, from the audit log, and until when the root is valid.

    Args:
        system: The host.
        counted: What was counted in the audit log; None to check all of it now.

    Raises:
        HostNotReadyError: This user may not read the log.
        OSError: It cannot be read.
    """
    with host_readable():
        found, expires = counted or count_all(system), None
    with suppress(WaybillError):
        expires = int(load_trust(system)[0].expires.timestamp())
    return [
        _metric("audit_intact", "Whether the audit log is intact (1) or broken (0).", int(found.intact)),
        _metric("audit_records", "Intact records of the audit log.", found.mark.head.number),
        _metric("trust_expiry_timestamp_seconds", "When the root of this host expires.", expires),
        *_attempts(found.attempts),
    ]


def _attempts(found: Attempts) -> Iterable[Metric]:
    total = Metric("attempts_total", "Attempts to change this host, by result.")
    for (product, verb, result), number in sorted(found.counts.items()):
        total.add(number, product=product, verb=verb, result=result)
    rows = [
        ("last_attempt_exit_code", "Exit code of the last attempt; 0 is success.", found.code),
        ("last_attempt_timestamp_seconds", "When the last attempt ended.", found.at),
        ("last_attempt_duration_seconds", "Duration of the last transaction in seconds.", found.took),
        ("last_success_timestamp_seconds", "When an attempt last succeeded.", found.good),
    ]
    return [
        total,
        *(
            Metric(name, what, [({"product": product}, value) for product, value in sorted(values.items())])
            for name, what, values in rows
        ),
    ]
