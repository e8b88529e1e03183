"""Changes the return paths of verification and recovery, one at a time, and looks whether a test fails.

`python -m tests.mutants [--again | --table] [MODULE…]` with mutmut on the path; `make mutants` sees to that.
Everything is written below build/mutants. Exit code 1: a change survived that docs/reference/mutants.md does
not list, or it lists one that is not there any more or was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.mutants.expected import PAGE, read
from tests.mutants.modules import MODULES, PASSED_OVER

TOP = Path(__file__).resolve().parents[2]
PLACE = TOP / "build" / "mutants"
COPIED = (".ci", "bundler", "docs", "examples", "schemas", "templates", "tests")
SETTINGS = """
[tool.mutmut]
source_paths = ["installer"]
only_mutate = {modules}
also_copy = {copied}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist", "-k", "{passed_over}"]
pytest_add_cli_args_test_selection = {tests}
timeout_constant = 10.0
timeout_multiplier = 3.0
use_git_change_detection = false
use_setproctitle = false
process_isolation = "forkserver"
"""
"""A mutant has three times as long as its tests take, and at least 30 seconds: a busy machine is no test."""
KILLED = ("killed", "timeout", "segfault", "check was interrupted by user")
"""What counts as noticed. A signal of a test that nothing holds back any more ends pytest as Ctrl-C does."""
TO_SEE = (
    "the tests fail although nothing is changed; to see which: "
    "cd build/mutants/*/mutants && MUTANT_UNDER_TEST= "
    f"{sys.executable} -m pytest -x -k '{PASSED_OVER}' TESTS"
)
"""mutmut collects its statistics in a process of its own, and loses what the tests print there."""
BROKEN = (4, -1, 255)
"""Exit codes of pytest, and of mutmut instead of it, that say nothing about the mutant."""


def tests_of(modules: list[str]) -> list[str]:
    """Gives the test modules that are run against some modules."""
    every = sorted(path.relative_to(TOP).as_posix() for path in (TOP / "tests").rglob("test_*.py"))
    wanted = tuple(start for module in modules for start in MODULES[module])
    return [path for path in every if path.startswith(wanted)]


def prepare(place: Path, modules: list[str]) -> None:
    """Lays down what mutmut works on: links to the checkout, and its settings."""
    for name in ("installer", *COPIED):
        link = place / name
        if not link.is_symlink():
            link.symlink_to(TOP / name)
    words = SETTINGS.format(
        modules=modules, copied=list(COPIED), tests=tests_of(modules), passed_over=PASSED_OVER
    )
    (place / "pyproject.toml").write_text((TOP / "pyproject.toml").read_text() + words)


def go_on(place: Path) -> None:
    """Lays it down again for what survived the last time: with the tests of today, and what is known kept."""
    prepare(place, [module for module in MODULES if (place / "mutants" / f"{module}.meta").exists()])
    stats = place / "mutants" / "mutmut-stats.json"
    known = json.loads(stats.read_text())
    stats.write_text(json.dumps(known | {"config_fingerprint": {}}))


def only_near(collect: Callable[..., None]) -> Callable[..., None]:
    """Runs against a module only the tests that it names, also where others come through it."""
    from mutmut.state import state

    def near(*words: Any, **more: Any) -> None:
        try:
            collect(*words, **more)
        except SystemExit:
            print(TO_SEE)
            raise
        for function, tests in state().tests_by_mangled_function_name.items():
            module = function.rpartition(".x")[0].replace(".", "/") + ".py"
            tests &= {test for test in tests if test.startswith(MODULES.get(module, ()))}

    return near


def run(again: list[str], jobs: int) -> None:
    """Runs mutmut here, on everything or only on some mutants."""
    import mutmut.__main__ as program

    program.collect_or_load_stats = only_near(program.collect_or_load_stats)
    program._run(again, jobs)


def verdicts(modules: list[str]) -> dict[str, str]:
    """Gives what became of each mutant."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code

    found = {}
    for module in modules:
        data = SourceFileMutationData(path=module)
        data.load()
        found |= {
            key: "the tests did not run" if code in BROKEN else status_by_exit_code[code]
            for key, code in data.exit_code_by_key.items()
        }
    return found


def report(modules: list[str]) -> Iterator[str]:
    """Prints the table and what survived; gives what is wrong."""
    from tests.mutants import engine

    said, listed = verdicts(modules), {(row.module, row.function, row.change) for row in read(TOP)}
    survived, late, total = [], [], [0, 0, 0]
    print(f"\n{'module':<34}{'mutants':>9}{'killed':>9}{'survived':>9}")
    for module in modules:
        every = engine.mutants(TOP, module)
        alive = [mutant for mutant in every if said.get(mutant.key) not in KILLED]
        survived += alive
        late += [mutant for mutant in every if said.get(mutant.key) == "timeout"]
        figures = (len(every), len(every) - len(alive), len(alive))
        total = [sum(pair) for pair in zip(total, figures, strict=True)]
        print(f"{module:<34}" + "".join(f"{figure:>9}" for figure in figures))
    print(f"{'':<34}" + "".join(f"{figure:>9}" for figure in total))
    print("\nsurvived:" if survived else "\nnone survived")
    for mutant in survived:
        known = (mutant.module, mutant.function, mutant.change) in listed
        verdict = said.get(mutant.key, "not tried")
        print(f"  {'' if known else 'NEW '}{mutant}" + ("" if verdict == "survived" else f" ({verdict})"))
        if not known:
            yield f"{mutant} survived, and is not in {PAGE}"
    # A time-out may be the machine's: it is no reason to strike a line off the page.
    alive_now = {(mutant.module, mutant.function, mutant.change) for mutant in (*survived, *late)}
    for row in sorted(listed - alive_now):
        if row[0] in modules:
            yield f"{': '.join(row)} is in {PAGE}, and did not survive"


def main() -> int:
    """Runs from a shell; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="as trust or journal")
    parser.add_argument("--again", action="store_true", help="only those that survived the last time")
    parser.add_argument("--table", action="store_true", help="only print what the last run found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--work", default="work", help="directory below build/mutants")
    given = parser.parse_args()
    modules = [each for each in MODULES if Path(each).stem in given.modules] or list(MODULES)
    if unknown := set(given.modules) - {Path(each).stem for each in modules}:
        parser.error(f"no module of tests/mutants/modules.py: {', '.join(sorted(unknown))}")
    place = PLACE / given.work
    if not (given.again or given.table):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        prepare(place, modules)
    if given.again:
        go_on(place)
    os.chdir(place)
    from tests.mutants import engine

    engine.install()
    again = (
        [key for key, verdict in verdicts(modules).items() if verdict not in KILLED] if given.again else []
    )
    if not given.table and not (given.again and not again):
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of hosts are made there
        with tempfile.TemporaryDirectory(dir=memory, prefix="waybill-mutants-") as room:
            Path(room).chmod(0o711)  # tests that act as another user go through it
            os.environ["TMPDIR"] = tempfile.tempdir = room
            run(again, given.jobs)
    wrong = list(report(modules))
    for line in wrong:
        print(f"mutants: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
