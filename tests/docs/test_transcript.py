"""The runner of documents itself: it would be worth little if it could not fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.rig import transcript
from tests.rig.hang import ends


def play(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    room = tmp_path / "room"
    room.mkdir()
    transcript.run(transcript.read(page), room, os.environ)


def test_commands_share_directory_variables_and_exit_code(tmp_path: Path) -> None:
    play(
        tmp_path,
        """
```console
$ mkdir a && cd a && word=hello
$ echo $word; basename $PWD
hello
a
$ (exit 7)
$ echo $?
7
```

```console
$ echo "still in $(basename $PWD)" \\
    and further
still in a and further
```
""",
    )


def test_dots_stand_for_any_words_and_any_lines(tmp_path: Path) -> None:
    play(tmp_path, "```console\n$ seq 1 9; echo took 3.4 s\n1\n...\n9\ntook ... s\n```\n")


def test_files_are_written_where_the_shell_is(tmp_path: Path) -> None:
    play(
        tmp_path,
        "```console\n$ mkdir d; cd d\n```\n<!-- file: x/a.txt -->\n```text\none\n```\n"
        "<!-- append: x/a.txt -->\n```text\ntwo\n```\n```console\n$ cat x/a.txt\none\ntwo\n```\n",
    )


def test_a_block_with_a_reason_is_left_out(tmp_path: Path) -> None:
    play(tmp_path, "<!-- not run: would end the world -->\n```console\n$ false\n```\n")


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("$ false", "exits with 1"),
        ("$ (exit 20)\n$ echo $?\n21", "but this came"),
        ("$ echo one\ntwo", "but this came"),
        ("$ echo one; echo two\none", "but this came"),
        ("$ echo one\none\n...\ntwo", "but this came"),
        ("$ echo said >&2", "but this came"),
    ],
)
def test_what_does_not_hold_fails_with_its_line(tmp_path: Path, block: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:\d+: ") as failed:
        play(tmp_path, f"Words.\n\n```console\n{block}\n```\n")
    assert complaint in str(failed.value)


def test_a_document_needs_the_programs_that_its_commands_start(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        """
```console
$ echo curl gpg
$ cat file | openssl dgst -sha256; for f in *; do git add $f; done
```
"""
    )
    assert transcript.read(page).needs == {"openssl", "git"}


@pytest.mark.parametrize(
    ("expected", "printed", "agree"),
    [
        (("a", "...", "b", "...", "c"), "a\nb\nx\nb\ny\nc\n", True),
        (("...", "b"), "b\nb\n", True),
        (("a", "..."), "a\n", True),
        (("a", "...", "b"), "a\nb\nc\n", False),
        ((), "x\n", False),
    ],
)
def test_any_lines_may_be_none(expected: tuple[str, ...], printed: str, agree: bool) -> None:
    assert (transcript.difference(expected, printed) is None) is agree


def test_many_dots_in_a_long_output_that_differs_are_compared_at_once() -> None:
    with ends():
        assert transcript.difference(("...", "... x ...", "...", "... y") * 20, "x x\n" * 300)
