"""Stages and applies a bundle below a directory, as `install` does once the head is trusted.

python -m tests.bench.staging BUNDLE ROOT [stage|apply]
"""

from __future__ import annotations

import sys
from pathlib import Path

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.bundle_source import FileSource
from installer.core.trust.signature_check import SignatureEvidence
from installer.core.verify import OpenedBundle
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.planning.plan import Options
from installer.planning.planner import plan_apply
from installer.shared.progress import Progress
from installer.staging.stage import stage


def main() -> None:
    """Does it once; what is there already is gone on with."""
    bundle, root, until = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    found = open_bundle(FileSource(bundle), unsafe_trust_anyone)
    opened = OpenedBundle(found, SignatureEvidence("", "release", 1, 0, ()))
    context = Context(System(root), Layout(found.manifest.product), Progress(), resume=found.identity)
    with exclusive(context) as (state, _):
        _, staged = stage(opened, context.system, context.layout, context.progress)
        if until == "apply":
            execute_plan(context, plan_apply(context, state, staged, Options()))


if __name__ == "__main__":
    main()
