"""The image of each service of a Compose project, after `extends` and after the merge of several files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.config.compose.document import Document, Path
from bundler.config.used_images.use import ImageUse
from installer.core.errors import Problem
from installer.core.risk.compose_values import items, text_of

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-?+])(?P<rest>[^}]*))?\})"
)
_LONGEST = 1024
_DEPTH = 16
"""Services that extend each other."""
_KEYS = ("image", "build", "provider")
"""What decides where the image of a service comes from."""
_UNKNOWN = "…"
"""Stands for what another service has that could not be read."""
Attributes = dict[str, "Attribute"]
Find = Callable[[Document, Any], tuple[Document, Mapping[str, str | None]] | None]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A key of a service: its value, its place, and the variables of its file."""

    value: Any
    where: str
    variables: Mapping[str, str | None]


def attributes(
    document: Document, variables: Mapping[str, str | None], find: Find, problems: list[Problem]
) -> dict[str, Attributes]:
    """Return what decides over the images of the services of one file, with what they extend.

    Args:
        document: The file.
        variables: Its variables; None where the value is known only on the host.
        find: Returns the document that an `extends` of a document names, and its variables; None where it
            cannot be read, which is reported elsewhere.
        problems: Gets the problems.
    """
    root = document.value if isinstance(document.value, Mapping) else {}
    return {
        name: _attributes(document, name, variables, find, problems) for name, _ in _rows(root, "services")
    }


def _attributes(
    document: Document, name: str, variables: Mapping[str, str | None], find: Find, problems: list[Problem]
) -> Attributes:
    chain, place = list[Attributes](), document.where(("services", name))
    while len(chain) < _DEPTH:
        service = document.value["services"][name]
        at = ("services", name)
        own: list[tuple[str, Any]] = [(key, service[key]) for key in _KEYS if key in service]
        own += [(key, None) for key in document.resets(at)]
        chain.append({key: Attribute(each, document.where((*at, key)), variables) for key, each in own})
        extends = service.get("extends")
        said = extends if isinstance(extends, Mapping) else {"service": extends}
        if not (wanted := text_of(said.get("service"))):
            break
        where, file = document.where((*at, "extends")), said.get("file")
        if file:
            if (found := find(document, file)) is None:
                # Nothing is known of the image, and nothing must be said of it.
                return {_UNKNOWN: Attribute(None, where, variables)}
            document, variables = found
        known = document.value.get("services") if isinstance(document.value, Mapping) else None
        if not isinstance(known, Mapping) or not isinstance(known.get(wanted), Mapping):
            what = f"service {name} extends {wanted:.100}, a service that {document.name} does not have"
            problems.append(Problem(where, what, "correct the name"))
            return {_UNKNOWN: Attribute(None, where, variables)}
        name = wanted
    else:
        hint = "let one of them extend nothing"
        problems.append(Problem(place, f"services extend each other more than {_DEPTH} times", hint))
    made: Attributes = {"": Attribute(None, place, variables)}
    for each in reversed(chain):
        made |= each
    return made


def uses(services: Mapping[str, Attributes], problems: list[Problem]) -> list[ImageUse]:
    """Return the images of services whose files are merged; report services without one that hosts have."""
    found = []
    for name, known in services.items():
        image, build = known.get("image"), known.get("build")
        if build is not None and build.value is not None:
            # The image would be built from sources that are not on the host.
            hint = "build the image first, list it under images, and replace build: with image:"
            what = f"service {name} has build:, but hosts have no source code to build from"
            problems.append(Problem(build.where, what, hint))
        elif image is None or image.value is None:
            provider = known.get("provider")
            if _UNKNOWN not in known and (provider is None or provider.value is None):
                problems.append(Problem(known[""].where, f"service {name} has no image", "add image:"))
        else:
            reference, fault = fill(text_of(image.value), image.variables)
            if fault:
                what = f"the image of service {name} {fault[0]}"
                problems.append(Problem(image.where, what, fault[1]))
            else:
                found.append(ImageUse(reference, f"service {name}", image.where))
    return found


def further_uses(
    document: Document, variables: Mapping[str, str | None], problems: list[Problem]
) -> Iterator[ImageUse]:
    """Yield the images of a file that are not those of its services: of mounts, of hooks and of jobs."""
    root = document.value if isinstance(document.value, Mapping) else {}
    for section in ("services", "jobs"):
        for name, each in _rows(root, section):
            at: Path = (section, name)
            places = [((*at, "image"), each.get("image"))] if section == "jobs" else []
            for key, wanted in (("volumes", "source"), ("pre_start", "image")):
                for number, item in enumerate(items(each.get(key))):
                    is_image = isinstance(item, Mapping) and (key != "volumes" or item.get("type") == "image")
                    places += [((*at, key, number, wanted), item.get(wanted))] if is_image else []
            for path, value in places:
                reference, fault = fill(text_of(value), variables)
                if fault:
                    what = f"the image of {section.removesuffix('s')} {name} {fault[0]}"
                    problems.append(Problem(document.where(path), what, fault[1]))
                elif reference:
                    yield ImageUse(reference, f"{section.removesuffix('s')} {name}", document.where(path))


def _rows(root: Mapping[str, Any], section: str) -> list[tuple[str, Mapping[str, Any]]]:
    found = root.get(section)
    rows = found.items() if isinstance(found, Mapping) else ()
    return [(name, each) for name, each in rows if isinstance(each, Mapping)]


def fill(text: str, variables: Mapping[str, str | None]) -> tuple[str, tuple[str, str] | None]:
    """Return a text with its variables filled in, and why that cannot be done, with what to do about it."""
    # No reference is that long; variables in variables would be looked for again from each of them.
    if len(text) > _LONGEST:
        return "", (f"is longer than {_LONGEST:,} characters", "write NAME:TAG")
    # Placeholders of bundle.yaml are not replaced here: the file must stay valid for Compose.
    if re.search(r"(?<!\$)\{[a-z]+\}", text):
        hint = "write ${WAYBILL_VERSION}: Compose files are shipped unchanged"
        return text, ("has {…}; placeholders are replaced only in bundle.yaml", hint)
    unknown: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        variable = match["bare"] or match["name"]
        if variable in variables:
            known = variables[variable]
            unknown.extend([variable] if known is None else [])
            return known or ""
        # A default without further variables is known now; the host may still set the variable.
        if match["how"] in ("-", ":-") and "$" not in match["rest"]:
            return str(match["rest"])
        unknown.append(variable)
        return ""

    filled = _VARIABLE.sub(value, text)
    if unknown:
        named = " or ".join(name for name in variables if name.startswith("WAYBILL_"))
        hint = f"use {named}, or give a default: ${{{unknown[0]}:-…}}"
        if unknown[0] in variables:
            hint = f"use {named}: the bundle has to carry the image"
        return text, (f"depends on ${unknown[0]}, which is known only on the host", hint)
    return filled, None
