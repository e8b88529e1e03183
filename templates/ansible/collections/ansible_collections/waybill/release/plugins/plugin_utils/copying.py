"""Copy a large file to a host in pieces, and continue a copy that was cut.

The host needs `cat`, `mkdir`, `mv`, `rm`, `sha256sum`, `tail` and `wc`; those of busybox will do.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import posixpath
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.waybill.release.plugins.plugin_utils.command import shell

MIB = 1024 * 1024
APPROVALS = ".approvals"  # of the directory next to a bundle, in which `install` looks for approvals
LARGEST_APPROVAL = MIB  # bytes
MOST_APPROVALS = 1024
LARGEST_LIST = 64 * MIB  # bytes of SHA256SUMS, as in the format
COPIES = "/var/lib/waybill-bundles"
_BLOCK = 512  # bytes of a header of tar

# A size and a digest for each file. A file that is longer than the source cannot be the begin of it.
_LOOK = """\
for file in {whole} {partial}; do
    if [ -f "$file" ] && [ ! -L "$file" ]; then
        size=$(($(wc -c <"$file")))
        if [ "$size" -le {size} ]; then digest=$(sha256sum <"$file") || exit; else digest=longer; fi
        printf 'FILE %s %s\\n' "$size" "${{digest%% *}}"
    else
        printf 'FILE 0 none\\n'
    fi
done
for file in {approvals}/*; do
    [ -f "$file" ] || continue
    digest=$(sha256sum <"$file") || exit
    printf 'APPROVAL %s %s\\n' "${{digest%% *}}" "${{file##*/}}"
done
"""
# What is made above the directory is for everybody to enter: below a fresh root it may be /var.
_BEGIN = """\
(umask 022 && mkdir -p {above}) && umask 077 && mkdir -p {directory} && rm -f {partial} && : >{partial}
"""
# Two runs at a time would mix their pieces: each piece goes only to the place that it was read from.
_APPEND = """\
size=$(($(wc -c <{partial})))
if [ "$size" != {offset} ]; then
    echo "{partial} has $size bytes, and {offset} were expected: does another run copy the same file?" >&2
    exit 1
fi
cat {piece} >>{partial}
"""
_FINISH = """\
digest=$(sha256sum <{partial}) || exit
if [ "${{digest%% *}}" != {digest} ]; then
    rm -f {partial}
    echo "the copy differs from the file, and was removed: run the task again" >&2
    exit 1
fi
chmod {mode} {partial} && mv -f {partial} {whole}
"""
# All of them, since approvals may have been withdrawn.
_APPROVALS = "umask 077 && rm -rf {approvals} && mkdir -p {approvals}{files}"
_APPROVAL = " && cat {piece} >{place}"


def place_of_copies(arguments: Mapping[str, Any]) -> str:
    """Return the directory on the host for copies: the one that a task names, else one below its root."""
    # Hosts that are directories of one machine do not share it: each has the bundle of its own release.
    return arguments["dest"] or f"{arguments['root'].rstrip('/')}{COPIES}"


@dataclass(frozen=True)
class Copied:
    """What was copied.

    Attributes:
        path: The file on the host.
        sent: Bytes that were sent.
        resumed: Bytes of an earlier copy that was cut.
        approvals: Whether the approvals next to the file were sent, or removed.
    """

    path: str
    sent: int = 0
    resumed: int = 0
    approvals: bool = False

    @property
    def changed(self) -> bool:
        """Whether the host has something that it did not have."""
        return self.sent > 0 or self.approvals


class Copy:
    """A file of the controller, the approvals next to it, and their place on the host.

    Args:
        action: The action plugin, for its connection.
        source: The file.
        directory: The directory on the host.
        piece: MiB that are sent at once.
        mode: The mode of the copy, in octal.
    """

    def __init__(
        self, action: ActionBase, source: Path, directory: str, piece: int, mode: str = "600"
    ) -> None:
        self._action, self._source, self._piece, self._mode = action, source, piece * MIB, mode
        self._size = source.stat().st_size
        self.path = f"{directory.rstrip('/')}/{source.name}"
        self._quoted = {
            "above": shlex.quote(posixpath.dirname(directory.rstrip("/")) or "/"),
            "directory": shlex.quote(directory),
            "whole": shlex.quote(self.path),
            "partial": shlex.quote(f"{self.path}.partial"),
            "approvals": shlex.quote(f"{self.path}{APPROVALS}"),
        }
        # The host reads all of the file for its digest: once is enough.
        self._seen: tuple[bool, int, str, dict[str, str]] | None = None

    def is_there(self) -> bool:
        """Tell whether the host has the whole file, of the same digest."""
        self._seen = self._look()
        return self._seen[0]

    def send(self) -> Copied:
        """Copy what the host lacks, unless it has the whole file.

        Raises:
            AnsibleActionFail: The host has no room, another run copies the same file, or the copy differs.
        """
        there, offset, partial, approvals = self._seen or self._look()
        sent, resumed = (0, 0) if there else self._send_file(offset, partial)
        return Copied(self.path, sent, resumed, self._send_approvals(approvals))

    def _send_file(self, offset: int, partial: str) -> tuple[int, int]:
        """Send the rest of the file; return the bytes that were sent, and those that were there."""
        with self._source.open("rb") as file:
            if offset == 0 or offset > self._size or partial != _digest(file, offset):
                offset = 0
                self._run(_BEGIN)
            resumed = offset
            while offset < self._size:
                offset += self._send_piece(file, offset)
        self._run(_FINISH, digest=digest_of(self._source), mode=self._mode)
        return offset - resumed, resumed

    def _send_approvals(self, there: dict[str, str]) -> bool:
        """Give the host the approvals that the controller has next to the file, and no others."""
        wanted = _approvals_of(self._source)
        if {name: hashlib.sha256(data).hexdigest() for name, data in wanted.items()} == there:
            return False
        files = ""
        for number, (name, data) in enumerate(wanted.items()):
            piece = shlex.quote(put(self._action, data, f"approval-{number}"))
            files += _APPROVAL.format(piece=piece, place=shlex.quote(f"{self.path}{APPROVALS}/{name}"))
        self._run(_APPROVALS, files=files)
        return True

    def _look(self) -> tuple[bool, int, str, dict[str, str]]:
        """Return whether the whole file is there, size and digest of a copy that was cut, and approvals."""
        said = shell(self._action, _LOOK.format(size=self._size, **self._quoted))
        lines = said.splitlines()
        found = [line.split()[1:] for line in lines if line.startswith("FILE ")]
        (whole_size, whole), (size, partial) = found
        there = int(whole_size) == self._size and whole == digest_of(self._source)
        named = [line.split(" ", 2)[1:] for line in lines if line.startswith("APPROVAL ")]
        return there, int(size), partial, {name: digest for digest, name in named}

    def _send_piece(self, file: BinaryIO, offset: int) -> int:
        file.seek(offset)
        data = file.read(self._piece)
        if not data:
            raise AnsibleActionFail(f"{self._source}: was truncated while it was copied")
        remote = put(self._action, data)
        self._run(_APPEND, piece=shlex.quote(remote), offset=offset)
        return len(data)

    def _run(self, script: str, **words: object) -> None:
        shell(self._action, script.format(**self._quoted, **words))


def _approvals_of(source: Path) -> dict[str, bytes]:
    """Return the approvals next to a file, by their names.

    Raises:
        AnsibleActionFail: There are too many, or one is too large.
    """
    beside = source.with_name(f"{source.name}{APPROVALS}")
    # `install` follows no links there, and no approval has a hidden name.
    found = sorted(each for each in beside.glob("[!.]*") if each.is_file() and not each.is_symlink())
    if len(found) > MOST_APPROVALS:
        raise AnsibleActionFail(f"{beside}: has more than {MOST_APPROVALS} files")
    for each in found:
        if each.stat().st_size > LARGEST_APPROVAL:
            raise AnsibleActionFail(f"{each}: has more than {LARGEST_APPROVAL} bytes, as no approval has")
    return {each.name: each.read_bytes() for each in found}


def put(action: ActionBase, data: bytes, name: str = "piece") -> str:
    """Put bytes into the temporary directory of the task on the host, which Ansible removes.

    Returns:
        The path on the host. The next call with the same name replaces the file.
    """
    remote_shell = action._connection._shell
    if remote_shell.tmpdir is None:
        action._make_tmp_path()
    remote = str(remote_shell.join_path(remote_shell.tmpdir, name))
    with tempfile.NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP) as local:
        local.write(data)
        local.flush()
        action._transfer_file(local.name, remote)
    # A user without rights of root may have to read what another user has put there.
    action._fixup_perms2((remote_shell.tmpdir, remote), execute=False)
    return remote


def digest_of(source: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; computed once in a run, however many hosts there are."""
    facts = source.stat()
    name = f"{source.absolute()} {facts.st_ino} {facts.st_size} {facts.st_mtime_ns}".encode()
    # One directory for all processes of a run, which is removed at its end.
    kept = Path(constants.DEFAULT_LOCAL_TMP, f"waybill-{hashlib.sha256(name).hexdigest()}")
    with kept.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = file.read()
        if not known:
            with source.open("rb") as data:
                known = _digest(data, facts.st_size)
            file.write(known)
        return known


def _digest(file: BinaryIO, size: int) -> str:
    found = hashlib.sha256()
    file.seek(0)
    while size > 0 and (block := file.read(min(size, MIB))):
        found.update(block)
        size -= len(block)
    return found.hexdigest()


def identity_of(bundle: Path) -> str:
    """Return the identity of a bundle: the SHA-256 of SHA256SUMS, its first file.

    It only says whether the release may be installed already. Nothing is trusted because of it.

    Raises:
        AnsibleActionFail: The file is no bundle.
    """
    with bundle.open("rb") as file:
        header = file.read(_BLOCK)
        size = header[124:135].strip(b"\0 ")
        if header[:100].rstrip(b"\0") != b"SHA256SUMS" or not size.isdigit() or int(size, 8) > LARGEST_LIST:
            raise AnsibleActionFail(f"{bundle}: is no bundle: SHA256SUMS is not its first file")
        return hashlib.sha256(file.read(int(size, 8))).hexdigest()


def local_file(action: ActionBase, named: str) -> Path:
    """Return a file of the controller, looked for as `copy` does: in `files`, next to the playbook.

    Raises:
        AnsibleError: There is no such file.
    """
    return Path(os.fsdecode(action._find_needle("files", named)))
