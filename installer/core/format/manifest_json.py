"""bundle.json in and out: the strict parser of the manifest, and its one written form."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from operator import itemgetter
from typing import Any, TypeVar

from installer.core import jsonio
from installer.core.digest import HEX, OCI
from installer.core.errors import TamperedError
from installer.core.fields import PRINTABLE, Document, Value
from installer.core.format import features
from installer.core.format.entries import capabilities
from installer.core.format.entries.config_file import (
    MOST_SECONDS,
    NOTHING,
    OnChange,
    read_on_change,
    read_validator,
)
from installer.core.format.entries.health_check import read_health
from installer.core.format.entries.method_spec import read_options
from installer.core.format.entries.whole_images import read_whole_image
from installer.core.format.health_target import MAX_PORT
from installer.core.format.manifest import (
    KINDS,
    LAYERS_OF,
    MAJORITY,
    MANIFEST,
    SCHEMA,
    SITE_NAME,
    SITE_NAME_FORM,
    Attachment,
    ClusterNeeds,
    Deployment,
    DirectoryEntry,
    FileEntry,
    HealthCheck,
    Image,
    Layer,
    LinkEntry,
    Manifest,
    Source,
    ValuesLayer,
    WholeImage,
)
from installer.core.format.manifest_rules import WRONG_RELEASE, check, check_steps, used_features
from installer.core.format.methods import NAMES, SPECS
from installer.core.json_stream import load_object
from installer.core.limits import LIMITS
from installer.core.timestamps import format_seconds

T = TypeVar("T")
_MODES = {f"{mode:04o}": mode for mode in range(0o1000)}
_DIRECTORY_MODES = {f"{mode:04o}": mode for mode in range(0o4000)}
"""With setgid and sticky bit, which mean something else on a directory than on a file."""
_OWNER = re.compile(r"[a-z_][a-z0-9_-]{0,31}:[a-z_][a-z0-9_-]{0,31}")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+(/v[0-9]+)?")
_PRODUCT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# A cheap form of semver for the reader; `bundle create` parses the version in full.
_VERSION = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?"
)
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._/:-]{0,254}")
_DIGEST_FORM = "`sha256:` and 64 hex digits"
CHECKS = ("resolve", "connect", "seen")
_SERVICE = re.compile(r"_(?=[a-z0-9-]{0,14}[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?\._(tcp|udp)")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}(\.[A-Za-z_][A-Za-z0-9_-]{0,62}){0,7}")
_KEY_FORM = "the key of a value, with dots between its parts"
_QUORUM = re.compile(rf"{MAJORITY}|[1-9][0-9]{{0,2}}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")

_TREE_FILE = {"path", "size", "mode", "sha256", "install", "kind"}
_TREE_VALUES = itemgetter("path", "size", "mode", "sha256", "install")


def parse(data: bytes, *, retained: bool = False) -> Manifest:
    """Parse bundle.json, whose digest was checked against the signed list before.

    Args:
        data: Its bytes.
        retained: Whether it is of a release that is on this host already. An older version accepted it,
            perhaps with steps and probes that it never used: they are read as they are.

    Raises:
        NeedsNewerError: It is of a newer version, or uses a feature that this version does not know.
        TamperedError: It is not a manifest, or contradicts itself.
    """
    # Before anything else is checked: what a newer version wrote is no sign of tampering.
    features.check_known(data, MANIFEST)
    # The list that is signed has its digest: copying the bundle again would not help.
    document = Document(MANIFEST, WRONG_RELEASE)

    def each(read: Callable[[Value], T]) -> Callable[[Any, str], T]:
        return lambda raw, path: read(Value(document, raw, path))

    # These lists can be long: an element is read as soon as it is parsed.
    long_lists: dict[str, Callable[[Any, str], object]] = {
        "files": lambda raw, path: _tree_file(raw) or _any_file(Value(document, raw, path)),
        "links": each(_link),
        "directories": each(_directory),
        "images": each(_image),
    }
    top = Value(document, load_object(data, MANIFEST, LIMITS.manifest_bytes, long_lists))
    with top.fields() as taken:
        _require_known(taken.take("schema"), requires := taken.take("requires", []))
        # What is not a manifest has other fields: only the schema is worth a message.
        document.require_valid()
        manifest = Manifest(
            product=taken.take("product").text(
                _PRODUCT, "a product name: lower-case letters, digits, hyphens"
            ),
            version=taken.take("version").text(_VERSION, "a semantic version without `v`"),
            sequence=taken.take("sequence").number(0),
            created=taken.take("created").seconds(),
            expires=taken.take("expires").seconds(),
            platforms=taken.take("platforms").items(_platform, 64),
            files=taken.take("files").items(_any_file),
            links=taken.take("links", []).items(_link),
            directories=taken.take("directories", []).items(_directory),
            images=taken.take("images", []).items(_image, 4096),
            whole_images=taken.take("whole_images", []).items(read_whole_image, 4096),
            deploy=taken.take("deploy", []).items(lambda step: _deployment(step, retained), 256),
            health=taken.take("health", []).items(lambda probe: read_health(probe, retained=retained), 256),
            rollback=taken.optional_text("rollback"),
            values=taken.optional_text("values"),
            values_schema=taken.optional_text("values_schema"),
            values_layers=taken.take("values_layers", []).items(_values_layer, LIMITS.values_layers),
            source=_source(taken.take("source", {})),
            upgrade_from=taken.optional_text("upgrade_from", _VERSION, "a semantic version without `v`"),
            cluster=_cluster(taken.take("cluster")) if taken.has("cluster") else None,
        )
    document.require_valid()
    if not manifest.platforms:
        top.document.note("platforms", "must name at least one platform")
    document.require_valid()
    used = check(manifest)
    # One written form: a word too many would shut out readers without need, one too few would call newer
    # bundles tampered.
    if requires.raw != list(used):
        raise TamperedError(
            f"requires {requires.raw!r:.80}, but uses {list(used)}", where=MANIFEST, hint=WRONG_RELEASE
        )
    if not retained:
        check_steps(manifest)
    return manifest


def _require_known(schema: Value, requires: Value) -> None:
    """Read what the manifest requires, also where it is not in the written form.

    Raises:
        NeedsNewerError: This version does not know it.
    """
    if isinstance(schema.raw, str) and features.LATER.fullmatch(schema.raw):
        raise features.needs_newer_error(f"has the schema {schema.raw}", MANIFEST)
    schema.choice((SCHEMA,))
    words = requires.raw if isinstance(requires.raw, list) else []
    # Before what is wrong with the fields is said: with a word that is not known, nobody can tell.
    features.require_known((word for word in words if features.is_word(word)), MANIFEST)
    requires.names(features.WORD, features.WORD_FORM, features.MOST)


def _platform(value: Value) -> str:
    return value.text(_PLATFORM, "`os/arch`")


def _tree_file(value: Any) -> FileEntry | None:
    """Read the entry of a file of a tree, of which there can be very many, in one look.

    Returns:
        The entry; None where the entry has to be read field by field, to be accepted or refused.
    """
    # A release tree can have 250,000 files: one comparison of keys instead of nine lookups each.
    if not isinstance(value, dict) or value.keys() != _TREE_FILE or value["kind"] != "tree":
        return None
    path, size, mode, sha256, install = _TREE_VALUES(value)
    valid = (
        str is type(path) is type(mode) is type(sha256) is type(install)
        and type(size) is int
        and 0 <= size <= LIMITS.json_integer
        and mode in _MODES
        and HEX.fullmatch(sha256)
        and PRINTABLE.fullmatch(path)
        and PRINTABLE.fullmatch(install)
    )
    return FileEntry(path, size, sha256, _MODES[mode], "tree", install) if valid else None


def _any_file(value: Value) -> FileEntry:
    with value.fields() as taken:
        return FileEntry(
            path=taken.take("path").text(),
            size=taken.take("size").number(0),
            sha256=taken.take("sha256").text(HEX, "a SHA-256 in lower-case hex"),
            mode=_mode(taken.take("mode")),
            kind=taken.take("kind").choice(KINDS),  # type: ignore[arg-type]
            install=taken.optional_text("install"),
            owner=taken.optional_text("owner", _OWNER, "`user:group`"),
            platform=taken.optional_text("platform", _PLATFORM, "`os/arch`"),
            expanded=taken.take("expanded", 0).number(0),
            member=taken.optional_text("member"),
            validate=read_validator(taken.take("validate")) if taken.has("validate") else (),
            on_change=read_on_change(taken.take("on_change")) if taken.has("on_change") else NOTHING,
            timeout=taken.take("timeout").number(1, MOST_SECONDS) if taken.has("timeout") else 0,
            capabilities=_capabilities(taken.take("capabilities")) if taken.has("capabilities") else "",
        )


def _mode(value: Value) -> int:
    """Read permission bits: four octal digits, never setuid, setgid or sticky."""
    if isinstance(value.raw, str) and value.raw in _MODES:
        return _MODES[value.raw]
    return value.expected("permission bits from 0000 to 0777", 0)


def _directory_mode(value: Value) -> int:
    if isinstance(value.raw, str) and value.raw in _DIRECTORY_MODES:
        return _DIRECTORY_MODES[value.raw]
    return value.expected("permission bits from 0000 to 3777", 0)


def _capabilities(value: Value) -> str:
    text = value.text()
    if isinstance(value.raw, str) and (what := capabilities.fault(text)):
        value.note(what)
    return text


def _link(value: Value) -> LinkEntry:
    with value.fields() as taken:
        return LinkEntry(
            taken.take("path").text(), taken.take("target").text(), taken.optional_text("install")
        )


def _directory(value: Value) -> DirectoryEntry:
    with value.fields() as taken:
        return DirectoryEntry(
            taken.take("path").text(),
            _directory_mode(taken.take("mode")),
            taken.optional_text("install"),
            taken.optional_text("owner", _OWNER, "`user:group`"),
        )


def _image(value: Value) -> Image:
    with value.fields() as taken:
        return Image(
            reference=taken.take("reference").text(_REFERENCE, "an image reference"),
            platform=taken.take("platform").text(_PLATFORM, "`os/arch`"),
            config=taken.take("config").text(OCI, _DIGEST_FORM),
            manifest=taken.take("manifest").text(OCI, _DIGEST_FORM),
            layers=taken.take("layers", []).items(_layer, 1024),
        )


def _layer(value: Value) -> Layer:
    with value.fields() as taken:
        return Layer(
            digest=taken.take("digest").text(OCI, _DIGEST_FORM),
            size=taken.take("size").number(0),
            media_type=taken.take("media_type").text(),
            diff_id=taken.take("diff_id").text(OCI, _DIGEST_FORM),
            expanded=taken.take("expanded").number(0),
        )


def _deployment(value: Value, retained: bool) -> Deployment:
    with value.fields() as taken:
        method, options = taken.take("method").choice(NAMES), taken.take("options", {})
        return Deployment(
            method=method,
            options=options.mapping() if retained else read_options(options, SPECS.get(method)),
            optional=taken.take("optional", False).flag(),
        )


def _values_layer(value: Value) -> ValuesLayer:
    with value.fields() as taken:
        return ValuesLayer(
            layer=taken.take("layer").choice(LAYERS_OF),  # type: ignore[arg-type]
            name=taken.take("name").text(SITE_NAME, SITE_NAME_FORM),
            path=taken.take("path").text(),
        )


def _cluster(value: Value) -> ClusterNeeds:
    with value.fields() as taken:
        needs = ClusterNeeds(
            peers=taken.take("peers").text(_KEY, _KEY_FORM),
            node=taken.optional_text("node", _KEY, _KEY_FORM),
            port=taken.take("port", 0).number(0, MAX_PORT),
            check=taken.take("check", "connect").choice(CHECKS),  # type: ignore[arg-type]
            quorum=taken.optional_text("quorum", _QUORUM, f"`{MAJORITY}`, or a number from 1 to 999"),
            mdns=taken.optional_text("mdns", _SERVICE, "a type of service such as `_lan-chat._tcp`"),
        )
    if needs.check == "seen" and not needs.mdns:
        value.note("must have `mdns` where its check is `seen`")
    return needs


def _source(value: Value) -> Source:
    with value.fields() as taken:
        return Source(
            taken.optional_text("commit", _COMMIT, "a full commit id"),
            taken.optional_text("tag"),
            taken.take("dirty", False).flag(),
        )


def dump(manifest: Manifest) -> bytes:
    """Return the one written form of a manifest: what `parse` reads, with absent fields left out."""
    # Fields at their defaults are left out, so that a new optional field changes no existing bundle.
    rows: dict[str, Any] = {"schema": SCHEMA}
    for name in Manifest.__dataclass_fields__:
        value = getattr(manifest, name)
        if name in ("created", "expires"):
            rows[name] = format_seconds(value)
        elif name in ("source", "cluster"):
            rows[name] = _row(value) if value else None
        else:
            rows[name] = value
    rows["requires"] = used_features(manifest)
    required = ("schema", "product", "version", "sequence", "created", "expires", "platforms", "files")
    return jsonio.dumps_lines({key: value for key, value in rows.items() if value or key in required}, _row)


def _row(item: Any) -> Any:
    """Return one entry as JSON: fields at their defaults are left out, modes are octal text."""
    if isinstance(item, str):
        return item
    row: dict[str, Any] = {}
    for name, default in _FIELDS[type(item)]:
        value = getattr(item, name)
        if value == default:
            continue
        if name == "mode":
            value = f"{value:04o}"
        elif isinstance(value, tuple):
            value = [_row(element) for element in value]
        elif isinstance(value, OnChange):
            value = _row(value)
        row[name] = value
    return row


_FIELDS = {
    kind: tuple((field.name, field.default) for field in fields(kind))
    for kind in (
        *(FileEntry, OnChange, LinkEntry, DirectoryEntry, Layer, Image, Deployment, HealthCheck, Source),
        *(ClusterNeeds, ValuesLayer, WholeImage, Attachment),
    )
}
