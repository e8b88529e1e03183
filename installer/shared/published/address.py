"""Where a bundle is published: `oci://HOST/REPOSITORY:TAG`, or a file of a web server, `https://HOST/PATH`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from installer.core.errors import UsageError
from installer.core.oci.reference import reference_fault, split_reference

SCHEMES = ("oci://", "https://", "http://")
_FORM = "write oci://HOST[:PORT]/REPOSITORY:TAG, or https://HOST[:PORT]/PATH/NAME.tar"
_PATH = re.compile(r"(?:/[A-Za-z0-9._~+@=,-]+)+")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a bundle is published.

    Attributes:
        text: As it was typed.
        host: `HOST` or `HOST:PORT`.
        repository: In a registry; empty for a web server.
        tag: In a registry.
        path: On a web server, with its leading slash.
        scheme: `https` or `http` of a web server; empty for a registry, whose host decides.
    """

    text: str
    host: str
    repository: str = ""
    tag: str = ""
    path: str = ""
    scheme: str = ""

    @property
    def name(self) -> str:
        """The name of a file for the bundle."""
        if self.path:
            return self.path.rpartition("/")[2]
        return f"{self.repository.rpartition('/')[2]}-{self.tag}.tar"


def is_address(text: str) -> bool:
    """Return whether an argument is the address of a published bundle, and not a path."""
    return text.lower().startswith(SCHEMES)


def parse_address(text: str) -> Address:
    """Return an address.

    Raises:
        UsageError: It is none.
    """
    parts = urlsplit(text)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.username is not None or parts.password is not None:
        # Not quoted: whoever reads the message must not see it.
        raise UsageError("an address has no user and no password in it", hint=_FORM)
    if not is_address(text) or not host or port == 0 or parts.query or parts.fragment:
        raise UsageError("is not the address of a published bundle", where=text[:300], hint=_FORM)
    if parts.scheme.lower() != "oci":
        if not _PATH.fullmatch(parts.path) or {".", ".."} & set(parts.path.split("/")):
            raise UsageError("does not name a file of the server", where=text[:300], hint=_FORM)
        return Address(text, parts.netloc, path=parts.path, scheme=parts.scheme.lower())
    bare = f"{parts.netloc}{parts.path}"
    repository, tag, digest = split_reference(parts.path.lstrip("/"))
    if reference_fault(bare) or not repository or not tag or digest:
        raise UsageError("does not name a repository and a tag", where=text[:300], hint=_FORM)
    return Address(text, parts.netloc, repository, tag)
