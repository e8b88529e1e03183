"""Where a cluster takes the images of a release from, for the arguments of operations."""

from __future__ import annotations

from installer.core.errors import WaybillError
from installer.deploy.operation import StepError
from installer.deploy.site.images import site_references
from installer.host.context import Context
from installer.secrets.site_registry import SETTINGS
from installer.secrets.store import StoreError
from installer.state.release import Release


def image_references(context: Context, release: Release) -> dict[str, str]:
    """Return where the cluster takes images from; what is applied uses what its plan has shown.

    Raises:
        StepError: The settings of the registry are wrong, or manifests of images are not on this host.
    """
    try:
        return site_references(context, release)
    except StoreError as error:
        raise StepError(error.problem.what, where=SETTINGS, hint=error.problem.hint) from error
    except WaybillError as error:
        raise StepError(error.what, where=error.where, hint=error.hint) from error
