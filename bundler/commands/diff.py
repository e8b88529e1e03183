"""`bundle diff`: compare two releases by the heads of their bundles.

The digests in the two lists are compared, and the texts that are shown are read and checked against them. All
other payload is not read, and no signature is checked: the result says so.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bundler.archive.reading import unverified_bundle
from bundler.commands.inspect import document_text
from bundler.commands.inspect_risks import review_bundle
from installer.core.errors import TamperedError
from installer.core.format.archive import Bundle
from installer.core.format.manifest import MANIFEST, FileEntry, Image, Manifest
from installer.core.format.manifest_rules import used_features
from installer.core.format.methods import FILE_KINDS
from installer.core.timestamps import format_seconds
from installer.shared.command.run_record import release_row
from installer.shared.humanize import size_text as size
from installer.shared.terminal.listing import FIRST, SHORT, Row, by_directory, limited, more
from installer.shared.terminal.narrow import fitted

# Named by what is shown elsewhere: a field that a later version adds is compared, whatever it is.
_ELSEWHERE = ("product", "version", "sequence", "files", "images")
# Of a file: what is shown as its bytes, and what is said of configuration files, as a text.
_NO_ATTRIBUTES = ("path", "size", "sha256", "validate", "on_change", "timeout")
_ABSENT = {"owner": "root:root", "platform": "all"}
_NOT_CHECKED = (
    "NOT VERIFIED: the lists were compared; the payload was not read, and no signature was checked. Run\n"
    "`bundle verify BUNDLE --root root.json` for both: only then each file is what its list says"
)
_LONGEST = 200
"""Lines of the difference of one text that are shown without `--all`."""
# Kinds that people read; a diff of a binary tells nothing.
_TEXT = ("template", "values", "schema", *FILE_KINDS, "doc")


@dataclass(frozen=True, slots=True)
class Attribute:
    """What bundle.json says of a file besides its bytes: the name there, and both values; empty for none."""

    name: str
    before: str
    after: str

    def as_text(self) -> str:
        """Return it in words for people."""
        absent = _ABSENT.get(self.name, "none")
        return f"{self.name} {self.before or absent} -> {self.after or absent}"


@dataclass(frozen=True, slots=True)
class Change:
    """One file or image that differs.

    Attributes:
        path: In the bundle.
        change: `added`, `removed`, `changed`; `moved` if it has the same bytes at another path on the host,
            `attributes` if only something else that is said of it differs, such as its mode.
        before: Size in bytes before; 0 if it is new.
        after: Size in bytes after; 0 if it was removed.
        attributes: What is said of it and differs; nothing of what only one of the two has. Of an image its
            manifest, if the configuration is the same.
    """

    path: str
    change: str
    before: int
    after: int
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """The differences between two bundles; unverified, as in `inspect`.

    Attributes:
        old: The manifest of the earlier bundle.
        new: Of the later one.
        files: Files that differ.
        images: Images that differ.
        new_layer_bytes: Of layers that only the new one has.
        shared_layer_bytes: Of layers that both have.
        texts: Differences of files that people read, and of the manifest.
        same: Whether the two have the same identity: the same list of the same digests.
        risks: What the new one does as root, or opens, and the old one does not, and the other way round.
    """

    old: Manifest
    new: Manifest
    identities: tuple[str, str]
    files: tuple[Change, ...]
    images: tuple[Change, ...]
    new_layer_bytes: int
    shared_layer_bytes: int
    texts: tuple[str, ...]
    same: bool = False
    risks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "product": self.new.product,
            "from": release_row(self.old.version, self.old.sequence, self.identities[0]),
            "to": release_row(self.new.version, self.new.sequence, self.identities[1]),
            "files": [asdict(change) for change in self.files],
            "images": [asdict(change) for change in self.images],
            "new_layer_bytes": self.new_layer_bytes,
            "shared_layer_bytes": self.shared_layer_bytes,
            "texts": list(self.texts),
            "same_identity": self.same,
            "risk_changes": list(self.risks),
            "payload_read": False,
            "verified": False,
        }

    def as_text(self, *, everything: bool = False) -> str:
        """Return it in words for people; of long lists the first part, unless `everything` is to be shown."""
        names = f"{self.old.product} {self.old.version} -> {self.new.product} {self.new.version}"
        parts = [f"{names} (sequence {self.old.sequence} -> {self.new.sequence})"]
        for title, changes in (("FILE", self.files), ("IMAGE", self.images)):
            if changes:
                parts.append("\n".join(_table(title, changes, everything)))
        changed = (*self.files, *self.images)
        if lines := [f"{each.path}: {one.as_text()}" for each in changed for one in each.attributes]:
            parts.append("\n".join(["ATTRIBUTES", *limited(lines, "attributes", everything=everything)]))
        if self.images:
            shared, new = size(self.shared_layer_bytes), size(self.new_layer_bytes)
            parts.append(f"layers: {new} new, {shared} unchanged")
        if self.risks:
            parts.append("\n".join(["RISKS", *limited(self.risks, "risks", everything=everything)]))
        parts += self._differences(everything)
        if self.same:
            parts.append("the two have the same identity: they list the same files")
        elif not self.files and not self.images and not self.texts:
            parts.append("no differences: the two list the same files")
        return "\n\n".join([*parts, _NOT_CHECKED])

    def _differences(self, everything: bool) -> Iterator[str]:
        """Yield the differences of texts; of many the first ones, and always that of the manifest."""
        of_manifest = [each for each in self.texts if each.startswith(f"--- old/{MANIFEST}")]
        others = [each for each in self.texts if each not in of_manifest]
        most = len(others) if everything or len(others) <= SHORT else FIRST
        for each in (*others[:most], *of_manifest):
            lines = each.splitlines()
            longest = len(lines) if everything or len(lines) <= _LONGEST else _LONGEST
            rest = [more(len(lines) - longest, "lines")] if longest < len(lines) else []
            yield "\n".join([*lines[:longest], *rest])
        if most < len(others):
            yield more(len(others) - most, "texts that differ")


def _table(title: str, changes: Sequence[Change], everything: bool) -> Iterator[str]:
    """Yield the table of what differs; for a long one its directories and its first rows."""
    is_long = len(changes) > SHORT and not everything
    if is_long:
        yield from by_directory(Row(each.path, each.path, each.change) for each in changes)
        yield f"the first {FIRST} of {len(changes)}:"
    rows = [("CHANGE", "BEFORE", "AFTER", title)]
    shown = changes[:FIRST] if is_long else changes
    rows += [
        (
            each.change,
            "-" if each.change == "added" else size(each.before),
            "-" if each.change == "removed" else size(each.after),
            each.path,
        )
        for each in shown
    ]
    yield fitted(rows, right=(1, 2))
    if is_long:
        yield more(len(changes) - FIRST, f"{title.lower()}s")


def diff_bundles(old: Path, new: Path) -> Difference:
    """Compare two bundles.

    Raises:
        TamperedError: One of them is not a bundle.
        UsageError: One of them does not exist.
    """
    with unverified_bundle(old) as before, unverified_bundle(new) as after:
        return _compare(before, after)


def _compare(old: Bundle, new: Bundle) -> Difference:
    before, after = _files(old.manifest, new.manifest), _files(new.manifest, old.manifest)
    files = []
    for path in sorted(before.keys() | after.keys()):
        one, two = before.get(path), after.get(path)
        attributes = tuple(_attributes(one, two))
        if change := _change(one, two, attributes):
            files.append(Change(path, change, one.size if one else 0, two.size if two else 0, attributes))
    texts = [
        "\n".join(_text_diff(change.path, document_text(old, one), document_text(new, two))).rstrip()
        for change in files
        if (one := before.get(change.path))
        and (two := after.get(change.path))
        and change.change == "changed"
        and two.kind in _TEXT
    ]
    # Deployment and health are in the manifest: without this, a changed step would not show.
    pairs = [(MANIFEST, _settings(old.manifest), _settings(new.manifest))]
    pairs += [(f"{MANIFEST}, order of {what}", *both) for what, both in _orders(old.manifest, new.manifest)]
    texts += ["\n".join(_text_diff(*each)).rstrip() for each in pairs]
    # By digest: a layer that both have is not carried again.
    old_layers = {layer.digest: layer.size for image in old.manifest.images for layer in image.layers}
    new_layers = {layer.digest: layer.size for image in new.manifest.images for layer in image.layers}
    return Difference(
        old.manifest,
        new.manifest,
        (old.identity, new.identity),
        tuple(files),
        tuple(_images(old.manifest, new.manifest)),
        sum(count for digest, count in new_layers.items() if digest not in old_layers),
        sum(count for digest, count in new_layers.items() if digest in old_layers),
        tuple(text for text in texts if text),
        old.identity == new.identity,
        tuple(_risks(old, new)),
    )


def _risks(old: Bundle, new: Bundle) -> Iterable[str]:
    """Yield what only one of the two does as root, or opens."""
    before, after = _findings(old), _findings(new)
    yield from (f"+ {each}" for each in after if each not in before)
    yield from (f"- {each}" for each in before if each not in after)


def _findings(bundle: Bundle) -> dict[str, None]:
    try:
        found = review_bundle(bundle).risks
    except TamperedError as error:
        # Compared all the same: this command is for finding out what is wrong.
        return {f"NOT EXAMINED: {error.where}: {error.what}": None}
    return dict.fromkeys(f"{each.where}: {each.what}" for each in found)


def _files(manifest: Manifest, other: Manifest) -> dict[str, FileEntry]:
    # Blobs of images have digests for names: those that come or go are shown as images and layers.
    both = {entry.path for entry in other.files if entry.kind == "image"}
    return {entry.path: entry for entry in manifest.files if entry.kind != "image" or entry.path in both}


def _change(one: FileEntry | None, two: FileEntry | None, attributes: Sequence[Attribute]) -> str:
    # Bytes before place: a file that changed and moved is shown as changed.
    if one is None or two is None:
        return "removed" if two is None else "added"
    if (one.sha256, one.size) != (two.sha256, two.size):
        return "changed"
    if any(each.name == "install" for each in attributes):
        return "moved"
    return "attributes" if attributes else ""


def _attributes(one: FileEntry | None, two: FileEntry | None) -> Iterator[Attribute]:
    if one is None or two is None:
        return
    for name in FileEntry.__dataclass_fields__:
        before, after = getattr(one, name), getattr(two, name)
        if before != after and name not in _NO_ATTRIBUTES:
            yield Attribute(
                name, *(f"{each:04o}" if name == "mode" else str(each) for each in (before, after))
            )


def _orders(old: Manifest, new: Manifest) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what both list in another order, as the two lists without what only one of them has."""
    for what, names in (
        ("files", lambda manifest: [each.path for each in manifest.files]),
        ("images", lambda manifest: [f"{each.reference} {each.platform}" for each in manifest.images]),
    ):
        both = set(names(old)) & set(names(new))
        before, after = ([name for name in names(each) if name in both] for each in (old, new))
        if before != after:
            yield what, ("\n".join(before), "\n".join(after))


def _images(old: Manifest, new: Manifest) -> Iterable[Change]:
    before, after = _keyed(old, new), _keyed(new, old)
    for key in sorted(before.keys() | after.keys()):
        one, two = before.get(key), after.get(key)
        # Equal configurations have equal layers; how these are stored may differ all the same.
        if one == two:
            continue
        names = " -> ".join(dict.fromkeys(image.reference for image in (one, two) if image))
        kind = "changed" if one and two else "removed" if one else "added"
        stored = [sum(layer.size for layer in image.layers) if image else 0 for image in (one, two)]
        attributes: tuple[Attribute, ...] = ()
        if one and two and one.config == two.config and one.manifest != two.manifest:
            attributes = (Attribute("manifest", one.manifest, two.manifest),)
        yield Change(f"{names} ({key[1]})", kind, stored[0], stored[1], attributes)


def _settings(manifest: Manifest) -> str:
    """Return everything in the manifest besides files and images, as text to compare."""
    fields = (name for name in Manifest.__dataclass_fields__ if name not in _ELSEWHERE)
    settings = {name: getattr(manifest, name) for name in fields}
    settings |= {name: format_seconds(settings[name]) for name in ("created", "expires")}
    settings["requires"] = used_features(manifest)
    # What is said of configuration files is run on hosts, like steps.
    settings["config"] = {
        entry.path: {"validate": entry.validate, "on_change": entry.on_change, "timeout": entry.timeout}
        for entry in manifest.files
        if entry.validate or entry.on_change or entry.timeout
    }
    return json.dumps(settings, default=_entry, indent=1, sort_keys=True)


def _entry(entry: Any) -> dict[str, Any]:
    # Modes as people and bundle.json write them.
    return {name: f"{value:04o}" if name == "mode" else value for name, value in asdict(entry).items()}


def _keyed(manifest: Manifest, other: Manifest) -> dict[tuple[str, str], Image]:
    """Return images by name; by name and tag if one of the two manifests has several tags of a name."""

    def name(image: Image) -> str:
        # A new tag of an image is a change of it, not another image.
        return image.reference.rpartition(":")[0] or image.reference

    counts = [Counter((name(image), image.platform) for image in each.images) for each in (manifest, other)]
    return {
        (name(image), image.platform)
        if all(count[name(image), image.platform] <= 1 for count in counts)
        else (image.reference, image.platform): image
        for image in manifest.images
    }


def _text_diff(path: str, one: str | None, two: str | None) -> Iterable[str]:
    """Return the lines that differ; none if one of the two is not text."""
    if one is None or two is None:
        return ()
    return difflib.unified_diff(one.splitlines(), two.splitlines(), f"old/{path}", f"new/{path}", lineterm="")
