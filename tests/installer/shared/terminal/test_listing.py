"""Long lists: directories and the first entries, and every line on request."""

from __future__ import annotations

from installer.core.errors import HostNotReadyError, Problem
from installer.shared.terminal.listing import DIRECTORIES, FIRST, SHORT, Row, error_text, limited, listed


def rows(count: int, directory: str = "/opt/web/a", word: str = "replaced") -> list[Row]:
    return [Row(f"{directory}/{n:04}", f"~ {directory}/{n:04}", word) for n in range(count)]


def test_a_short_list_is_shown_as_it_is() -> None:
    assert list(listed(rows(SHORT))) == [row.text for row in rows(SHORT)]


def test_a_long_list_has_its_directories_the_first_ten_and_how_to_see_the_rest() -> None:
    many = [*rows(1200), *rows(3, word="added"), *rows(800, "/opt/web/long")]
    lines = list(listed(many))
    assert lines[:3] == [
        "/opt/web/a/     3 added, 1200 replaced",
        "/opt/web/long/  800 replaced",
        f"the first {FIRST} of 2003:",
    ]
    assert lines[3:-1] == [row.text for row in many[:FIRST]]
    assert lines[-1] == "… and 1993 more files; --all shows all of them"
    assert list(listed(many, everything=True)) == [row.text for row in many]


def test_many_directories_are_counted_with_what_holds_them() -> None:
    many = [row for n in range(500) for row in rows(2, f"/opt/web/{n}/deep")]
    many += rows(5, "/etc/web")
    lines = list(listed(many))
    assert lines[:2] == ["/etc/web/  5 replaced", "/opt/web/  1000 replaced"]
    flat = [Row(f"/{n}/x", f"/{n}/x") for n in range(2 * DIRECTORIES + 1)]
    assert next(iter(listed(flat))) == f"/  {len(flat)}"


def test_places_without_a_directory_are_in_the_current_one() -> None:
    lines = [Row(f"bundle.yaml:{n}", str(n)) for n in range(30)]
    assert next(iter(listed(lines))) == "./  30"
    scattered = [Row(f"{n}/x", str(n)) for n in range(30)]
    assert next(iter(listed(scattered))) == "./  30"


def test_lines_without_paths_are_listed() -> None:
    lines = [f"line {n}" for n in range(30)]
    assert list(limited(lines, "notes")) == [*lines[:FIRST], "… and 20 more notes; --all shows all of them"]
    assert list(limited(lines, "notes", everything=True)) == lines


def test_problems_of_one_kind_are_told_once_and_others_as_ever() -> None:
    many = [Problem(f"/opt/web/{n:04}", "was changed on this host", "move it away") for n in range(2000)]
    other = Problem("/opt", "has too little space", "free some space there")
    error = HostNotReadyError("the host is not ready", hint="nothing was changed", problems=[*many, other])
    text = error_text(error)
    assert text.splitlines()[:5] == [
        "the host is not ready",
        "  hint: nothing was changed",
        "- 2000 × was changed on this host:",
        "  /opt/web/  2000",
        f"  the first {FIRST} of 2000:",
    ]
    assert "  hint: move it away\n- /opt: has too little space\n  hint: free some space there" in text
    assert len(text.splitlines()) < 25
    assert error_text(error, everything=True) == str(error)
    assert len(error.as_json()["problems"]) == 2001  # type: ignore[arg-type]


def test_different_problems_are_never_shortened() -> None:
    different = [Problem(f"/{n}", f"has fault {n}", f"mend fault {n}") for n in range(62)]
    error = HostNotReadyError("no", problems=different)
    assert error_text(error) == str(error)


def test_different_problems_stay_whole_next_to_many_of_one_kind() -> None:
    different = [Problem(f"/{n}", f"has fault {n % 30}", f"mend fault {n}") for n in range(60)]
    modes = [Problem(f"/m{n}", "has mode 0777", f"chmod 0644 /m{n}") for n in range(30)]
    lines = error_text(HostNotReadyError("no", problems=[*different, *modes])).splitlines()
    assert lines[1] == "- 30 × has mode 0777:"
    assert "  hint: the first one: chmod 0644 /m0" in lines
    assert [line for line in lines if "fault" in line] == [
        line for each in different for line in f"- {each}".splitlines()
    ]


def test_up_to_twenty_problems_of_one_kind_keep_their_hints() -> None:
    modes = [Problem(f"/m{n}", "has mode 0777", f"chmod 0644 /m{n}") for n in range(SHORT)]
    other = [Problem("/o", "has another fault", "mend it")]
    error = HostNotReadyError("no", problems=[*modes, *other])
    assert error_text(error) == str(error)
