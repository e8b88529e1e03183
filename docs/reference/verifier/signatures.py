"""The signatures of a bundle, for the verifier: written from format.md alone, without anything of Waybill."""

# fmt: off
import base64
import hashlib

from common import Refused, need, strict
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def base64_once(text):
    """G4: base64 of one spelling."""
    try:
        data = base64.b64decode(text) if isinstance(text, str) else b""
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
            raw = base64_once(data.decode().removesuffix("\n"))
        else:
            raw = sigstore(strict(data, 65536), hashlib.sha256(sums).digest())
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(raw, sums, ec.ECDSA(hashes.SHA256()))
            else:
                key.verify(raw, sums)
        except InvalidSignature:
            raise Refused(11, f"{name} is not a signature of this list") from None


def sigstore(found, digest):
    """G5: the signature in a Sigstore bundle about a file of this digest."""
    def fields(value, names, optional=()):
        need(isinstance(value, dict) and set(names) <= value.keys() <= {*names, *optional}, "other fields")
        return value
    fields(found, ("mediaType", "verificationMaterial", "messageSignature"))
    need(found["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json", "another media type")
    material = fields(found["verificationMaterial"], ("publicKey",), ("tlogEntries", "timestampVerificationData"))
    need(isinstance(material["publicKey"], dict), "no public key")
    message = fields(found["messageSignature"], ("messageDigest", "signature"))
    stated = fields(message["messageDigest"], ("algorithm", "digest"))
    need(stated["algorithm"] == "SHA2_256" and base64_once(stated["digest"]) == digest, "a signature of other bytes")
    return base64_once(message["signature"])
