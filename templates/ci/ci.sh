#!/bin/sh
# The stages of the pipeline of example-product, the same for every server: sh ci/ci.sh STAGE
#
#   lint test build image artifact    the target of this name in the Makefile of the product
#   bundle                            dist/example-product-VERSION.tar with provenance, signed by the key of the pipeline
#   release                           all of these, in order
#   verify approve install            on the air-gapped side, for the bundle in BUNDLE
#
# VERSION is the tag of the commit without its v, unless it is set. A stage that fails ends what it started, and leaves
# nothing under the name of a result.
set -eu
cd "$(dirname "$0")/.."

stages="lint test build image artifact bundle"
stage=${1:-}

fail() { # what, hint
    printf 'ci: %s: %s\n' "${stage:-no stage}" "$1" >&2
    printf 'hint: %s\n' "$2" >&2
    exit 2
}

need() { # variable, what it is
    eval "[ -n \"\${$1:-}\" ]" || fail "$1 is not set: $2" "set it in the settings of the pipeline, as a secret if it is one"
}

need_file() { # variable, what it is
    need "$1" "$2"
    eval "[ -r \"\$$1\" ]" || fail "this runner cannot read $1: $2" "only runners that may sign have the file; give the job their label"
}

tag() { # the tag that started the pipeline, or the one of the commit
    for name in "${CI_COMMIT_TAG:-}" "${TAG_NAME:-}" "${GITHUB_REF_NAME:-}"; do
        case $name in v[0-9]*) echo "$name" && return ;; esac
    done
    git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null || true
}

# In a session of its own, so that servers which a test has started end with the stage, however it ends.
group=
end_group() {
    [ -z "$group" ] || kill -s KILL -- "-$group" 2>/dev/null || true
}
trap end_group EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
run() {
    setsid "$@" &
    group=$!
    code=0
    wait "$group" || code=$?
    end_group
    group=
    return "$code"
}

from_make() {
    [ -f Makefile ] || fail "there is no Makefile" "write one with the targets lint, test, build, image and artifact"
    run make "$stage" ${VERSION:+VERSION="$VERSION"} && return
    code=$?
    # What an earlier run of this workspace left must not be taken for the result of this one.
    case $stage in image | artifact) rm -rf "build/$stage" ;; esac
    printf 'ci: %s: failed with exit code %s; nothing of it is kept\n' "$stage" "$code" >&2
    exit 1
}

make_bundle() {
    [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" != true ] ||
        fail "the checkout is a shallow clone" "fetch all of it, with tags: GIT_DEPTH 0, fetch-depth 0, or git fetch --unshallow --tags"
    [ -n "${VERSION:-}" ] || fail "this commit has no tag like v1.4.0" "tag the release, and let the tag start the pipeline"
    need_file WAYBILL_PROVENANCE_KEY "the key that signs the provenance"
    # Complete or not at all, and refused where another bundle of this name exists: `bundle create` sees to it.
    run bundle create "$VERSION" --require source,clean,tag
}

one() {
    stage=$1
    case $stage in
    lint | test | build | image | artifact) from_make ;;
    bundle) make_bundle ;;
    verify)
        need_file BUNDLE "the bundle that came over the air gap"
        need_file WAYBILL_ROOT_FILE "root.json, the keys that this site trusts"
        run bundle verify "$BUNDLE" --root "$WAYBILL_ROOT_FILE"
        ;;
    approve)
        need_file BUNDLE "the bundle that came over the air gap"
        need_file WAYBILL_ROOT_FILE "root.json, the keys that this site trusts"
        need_file WAYBILL_APPROVAL_KEY "the key of the role that approves"
        need WAYBILL_ROLE "the role that approves, such as ops"
        need WAYBILL_ENVIRONMENT "the environment that is approved, such as production"
        run bundle approve "$BUNDLE" --root "$WAYBILL_ROOT_FILE" --key "$WAYBILL_APPROVAL_KEY" --role "$WAYBILL_ROLE" \
            --env "$WAYBILL_ENVIRONMENT" ${WAYBILL_CHANGE_ID:+--change-id "$WAYBILL_CHANGE_ID"} \
            ${WAYBILL_ROLLBACK_TO:+--rollback-to "$WAYBILL_ROLLBACK_TO"} --yes
        ;;
    install)
        need_file BUNDLE "the bundle that came over the air gap"
        # Not ended with this script: an install that was begun is completed or undone by `install` itself.
        "${WAYBILL_INSTALL:-waybill-install}" apply "$BUNDLE" --yes --wait 600
        ;;
    *) fail "is no stage" "one of: $stages, release, verify, approve, install" ;;
    esac
    printf 'ci: %s: done\n' "$stage" >&2
}

[ -n "${VERSION:-}" ] || VERSION=$(tag)
VERSION=${VERSION#v}
if [ "$stage" = release ]; then
    for each in $stages; do one "$each"; done
else
    one "$stage"
fi
