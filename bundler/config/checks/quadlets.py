"""Files of Podman's generator: their images, what would fetch others, and keys that Podman does not know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from bundler.config.model import InputFile
from bundler.config.used_images import manifests
from bundler.config.used_images.use import ImageUse
from installer.core.errors import Problem
from installer.core.format.entries.quadlet_files import MANIFESTS, STORAGE, QuadletFile
from installer.core.limits import LIMITS
from installer.core.oci.reference import qualified, reference_fault
from installer.core.risk.unit_lines import irregular_lines
from installer.core.schema_errors import did_you_mean

VERSION = "5.4"
"""The version of Podman whose keys these are: Debian 13's, which the tests ask."""
_KEYS = {
    "Container": (
        "AddCapability AddDevice AddHost Annotation AutoUpdate CgroupsMode ContainerName "
        "ContainersConfModule DNS DNSOption DNSSearch DropCapability Entrypoint Environment "
        "EnvironmentFile EnvironmentHost Exec ExposeHostPort GIDMap GlobalArgs Group GroupAdd HealthCmd "
        "HealthInterval HealthLogDestination HealthMaxLogCount HealthMaxLogSize HealthOnFailure "
        "HealthRetries HealthStartPeriod HealthStartupCmd HealthStartupInterval HealthStartupRetries "
        "HealthStartupSuccess HealthStartupTimeout HealthTimeout HostName IP IP6 Image Label LogDriver "
        "LogOpt Mask Mount Network NetworkAlias NoNewPrivileges Notify PidsLimit Pod PodmanArgs "
        "PublishPort Pull ReadOnly ReadOnlyTmpfs RemapGid RemapUid RemapUidSize RemapUsers Rootfs RunInit "
        "SeccompProfile Secret SecurityLabelDisable SecurityLabelFileType SecurityLabelLevel "
        "SecurityLabelNested SecurityLabelType ServiceName ShmSize StartWithPod StopSignal StopTimeout "
        "SubGIDMap SubUIDMap Sysctl Timezone Tmpfs UIDMap Ulimit Unmask User UserNS VolatileTmp Volume "
        "WorkingDir"
    ),
    "Pod": (
        "AddHost ContainersConfModule DNS DNSOption DNSSearch GIDMap GlobalArgs IP IP6 Network "
        "NetworkAlias PodName PodmanArgs PublishPort RemapGid RemapUid RemapUidSize RemapUsers "
        "ServiceName ShmSize SubGIDMap SubUIDMap UIDMap UserNS Volume"
    ),
    "Network": (
        "ContainersConfModule DisableDNS DNS Driver Gateway GlobalArgs IPAMDriver IPRange IPv6 Internal "
        "Label NetworkName Options PodmanArgs ServiceName Subnet"
    ),
    "Kube": (
        "AutoUpdate ConfigMap ContainersConfModule ExitCodePropagation GlobalArgs KubeDownForce LogDriver "
        "Network PodmanArgs PublishPort RemapGid RemapUid RemapUidSize RemapUsers ServiceName "
        "SetWorkingDirectory UserNS Yaml"
    ),
    "Image": (
        "AllTags Arch AuthFile CertDir ContainersConfModule Creds DecryptionKey GlobalArgs Image ImageTag "
        "OS PodmanArgs ServiceName TLSVerify Variant"
    ),
    "Volume": (
        "ContainersConfModule Copy Device Driver Group GlobalArgs Image Label Options PodmanArgs "
        "ServiceName Type User VolumeName"
    ),
}
KEYS = {group: frozenset(text.split()) for group, text in _KEYS.items()}
_YES = ("1", "yes", "true", "on")
_SECTIONS = frozenset({"Unit", "Service", "Install", "Quadlet"})
_MOST = 25


def read(files: Sequence[tuple[InputFile, bytes]]) -> list[tuple[InputFile, QuadletFile]]:
    """Return the files with their text."""
    return [
        (item, QuadletFile(item.given.rpartition("/")[2], data.decode("utf-8", "replace")))
        for item, data in files
    ]


def uses(files: Sequence[tuple[InputFile, QuadletFile]]) -> list[ImageUse]:
    """Return the images that the files name in full, and those of the manifests."""
    named = [
        ImageUse(value.removeprefix(STORAGE), f"service {file.service}", f"{item.given}:{number}")
        for item, file in files
        for number, section, key, value in file.lines
        if section == file.group and key == "Image" and value and _is_full(value.removeprefix(STORAGE))
    ]
    of_pods = [use for item, file in files for use in _manifest(item, file)[0]]
    return [*named, *(use for use in of_pods if _is_full(use.reference))]


def _manifest(item: InputFile, file: QuadletFile) -> tuple[list[ImageUse], list[Problem]]:
    is_manifest = file.name.endswith(MANIFESTS)
    return manifests.find(file.text.encode(), item.given) if is_manifest else ([], [])


def check(files: Sequence[tuple[InputFile, QuadletFile]]) -> list[Problem]:
    """Return why the files cannot be bundled: what they make would not be of the images of the release."""
    problems = []
    services: dict[str, str] = {}
    names = {file.name for _, file in files}
    for item, file in files:
        if len(file.text) > LIMITS.document_bytes:
            what = f"is larger than {LIMITS.document_bytes} bytes"
            problems.append(Problem(item.given, what, "split it into several files"))
            continue
        if not file.group:
            problems += islice(_of_manifest(item, file), _MOST)
            continue
        problems += islice(_faults(item.given, file, names), _MOST)
        if other := services.get(file.service):
            what = f"makes {file.service}, as {other} does"
            problems.append(Problem(item.given, what, "rename one of the two files"))
        services[file.service] = item.given
    return problems


def _faults(given: str, file: QuadletFile, others: Collection[str]) -> Iterator[Problem]:
    if f"[{file.group}]" not in map(str.strip, file.text.splitlines()):
        what = f"has no section [{file.group}]"
        yield Problem(given, what, "without it, Podman makes no service of the file")
        return
    for number, section, key, value in file.lines:
        where = f"{given}:{number}"
        if section != file.group:
            continue
        if key == "Image" and file.kind == "image":
            yield from _of_image(where, file, value)
        elif key == "Image" and not _is_full(value) and value not in others:
            yield _short(where, value)
        elif key == "KubeDownForce" and value.lower() in _YES:
            what = "KubeDownForce= deletes the volumes of the pods whenever the service stops"
            yield Problem(where, what, "remove the line: data never move with a release")
        elif key == "AutoUpdate" and value:
            what = "AutoUpdate= replaces the image without Waybill, by one that nobody verified"
            yield Problem(where, what, "remove the line: a new release brings the new image")
        elif key in ("PodmanArgs", "GlobalArgs") and "--pull" in value:
            what = f"{key}= has --pull, which overrides Pull=never"
            yield Problem(where, what, "remove it: the release brings the image")
    if file.kind == "container":
        yield from _of_container(given, file)
    for number, named in file.manifests:
        if named not in others:
            what = f"names {named:.200}, which is no file of this step"
            hint = "add it to the files of the step, and write its name without a directory"
            yield Problem(f"{given}:{number}", what, hint)


def _of_container(given: str, file: QuadletFile) -> Iterator[Problem]:
    images = file.values("Container", "Image")
    if len(images) != 1:
        what = "has no Image=" if not images else "has more than one Image="
        yield Problem(given, what, "name one image of the release in full")
    if file.says("Container", "Pull") != "never":
        what = "does not have Pull=never: Podman would ask a registry for an image that it lacks"
        yield Problem(given, what, "add Pull=never to [Container]")


def _of_image(where: str, file: QuadletFile, value: str) -> Iterator[Problem]:
    name = value.removeprefix(STORAGE)
    if name == value or not _is_full(name):
        what = f"Image={value:.200} would be fetched from a registry, and hosts have none"
        full = qualified(name) if not reference_fault(name) else "HOST/NAME:TAG"
        yield Problem(where, what, f"write Image={STORAGE}{full}, an image of the release")
    elif file.says("Image", "ImageTag") != name:
        # A container that names this file is given this name.
        yield Problem(where, "needs ImageTag= with the name of the image", f"add ImageTag={name}")


def _of_manifest(item: InputFile, file: QuadletFile) -> Iterator[Problem]:
    found, problems = _manifest(item, file)
    yield from problems
    for use in found:
        if not _is_full(use.reference):
            yield _short(use.where, use.reference, "image: ")
        elif use.policy != "Never":
            what = f"the image of {use.user} does not have imagePullPolicy: Never"
            yield Problem(use.where, what, "add it: Podman would ask a registry for an image that it lacks")


def _is_full(value: str) -> bool:
    """Return whether Podman takes a name as it is, without looking for registries to put before it."""
    return not reference_fault(value) and value.partition("@")[0] == qualified(value).partition("@")[0]


def _short(where: str, value: str, key: str = "Image=") -> Problem:
    if value.endswith(".image"):
        what = f"{key}{value} is no file of this step"
        return Problem(where, what, "add the file, or name an image of the release in full")
    if value.endswith(".build"):
        what = f"{key}{value}: such a file builds an image, and the release brings its own"
        return Problem(where, what, "name an image of the release in full")
    if reference_fault(value):
        return Problem(where, f"{key}{value:.200} is not the name of an image", "use HOST/NAME:TAG")
    what = f"{key}{value} is not a full name: each host decides for itself which registry it belongs to"
    return Problem(where, what, f"write {key}{qualified(value)}")


def warnings(files: Sequence[tuple[InputFile, QuadletFile]]) -> list[Problem]:
    """Return what some hosts would refuse: unknown keys, and files that are not in the release."""
    names = {file.name for _, file in files}
    named_by = {named for _, file in files for _, named in file.manifests}
    found = list[Problem]()
    for item, file in files:
        found += islice(_doubts(item.given, file, names, named_by), _MOST)
    return found


def _doubts(given: str, file: QuadletFile, names: set[str], named_by: set[str]) -> Iterator[Problem]:
    if not file.group:
        if file.name not in named_by:
            yield Problem(given, "is named by no .kube file of this step", "remove it, or name it", "podman")
        return
    known = KEYS.get(file.group, frozenset())
    for number, section, key, _ in file.lines:
        where = f"{given}:{number}"
        if section == file.group and key not in known:
            close = did_you_mean(key, known)
            hint = f"did you mean {close}?" if close else "a newer Podman may; the plan asks that of the host"
            yield Problem(where, f"Podman {VERSION} has no {key}= in [{section}]", hint, "podman")
        elif section != file.group and section not in _SECTIONS and not section.startswith("X-"):
            what = f"[{section}] is no section of a file for {file.kind}s"
            yield Problem(where, what, f"did you mean [{file.group}]?", "podman")
    for number, named in file.references():
        # What else is missing is refused.
        if named not in names and not named.endswith((*MANIFESTS, ".image")):
            close = did_you_mean(named, names)
            hint = f"did you mean {close}?" if close else "add it to the step, unless the hosts have it"
            what = f"names {named}, which is not in this release"
            yield Problem(f"{given}:{number}", what, hint, "podman")
    for number, what in irregular_lines(file.text):
        hint = "write every directive on lines of its own, without characters that are not seen"
        yield Problem(f"{given}:{number}", f"this line {what}", hint, "podman")
