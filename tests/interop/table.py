"""What works with which tool: the table that the tests fill and docs/reference/interop.md shows.

`python -m tests.interop.table` writes the page; one test holds page and table together, the others hold the
table and the tools together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "interop.md"
YES, NO = "accepted", "refused"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One tool, one direction, one form, one kind of key; of good bytes, of other bytes, with another key.

    Attributes:
        tool: Its name, as the rig has it.
        signs: Who signs: `we`, or the tool.
        form: Of the signature.
        key: Kind of the key.
        good: What the other says of a good signature.
        note: Why, where it is refused.
    """

    tool: str
    signs: str
    form: str
    key: str
    good: str = YES
    note: str = ""

    @property
    def name(self) -> str:
        """How a test calls it."""
        return f"{self.tool}, {self.signs} sign, {self.form}, {self.key}"


SIG, BUNDLE, ASC = ".sig", ".sigstore.json", ".asc"
P256, ED, RSA, P256_PGP, SUBKEY = "ECDSA P-256", "Ed25519", "RSA 3072", "NIST P-256", "a subkey"
NO_DIGEST = "cosign 3 leaves the message digest of Ed25519 bundles empty, and does not verify its own"
EXCHANGES = (
    *(Exchange(tool, "we", form, P256) for tool in ("cosign", "cosign3") for form in (SIG, BUNDLE)),
    *(Exchange(tool, "they", form, P256) for tool in ("cosign", "cosign3") for form in (SIG, BUNDLE)),
    *(Exchange(tool, "we", form, ED) for tool in ("cosign", "cosign3") for form in (SIG, BUNDLE)),
    *(Exchange(tool, "they", SIG, ED) for tool in ("cosign", "cosign3")),
    Exchange("cosign", "they", BUNDLE, ED),
    Exchange("cosign3", "they", BUNDLE, ED, NO, NO_DIGEST),
    *(
        Exchange(tool, "they", SIG, RSA, NO, "keys are ECDSA P-256 or Ed25519")
        for tool in ("cosign", "cosign3")
    ),
    *(Exchange("openssl", signs, SIG, key) for signs in ("we", "they") for key in (P256, ED)),
    Exchange("openssl", "they", SIG, RSA, NO, "keys are ECDSA P-256 or Ed25519"),
    *(Exchange(tool, "we", ASC, key) for tool in ("gpg", "gpgv") for key in (ED, RSA, P256_PGP, SUBKEY)),
    *(Exchange("gpg", "they", ASC, key) for key in (ED, RSA, P256_PGP, SUBKEY)),
)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file that one makes and the other uses."""

    made: str
    used: str
    what: str
    verdict: str = YES


KEY_FILES = (
    *(
        KeyFile(tool, "we", what)
        for tool in ("cosign", "cosign3")
        for what in ("NAME.key under a password", "NAME.pub")
    ),
    *(
        KeyFile("we", tool, what)
        for tool in ("cosign", "cosign3")
        for what in ("NAME.key under a password", "NAME.pub")
    ),
    *(KeyFile(tool, "we", "NAME.key, another password", NO) for tool in ("cosign", "cosign3")),
    *(KeyFile("we", tool, "NAME.key, another password", NO) for tool in ("cosign", "cosign3")),
    *(KeyFile(tool, "we", "NAME.key under an empty password") for tool in ("cosign", "cosign3")),
    *(KeyFile("we", tool, "NAME.key under an empty password") for tool in ("cosign", "cosign3")),
    KeyFile("openssl", "we", "PKCS#8 without a password", NO),
    KeyFile("openssl", "we", "a public key in PEM"),
    KeyFile("we", "openssl", "NAME.pub"),
    KeyFile("gpg", "we", "a public key in armor"),
    KeyFile("gpg", "we", "a secret key in armor", NO),
    KeyFile("gpg", "we", "two public keys in armor", NO),
)


@dataclass(frozen=True, slots=True)
class State:
    """An OpenPGP signature in some state: what gpg and gpgv end with, and what we do.

    Attributes:
        what: The state.
        gpg: Exit code of `gpg --verify`.
        gpgv: Exit code of `gpgv`.
        we: Our exit code; 0 where we accept.
    """

    what: str
    gpg: int
    gpgv: int
    we: int


STATES = (
    State("good", 0, 0, 0),
    State("good, the keyring holds other keys too", 0, 0, 0),
    State("by a subkey", 0, 0, 0),
    State("with a notation", 0, 0, 0),
    State("with a critical notation that nobody knows", 1, 1, 11),
    State("of other bytes", 1, 1, 11),
    State("by another key, which the keyring lacks", 2, 2, 10),
    State("by another key, which the keyring holds", 0, 0, 10),
    State("by a key that has expired since", 0, 0, 12),
    State("by a key that its owner has revoked", 0, 0, 12),
    State("by a subkey that has expired since", 0, 0, 12),
    State("by a subkey that its owner has revoked", 0, 0, 12),
    State("that has expired itself", 1, 1, 12),
    State("two in one file, both good", 0, 0, 11),
    State("two in one file, one by a stranger", 2, 2, 11),
    State("inline: the signed bytes in the same file", 2, 2, 11),
    State("clear text", 2, 2, 11),
    State("with SHA-1", 0, 0, 11),
    State("with MD5", 2, 2, 11),
    State("in text mode", 0, 0, 11),
    State("armor truncated", 2, 2, 11),
    State("armor of nothing", 2, 2, 11),
)

PROCEDURE = (
    ("a good bundle", YES),
    ("with names that tar cannot hold", YES),
    ("with approvals behind the payload", YES),
    ("with as many approvals as there may be", YES),
    ("with more approvals than there may be", NO),
    ("a script among the approvals", NO),
    ("a script that is named like a signature", NO),
    ("an approval of a role that nobody has", NO),
    ("an approval in a directory", NO),
    ("a signature without its approval", NO),
    ("a member twice, the second one other", NO),
    ("a member twice, both alike", NO),
    ("an extra file", NO),
    ("a symbolic link", NO),
    ("a device", NO),
    ("a directory", NO),
    ("swapped payloads", NO),
    ("a changed file", NO),
    ("a missing file", NO),
    ("another list", NO),
    ("the signature of another bundle", NO),
    ("the signature of another key under our key's name", NO),
    ("no signature", NO),
)

TOOLS = {
    "cosign": "cosign 2",
    "cosign3": "cosign 3",
    "openssl": "openssl",
    "gpg": "gpg",
    "gpgv": "gpgv",
    "we": "Waybill",
}


HEAD = """# What works with which tool

<!-- Made by `python -m tests.interop.table`; tests run every line of it with the real tools. -->

cosign 2 and 3, gpg and gpgv 2.2, openssl 3.0.
How to call them: [signatures](signing.md#checking-a-signature-without-our-software).
"""
STATES_HEAD = """
The exit codes, of `gpg --verify F.asc F` and `gpgv F.asc F`. **Exit code 0 says less than it seems**;
what we demand beyond it is in [signatures and trust](signing.md#what-a-verification-decides).
"""
PROCEDURE_HEAD = """
[The procedure with tar, sha256sum and openssl](../how-to/check-without-waybill.md), word for word,
and Waybill, on the same bundles:
"""


def grid(*rows: tuple[object, ...]) -> str:
    """Gives a Markdown table, the first row its head."""
    head, *body = ("| " + " | ".join(map(str, row)) + " |\n" for row in rows)
    return f"\n{head}{'|---' * len(rows[0])}|\n{''.join(body)}"


def exchanges() -> str:
    """Gives the table of signatures."""
    rows: list[tuple[object, ...]] = [("form", "key", "signed by", "verified by", "a good one is")]
    for each in EXCHANGES:
        sides = ("we", each.tool) if each.signs == "we" else (each.tool, "we")
        verdict = f"{each.good}: {each.note}" if each.note else each.good
        rows.append((f"`{each.form}`", each.key, *(TOOLS[side] for side in sides), verdict))
    return grid(*rows)


def page() -> str:
    """Gives docs/reference/interop.md."""
    files = ((each.what, TOOLS[each.made], TOOLS[each.used], each.verdict) for each in KEY_FILES)
    states = ((each.what, each.gpg, each.gpgv, each.we) for each in STATES)
    bundles = ((what, verdict, verdict) for what, verdict in PROCEDURE)
    return "".join(
        (
            HEAD,
            "\n## Signatures\n\n",
            "Where a good signature is accepted, one of other bytes and one with another key are refused.\n",
            exchanges(),
            "\n## Key files\n",
            grid(("file", "made by", "used by", ""), *files),
            "\n## OpenPGP signatures in every state\n",
            STATES_HEAD,
            grid(("signature", "gpg", "gpgv", "Waybill"), *states),
            "\n## Without Waybill\n",
            PROCEDURE_HEAD,
            grid(("bundle", "the procedure", "Waybill"), *bundles),
        )
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
