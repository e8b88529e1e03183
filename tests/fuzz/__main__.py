"""Runs fuzz targets with atheris: `python -m tests.fuzz [--seconds N | --runs N] [TARGET…]`.

Everything is imported once, instrumented for coverage; then each target runs in a child of its own, with a
bound on memory and on the time of one input. Without options the short run is made: as many executions as the
target says, from a fixed seed. A crash leaves its input in `--crashes` (default: build/fuzz) and ends the run
with exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris

with (
    contextlib.redirect_stderr(io.StringIO()),
    atheris.instrument_imports(include=["installer", "bundler"], enable_loader_override=False),
):
    from tests.fuzz.catalogue import TARGETS
    from tests.fuzz.target import Target

MEMORY = 1024 * 1024 * 1024
"""Bytes of address space that a target may take beyond those that it starts with."""
PATIENCE = 20
"""Seconds for one input."""


def start(target: Target, given: argparse.Namespace, corpus: Path, log: int) -> None:
    """Becomes the fuzzer of one target; never returns."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    used = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    words = corpus.with_suffix(".dict")
    escaped = ("".join(rf"\x{byte:02x}" for byte in word) for word in target.words)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    bound = f"-max_total_time={given.seconds}" if given.seconds else f"-runs={given.runs or target.runs}"
    # the short run is the same every time; the long one goes on from its corpus in another way
    seed = "-seed=0" if given.seconds else "-seed=1"
    options = [
        seed,
        bound,
        f"-max_len={target.most}",
        f"-timeout={given.patience}",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    ]
    options += [f"-artifact_prefix={given.crashes}/{target.name}-"]
    options += [f"-dict={words}"] if target.words else []
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.check, internal_libfuzzer=True)
    atheris.Fuzz()


def fuzz(target: Target, given: argparse.Namespace, work: Path) -> bool:
    """Runs one target in a child and says in one line what came of it."""
    corpus = (given.corpus or work) / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:02d}").write_bytes(seed)
    with (work / f"{target.name}.log").open("w+b") as log:
        child = os.fork()
        if child == 0:
            start(target, given, corpus, log.fileno())
            os._exit(70)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        log.seek(0)
        said = log.read().decode("utf-8", "replace")
    runs = re.findall(r"stat::number_of_executed_units: (\d+)", said) or re.findall(r"#(\d+)", said)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", said)
    peak = re.findall(r"stat::peak_rss_mb: +(\d+)", said)
    edges, features = covered[-1] if covered else ("?", "?")
    print(
        f"{target.name:<14} {runs[-1] if runs else '?':>9} runs, {edges:>5} edges, {features:>6} features, "
        f"{len(list(corpus.iterdir())):>5} in corpus, {peak[-1] if peak else '?':>4} MB"
        + ("" if code == 0 else f", FAULT (exit {code})"),
        flush=True,
    )
    if code:
        print(said[-6000:], file=sys.stderr)
    return code == 0


def main(targets: Sequence[Target] = TARGETS) -> int:
    """Runs the targets that were named, or all."""
    names = {target.name: target for target in targets}
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Runs fuzz targets.")
    parser.add_argument("targets", nargs="*", choices=[[], *names], metavar="TARGET", help=", ".join(names))
    parser.add_argument("--seconds", type=int, default=0, help="for each target")
    parser.add_argument("--runs", type=int, default=0, help="for each target")
    parser.add_argument("--patience", type=int, default=PATIENCE, help="seconds for one input")
    parser.add_argument("--corpus", type=Path, help="where found inputs are kept from run to run")
    parser.add_argument("--crashes", type=Path, default=Path("build/fuzz"), help="where crashing inputs go")
    given = parser.parse_args()
    given.crashes.mkdir(parents=True, exist_ok=True)
    work, parent = tempfile.mkdtemp(prefix="waybill-fuzz-"), os.getpid()
    tempfile.tempdir = work
    try:
        fine = [fuzz(names[name], given, Path(work)) for name in given.targets or names]
    finally:
        if os.getpid() == parent:  # a fuzzer leaves through here too, and then writes what it has found
            shutil.rmtree(work)
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
