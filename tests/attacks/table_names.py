"""The rows of true names, of what a bundle requires, and of values for environments and clusters."""

from __future__ import annotations

from tests.attacks.rows import Row, layers, names

ROWS = (
    Row(
        "true names: an encoding that lies, climbs, or hides another name",
        "nobody decodes a name: the one encoding of the signed true name is made again and compared; NFC, no "
        "control or invisible characters, unique without case",
        names(
            "the encoding of another name",
            "a name that decodes to a path",
            "`..` by encoding",
            "an encoded NUL",
            "small hex digits in an encoding",
            "a plain name that is encoded",
            "a name without its encoding",
            "a name not in normal form",
            "an encoded name that runs backwards",
            "an invisible name",
            "a component without end",
            "a path without end",
            "a digest of another name",
            "two names that differ in case",
            "a name under the encoding of another",
            "a member under another name",
            "a destination that runs backwards",
            "a destination not in normal form",
        ),
    ),
    Row(
        "what a bundle requires: words that lie, or that are used to hide a fault",
        "signature first, then the words by their bytes; exactly the words of what is used; an unknown one "
        "ends the reading with exit code 19, and nothing is installed",
        (
            *names(
                "names that nobody said",
                "a list of words that is none",
                "a word that is not known",
                "a word that is not known before nonsense",
                "a schema that is not known",
            ),
            "test_attack_names::test_a_word_of_an_unsigned_bundle_says_nothing",
        ),
    ),
    Row(
        "values for environments and clusters: a layer that is none, is not verified, or comes twice",
        "a layer is a listed values file below config/ of at most 1 MiB, its name one of hosts; each once",
        (
            *layers(
                "layers that nobody said",
                "a word for layers without layers",
                "a layer outside of config",
                "a layer that is not in the bundle",
                "a layer of the host",
                "a layer that climbs",
                "a layer twice",
                "a layer in the wrong place",
                "a layer of all hosts",
                "a name of a layer that climbs",
                "a name of a layer with a line break",
                "more layers than there may be",
                "a layer that is a program",
                "a layer for another platform",
                "a layer of a byte too much",
                "a layer with another content",
            ),
            "test_attack_layers::test_a_good_bundle_with_a_layer_is_verified_by_both_readers",
        ),
    ),
)
