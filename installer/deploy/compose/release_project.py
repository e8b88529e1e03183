"""The project of one release: its model, and with which files each service's containers are created."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from installer.core.oci.reference import familiar, reference_fault
from installer.deploy import release_files
from installer.deploy.compose.command import KIND, Source
from installer.deploy.compose.environment import own_variables, project_of, recorded
from installer.deploy.compose.model import Model, read_hashes, read_model
from installer.deploy.compose.mounted import contents
from installer.deploy.compose.project import image_names
from installer.deploy.method import Target
from installer.deploy.operation import Json
from installer.host.context import Context
from installer.shared.child.engine_address import engine_address


@dataclass(frozen=True)
class Project:
    """The project of a release.

    Attributes:
        context: The host.
        target: The release and its step.
        tool: The words that run Compose.
    """

    context: Context
    target: Target
    tool: Sequence[str]

    @property
    def name(self) -> str:
        """Its name."""
        return project_of(self.target)

    @property
    def file(self) -> str | list[str]:
        """The Compose file while operations run; a list for a project of several files."""
        placed = [self.target.release.then(file) for file in compose_files(self.target)]
        return placed if isinstance(self.target.options.get("file"), list) else placed[0]

    @property
    def args(self) -> Json:
        """What operations need to run Compose on it."""
        manifest = self.target.release.manifest
        return {
            "tool": list(self.tool),
            "project": self.name,
            "engine": engine_address(),
            "env": own_variables(self.context, self.target),
            "files": release_files.listed(manifest, KIND),
            "images": image_names(manifest),
            **recorded(self.target),
        }

    @cached_property
    def model(self) -> Model:
        """What Compose makes of the file; raises what `read_model` raises."""
        release = self.target.release
        return read_model(
            self.context, self.args, Source(self.file, release.staged, rendered=release.rendered)
        )

    @cached_property
    def contents(self) -> dict[str, str]:
        """The digest of the mounted files of each service that mounts some; raises like `model`."""
        return contents(self.context, self.target.release, self.model)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Compose's digest of each service, as its containers are labelled with it; raises like `model`.

        Empty where it cannot be asked for: an ordinary user cannot write the file with the labels.
        """
        release = self.target.release
        source = Source(self.file, release.staged, self.contents, release.rendered)
        try:
            return read_hashes(self.context, self.args, source)
        except OSError:
            return {}

    def images(self, name: str) -> set[str]:
        """Return the ids that the image of this name has in the release; empty where it is not in there."""
        if reference_fault(name):
            return set()
        found = self.target.release.manifest.images
        same = [image for image in found if familiar(image.reference) == familiar(name)]
        return {each for image in same for each in (image.config, image.manifest)}


def compose_files(target: Target) -> list[str]:
    """Return the paths of the Compose files in the bundle that are merged."""
    file = target.options.get("file", "")
    return file if isinstance(file, list) else [str(file)]
