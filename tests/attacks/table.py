"""The table of hostile input: each vector, what stands against it, and the tests that attack it."""

from __future__ import annotations

from tests.attacks.rows import Row, approvals, bundles, inputs, roots, signed_steps
from tests.attacks.table_names import ROWS as NAME_ROWS
from tests.attacks.table_trust import ROWS as TRUST_ROWS

FORMAT_ROWS = (
    Row(
        "traversal, absolute, .., NUL",
        "the name grammar, and the name must be on the signed list",
        bundles(
            "a member that climbs",
            "a member with an absolute name",
            "a first member that climbs",
            "a signed name that climbs",
            "a signed absolute name",
            "a signed name with NUL",
            "a signed name with a backslash",
            "an approval that climbs",
            "a destination that climbs",
            "a destination in Waybill's own place",
            "a link that leaves its tree",
            "an absolute link",
        )
        + inputs(
            "an absolute input",
            "a destination in Waybill's own place",
            "an input with NUL",
            "a destination that climbs",
            "an archive with a member that climbs",
            "an archive with an absolute link",
            "an archive with a link that leads out",
            "a digest that climbs",
            "a link that leads out",
            "an absolute link",
        )
        + roots("an environment that climbs", "a product that climbs"),
    ),
    Row(
        "links, devices, fifos, directories",
        "typeflag 0 only; we make the directories",
        bundles(
            "a symbolic link in place of a file",
            "a hard link in place of a file",
            "a character device in place of a file",
            "a block device in place of a file",
            "a directory in place of a file",
            "a fifo in place of a file",
            "a contiguous file in place of a file",
            "a list that is a link",
        )
        + inputs(
            "an archive with a hard link that leads out",
            "an archive with a device",
            "an archive with a fifo",
            "a pipe",
        )
        + approvals(
            "a link in the sidecar",
            "a pipe in the sidecar",
            "a directory in the sidecar",
        )
        + (
            "tests/installer/core/format/test_bundle_source::test_a_named_pipe_does_not_hang_and_is_not_a_bundle",
        ),
    ),
    Row(
        "setuid, owner, xattr",
        "the header is compared, never obeyed; the mode is the signed manifest's, masked 0755",
        bundles(
            "a setuid bit in a header",
            "a signed setuid bit",
            "an owner in a header",
            "a user's name in a header",
            "a device number in a header",
        )
        + inputs("a mode with setuid", "an owner that is two lines"),
    ),
    Row(
        "duplicates, case folding, Unicode twins",
        "ASCII grammar; equal lower-cased names refused",
        bundles(
            "a second member of one name",
            "a second list",
            "a second manifest",
            "names that differ in letter case",
            "a name with a Unicode twin",
        )
        + inputs(
            "two inputs for one place",
            "names that differ in letter case",
            "an archive with a member twice",
        )
        + ("tests/installer/core/format/test_archive_members::test_an_approval_twice_is_refused",),
    ),
    Row(
        "pax, GNU longname, sparse, global headers",
        "refused",
        (
            *bundles(
                "a pax header",
                "a pax global header",
                "a GNU long name header",
                "a GNU long link header",
                "a GNU sparse header",
                "a old Solaris header",
            ),
            "test_public_archives::test_pax_headers_are_refused_wherever_they_stand",
            "test_public_archives::test_gnu_long_names_are_refused_wherever_they_stand",
            "test_public_corpora::test_no_file_of_the_public_corpora_is_a_bundle",
        ),
    ),
    Row(
        "unsigned strays: scripts named like approvals or signatures",
        "only approvals and their signatures may follow the payload; the procedure without Waybill agrees",
        (
            *bundles(
                "a script among the approvals",
                "a script that is named like a signature",
                "a signature of an approval that is missing",
            ),
            "tests/installer/core/format/test_archive_members::test_only_approvals_stand_behind_the_payload",
            "tests/interop/test_interop_procedure::test_the_procedure_and_we_agree",
        ),
    ),
    Row(
        "sizes: negative, overflowing, base-256; dirty padding; data after the end",
        "refused; size must equal the signed size; 2, 4, 8 GiB ± 1 are tested",
        bundles(
            "a size below zero",
            "a size of 8 EiB",
            "a small size in base 256",
            "a size that is no number",
            "a signed size below zero",
            "a signed size beyond 2^53",
            "dirty padding",
            "a byte after the end",
            "a second archive after the end",
        )
        + inputs(
            "a size below zero",
            "an archive cut short",
        )
        + (
            "tests/installer/core/test_limits::test_files_around_2_4_and_8_gib_are_found_behind_by_us_and_by_tar",
        ),
    ),
    Row(
        "floods",
        "caps on count and on every document, before the signature check",
        bundles(
            "more signatures than are allowed",
            "more approvals than are allowed",
            "an approval that is too large",
            "a list that claims a terabyte",
            "a manifest that claims 8 GiB",
            "a room that claims a terabyte",
            "a signature that is too large",
        )
        + inputs(
            "a document of a hundred thousand values",
            "a document beyond a megabyte",
            "an index of a larger size than may be",
            "a template of too many tags",
        )
        + roots(
            "larger than a root may be",
            "more keys than a root may have",
        )
        + approvals(
            "a file without end in the sidecar",
            "a sidecar of a thousand files",
        )
        + (
            "tests/installer/core/test_limits::test_more_members_than_allowed_are_refused_by_the_list_alone",
            "test_bounds::test_an_archive_of_a_hundred_thousand_members_is_refused_in_little_memory",
            "test_bounds::test_a_claim_of_8_eib_takes_nothing",
        ),
    ),
    Row(
        "bombs",
        "an expansion is capped by the signed size while it is read; one wide window at a time",
        bundles(
            "a template that multiplies",
            "a template without end",
            "values of a billion laughs",
        )
        + inputs(
            "a template whose text multiplies",
            "a template with a chain without end",
            "an archive that is a zip bomb of nothing",
            "values of a billion laughs",
        )
        + signed_steps(
            "a template whose text multiplies",
            "a template that indents without end",
            "a template with a width of its own",
            "a template with a chain without end",
        )
        + (
            "tests/installer/shared/rendering/test_rendering::test_what_takes_all_time_or_memory_is_ended_and_named",
            "tests/installer/shared/test_values::test_references_that_multiply_are_ended",
            "test_bounds::test_a_layer_that_expands_without_end_is_refused_in_little_memory",
            "test_bounds::test_a_window_that_is_too_wide_is_refused_in_little_memory",
            "tests/installer/core/oci/test_section::test_a_layer_of_zeros_takes_no_more_memory_than_another",
            "tests/installer/core/oci/test_section::test_wide_layers_are_expanded_one_at_a_time",
            "tests/installer/images/test_load_stream::test_a_lying_layer_never_ends_the_stream",
            "tests/installer/images/test_load_stream::test_memory_stays_flat_however_much_a_layer_is_compressed",
        ),
    ),
    Row(
        "a medium that answers differently the second time",
        "one pass into a root-owned 0700 staging area, hash what was written, use only that",
        (
            "test_media_rereads_differ::test_what_is_staged_is_what_was_hashed_whatever_a_second_reading_says",
            "test_media_rereads_differ::test_a_head_that_changes_after_it_was_judged_changes_nothing",
            "tests/installer/core/format/test_payload::test_every_byte_of_the_medium_is_read_exactly_once",
            "tests/installer/core/format/test_bundle_source::test_a_bundle_swapped_under_its_name_is_still_the_one_that_was_opened",
        ),
    ),
    Row(
        "races while writing",
        "directory descriptors, O_NOFOLLOW, O_EXCL; temporary name, fsync, rename",
        (
            "test_planted_links::test_a_planted_link_is_never_written_through",
            "test_planted_links::test_a_directory_that_turns_into_a_link_meanwhile_leads_nowhere",
            "tests/installer/host/test_system::test_no_link_leads_out_of_the_root",
            "tests/installer/host/test_system::test_a_link_that_a_service_account_made_is_not_followed",
            "tests/installer/host/test_system::test_the_last_link_is_never_written_through",
        ),
    ),
    Row(
        "terminal escapes in names, user ids, notes",
        "C0, C1, DEL and bidirectional controls are shown escaped",
        bundles(
            "a member with an escape sequence",
            "a signed product with an escape sequence",
            "a signed name that runs backwards",
        )
        + inputs(
            "an escape sequence",
            "a name with an escape sequence",
            "a name that is no text",
            "an archive with an escape sequence",
        )
        + roots(
            "an owner with an escape sequence",
            "an owner that runs backwards",
        )
        + approvals("a note with an escape sequence"),
    ),
    Row(
        "JSON: duplicate keys, NaN, lone surrogates, depth, 5000-digit integers",
        "refused: pairs hook, no floats, depth ≤ 32, integers ≤ 2^53, UTF-8, no unknown field",
        bundles(
            "a key twice",
            "a number that is none",
            "a number without end",
            "a fraction",
            "a lone surrogate",
            "a document that is nested without end",
            "a byte order mark",
            "a field that nobody knows",
            "a Sigstore bundle with a key twice",
            "a Sigstore bundle nested without end",
        )
        + inputs(
            "an index that is no JSON",
            "an index nested without end",
        )
        + roots(
            "no JSON",
            "a version that is no number",
            "a schema of the future",
            "a day that is none",
            "a version below one",
            "nested without end",
            "a key twice",
            "a version without end",
            "a lone surrogate",
            "a field that nobody knows",
        )
        + approvals(
            "a statement nested without end",
            "a statement with a key twice",
            "a statement that is no text",
            "a statement of numbers without end",
        ),
    ),
    Row(
        "YAML: aliases, tags, duplicate keys, words that change their meaning",
        "a strict loader on the parser's events; no aliases, no tags, nothing ambiguous",
        inputs(
            "a billion laughs",
            "a document nested without end",
            "a tag that makes objects",
            "a key twice",
            "a merge key",
            "a version that loses its zero",
            "a word that means no",
            "a second document",
            "bytes that are no text",
            "values under Waybill's own name",
        )
        + bundles("values of a billion laughs", "values nested without end"),
    ),
    Row(
        "OCI documents",
        "digest grammar, size and digest checked, mediaType equals the descriptor's, "
        "not both `manifests` and `layers`, no `urls`, depth ≤ 3; layers are never unpacked",
        (
            *inputs(
                "both manifests and layers",
                "layers to be fetched",
                "a digest that climbs",
                "a size below zero",
                "a media type of something else",
                "an index in an index without end",
                "a layout of another version",
                "a blob that is not what its name says",
            ),
            "tests/installer/images/test_load_stream::test_a_changed_document_is_refused",
        ),
    ),
    Row(
        "images other than the manifest's",
        "the manifest determines every document of the layout and every layer, before any effect",
        (
            *bundles(
                "an image that nobody listed",
                "a layer that climbs in Docker's list",
                "a layer that expands to something else",
                "a blob that belongs to no image",
            ),
            "tests/installer/core/oci/test_section::test_what_the_manifest_does_not_say_is_refused",
            "tests/installer/core/oci/test_section::test_a_layer_that_lies_is_never_handed_on_whole",
            "tests/installer/core/oci/test_section::test_a_damaged_layer_is_called_damaged_not_a_lie",
            "tests/installer/core/oci/test_section::test_documents_are_checked_again_where_a_stage_has_them",
        ),
    ),
    Row(
        "docker-save",
        "manifest.json and index.json agree; tags are on the signed list; after the load the id is compared",
        (
            *inputs("an archive whose two lists disagree"),
            "tests/installer/images/test_images_in_engine::test_a_lying_layer_is_refused_and_nothing_is_named",
            "tests/installer/images/test_images_in_engine::test_a_config_that_does_not_name_the_signed_layers_is_refused_by_the_engine",
        ),
    ),
    Row(
        "templates that reach out",
        "a sandbox without a loader: values and nothing else",
        bundles(
            "a template that looks at classes",
            "a template that reads a file",
            "a template that asks for what is not there",
        )
        + inputs(
            "a template that looks at classes",
            "a template that reads a file",
            "a template that imports",
            "a template that is nested without end",
            "a template of bytes that are no text",
        )
        + signed_steps("a template that installs what is not there"),
    ),
    Row(
        "steps and probes that fail only when they run",
        "the options of each method and the target of each probe are part of the manifest's schema",
        (
            *signed_steps(
                "a time limit that is no number",
                "a time limit below zero",
                "units that are no list",
                "a step whose script is not in the bundle",
                "a probe of a file",
                "a probe of a port that does not exist",
                "a probe of no address",
                "a probe of a method that does not exist",
            ),
            "tests/installer/core/format/test_step_options::test_a_wrong_option_is_named_with_its_place_and_a_remedy",
        ),
    ),
)
ROWS = FORMAT_ROWS + NAME_ROWS + TRUST_ROWS
