"""Search content for secrets as its bytes come: a file, a member of an archive, a file of a layer.

Memory does not depend on the size: text is looked at in windows that overlap, and of what is binary only the
beginning is kept, until it shows what it is.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

from bundler.config.secrets.key_files import FIRST_BYTES, key_in
from bundler.config.secrets.patterns import KEY_FILES, Lines, offsets_in
from installer.core.limits import KIB, MIB

HEAD = 8 * KIB
"""Bytes that tell what a file is: binary files match patterns of text by accident."""
WINDOW = MIB
"""Bytes of text that are looked at together; a file that is not larger is looked at whole."""
OVERLAP = 16 * KIB
"""Bytes of a window that are looked at again in the next: no secret that has an end is longer."""
LEAD = 512
"""Bytes before the first place of a window, so that what stands before a secret is seen there, too."""
MAX_KEY = MIB
"""Bytes of the largest file that can be a key file."""
# Windows tools write UTF-16, which would pass for binary data.
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Finding(NamedTuple):
    """Something that looks like a secret.

    Attributes:
        path: The file; one in an archive has the archive's path, `!/`, and its own.
        line: Its line; 0 if it has none.
        what: What it is.
    """

    path: str
    line: int
    what: str


class Search(ABC):
    """The search of one content, which comes in pieces."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take the next bytes."""

    @abstractmethod
    def finish(self) -> None:
        """Take the end."""

    @property
    def done(self) -> bool:
        """Whether the rest of the content decides nothing, and need not be fed."""
        return False


class Ignored(Search):
    """The search of what is not searched."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, and do nothing."""

    def finish(self) -> None:
        """Take the end, and do nothing."""

    @property
    def done(self) -> bool:
        """Whether the rest decides nothing: always."""
        return True


class FileSearch(Search):
    """The search of a file that is no archive.

    Args:
        path: The file, as messages name it.
        found: Takes the findings.
        is_config: Whether lines such as `password: …` count too.
        is_tree: Whether the file may be anything, so that a word alone is no password.
    """

    def __init__(self, path: str, found: list[Finding], *, is_config: bool, is_tree: bool) -> None:
        self._path, self._found = path, found
        self._is_config, self._is_tree = is_config, is_tree
        self._held = bytearray()
        self._kind = ""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._first = True
        self._lines = 0
        if KEY_FILES.fullmatch(path.rpartition("/")[2]):
            found.append(Finding(path, 0, "a secret, according to its name"))
            self._kind = "done"

    @property
    def done(self) -> bool:
        """Whether it is binary, and no key."""
        return self._kind == "done"

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._kind == "done":
            return
        if self._decoder is not None:
            data = self._decoder.decode(data).encode("utf-8", "replace")
        self._held += data
        if not self._kind and len(self._held) >= HEAD:
            self._recognise()
        if self._kind == "key" and len(self._held) > MAX_KEY:
            self._drop()
        while self._kind == "text" and len(self._held) > WINDOW + OVERLAP:
            self._window(WINDOW + OVERLAP, last=False)

    def finish(self) -> None:
        """Take the end."""
        if not self._kind:
            self._recognise()
        is_whole = self._kind != "done" and self._first and 0 < len(self._held) <= MAX_KEY
        if is_whole and self._held[0] in FIRST_BYTES and (key := key_in(bytes(self._held))):
            self._found.append(Finding(self._path, 0, key))
        elif self._kind == "text":
            self._window(len(self._held), last=True)
        self._drop()

    def _recognise(self) -> None:
        head = bytes(self._held[:HEAD])
        if head.startswith(_UTF16):
            self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
            self._held = bytearray(self._decoder.decode(bytes(self._held)).encode("utf-8", "replace"))
            self._kind = "text"
        elif b"\0" not in head:
            self._kind = "text"
        elif head[0] in FIRST_BYTES:
            self._kind = "key"
        else:
            self._drop()

    def _drop(self) -> None:
        self._kind = "done"
        self._held = bytearray()

    def _window(self, size: int, *, last: bool) -> None:
        text = bytes(self._held[:size])
        lines = Lines(text)
        begin, end = 0 if self._first else LEAD, size if last else size - OVERLAP
        for offset, what in offsets_in(text, is_config=self._is_config, is_tree=self._is_tree):
            # What begins before was found in the window before; what begins behind will be in the next.
            if begin <= offset < end:
                self._found.append(Finding(self._path, self._lines + lines.at(offset), what))
        if not last:
            self._lines += text.count(b"\n", 0, end - LEAD)
            del self._held[: end - LEAD]
            self._first = False


def pieces(data: bytes, size: int = MIB) -> Iterator[bytes]:
    """Yield data in pieces."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
