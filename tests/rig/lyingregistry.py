"""A registry that answers as a test wants it to, and pushing into a real one without an engine."""

from __future__ import annotations

import json
import re
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from installer.core.oci import documents
from tests.rig.imagebuild import Built, digest, index
from tests.rig.registry import Registry
from tests.rig.registrygate import listening


@dataclass
class Lying:
    """A registry on loopback that answers as a test wants it to.

    Attributes:
        blobs: What it has, by digest.
        tags: Manifests by tag.
        spoil: Changes the answers to some paths: status, headers, body.
        seen: Requests that came: path and headers.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, bytes] = field(default_factory=dict)
    spoil: dict[str, Callable[[Any], tuple[int, dict[str, str], bytes] | None]] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    name: str = ""

    def answer(self, request: Any) -> tuple[int, dict[str, str], bytes]:
        path = request.path
        for pattern, change in self.spoil.items():
            if re.search(pattern, path) and (changed := change(request)) is not None:
                return changed
        what = path.rpartition("/")[2]
        if "/manifests/" in path:
            data = self.tags.get(what) or self.blobs.get(what)
            kind = json.loads(data).get("mediaType", "") if data else ""
        else:
            data, kind = self.blobs.get(what), "application/octet-stream"
        if data is None:
            return 404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
        if given := request.headers.get("Range"):
            start = int(given.removeprefix("bytes=").removesuffix("-"))
            return 206, {"Content-Type": kind}, data[start:]
        return 200, {"Content-Type": kind}, data

    @contextmanager
    def serve(self, tls: ssl.SSLContext | None = None) -> Iterator[None]:
        """Answers on loopback, on a port the kernel chooses; with TLS where a context is given."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.seen.append((self.path, dict(self.headers)))
                status, headers, body = registry.answer(self)
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        with listening(Handler, tls) as self.name:
            yield


def push(registry: Registry, repository: str, *images: Built) -> None:
    """Pushes images by tag `1`, and an index of all of them by tag `all`."""

    def send(method: str, url: str, data: bytes, kind: str) -> Any:
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.headers

    base = f"{registry.url}/v2/{repository}"
    for image in images:
        for data in (*image.blobs, image.config):
            place = send("POST", f"{base}/blobs/uploads/", b"", "application/octet-stream")["Location"]
            joint = "&" if "?" in place else "?"
            send("PUT", f"{place}{joint}digest={digest(data)}", data, "application/octet-stream")
        for tag in ("1", digest(image.manifest)):
            send("PUT", f"{base}/manifests/{tag}", image.manifest, documents.MANIFEST)
    send("PUT", f"{base}/manifests/all", index([each.platform_entry() for each in images]), documents.INDEX)
