"""Verify a Waybill bundle by format.md alone: python3 docs/reference/verifier/verify.py BUNDLE KEY.pub

Written from that page, without anything of Waybill; the letters in comments are its rules. KEY.pub is the public
key of cosign that must have signed. Exit codes: 0 verified, 10 not signed by the key, 11 tampered or malformed,
19 needs a newer reader. Expiry, approvals and the host are not looked at. It needs Python 3.11, `cryptography`,
and the program `zstd` where layers are compressed with it.
"""

# fmt: off
import base64
import hashlib
import re
import sys
from pathlib import Path

from common import MIB, TEXT, Refused, fits, need, parse, read, seconds
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from images import Images
from manifest import check_manifest

APPROVAL = r"approvals/(provenance|security|ops|break-glass)-[0-9a-f]{8}(\.[1-9][0-9]?)?\.json"
SIGNATURE = re.compile(rf"({APPROVAL})\.(sig|sigstore\.json|asc)")
STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1","'
APPEND = 4 * (512 + 65536) + 1024
WORD = rb'"[a-z][a-z0-9-]{0,62}/[1-9][0-9]{0,5}"'
KNOWN = {b'"ansible-core/1"', b'"ansible-inventory/1"', b'"ansible/1"', b'"attributes/1"', b'"cluster/1"', b'"compose-env/1"', b'"compose-override/1"', b'"compose-project/1"', b'"health/1"',
         b'"helm/1"', b'"kubectl/1"', b'"layers/1"', b'"names/1"', b'"on-change/1"', b'"quadlet-kube/1"', b'"quadlet/1"', b'"salt/1"', b'"script-values/1"', b'"systemd/1"',
         b'"timeouts/1"', b'"tools/1"', b'"user-units/1"', b'"validators/1"', b'"whole-images/1"'}
SIGSTORE = {  # G5
    "mediaType": r"application/vnd\.dev\.sigstore\.bundle\.v0\.3\+json",
    "verificationMaterial": {"publicKey": dict, "tlogEntries?": object, "timestampVerificationData?": object},
    "messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": TEXT}, "signature": TEXT},
}


def header(name, mode, size, mtime):
    """T2: the 512 bytes of the header of a member."""
    cut = name.find("/", len(name) - 101) if len(name) > 100 else 0
    prefix, rest = (name[:cut], name[cut + 1:]) if cut else ("", name)
    length = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block = (rest.encode().ljust(100, b"\0") + b"%07o\0" % (mode & 0o755) + b"0000000\0" * 2 + length
             + b"%011o\0" % mtime + b" " * 8 + b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2
             + prefix.encode().ljust(155, b"\0") + bytes(12))
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


class Reader:
    """The file, read in blocks."""

    def __init__(self, file):
        """Open it."""
        self.file = file

    def at(self, offset, size):
        """Return `size` bytes; T6: a file that ends before is refused."""
        self.file.seek(offset)
        data = self.file.read(size)
        need(len(data) == size, "the file is truncated")
        return data

    def member(self, offset, most, mtime=None):
        """Return name, payload, time and the offset after a member that is not listed: T1-T4."""
        block = self.at(offset, 512)
        try:
            parts = [block[345:500].rstrip(b"\0").decode("ascii"), block[:100].rstrip(b"\0").decode("ascii")]
            size = int.from_bytes(block[125:136], "big") if block[124] == 0x80 else int(block[124:135], 8)
            name, time = "/".join(filter(None, parts)), int(block[136:147], 8)
            need(fits(name) and size <= 2**53, "not the name of a member")
            need(block == header(name, 0o644, size, time) and mtime in (None, time), f"the header of {name}")
        except ValueError as error:
            raise Refused(11, f"a header: {error}") from None
        need(size <= most(name), f"{name} is too large")
        return name, b"".join(self.chunks(offset, size)), time, offset + 512 + size + -size % 512

    def chunks(self, offset, size):
        """Yield the payload of a member in pieces; T5: its padding is zero."""
        for begin in range(0, size, MIB):
            yield self.at(offset + 512 + begin, min(MIB, size - begin))
        need(not any(self.at(offset + 512 + size, -size % 512)), "padding")


def read_head(reader):
    """A1-A4: return list, signatures, bundle.json, their time and the offset after them."""
    limits = {"SHA256SUMS": 80 * MIB, "SHA256SUMS.room": 64 * MIB, "bundle.json": 64 * MIB}
    name, sums, mtime, offset = reader.member(0, lambda name: limits.get(name, 0))
    need(name == "SHA256SUMS", "the first member is not SHA256SUMS")
    signatures, room = {}, False
    while True:
        name, data, _, offset = reader.member(offset, lambda name: limits.get(name, 65536), mtime)
        if name == "bundle.json":
            return sums, signatures, data, mtime, offset
        need(not room, "a member between the reserved space and bundle.json")
        if room := name == "SHA256SUMS.room":
            need(len(data) % 512 == 0, "the size of the reserved space")
            continue
        pattern = r"SHA256SUMS\.[0-9a-f]{8}\.(sig|sigstore\.json|asc)"
        need(re.fullmatch(pattern, name) and name not in signatures and len(signatures) < 64, f"{name} is no signature")
        signatures[name] = data


def base64_once(text):
    """G4: return what base64 of one spelling stands for."""
    try:
        data = base64.b64decode(text)
    except ValueError:
        data = b""
    need(data and base64.b64encode(data).decode() == text, "not base64")
    return data


def check_signatures(sums, signatures, pem):
    """G1-G6: every signature that names the key is by it, and there is one."""
    key = serialization.load_pem_public_key(pem)
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    named = f"SHA256SUMS.{hashlib.sha256(der).hexdigest()[:8]}."
    found = {name: data for name, data in signatures.items() if name.startswith(named) and not name.endswith(".asc")}
    need(found, "no signature by this key", 10)
    for name, data in found.items():
        if name.endswith(".sig"):
            need(data.isascii(), "not base64")
            text = data.decode().removesuffix("\n")
        else:
            read(stated := parse(data, 65536), SIGSTORE, name)
            message = stated["messageSignature"]
            digest, text = base64_once(message["messageDigest"]["digest"]), message["signature"]
            need(digest == hashlib.sha256(sums).digest(), "a signature of other bytes")
        how = [ec.ECDSA(hashes.SHA256())] if isinstance(key, ec.EllipticCurvePublicKey) else []
        try:
            key.verify(base64_once(text), sums, *how)
        except InvalidSignature:
            raise Refused(11, f"{name} is not a signature of this list") from None


def check_known(data):
    """V1-V3: what needs a newer reader is said before anything is parsed."""
    other = re.search(rb'\n"schema":"waybill/bundle/v(?!1")[1-9][0-9]{0,5}"', data)
    words = re.search(rb'\n"requires":\[((?:\n%b,?){1,64})\n\]' % WORD, data)
    known = not words or set(re.findall(WORD, words[1])) <= KNOWN
    need(not other and known, "needs a newer reader", 19)


def read_tail(reader, offset, mtime):
    """P1-P6: approvals, then the end of the archive, or a truncated append."""
    names = set()
    while any(block := reader.at(offset, 512)) and not begun(block, mtime):
        name, _, _, offset = reader.member(offset, lambda _: 65536, mtime)
        need((re.fullmatch(APPROVAL, name) or SIGNATURE.fullmatch(name)) and name not in names, f"{name} is not an approval")
        names.add(name)
    statements = {name for name in names if re.fullmatch(APPROVAL, name)}
    need(len(statements) <= 64 and len(names) <= 256, "too many approvals")
    need(all(SIGNATURE.fullmatch(name)[1] in statements for name in names - statements), "a signature of nothing")
    second, size = reader.at(offset + 512, 512), reader.file.seek(0, 2)
    short = second.rstrip(b"\0")
    if short and (second.startswith(STATEMENT) or (not any(block) and STATEMENT.startswith(short))):
        need(size <= offset + 1024 + APPEND, "more than a truncated append")
    else:
        need(not any(block) and not short and size == offset + 1024, "not the end of the archive")


def begun(block, mtime):
    """P5: whether a block is the beginning of the header of an approval, and zeros."""
    written = block.rstrip(b"\0")
    name, digits = written[:100].split(b"\0")[0], written[124:136].rstrip(b"\0")
    if not (re.fullmatch(rb"approvals/[a-z0-9.-]*", name) or b"approvals/".startswith(name)):
        return False
    if len(written) <= 100:
        return written == name
    if not re.fullmatch(rb"[0-7]{0,12}", digits):
        return False
    whole = header(name.decode(), 0o644, int(digits.ljust(11, b"0"), 8), mtime)
    return written != whole.rstrip(b"\0") and whole.startswith(written)


def verify(file, pem=None, with_images=True):
    """Verify an open file; without a key, everything but the signatures. Raise Refused, or return bundle.json."""
    reader = Reader(file)
    sums, signatures, data, mtime, offset = read_head(reader)
    if pem is not None:
        check_signatures(sums, signatures, pem)
    line = f"{hashlib.sha256(data).hexdigest()}  bundle.json\n".encode()  # C1, C2
    need(sums.startswith(line) or b"\n" + line in sums, "bundle.json does not match the list")
    check_known(data)
    found = parse(data, 64 * MIB, MIB)
    words = found.get("requires") if isinstance(found.get("requires"), list) else []
    lines = b",".join(b'\n"%b"' % word.encode() for word in words if isinstance(word, str))
    check_known(b'\n"schema":"%b",\n"requires":[%b\n]' % (str(found.get("schema")).encode(), lines))
    names = check_manifest(found)
    digests = {"bundle.json": line[:64].decode(), **{name: row["sha256"] for name, row in zip(names, found["files"], strict=True)}}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    need(sums == lines.encode() and seconds(found["created"]) == mtime, "the list or the time is that of another bundle.json")
    images = Images(found) if with_images else None
    for name, entry in zip(names, found["files"], strict=True):  # C3
        need(reader.at(offset, 512) == header(name, int(entry["mode"], 8), entry["size"], mtime), f"the header of {name}")
        digest = hashlib.sha256()
        for chunk in reader.chunks(offset, entry["size"]):
            digest.update(chunk)
        need(digest.hexdigest() == entry["sha256"], f"{name} does not match the list")
        if images:
            images.check(entry, lambda place=offset, size=entry["size"]: reader.chunks(place, size))
        offset += 512 + entry["size"] + -entry["size"] % 512
    if images:
        images.finish()
    read_tail(reader, offset, mtime)
    return found


def main(words):
    """Verify the bundle that the words name."""
    try:
        with Path(words[0]).open("rb") as file:
            found = verify(file, Path(words[1]).read_bytes())
    except Refused as refused:
        print(f"{words[0]}: {refused.args[1]}", file=sys.stderr)
        return refused.args[0]
    print(f"{words[0]}: verified: {found['product']} {found['version']}, {len(found['files'])} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
