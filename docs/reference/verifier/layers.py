"""The layers of images, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import hashlib
import re
import shutil
import subprocess
import tempfile
import zlib

from common import MIB, need

TYPES = {f"application/vnd.{name}": form for name, form in (
    ("oci.image.layer.v1.tar", "tar"), ("oci.image.layer.v1.tar+gzip", "gzip"), ("oci.image.layer.v1.tar+zstd", "zstd"),
    ("docker.image.rootfs.diff.tar", "tar"), ("docker.image.rootfs.diff.tar.gzip", "gzip"),
    ("docker.image.rootfs.diff.tar.zstd", "zstd"))}


def check_layer(layer, chunks):
    """I7: a layer is a tar archive of its form, and expands to the listed bytes."""
    form, digest, count, walk = TYPES[layer["media_type"]], hashlib.sha256(), 0, walk_tar()
    next(walk)
    for piece in expand(form, chunks):
        count += len(piece)
        need(count <= layer["expanded"], "a layer that expands to more")
        digest.update(piece)
        walk.send(piece)
    need(walk.send(b"") and count == layer["expanded"], "a layer that expands to less, or ends early")
    need(f"sha256:{digest.hexdigest()}" == layer["diff_id"], "a layer that expands to other bytes")


def expand(form, chunks):
    """Yield the expanded bytes of a layer."""
    part, first = None, True
    if form == "zstd":
        yield from unzstd(chunks)
        return
    for chunk in chunks:
        need(form == "gzip" or not first or not chunk.startswith((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")), "compressed")
        first = False
        while form == "gzip" and chunk:
            part = part or zlib.decompressobj(31)
            try:
                yield part.decompress(chunk, MIB)
            except zlib.error as error:
                need(False, f"gzip: {error}")
            chunk, part = (part.unused_data, None) if part.eof else (part.unconsumed_tail, part)
        if form == "tar":
            yield chunk
    need(part is None, "gzip ends early")


def unzstd(chunks):
    """Expand by the program `zstd`, which refuses windows above 128 MiB as the format does."""
    program = shutil.which("zstd")
    if program is None:
        raise SystemExit("zstd is not installed: layers cannot be checked")
    with tempfile.TemporaryFile() as file:
        for chunk in chunks:
            file.write(chunk)
        file.seek(0)
        with subprocess.Popen([program, "-dcq"], stdin=file, stdout=-1, stderr=-3) as child:
            try:
                while piece := child.stdout.read(MIB):
                    yield piece
            except BaseException:
                child.kill()
                raise
        need(child.returncode == 0, "the zstd stream is damaged")


def walk_tar():
    """I8: take the bytes of an archive; after an empty piece, yield whether it is complete."""
    held, skip, zeros, size, pax, holes = b"", 0, 0, None, 0, None
    piece = yield None
    while piece:
        piece, skip = piece[skip:], max(0, skip - len(piece))
        held += piece
        while zeros < 2 and not skip and len(held) >= (pax or 512):
            block, held = held[:pax or 512], held[pax or 512:]
            if pax:
                pax, found = 0, re.findall(rb"(?:\A|\n)[0-9]+ size=([0-9]{1,19})\n", block)
                size = int(found[-1]) if found else size
                continue
            if holes is not None:
                body, holes = (None, holes) if block[504] else (holes, None)
            elif not any(block):
                zeros, body = zeros + 1, 0
            else:
                body, pax, holes = header(block, zeros, size)
                size = None
            if body:
                held, skip = held[body:], max(0, body - len(held))
        if zeros == 2:
            held = b""
        piece = yield None
    yield not held and not skip and not pax and holes is None


def header(block, zeros, size):
    """Return what follows a header: bytes to skip, of an extended header, of a sparse member."""
    total, kind = sum(block[:148]) + sum(block[156:]) + 256, block[156:157]
    signed = total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
    need(not zeros and number(block[148:156]) in (total, signed), "a layer that is not a tar archive")
    if size is None:
        size = 0 if kind in b"123456" else number(block[124:136])
    need(size >= 0 and (kind != b"x" or 0 < size <= MIB), "a layer with a size that no reader accepts")
    body = size + -size % 512
    if kind == b"x":
        return 0, body, None
    return (0, 0, body) if kind == b"S" and block[482] else (body, 0, None)


def number(field):
    """Return the number in a field of a header; -1 where there is none."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        return value if value < 2**63 else -1
    text = field.strip(b" \0")
    return int(text or b"0", 8) if re.fullmatch(rb"[0-7]*", text) else -1
