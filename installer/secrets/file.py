"""The store `file`: `/etc/waybill/PRODUCT/secrets/NAME`, a file for each secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from installer.core.document_file import encoding_damage
from installer.core.errors import Problem
from installer.secrets.private_file import one_line_less, read_private
from installer.secrets.references import Form, Reference
from installer.secrets.store import Outcome, SecretStore


class FileStore(SecretStore):
    """The store `file`."""

    name = "file"
    form: ClassVar = Form("secret://file/NAME")

    def resolve(self, references: Sequence[Reference]) -> Mapping[Reference, Outcome]:
        """Read one file for each reference."""
        return {each: self._read(each) for each in references}

    def _read(self, reference: Reference) -> Outcome:
        directory = self.context.layout.secrets
        data = read_private(self.context.system, f"{directory}/{reference.path}", below=directory)
        if isinstance(data, Problem):
            return data
        # It would be a part of the password, and nobody would see it.
        if damage := encoding_damage(data):
            path = f"{directory}/{reference.path}"
            return Problem(
                path, damage.partition(",")[0].partition(";")[0], "save it as UTF-8 without a mark"
            )
        return self.secret(reference, one_line_less(data))
