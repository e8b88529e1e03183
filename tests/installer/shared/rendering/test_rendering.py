"""Templates of a release are rendered in a child that the kernel bounds, whatever they do."""

from __future__ import annotations

import gc
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from installer.core.limits import MIB
from installer.shared.child.bounded_child import Bounds, ExceededError, run_bounded
from installer.shared.rendering import release
from installer.shared.rendering.release import Template, render_all
from installer.shared.rendering.template import RenderError, render
from tests.rig.hang import ends
from tests.rig.process import children_of_this_process

VALUES = {"list": [{"a": 1}, {}], "x": 1}
NESTED = "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up sooner: what is measured is processor time, not the time of a loaded machine."""
    monkeypatch.setattr(release, "BOUNDS", Bounds(seconds=1, total=2, memory=256 * MIB))


@pytest.fixture(autouse=True)
def no_children() -> Iterator[None]:
    """No child is left, and none took descriptors with it."""
    gc.collect()  # else it closes what earlier tests left open while we look
    before, children = descriptors(), children_of_this_process()
    yield
    after = descriptors()
    assert after.keys() <= before.keys()
    # A server of an earlier test may end a connection meanwhile; nothing else is closed by anybody.
    assert [name for name in before.keys() - after.keys() if not before[name].startswith("socket:")] == []
    assert children_of_this_process() <= children


def descriptors() -> dict[str, str]:
    """Return what each descriptor of this process leads to; the one that lists them is gone by then."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def made(*texts: str | bytes) -> list[bytes | RenderError]:
    templates = [
        Template(f"t{number}", lambda text=text: text if isinstance(text, bytes) else text.encode())  # type: ignore[misc]
        for number, text in enumerate(texts)
    ]
    with ends(within=300):
        return list(render_all(templates, VALUES))


def fault(text: str) -> RenderError:
    (error,) = made(text)
    assert isinstance(error, RenderError), error
    assert error.template == "t0"
    assert error.hint
    return error


def test_every_template_has_its_bytes_in_order() -> None:
    assert made("a{{ x }}\r\n", b"", "{{ list | length }}") == [b"a1\r\n", b"", b"2"]
    assert made() == []


def test_an_error_of_one_does_not_hide_the_others() -> None:
    first, second, third = made("{{ nope }}", "b", "\n{{ list[0].b }}")
    assert isinstance(first, RenderError)
    assert (first.where, first.key, second) == ("t0:1", "nope", b"b")
    assert isinstance(third, RenderError)
    assert (third.where, third.what) == ("t2:2", "the value list.b is not defined") or third.line == 2


@pytest.mark.parametrize(
    "text",
    [
        NESTED + "{{ ns.x }}",
        NESTED + "{{ ns.x | string }}",
        NESTED + "{{ ns.x | tojson }}",
        NESTED + "{{ 'x' ~ ns.x }}",
        NESTED + "{{ '%s' | format(ns.x) }}",
        "{{ [1] | tojson(indent=10**9) }}",
        "{{ {'a': {'b': 1}} | tojson(indent=10**8) }}",
        "{{ '{:{w}}'.format(1, w=2*10**9) }}",
        "{{ '{:{w}}'.format(1, w=2*10**8) }}",
        "{{ '{0:{1}}'.format(1, 10**9) }}",
        "{{ x" + "|string" * 5000 + " }}",
        "{{ x" + "|string" * 600 + " }}",
        "{{ " + "-" * 50_000 + "1 }}",
        "{{ " + "not " * 50_000 + "1 }}",
        "{{ x" + " + x" * 20_000 + " }}",
        "{{ x" + ".a" * 20_000 + " }}",
        "{% if x %}" * 2_000 + "{% endif %}" * 2_000,
        "{{ ('a' * 10**6) | list | batch(1) | list | batch(1) | list | string | length }}{{ nope }}",
        "{{ ('ab' * 10**6) | replace('a', 'x' * 10**5) | length }}",
    ],
)
def test_what_takes_all_time_or_memory_is_ended_and_named(text: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    fault(text)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Two seconds for all jobs, and what the kernel counts late.
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 6


@pytest.mark.parametrize(
    "use",
    [
        "{{ L }}", "{{ L | string }}", "{{ 'x' ~ L }}", "{{ '%s' | format(L) }}", "{{ '{}'.format(L) }}",
        "{{ '%r' % L }}", "{{ L | tojson }}", "{{ L | join }}", "{{ L | upper }}",
        "{{ L | replace('1', '2') }}",
        "{{ {'k': L} }}", "{{ [L] }}", "{{ L | indent }}", "{{ '{!r}'.format(L) }}",
        "{{ L | last }}", "{{ L | trim }}", "{{ L | center(9) }}", "{{ L | wordcount }}", "{{ L | escape }}",
    ],
)  # fmt: skip
def test_a_value_that_is_not_there_never_becomes_text(use: str) -> None:
    """`[1, Undefined]` was installed as configuration, with exit code 0."""
    error = fault(use.replace("L", "(list | map(attribute='a') | list)"))
    assert "not defined" in error.what or "no attribute" in error.what


def test_what_has_no_text_is_refused_inside_of_a_list_too() -> None:
    assert "generator" in fault("{{ [list | map(attribute='a')] }}").what
    assert "in it" in fault("{{ [''.upper] }}").what
    assert "in it" in fault("{{ [list | map(attribute='a')] | string }}").what
    assert "in it" in fault("{{ [[''.upper]] | join(',') }}").what
    assert "in it" in fault("{{ 'x' ~ {'k': ''.upper} }}").what
    assert made("{{ [1, none, 'ü', 1.5, true, {'a': ()}] }}") == [
        "[1, None, 'ü', 1.5, True, {'a': ()}]".encode()
    ]


def test_no_template_is_tried_after_one_that_took_too_much() -> None:
    slow = NESTED + "{{ ns.x | string }}"
    assert len(made("a", slow, slow, slow)) == 2


def test_the_child_is_the_same_renderer() -> None:
    for text in (b"a\r\nb\r", b"{% for i in [1, 2] %}\r\n{{ i }}{% endfor %}", "ü".encode()):
        assert made(text) == [render(text, "t0", VALUES)]
    for text in (b"\xff", b"a\n{{ nope.x }}", b"{% if %}", b"{{ none }}"):
        (found,) = made(text)
        assert isinstance(found, RenderError)
        with pytest.raises(RenderError) as caught:
            render(text, "t0", VALUES)
        error = caught.value
        assert (str(found), found.line, found.key) == (str(error), error.line, error.key)


class TestChild:
    def test_a_child_has_no_file_of_its_parent_open(self, tmp_path: Path) -> None:
        with (tmp_path / "lock").open("w") as held:
            (data,) = run_bounded([lambda: repr(sorted(os.listdir("/proc/self/fd"))).encode()], Bounds())
            assert str(held.fileno()) not in data.decode() or held.fileno() < 5
            (data,) = run_bounded([lambda: os.readlink("/proc/self/fd/2").encode()], Bounds())
        assert data == b"/dev/null"

    def test_a_child_cannot_write_a_file(self, tmp_path: Path) -> None:
        def write() -> bytes:
            (tmp_path / "f").write_bytes(b"x")
            return b"written"

        with pytest.raises(ExceededError, match="fails: OSError"):
            list(run_bounded([write], Bounds()))
        assert (tmp_path / "f").stat().st_size == 0

    def test_an_interruption_is_the_parents_affair(self) -> None:
        def interrupted() -> bytes:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
            return b"still here"

        assert list(run_bounded([interrupted], Bounds())) == [b"still here"]

    def test_a_crash_is_named(self) -> None:
        with pytest.raises(ExceededError, match="crashes"):
            list(run_bounded([lambda: os.kill(os.getpid(), signal.SIGSEGV) or b""], Bounds()))  # type: ignore[func-returns-value]

    def test_a_result_that_is_too_large_is_not_read(self) -> None:
        with pytest.raises(ExceededError, match="produces more than 1 MiB"):
            list(run_bounded([lambda: bytes(2 * MIB)], Bounds(output=MIB)))

    def test_a_caller_that_stops_leaves_no_child(self) -> None:
        results = run_bounded([lambda: b"1", lambda: b"2"], Bounds())
        assert next(results) == b"1"
        results.close()  # type: ignore[attr-defined]

    def test_other_threads_of_the_parent_do_not_matter(self) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        assert list(run_bounded([lambda: b"1"], Bounds())) == [b"1"]
        stop.set()
        thread.join()

    def test_what_it_changes_is_lost_with_it(self) -> None:
        values = [1]
        assert list(run_bounded([lambda: bytes(values.pop())], Bounds())) == [b"\0"]
        assert values == [1]
