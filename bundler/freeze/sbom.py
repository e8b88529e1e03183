"""What is in an executable: an SBOM (CycloneDX 1.6), and the texts of all licences, for `install licenses`.

The frozen directory decides what is listed, never the list of requirements: a wheel is in it if one of its
modules is. A library that nobody can name stops the build.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from installer.core.errors import UnfitInputError
from installer.shared.frozen import NOTICES, SBOM, carried, module_name

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

NAMESPACE = uuid.UUID("5d4d2c61-6f7b-5f0c-9c53-0b6f2f5a7b11")
"""Makes the serial number of an SBOM from its content: two builds give the same bytes."""

RUNTIME = ("cx-freeze", "freeze-core")
"""Wheels whose code starts every executable, though no module of theirs is listed."""

# Of the libraries in wheels: the package of the build system, as the wheel's own SBOM names it. The system is
# CentOS for glibc, Alpine for musl.
PACKAGES_OF = {
    "libbz2": ("bzip2-libs", "libbz2"),
    "libffi": ("libffi",),
    "libgcc_s": ("libgcc",),
    "liblzma": ("xz-libs", "xz"),
    "libuuid": ("libuuid",),
}
# Libraries in freeze-core that its own SBOM lacks: their file names end with their version.
UNLISTED = {"libmpdec": "mpdecimal"}
ONLY_MUSL = ("libgcc.txt", "xz.txt")
"""Texts for libraries that only executables for musl have."""

LICENCE_OF = {
    "bzip2-libs": "bzip2-1.0.6",
    "libbz2": "bzip2-1.0.6",
    "libffi": "MIT",
    "libgcc": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libuuid": "BSD-3-Clause",
    "libyaml": "MIT",
    "mpdecimal": "BSD-2-Clause",
    "openssl": "Apache-2.0",
    "xz": "0BSD",
    "xz-libs": "LicenseRef-public-domain",
    "zlib": "Zlib",
    "zstd": "BSD-3-Clause",
}
# Compiled into a wheel that has no SBOM; its version stands in the library.
COMPILED_IN = {
    "PyYAML": ("libyaml", rb"\x00(0\.[0-9]+\.[0-9]+)\x00"),
    "zstandard": ("zstd", rb"\x00(1\.[0-9]+\.[0-9]+)\x00"),
}
CPE = {"openssl": "openssl:openssl", "python": "python:python", "zlib": "zlib:zlib"}
CLASSIFIED = re.compile(r"License :: OSI Approved :: (.+)")
SPDX = {
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
OPENSSL = re.compile(rb"OpenSSL ([0-9]+\.[0-9]+\.[0-9]+) [0-9]")


@dataclass(frozen=True, slots=True)
class Wheel:
    """An unpacked wheel.

    Attributes:
        name: The name of the distribution.
        version: Its version.
        licence: An SPDX expression.
        info: Its `.dist-info` directory.
        files: What it installs, relative to the directory of all wheels.
    """

    name: str
    version: str
    licence: str
    info: Path
    files: tuple[str, ...]

    @property
    def purl_name(self) -> str:
        """Its name as package URLs write it (PEP 503)."""
        return re.sub(r"[-_.]+", "-", self.name).lower()

    def texts(self) -> list[str]:
        """Return its licences and notices."""
        wanted = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)
        found = sorted(path for path in self.info.rglob("*") if path.is_file() and wanted.match(path.name))
        return [path.read_text(encoding="utf-8", errors="replace").strip() for path in found]


def wheels(site: Path) -> Iterator[Wheel]:
    """Yield every wheel in the directory `site`, sorted."""
    for info in sorted(site.glob("*.dist-info")):
        metadata = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        rows = (info / "RECORD").read_text(encoding="utf-8").splitlines()
        expression = metadata["License-Expression"] or metadata["License"] or ""
        for classifier in metadata.get_all("Classifier", []):
            if not expression and (match := CLASSIFIED.fullmatch(classifier)):
                expression = match[1]
        licence = SPDX.get(expression, expression)
        yield Wheel(
            metadata["Name"], metadata["Version"], licence, info, tuple(row.split(",")[0] for row in rows)
        )


def included(app: Path, sites: Sequence[Path]) -> list[Wheel]:
    """Return the wheels of which something is in the frozen directory `app`; earlier sites come first."""
    modules = set(carried(app))
    data = {path.relative_to(app / "lib").as_posix() for path in (app / "lib").rglob("*.json")}
    found = {wheel.purl_name: wheel for site in reversed(sites) for wheel in wheels(site)}
    return [
        wheel
        for _, wheel in sorted(found.items())
        if wheel.purl_name in RUNTIME
        or any(module_name(_plain(file)) in modules for file in wheel.files)
        # Of some wheels only data are there.
        or any(file in data for file in wheel.files)
    ]


def _plain(file: str) -> str:
    """Return a source file's path as that of its compiled module; other paths as they are."""
    return f"{file}c" if file.endswith(".py") and "__pycache__" not in file else file


def write(
    app: Path, sites: Sequence[Path], program: str, version: str, python: dict[str, str], zlib: str
) -> None:
    """Write the SBOM and the notices of a frozen directory into it.

    Args:
        app: The frozen directory.
        sites: The wheels that it was made from, unpacked.
        program: `install` or `bundle`.
        version: Its version.
        python: The versions of the `interpreter` and of the standard `library`.
        zlib: The version of zlib.

    Raises:
        UnfitInputError: Something in it has no name or no licence.
    """
    found = included(app, sites)
    components = [*_python(app, python, zlib), *_of_wheels(app, found)]
    (app / SBOM).parent.mkdir(exist_ok=True)
    (app / SBOM).write_text(_document(program, version, components), encoding="utf-8")
    (app / NOTICES).write_text(_notices(found, _static(app)), encoding="utf-8")


def _component(name: str, version: str, purl: str, licence: str, cpe: str = "") -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    if not licence:
        # Nobody may have to guess under which terms a part is shipped.
        raise UnfitInputError("has no licence that the SBOM could name", where=f"{name} {version}")
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=purl,
        purl=PackageURL.from_string(purl),
        licenses=[LicenseFactory().make_from_string(licence)],
        cpe=f"cpe:2.3:a:{CPE[cpe]}:{version}:*:*:*:*:*:*:*" if cpe else None,
    )


def _generic(name: str, version: str) -> Component:
    purl = f"pkg:generic/{name}@{version}"
    return _component(name, version, purl, LICENCE_OF[name], name if name in CPE else "")


def _python(app: Path, python: dict[str, str], zlib: str) -> Iterator[Component]:
    interpreter, library = python["interpreter"], python["library"]
    yield _component("cpython", interpreter, f"pkg:generic/python@{interpreter}", "PSF-2.0", "python")
    if library != interpreter:
        # Its weaknesses are those of its own version.
        purl = f"pkg:generic/python@{library}#Lib"
        yield _component("cpython standard library", library, purl, "PSF-2.0", "python")
    yield _generic("zlib", zlib)
    for path in sorted((app / "lib").glob("libcrypto-*")):
        match = OPENSSL.search(path.read_bytes())
        if not match:
            raise UnfitInputError("names no version of OpenSSL", where=path.name)
        yield _generic("openssl", match[1].decode())


def _of_wheels(app: Path, found: Iterable[Wheel]) -> Iterator[Component]:
    paths = {path.name.partition("-")[0]: path for path in (app / "lib").glob("lib*.so.*")}
    shipped = paths.keys()
    unknown = shipped - PACKAGES_OF.keys() - UNLISTED.keys() - {"libcrypto", "libssl", "libz.so.1"}
    if unknown:
        raise UnfitInputError("belongs to no package that the SBOM could name", where=sorted(unknown)[0])
    for name in sorted(shipped & UNLISTED.keys()):
        yield _generic(UNLISTED[name], paths[name].name.partition(".so.")[2])
    packages = {each for name in shipped & PACKAGES_OF.keys() for each in PACKAGES_OF[name]}
    listed = {nested["name"] for wheel in found for nested in _nested(wheel)}
    for name in sorted(shipped & PACKAGES_OF.keys()):
        if listed.isdisjoint(PACKAGES_OF[name]):
            raise UnfitInputError("is listed in no SBOM of a wheel", where=paths[name].name)
    for wheel in found:
        purl = f"pkg:pypi/{wheel.purl_name}@{wheel.version}"
        yield _component(wheel.name, wheel.version, purl, wheel.licence)
        for nested in _nested(wheel):
            if wheel.purl_name != "freeze-core" or nested["name"] in packages:
                yield _from_wheel(nested)
        if wheel.name in COMPILED_IN:
            name, pattern = COMPILED_IN[wheel.name]
            libraries = [wheel.info.parent / file for file in wheel.files if file.endswith(".so")]
            versions = {match for path in libraries for match in re.findall(pattern, path.read_bytes())}
            for match in sorted(versions):
                yield _generic(name, match.decode())


def _nested(wheel: Wheel) -> Iterator[dict[str, str]]:
    """Yield what the wheel's own SBOMs (PEP 770) list, once each; the wheel itself is left out."""
    seen: set[str] = set()
    for path in sorted(wheel.info.glob("sboms/*.json")):
        for each in json.loads(path.read_text(encoding="utf-8")).get("components", []):
            # Addresses of the machine that built the wheel say nothing.
            purl = each.get("purl", "").partition("?")[0]
            if purl and purl not in seen and not purl.startswith("pkg:pypi/"):
                seen.add(purl)
                given = each.get("licenses", [])
                licences = [one.get("expression") or one["license"].get("id", "") for one in given]
                licence = " AND ".join(f"({one})" if len(licences) > 1 else one for one in licences)
                yield {"name": each["name"], "version": each["version"], "purl": purl, "licence": licence}


def _from_wheel(nested: dict[str, str]) -> Component:
    name = nested["name"]
    licence = nested["licence"] or LICENCE_OF.get(name, "")
    # A slash between two names is an older spelling of OR.
    licence = re.sub(r"(?<=\S)\s*/\s*(?=\S)", " OR ", licence)
    cpe = name if name in CPE and nested["purl"].startswith("pkg:generic/") else ""
    return _component(name, nested["version"], nested["purl"], licence, cpe)


def _document(program: str, version: str, components: list[Component]) -> str:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    root = Component(type=ComponentType.APPLICATION, name=program, version=version, bom_ref=program)
    once = {str(each.purl): each for each in components}
    names = "\n".join(sorted(once))
    bom = Bom(components=once.values(), serial_number=uuid.uuid5(NAMESPACE, f"{program} {version}\n{names}"))
    bom.metadata.component = root
    bom.register_dependency(root, once.values())
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # The time of the build would make two builds differ.
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _static(app: Path) -> list[Traversable]:
    """Return the texts for libraries whose wheels have none."""
    folder = files("bundler.freeze").joinpath("notices")
    # Hosts of musl may lack it; the wheels that bring it have a later liblzma, too.
    brings = any((app / "lib").glob("libgcc_s-*"))
    texts = [each for each in folder.iterdir() if brings or each.name not in ONLY_MUSL]
    return sorted(texts, key=lambda path: path.name)


def _notices(found: Iterable[Wheel], static: Iterable[Traversable]) -> str:
    texts: dict[str, list[str]] = {}
    for wheel in found:
        for text in wheel.texts():
            texts.setdefault(text, []).append(f"{wheel.name} {wheel.version}")
            # OpenSSL is under the same text, which its library does not have with it.
            if "Apache License" in text and "Version 2.0" in text and "APPENDIX" in text:
                texts[text] = sorted({*texts[text], "OpenSSL"})
    for path in static:
        text = path.read_text(encoding="utf-8").strip()
        texts.setdefault(text, []).append(path.name.removesuffix(".txt"))
    rule = "=" * 78
    parts = [f"{rule}\n{', '.join(names)}\n{rule}\n\n{text}" for text, names in texts.items()]
    return "\n\n".join(parts) + "\n"
