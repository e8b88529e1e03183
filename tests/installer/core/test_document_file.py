"""Documents that were changed on their way by mail or editors: named as that, everywhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.commands.trust_init import init_root, key_from_file
from bundler.signing.cosign import CosignSigner, generate
from bundler.trust.root_files import load as load_root_file
from installer.core import document_file
from installer.core.errors import TamperedError, UsageError, WaybillError
from installer.core.trust import signatures
from installer.core.trust.signatures import Signature
from installer.shared import strict_yaml
from tests.rig.trustworld import NOW, person

Change = Callable[[bytes], bytes]

BOM, UTF16, MARKED = (
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: data.decode().encode("utf-16-le"),
    lambda data: data.decode().encode("utf-16"),
)


def crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


ENCODINGS = pytest.mark.parametrize(
    ("change", "words"), [(BOM, "byte order mark"), (UTF16, "UTF-16"), (MARKED, "UTF-16")]
)
ALL = pytest.mark.parametrize(
    ("change", "words"),
    [(BOM, "byte order mark"), (UTF16, "UTF-16"), (MARKED, "UTF-16"), (crlf, "Windows line ends")],
)


# UTF-16 without a mark is only a guess, and a guess is not compared.
@pytest.mark.parametrize("change", [BOM, MARKED, crlf, lambda data: MARKED(crlf(data))])
def test_what_was_before_is_found_again(change: Change) -> None:
    data = b'{\n  "a": "\xc3\xa9"\n}\n'
    assert document_file.text_damage(change(data))
    assert data in set(document_file.originals(change(data)))


@pytest.mark.parametrize("data", [b"", b"{}\n", b"\x00\x00\x00\x00", b"\x89PNG\r", "é\n".encode(), b"a"])
def test_what_is_as_it_was_is_not_blamed(data: bytes) -> None:
    assert document_file.text_damage(data) == ""


class TestSignatures:
    SIGNED = b'{\n "approved": true\n}\n'

    def refused(self, signature: bytes, data: bytes, form: str) -> TamperedError:
        rea = person("Rea")
        found = Signature(f"x.{rea.signer.keyid8}.{form}", form, rea.signer.keyid8, signature)
        with pytest.raises(TamperedError) as caught:
            signatures.verify(rea.key, found, data)
        return caught.value

    @ALL
    @pytest.mark.parametrize("form", ["sig", "sigstore.json"])
    def test_a_signed_document_that_an_editor_changed_is_named_as_that(
        self, form: str, change: Change, words: str
    ) -> None:
        made = person("Rea").signer.sign(self.SIGNED)
        error = self.refused(made[form], change(self.SIGNED), form)
        assert "the file that it signs" in error.what
        assert words in error.what
        assert "an editor, a mail program" in error.hint

    @ALL
    def test_a_signature_that_an_editor_changed_is_named_as_that(self, change: Change, words: str) -> None:
        made = person("Rea").signer.sign(self.SIGNED)["sig"] + b"\n"
        error = self.refused(change(made), self.SIGNED, "sig")
        assert "; this file " in error.what
        assert words in error.what
        assert "an editor, a mail program" in error.hint

    def test_a_changed_byte_is_still_what_it_is(self) -> None:
        made = person("Rea").signer.sign(self.SIGNED)["sig"]
        error = self.refused(made, self.SIGNED.replace(b"true", b"mooo"), "sig")
        assert "editor" not in error.hint


class TestKeys:
    @ENCODINGS
    def test_a_public_key_that_an_editor_changed_is_named_as_that(
        self, tmp_path: Path, change: Change, words: str
    ) -> None:
        path = tmp_path / "rea.pub"
        path.write_bytes(change(person("Rea").signer.public.encode()))
        with pytest.raises(UsageError, match=words) as caught:
            key_from_file(path)
        assert "editor" in caught.value.hint

    def test_a_public_key_with_windows_line_ends_is_the_same_key(self, tmp_path: Path) -> None:
        path = tmp_path / "rea.pub"
        path.write_bytes(crlf(person("Rea").signer.public.encode()))
        assert key_from_file(path).keyid == person("Rea").key.keyid

    @ENCODINGS
    def test_a_private_key_that_an_editor_changed_is_named_as_that(
        self, tmp_path: Path, change: Change, words: str
    ) -> None:
        path = tmp_path / "a.key"
        path.write_bytes(change(generate(b"")[0]))
        with pytest.raises(UsageError, match=words):
            CosignSigner.load(path, lambda _text: b"")


class TestYaml:
    DATA = b"a: b\nc:\n  - d\n"

    @pytest.mark.parametrize("change", [BOM, crlf])
    def test_what_an_editor_does_is_accepted(self, change: Change) -> None:
        found = strict_yaml.load(change(self.DATA), "values.yaml")
        assert (found.value, found.problems) == ({"a": "b", "c": ["d"]}, ())

    @pytest.mark.parametrize("change", [UTF16, MARKED])
    def test_another_encoding_is_named(self, change: Change) -> None:
        (problem,) = strict_yaml.load(change(self.DATA), "values.yaml").problems
        assert (problem.where, problem.what, problem.hint) == (
            "values.yaml", "is UTF-16 text", "save the file as UTF-8",
        )  # fmt: skip


class TestRead:
    def test_a_document_is_read_up_to_the_limit(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"12345")
        assert document_file.read_document(path, 5) == b"12345"
        with pytest.raises(TamperedError, match="is larger than 4 bytes"):
            document_file.read_document(path, 4)

    def test_what_is_no_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "socket"))
            for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
                with pytest.raises(TamperedError, match="is not a regular file"):
                    document_file.read_document(path, 5)
        with pytest.raises(IsADirectoryError):
            document_file.read_document(tmp_path, 5)

    def test_a_root_on_the_desk_does_not_wait_for_a_pipe(self, tmp_path: Path) -> None:
        rea = tmp_path / "rea.pub"
        rea.write_text(person("Rea").signer.public)
        path = tmp_path / "root.json"
        init_root(path, [rea], now=NOW)
        os.mkfifo(tmp_path / "root.json.00000000.sig")
        with pytest.raises(WaybillError, match="is not a regular file"):
            load_root_file(path)
