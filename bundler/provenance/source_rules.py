"""What `create` requires of the source of a release, and what it warns of.

A release whose source is lost, or whose identity depends on the machine it was built on, looks like any other
one. So these are errors in a pipeline, and warnings on the machine of a person.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bundler.provenance.git import Checkout
from bundler.provenance.tags import ReleaseName, checked_prefix, names_a_version
from installer.core.errors import Problem, UsageError
from installer.core.schema_errors import did_you_mean

REQUIREMENTS = ("source", "clean", "tag")
EPOCH = "SOURCE_DATE_EPOCH"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SourceRules:
    """What the source of a release must be like.

    Attributes:
        required: Of REQUIREMENTS.
        tag_prefix: The text before the version in tags of this product.
        in_pipeline: Whether a CI system runs this.
        has_epoch: Whether SOURCE_DATE_EPOCH gives the time of the bundle.
    """

    required: frozenset[str] = frozenset()
    tag_prefix: str = ""
    in_pipeline: bool = False
    has_epoch: bool = False


def source_rules(required: Sequence[str], tag_prefix: str, environ: Mapping[str, str]) -> SourceRules:
    """Return the rules of the options and the environment.

    Args:
        required: The values of `--require`, each a list with commas.
        tag_prefix: The value of `--tag-prefix`.
        environ: The environment.

    Raises:
        UsageError: An option has a value that is not known.
    """
    words = [word.strip() for value in required for word in value.split(",")]
    for word in words:
        if word not in REQUIREMENTS:
            close = did_you_mean(word, REQUIREMENTS)
            hint = f"did you mean {close}?" if close else f"use one or more of {', '.join(REQUIREMENTS)}"
            raise UsageError(f"{word!r:.80} cannot be required", where="--require", hint=hint)
    # CI systems set CI=true; some people unset it by CI=false.
    in_pipeline = environ.get("CI", "").lower() not in ("", "0", "false", "no")
    return SourceRules(frozenset(words), checked_prefix(tag_prefix), in_pipeline, bool(environ.get(EPOCH)))


def current_rules() -> SourceRules:
    """Return the rules without options: only what is known of SOURCE_DATE_EPOCH."""
    return SourceRules(has_epoch=bool(os.environ.get(EPOCH)))


def problems(checkout: Checkout, rules: SourceRules, name: ReleaseName) -> Iterator[Problem]:
    """Yield why a release must not be made from this source.

    Args:
        checkout: The checkout of the inputs.
        rules: The rules.
        name: What the tag has to name.
    """
    if checkout.foreign:
        # The repository is there: its commit would be lost for the want of one command.
        yield Problem(
            checkout.foreign,
            "git refuses to read this checkout, because it belongs to another user",
            f"if you trust it: `git config --global --add safe.directory {shlex.quote(checkout.foreign)}`",
        )
    elif not checkout.commit and rules.in_pipeline and not rules.has_epoch:
        yield Problem(
            EPOCH,
            f"no commit is recorded ({checkout.unknown}), and {EPOCH} is not set: each run of the pipeline "
            "would give another identity",
            f"build in a git checkout, or set {EPOCH} to the time of the release, in seconds since 1970",
        )
    yield from _unmet(checkout, rules, name)


def _unmet(checkout: Checkout, rules: SourceRules, name: ReleaseName) -> Iterator[Problem]:
    if not checkout.commit:
        # Each of them says something about a commit.
        for word in REQUIREMENTS if not checkout.foreign else ():
            if word in rules.required:
                what = f"no commit is recorded: {checkout.unknown}"
                yield Problem(f"--require {word}", what, "build in a git checkout that has a commit")
        return
    if "clean" in rules.required and checkout.changed:
        what = f"the checkout has uncommitted changes: {_shown(checkout.changed)}"
        # What marks in the index hide from `git status` counts, too.
        hint = "commit or undo them; `git status` shows them, except files that `git ls-files -v` marks"
        yield Problem("--require clean", what, f"{hint} with S or a small letter")
    if "tag" in rules.required and not checkout.tag:
        yield Problem("--require tag", _untagged(checkout, name), _tag_hint(name))


def warnings(checkout: Checkout, rules: SourceRules, name: ReleaseName) -> Iterator[Problem]:
    """Yield what should be known about the source of a release that can be made; arguments as `problems`."""
    if not checkout.commit:
        if not rules.has_epoch:
            yield Problem(
                "",
                f"no commit is recorded ({checkout.unknown}): the time of the newest file is in the "
                "identity, so another copy of the same files gives another identity",
                f"build in a git checkout, or set {EPOCH}, for example to the output of `date +%s`",
                "no-commit",
            )
        elif checkout.has_repository:
            what = f"no commit is recorded: {checkout.unknown}"
            hint = "the directory is a checkout: let git read it, so that the commit is recorded"
            yield Problem("", what, hint, "no-commit")
        return
    others = [tag for tag in checkout.tags if names_a_version(tag)]
    # A clone may lack tags that another one has; in a repository that is nobody's clone none can be missing.
    if not checkout.tag and (others or checkout.is_clone or rules.in_pipeline):
        yield Problem("", f"{_untagged(checkout, name)}: no tag is recorded", _tag_hint(name), "no-tag")


def _untagged(checkout: Checkout, name: ReleaseName) -> str:
    what = f"no tag of the commit names {name.product} {name.version}"
    return f"{what}; it has {_shown(checkout.tags)}" if checkout.tags else what


def _tag_hint(name: ReleaseName) -> str:
    hint = (
        f"if the tag {name.example} exists, run `git fetch --tags`: the tag is in the identity of the bundle"
    )
    return hint if name.prefix else f"{hint}; if tags have a prefix, give it with --tag-prefix"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
