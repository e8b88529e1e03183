"""Files of the site that a step takes into the release: an override of a Compose file, an inventory.

Only a step that names one takes it. It is read once, for the plan: what is shown there is what is used, and
what a rollback brings back, whatever becomes of the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from installer.core.digest import sha256_hex
from installer.core.errors import Problem, UntrustedError
from installer.core.format.manifest import Manifest
from installer.core.format.methods import SPECS
from installer.host.context import Context
from installer.host.ownership import require_protected
from installer.shared.review.yaml_values import NotReadableError, yaml_values
from installer.shared.strict_yaml import MAX_BYTES
from installer.state.release import Installed


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A file of the site.

    Attributes:
        path: Where its copy will lie, in the directory of the release.
        source: Where the site has it.
        data: Its bytes.
    """

    path: str
    source: str
    data: bytes

    def installed(self, uid: int, gid: int, record: str) -> Installed:
        """Return its copy as the record of the release has it; the bytes come from `record`."""
        size, sha256 = len(self.data), sha256_hex(self.data)
        return Installed(self.path, "file", sha256, size, 0o600, uid, gid, source=record, origin=self.source)


def site_files(
    context: Context, manifest: Manifest, directory: str, used: Collection[str] | None
) -> tuple[list[SiteFile], list[Problem]]:
    """Return the files of the site that the steps of a release take, and what is wrong with others.

    Args:
        context: The product.
        manifest: Of the release.
        directory: Where the release will lie.
        used: The methods that are used; None for all.
    """
    found, problems = list[SiteFile](), list[Problem]()
    for name, place in _named(manifest, used):
        source = f"{context.layout.config}/{name}"
        data = _read(context, source)
        if isinstance(data, Problem):
            problems.append(data)
        elif data is not None:
            found.append(SiteFile(f"{directory}/{place}", source, data))
    return found, problems


def _named(manifest: Manifest, used: Collection[str] | None) -> Iterator[tuple[str, str]]:
    for step in manifest.deploy:
        if step.method in SPECS and (used is None or step.method in used):
            yield from SPECS[step.method].of_site(step.options)


def _read(context: Context, path: str) -> bytes | Problem | None:
    """Return the content of a file of the site; None where there is none."""
    system = context.system
    try:
        if system.observe(path, digest=False).kind == "absent":
            return None
        # Whoever can change it decides what runs in containers, or on which hosts root runs a playbook.
        require_protected(system, path)
        data = bytes(system.read(path, MAX_BYTES + 1))
        values = yaml_values(data)
    except UntrustedError as error:
        return Problem(error.where or path, error.what, error.hint)
    except NotReadableError as error:
        return Problem(path, str(error), "correct the file, or move it away")
    except OSError as error:
        return Problem(path, f"cannot be read: {error.strerror}", "check the file")
    if values is not None and not isinstance(values, dict):
        return Problem(path, "is not a mapping of keys to values", "write KEY: below it, with a colon")
    return data
