"""Values for environments and clusters: which files of a directory they are, and what hosts will merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bundler.config.checks import inputs
from bundler.config.checks.trees import is_leftover
from bundler.config.model import InputFile
from installer.core.errors import Problem
from installer.core.format.manifest import SITE_NAME, SITE_NAME_FORM, LayerOf
from installer.core.limits import LIMITS, MIB
from installer.shared.values import MAX_BYTES, Layer

SUFFIX = ".yaml"
WORDS: dict[str, LayerOf] = {"environments": "environment", "clusters": "cluster"}
"""The keys below `values` of bundle.yaml that name directories."""
MOST_PAIRS = 100
"""Pairs of an environment and a cluster whose values are merged and checked."""
_MOST = 25
"""Problems of one directory: the same mistake in a hundred files is one mistake."""


@dataclass(frozen=True, slots=True)
class SiteValues:
    """The values of a release for one environment or cluster.

    Attributes:
        of: What `name` is.
        name: Its name.
        item: The file.
    """

    of: LayerOf
    name: str
    item: InputFile


@dataclass(frozen=True, slots=True)
class Combination:
    """What hosts of an environment, of a cluster, or of both will merge.

    Attributes:
        layers: From the weakest, the defaults included.
        rows: Whose values they are; none for the defaults alone.
    """

    layers: tuple[Layer, ...]
    rows: tuple[SiteValues, ...] = ()

    @property
    def words(self) -> str:
        """What messages say of it; empty for the defaults alone."""
        return " and ".join(f"{row.of} {row.name}" for row in self.rows)

    @property
    def environment(self) -> str:
        """The environment of these hosts; empty for any."""
        return next((row.name for row in self.rows if row.of == "environment"), "")


def names_in(source: Path, given: str, where: str) -> tuple[list[str], list[Problem]]:
    """Return the names of a directory with one values file for each environment or cluster.

    Args:
        source: The directory.
        given: Its path in bundle.yaml.
        where: `bundle.yaml:LINE`.
    """
    if "*" in given or source.is_file():
        what = f"{given} must be a directory with a file NAME{SUFFIX} for each name"
        return [], [Problem(where, what, f"write {given.rpartition('/')[0] or '.'}")]
    if problem := inputs.directory_problem(source, given, where):
        return [], [problem]
    found = sorted(each.name for each in source.iterdir() if not is_leftover(each.name))
    odd = [name for name in found if not _is_layer(name)]
    problems = [
        Problem(where, f"{given}/{name} is not the values file of an environment or cluster", _remedy(name))
        for name in odd[:_MOST]
    ]
    if len(odd) > _MOST:
        problems.append(Problem(where, f"{given} has {len(odd) - _MOST} more such files", ""))
    if not found:
        what = f"{given} has no values files"
        problems.append(Problem(where, what, f"add NAME{SUFFIX} for each name, or remove the line"))
    return [name.removesuffix(SUFFIX) for name in found if name not in odd], problems


def _is_layer(name: str) -> bool:
    return name.endswith(SUFFIX) and SITE_NAME.fullmatch(name.removesuffix(SUFFIX)) is not None


def _remedy(name: str) -> str:
    meant = Path(name).stem.lower().replace("_", "-")
    if SITE_NAME.fullmatch(meant) and name.lower().endswith((SUFFIX, ".yml")):
        return f"rename it to {meant}{SUFFIX}, if that is the name on the hosts"
    return f"name it NAME{SUFFIX}, where NAME is {SITE_NAME_FORM}, or move it to another directory"


def excess(rows: Sequence[tuple[SiteValues, Layer]], where: str) -> list[Problem]:
    """Return why the values are too many, or too large, to be checked; empty where they are not.

    Args:
        rows: The layers for environments and clusters.
        where: The file for messages.
    """
    hint = "keep values of single sites in files of their hosts"
    if len(rows) > LIMITS.values_layers:
        what = f"{len(rows)} files with values for environments and clusters are more than"
        return [Problem(where, f"{what} {LIMITS.values_layers}", hint)]
    if sum(len(layer.data) for _, layer in rows) > MAX_BYTES:
        what = "the values for environments and clusters are larger than"
        return [Problem(where, f"{what} {MAX_BYTES // MIB} MiB together", hint)]
    return []


def pairs(defaults: Layer | None, rows: Sequence[tuple[SiteValues, Layer]]) -> tuple[list[Combination], int]:
    """Return what hosts of an environment and a cluster merge, and the number of pairs left out of it.

    Args:
        defaults: The defaults of the release; None where it has none.
        rows: The layers that are valid alone: what is wrong with one is wrong in each of its pairs.
    """
    base = (defaults,) if defaults else ()
    found, left = list[Combination](), MAX_BYTES
    environments, clusters = ([each for each in rows if each[0].of == of] for of in WORDS.values())
    for (one, below), (two, above) in product(environments, clusters):
        layers = (*base, below, above)
        left -= sum(len(layer.data) for layer in layers)
        if left < 0 or len(found) == MOST_PAIRS:
            break
        found.append(Combination(layers, (one, two)))
    return found, len(environments) * len(clusters) - len(found)
