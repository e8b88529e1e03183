"""bundle.json in and out: the strict parser of the manifest, and its one written form."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, TypeVar

from installer.core import jsonio
from installer.core.digest import HEX, OCI
from installer.core.errors import TamperedError
from installer.core.format.manifest import (
    KINDS,
    MANIFEST,
    SCHEMA,
    Deployment,
    DirectoryEntry,
    FileEntry,
    HealthCheck,
    Image,
    Layer,
    LinkEntry,
    Manifest,
    Source,
)
from installer.core.format.manifest_rules import check
from installer.core.format.methods import NAMES
from installer.core.format.tar_header import OCTAL_LIMIT
from installer.core.json_stream import load_object
from installer.core.limits import LIMITS

T = TypeVar("T")
_ANY = re.compile(r"[^\x00-\x1f\x7f]{0,4096}")
_MODES = {f"{mode:04o}": mode for mode in range(0o1000)}
_OWNER = re.compile(r"[a-z_][a-z0-9_-]{0,31}:[a-z_][a-z0-9_-]{0,31}")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+(/v[0-9]+)?")
_PRODUCT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VERSION = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?"
)
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._/:-]{0,254}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")

_TREE_FILE = {"path", "size", "mode", "sha256", "install", "kind"}
_TREE_VALUES = itemgetter("path", "size", "mode", "sha256", "install")


class Fields:
    """Takes the fields of one JSON object, each once, out of it, and refuses what is left."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise TamperedError("is not an object", where=where)
        self._left = value
        self._where = where

    def fault(self, key: str, what: str) -> TamperedError:
        """Gives the error for one field."""
        return TamperedError(what, where=f"{self._where}.{key}")

    def text(self, key: str, pattern: re.Pattern[str] = _ANY, default: str | None = None) -> str:
        """Takes a string that matches `pattern` as a whole."""
        value = self._left.pop(key, default)
        if not isinstance(value, str) or (value != default and not pattern.fullmatch(value)):
            raise self.fault(key, f"is {value!r:.80}, which this field cannot be")
        return value

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Takes an integer from `low` to `high`."""
        value = self._left.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fault(key, f"is {value!r:.80}, not an integer from {low} to {high}")
        return value

    def mode(self, key: str) -> int:
        """Takes permission bits as octal text."""
        text = self.text(key)
        if text not in _MODES:
            raise self.fault(key, f"is {text!r:.80}, which this field cannot be")
        return _MODES[text]

    def flag(self, key: str) -> bool:
        """Takes a boolean; false where it is absent."""
        value = self._left.pop(key, False)
        if not isinstance(value, bool):
            raise self.fault(key, "is not true or false")
        return value

    def items(
        self, key: str, read: Callable[[Any, str], T], limit: int = LIMITS.members, *, required: bool = False
    ) -> tuple[T, ...]:
        """Takes a list, each element by `read`; an empty one where it is absent and not `required`."""
        value = self._left.pop(key, None if required else [])
        if not isinstance(value, (list, tuple)) or len(value) > limit:
            raise self.fault(key, f"is not a list of at most {limit}")
        if isinstance(value, tuple):
            # `load_object` had each element read already
            return value
        return tuple(read(item, f"{self._where}.{key}[{index}]") for index, item in enumerate(value))

    def time(self, key: str) -> int:
        """Takes a time in RFC 3339 form, UTC, and gives seconds since 1970."""
        text = self.text(key, _TIME)
        try:
            seconds = int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
        except ValueError:
            raise self.fault(key, f"is {text}, which is no date") from None
        if not 0 <= seconds < OCTAL_LIMIT:
            raise self.fault(key, f"is {text}, which is out of range")
        return seconds

    def part(self, key: str, read: Callable[[Any, str], T], default: T) -> T:
        """Takes an object by `read`; `default` where it is absent."""
        if key not in self._left:
            return default
        return read(self._left.pop(key), f"{self._where}.{key}")

    def done(self) -> None:
        """Refuses fields that nobody took."""
        if self._left:
            raise self.fault(min(self._left), "is not a field of this version of the format")


def parse(data: bytes) -> Manifest:
    """Parses bundle.json, whose digest was checked against the signed list before.

    Raises:
        TamperedError: It is not a manifest of this version, or contradicts itself.
    """
    taken = Fields(load_object(data, MANIFEST, LIMITS.manifest_bytes, _LISTS), MANIFEST)
    taken.text("schema", re.compile(re.escape(SCHEMA)))
    manifest = Manifest(
        product=taken.text("product", _PRODUCT),
        version=taken.text("version", _VERSION),
        sequence=taken.number("sequence", 0, LIMITS.json_integer),
        created=taken.time("created"),
        expires=taken.time("expires"),
        platforms=taken.items("platforms", _platform, 64, required=True),
        files=taken.items("files", _file, required=True),
        links=taken.items("links", _link),
        directories=taken.items("directories", _directory),
        images=taken.items("images", _image, 4096),
        deploy=taken.items("deploy", _deployment, 256),
        health=taken.items("health", _health, 256),
        rollback=taken.text("rollback", default=""),
        values=taken.text("values", default=""),
        values_schema=taken.text("values_schema", default=""),
        source=taken.part("source", _source, Source()),
        upgrade_from=taken.text("upgrade_from", _VERSION, default=""),
    )
    taken.done()
    if not manifest.platforms:
        raise taken.fault("platforms", "names no platform")
    check(manifest)
    return manifest


def _platform(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _PLATFORM.fullmatch(value):
        raise TamperedError(f"is {value!r:.80}, not `os/arch`", where=where)
    return value


def _file(value: Any, where: str) -> FileEntry:
    return _tree_file(value) or _any_file(value, where)


def _tree_file(value: Any) -> FileEntry | None:
    """Reads the entry of a file of a tree, of which there can be very many, in one look.

    None says only that it is to be read field by field.
    """
    if not isinstance(value, dict) or value.keys() != _TREE_FILE or value["kind"] != "tree":
        return None
    path, size, mode, sha256, install = _TREE_VALUES(value)
    sound = (
        str is type(path) is type(mode) is type(sha256) is type(install)
        and type(size) is int
        and 0 <= size <= LIMITS.json_integer
        and mode in _MODES
        and HEX.fullmatch(sha256)
        and _ANY.fullmatch(path)
        and _ANY.fullmatch(install)
    )
    return FileEntry(path, size, sha256, _MODES[mode], "tree", install) if sound else None


def _any_file(value: Any, where: str) -> FileEntry:
    taken = Fields(value, where)
    kind = taken.text("kind")
    if kind not in KINDS:
        raise taken.fault("kind", f"is {kind!r:.80}, which this version does not know")
    entry = FileEntry(
        path=taken.text("path"),
        size=taken.number("size", 0, LIMITS.json_integer),
        sha256=taken.text("sha256", HEX),
        mode=taken.mode("mode"),
        kind=kind,  # type: ignore[arg-type]
        install=taken.text("install", default=""),
        owner=taken.text("owner", _OWNER, default=""),
        platform=taken.text("platform", _PLATFORM, default=""),
        expanded=taken.number("expanded", 0, LIMITS.json_integer, default=0),
    )
    taken.done()
    return entry


def _link(value: Any, where: str) -> LinkEntry:
    taken = Fields(value, where)
    entry = LinkEntry(taken.text("path"), taken.text("target"), taken.text("install", default=""))
    taken.done()
    return entry


def _directory(value: Any, where: str) -> DirectoryEntry:
    taken = Fields(value, where)
    entry = DirectoryEntry(taken.text("path"), taken.mode("mode"), taken.text("install", default=""))
    taken.done()
    return entry


def _image(value: Any, where: str) -> Image:
    taken = Fields(value, where)
    image = Image(
        reference=taken.text("reference", _REFERENCE),
        platform=taken.text("platform", _PLATFORM),
        config=taken.text("config", OCI),
        manifest=taken.text("manifest", OCI),
        layers=taken.items("layers", _layer, 1024),
    )
    taken.done()
    return image


def _layer(value: Any, where: str) -> Layer:
    taken = Fields(value, where)
    layer = Layer(
        digest=taken.text("digest", OCI),
        size=taken.number("size", 0, LIMITS.json_integer),
        media_type=taken.text("media_type"),
        diff_id=taken.text("diff_id", OCI),
        expanded=taken.number("expanded", 0, LIMITS.json_integer),
    )
    taken.done()
    return layer


def _deployment(value: Any, where: str) -> Deployment:
    taken = Fields(value, where)
    method = taken.text("method")
    if method not in NAMES:
        raise taken.fault("method", f"is {method!r:.80}, which this version does not know")
    options = taken.part("options", _options, dict[str, Any]())
    entry = Deployment(method, options, taken.flag("optional"))
    taken.done()
    return entry


def _options(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TamperedError("is not an object", where=where)
    return value


def _health(value: Any, where: str) -> HealthCheck:
    taken = Fields(value, where)
    kind = taken.text("kind", re.compile("http|tcp|command|container"))
    entry = HealthCheck(
        kind=kind,  # type: ignore[arg-type]
        target=taken.text("target", default=""),
        command=taken.items("command", _word, 256),
        within=taken.number("within", 0, 86400, default=60),
        stable=taken.number("stable", 0, 86400, default=0),
        status=taken.number("status", 100, 599, default=200),
        when=taken.text("when", default=""),
    )
    taken.done()
    if (kind == "command") != bool(entry.command) or (kind == "command") == bool(entry.target):
        raise TamperedError("needs a `command` for a command, and a `target` for all else", where=where)
    return entry


def _word(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _ANY.fullmatch(value):
        raise TamperedError("is not a word of a command", where=where)
    return value


def _source(value: Any, where: str) -> Source:
    taken = Fields(value, where)
    source = Source(
        taken.text("commit", _COMMIT, default=""), taken.text("tag", default=""), taken.flag("dirty")
    )
    taken.done()
    return source


_LISTS: dict[str, Callable[[Any, str], object]] = {
    "files": _file,
    "links": _link,
    "directories": _directory,
    "images": _image,
}
"""The lists that can be long: read an element at a time."""


def dump(manifest: Manifest) -> bytes:
    """Gives the one written form of a manifest: what `parse` reads, with absent fields left out."""

    def stamp(seconds: int) -> str:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    rows: dict[str, Any] = {"schema": SCHEMA}
    for name in Manifest.__dataclass_fields__:
        value = getattr(manifest, name)
        if name in ("created", "expires"):
            rows[name] = stamp(value)
        elif name == "source":
            rows[name] = _row(value)
        else:
            rows[name] = value
    required = ("schema", "product", "version", "sequence", "created", "expires", "platforms", "files")
    return jsonio.dumps_lines({key: value for key, value in rows.items() if value or key in required}, _row)


def _row(item: Any) -> Any:
    """Gives one entry as JSON: fields at their defaults are left out, modes are octal text."""
    if isinstance(item, str):
        return item
    row: dict[str, Any] = {}
    for name, default in _FIELDS[type(item)]:
        value = getattr(item, name)
        if value == default:
            continue
        if name == "mode":
            value = f"0{value:03o}"
        elif isinstance(value, tuple):
            value = [_row(element) for element in value]
        row[name] = value
    return row


_FIELDS = {
    kind: tuple((field.name, field.default) for field in fields(kind))
    for kind in (FileEntry, LinkEntry, DirectoryEntry, Layer, Image, Deployment, HealthCheck, Source)
}
