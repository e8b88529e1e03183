"""Search archives as their bytes come, and archives in them: tar, zip (jar, wheel), gzip, zstd.

Nothing is unpacked, and nothing is refused because of its form: an archive that cannot be read further is
reported as one that was not searched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bundler.config.secrets.patterns import is_configuration
from bundler.config.secrets.search import FileSearch, Finding, Ignored, Search
from bundler.config.secrets.tar_stream import TarStream
from bundler.config.secrets.zip_stream import ZipStream
from installer.core.errors import TamperedError
from installer.core.limits import GIB
from installer.core.oci.expand import Expander, Form, sniff

DEPTH = 4
"""Archives in archives: `app.tar.gz` is two, and a jar in it with jars of its own four."""
MEMBERS = 500_000
"""Members of one input or layer, with those of archives in it."""
EXPANDED = 16 * GIB
"""Bytes that one input or layer may expand to."""
_TAR_MAGIC = 262
"""Bytes after which a tar archive has shown that it is one."""
_OTHERS = ((b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07", "RAR"))


@dataclass(slots=True)
class Report:
    """What was found in one input or layer, and what could not be searched.

    Attributes:
        found: The findings.
        unsearched: Why something was not searched, by path.
        members: Members that may still come.
        expanded: Bytes that they may still have.
    """

    found: list[Finding] = field(default_factory=list)
    unsearched: dict[str, str] = field(default_factory=dict)
    members: int = MEMBERS
    expanded: int = EXPANDED

    def count(self, *, members: int = 0, expanded: int = 0) -> None:
        """Count what comes out of an archive.

        Args:
            members: Members of it.
            expanded: Bytes of it.

        Raises:
            TamperedError: It is more than is searched.
        """
        self.members -= members
        self.expanded -= expanded
        if self.members < 0:
            raise TamperedError(f"has more than {MEMBERS:,} members")
        if self.expanded < 0:
            raise TamperedError(f"expands to more than {EXPANDED:,} bytes")


class ContentSearch(Search):
    """The search of content of any kind: its first bytes tell what it is.

    Args:
        path: The file, as messages name it.
        report: Takes what is found.
        is_config: Whether lines such as `password: …` count too.
        is_tree: Whether the file may be anything.
        depth: Archives that it is in.
    """

    def __init__(
        self, path: str, report: Report, *, is_config: bool = False, is_tree: bool = True, depth: int = 0
    ) -> None:
        self._path, self._report = path, report
        self._is_config, self._is_tree, self._depth = is_config, is_tree, depth
        self._head = b""
        self._search: Search | None = None

    @property
    def done(self) -> bool:
        """Whether the rest decides nothing."""
        return self._search is not None and self._search.done

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._search is None:
            self._head += data
            if len(self._head) < _TAR_MAGIC:
                return
            data = self._recognise()
        if self._search is not None and not self._search.done:
            self._search.feed(data)

    def finish(self) -> None:
        """Take the end."""
        if self._search is None:
            self.feed(b"") if len(self._head) >= _TAR_MAGIC else self._feed_head()
        if self._search is not None:
            self._search.finish()

    def _feed_head(self) -> None:
        data = self._recognise()
        if self._search is not None and data:
            self._search.feed(data)

    def _recognise(self) -> bytes:
        """Choose the search, and return the bytes that it has to get first."""
        data, self._head = self._head, b""
        if self._depth < DEPTH:
            self._search = self._archive(data)
        elif self._archive(data) is not None:
            self._report.unsearched.setdefault(self._path, f"is nested in {DEPTH} archives")
            self._search = Ignored()
        if self._search is None:
            self._search = FileSearch(
                self._path, self._report.found, is_config=self._is_config, is_tree=self._is_tree
            )
        return data

    def _archive(self, head: bytes) -> Search | None:
        if head[257:262] == b"ustar":
            return ArchiveSearch(TarStream, self._path, self._report, self._depth + 1)
        if head.startswith(b"PK\3\4"):
            return ArchiveSearch(ZipStream, self._path, self._report, self._depth + 1)
        if (form := sniff(head)) != "tar":
            return _Compressed(form, self._path, self._report, self._depth + 1)
        for magic, name in _OTHERS:
            if head.startswith(magic):
                self._report.unsearched.setdefault(self._path, f"is {name}, which is not unpacked")
                return Ignored()
        return None


class ArchiveSearch(Search):
    """The search of the members of an archive.

    Args:
        stream: The kind of archive.
        path: The archive, as messages name it; empty for a layer, whose members have their own paths.
        report: Takes what is found.
        depth: Archives that its members are in.
    """

    def __init__(
        self, stream: Callable[..., TarStream | ZipStream], path: str, report: Report, depth: int
    ) -> None:
        self._path, self._report, self._depth = path, report, depth
        self._stream = stream(self._member, lambda count: report.count(expanded=count))
        self._ended = False

    @property
    def done(self) -> bool:
        """Whether the rest of the archive cannot be read, or may not."""
        return self._ended

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._ended:
            return
        try:
            self._stream.feed(data)
        except TamperedError as error:
            self._end(error.what)

    def finish(self) -> None:
        """Take the end."""
        if self._ended:
            return
        try:
            self._stream.finish()
        except TamperedError as error:
            self._end(error.what)

    def _end(self, why: str) -> None:
        self._report.unsearched.setdefault(self._path, why)
        self._ended = True

    def _member(self, name: str) -> Search:
        shown = name.removeprefix("./").lstrip("/")
        if not shown.isprintable():
            shown = "".join(c if c.isprintable() else "?" for c in shown)
        path = f"{self._path}!/{shown}" if self._path else shown
        self._report.count(members=1)
        return ContentSearch(path, self._report, is_config=is_configuration(shown), depth=self._depth)


class _Compressed(Search):
    """The search of a compressed file: what is in it has its path."""

    def __init__(self, form: Form, path: str, report: Report, depth: int) -> None:
        self._path, self._report = path, report
        self._expander = Expander(form)
        # `config.yaml.gz` is configuration.
        name = path.rpartition(".")[0]
        self._inner = ContentSearch(path, report, is_config=is_configuration(name), depth=depth)
        self._ended = False

    @property
    def done(self) -> bool:
        """Whether the rest decides nothing."""
        return self._ended or self._inner.done

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        try:
            for piece in self._expander.feed(data):
                self._report.count(expanded=len(piece))
                if self._inner.done:
                    return
                self._inner.feed(piece)
        except TamperedError as error:
            self._report.unsearched.setdefault(self._path, error.what)
            self._ended = True

    def finish(self) -> None:
        """Take the end."""
        self._inner.finish()
