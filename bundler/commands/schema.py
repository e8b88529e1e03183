"""`bundle schema`: the JSON Schema of bundle.yaml, for editors with a YAML language server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bundler.config import resources
from bundler.config.loader import SCHEMA


@dataclass(frozen=True, slots=True)
class SchemaText:
    """The schema.

    Attributes:
        text: As it is written to a file, without the last line end.
        document: As a document.
    """

    text: str
    document: dict[str, Any]


def bundle_schema() -> SchemaText:
    """Return the schema that `create` itself checks bundle.yaml against."""
    document = resources.schema(SCHEMA)
    return SchemaText(json.dumps(document, indent=1, ensure_ascii=False), document)
