"""Search the layers of images while they are written, and turn what is found into problems.

Every file that a layer brings is searched, also one that a later layer hides: it is in the bundle as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bundler.config.secrets.allowances import Allowances
from bundler.config.secrets.archives import ArchiveSearch, Report
from bundler.config.secrets.scanner import problems_of, unsearched_of
from bundler.config.secrets.search import Finding
from bundler.config.secrets.tar_stream import TarStream
from installer.core.errors import Problem
from installer.core.format.manifest import Image

_HINT = (
    "build the image without the file (one that a later step deletes is still in its layer) and change the "
    "secret; if it is not a secret, list the file under secrets_allow with a reason"
)


class LayerSearch:
    """The search of one layer, as its uncompressed bytes pass by."""

    def __init__(self) -> None:
        self.report = Report()
        self._search = ArchiveSearch(TarStream, "", self.report, 0)

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._search.feed(data)

    def finish(self) -> Report:
        """Take the end, and return what was found."""
        self._search.finish()
        return self.report


@dataclass(slots=True)
class LayerReports:
    """What was found in the layers of a bundle.

    Attributes:
        reports: The reports by `diff_id`; layers in which nothing was found have none.
    """

    reports: dict[str, Report] = field(default_factory=dict)

    def add(self, diff_id: str, report: Report) -> None:
        """Keep the report of a layer if it says something."""
        if report.found or report.unsearched:
            self.reports[diff_id] = report

    def problems(self, images: Sequence[Image], allowances: Allowances) -> list[Problem]:
        """Return the problems of all images.

        Args:
            images: The images of the bundle.
            allowances: The exceptions of bundle.yaml; they note what they let through.
        """
        found = [
            Finding(f"{reference}:/{each.path}", each.line, f"{each.what} (layer {diff_id[:19]})")
            for reference, diff_id, report in self._of(images)
            for each in report.found
        ]
        return [*problems_of(found, allowances, _HINT), *allowances.unused()]

    def warnings(self, images: Sequence[Image]) -> list[Problem]:
        """Return a warning for each archive in an image that was not searched to its end."""
        return [
            warning
            for reference, _, report in self._of(images)
            for warning in unsearched_of(report, f"{reference}:/")
        ]

    def _of(self, images: Sequence[Image]) -> Iterator[tuple[str, str, Report]]:
        """Yield each report once, with the first image that has the layer, and the layer's `diff_id`.

        That is the digest which engines show, whatever form the layer has in the bundle.
        """
        seen = set[str]()
        for image in images:
            for layer in image.layers:
                report = self.reports.get(layer.diff_id)
                if report is not None and layer.diff_id not in seen:
                    seen.add(layer.diff_id)
                    yield image.reference, layer.diff_id, report
