"""A bundle as an artifact: its two documents are read as they were written, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.errors import TamperedError
from installer.shared.published.document import Blob, Published, config_of, parse_published, pieces

FRAME = Blob("sha256:" + "1" * 64, 30)
BLOBS = (Blob("sha256:" + "2" * 64, 100), Blob("sha256:" + "3" * 64, 50))
GOOD = Published(180, "4" * 64, (20, 100, 0, 50, 10), FRAME, BLOBS)


def test_what_is_written_is_read_again() -> None:
    assert parse_published(GOOD.manifest(), GOOD.config(), "x") == GOOD
    assert config_of(GOOD.manifest(), "x").size == len(GOOD.config())
    assert pieces(GOOD.runs) == [(True, 20), (False, 100), (False, 50), (True, 10)]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_every_cut_is_read_again(runs: list[int]) -> None:
    frame, paid = Blob(FRAME.digest, sum(runs[::2])), Blob(BLOBS[0].digest, sum(runs[1::2]))
    made = Published(frame.size + paid.size, "0" * 64, tuple(runs), frame, (paid,))
    assert parse_published(made.manifest(), made.config(), "x") == made
    assert sum(length for _, length in pieces(made.runs)) == made.size


def config(change: Callable[[dict[str, Any]], object]) -> bytes:
    found = json.loads(GOOD.config())
    change(found)
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(schema="waybill/published/v2"),
        lambda found: found.update(more=1),
        lambda found: found.pop("runs"),
        lambda found: found.update(size=181),
        lambda found: found.update(size=True),
        lambda found: found.update(sha256="x"),
        lambda found: found.update(sha256=None),
        lambda found: found.update(runs=[20, 100, 0, 51, 9]),
        lambda found: found.update(runs=[-10, 150, 40]),
        lambda found: found.update(runs=[True, 150, 29]),
        lambda found: found.update(runs={"0": 1}),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(TamperedError):
        parse_published(GOOD.manifest(), config(change), "x")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b'{"layers":[1]}', b"\xff"])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(TamperedError):
        config_of(data, "x")
    with pytest.raises(TamperedError):
        parse_published(data, GOOD.config(), "x")
