"""What looks like a secret in an image stops `create`, with image and layer; exceptions are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.commands.inspect import inspect_bundle
from installer.core.errors import UnfitInputError
from installer.shared.secrecy.tokens import token_rules
from tests.rig.imagebuild import Built, digest, saved_new, saved_old, tar
from tests.rig.product import EPOCH, YAML, Product
from tests.rig.tokens import token

TOKEN = token(next(rule for rule in token_rules().rules if rule.name == "github-pat"))
CLEAN = tar({"etc/os-release": b"ID=none\n", "usr/bin/app": b"\x7fELF" + bytes(4000)})
ENV = tar({"app/.env": b"# settings\nTOKEN=" + TOKEN + b"\n"})
HIDING = tar({"app/.wh..env": b""})
WHAT = f"a credential (rule github-pat) (layer {digest(ENV)[:19]})"


@pytest.fixture(autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)


def product(tmp_path: Path, images: list[Built], allow: str = "", form: object = saved_new) -> Product:
    made = Product.make(tmp_path / "product")
    (made.directory / "images.tar").write_bytes(tar(form(images)))  # type: ignore[operator]
    (made.directory / "bundle.yaml").write_text(f"{YAML}images: [{{archive: images.tar}}]\n{allow}")
    return made


def allowing(*patterns: str) -> str:
    rows = "".join(f"  - {{path: '{each}', reason: a token of the demo}}\n" for each in patterns)
    return f"secrets_allow:\n{rows}"


def refused(made: Product) -> list[str]:
    with pytest.raises(UnfitInputError) as caught:
        made.create()
    assert caught.value.exit_code == 30
    assert TOKEN.decode() not in str(caught.value)
    assert not made.target.exists()
    assert made.leftovers() == []
    return [f"{each.where}: {each.what}" for each in caught.value.problems]


@pytest.mark.parametrize("form", [saved_new, saved_old])
@pytest.mark.parametrize("packing", ["tar", "gzip", "zstd"])
def test_a_secret_in_a_layer_is_refused(tmp_path: Path, form: object, packing: str) -> None:
    made = product(tmp_path, [Built("chat:1.4.0", [CLEAN, ENV], form=packing)], form=form)
    assert refused(made) == [f"chat:1.4.0:/app/.env:2: contains {WHAT}"]


def test_a_secret_that_a_later_layer_deletes_is_refused(tmp_path: Path) -> None:
    made = product(tmp_path, [Built("chat:1.4.0", [CLEAN, ENV, HIDING])])
    assert refused(made) == [f"chat:1.4.0:/app/.env:2: contains {WHAT}"]


def test_a_layer_of_two_images_is_one_finding(tmp_path: Path) -> None:
    images = [Built("chat:1.4.0", [ENV, CLEAN]), Built("worker:1.4.0", [ENV, HIDING])]
    assert refused(product(tmp_path, images)) == [f"chat:1.4.0:/app/.env:2: contains {WHAT}"]


def test_findings_of_all_images_are_reported_at_once(tmp_path: Path) -> None:
    other = tar({"srv/conf.yaml": b"db_password: hunter22\n"})
    images = [Built("chat:1.4.0", [ENV]), Built("db:7", [other])]
    assert [each.split(": ")[0] for each in refused(product(tmp_path, images))] == [
        "chat:1.4.0:/app/.env:2",
        "db:7:/srv/conf.yaml:1",
    ]


def test_an_exception_for_a_file_of_an_image_is_in_the_bundle_with_its_reason(tmp_path: Path) -> None:
    images = [Built("chat:1.4.0", [CLEAN, ENV])]
    created = product(tmp_path, images, allowing("chat:*:/app/.env")).create()
    assert created.allowed == (("chat:1.4.0:/app/.env", WHAT, "a token of the demo"),)
    assert inspect_bundle(created.path).document["secrets_allowed"] == [
        {
            "path": "chat:*:/app/.env",
            "what": "any finding in files of images",
            "reason": "a token of the demo",
        }
    ]


def test_what_an_exception_lets_through_is_told_by_create_as_text_too(tmp_path: Path) -> None:
    names = [f"app/{number}.env" for number in range(12)]
    layer = tar(dict.fromkeys(names, b"TOKEN=" + TOKEN + b"\n"))
    made = product(tmp_path, [Built("chat:1.4.0", [layer])], allowing("chat:*:/app/*.env"))
    done = made.run("create", "1.4.0", "-C", str(made.directory), "-o", "chat.tar")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("let through ")]
    assert said[0].startswith("let through chat:1.4.0:/app/0.env: a credential (rule github-pat)")
    assert (len(said), said[-1]) == (11, "let through 2 more findings in images; `--all` lists them")


def test_an_exception_that_lets_nothing_through_is_an_error(tmp_path: Path) -> None:
    images = [Built("chat:1.4.0", [CLEAN, ENV])]
    made = product(tmp_path, images, allowing("chat:*:/app/.env", "chat:*:/app/old.env"))
    (found,) = refused(made)
    assert found.endswith("secrets_allow lists chat:*:/app/old.env, but no secret was found there")


def test_an_exception_for_an_input_does_not_wait_for_the_images(tmp_path: Path) -> None:
    made = product(tmp_path, [Built("chat:1.4.0", [CLEAN])], allowing("web/none.js"))
    (found,) = refused(made)
    assert "secrets_allow lists web/none.js" in found


def test_an_image_without_a_finding_gives_the_bytes_of_a_bundle_without_the_search(tmp_path: Path) -> None:
    created = product(tmp_path, [Built("chat:1.4.0", [CLEAN])]).create()
    assert (created.allowed, created.warnings) == ((), ())
    assert "docs/SECRETS-ALLOWED.md" not in [entry.path for entry in created.manifest.files]


def test_an_archive_in_an_image_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    odd = tar({"opt/data.7z": b"7z\xbc\xaf\x27\x1c" + bytes(600)})
    (warning,) = product(tmp_path, [Built("chat:1.4.0", [odd])]).create().warnings
    assert (warning.where, warning.code) == ("chat:1.4.0:/opt/data.7z", "not-searched-for-secrets")


def test_images_are_not_searched_where_bundle_yaml_says_why_and_the_bundle_says_so(tmp_path: Path) -> None:
    skip = "secrets_skip_images: the registry searches every image\n"
    created = product(tmp_path, [Built("chat:1.4.0", [ENV])], skip).create()
    assert inspect_bundle(created.path).document["secrets_allowed"] == [
        {
            "path": "images",
            "what": "not searched for secrets",
            "reason": "the registry searches every image",
        }
    ]


def test_an_exception_for_images_that_are_not_searched_is_an_error(tmp_path: Path) -> None:
    skip = "secrets_skip_images: the registry searches every image\n"
    made = product(tmp_path, [Built("chat:1.4.0", [ENV])], skip + allowing("chat:*:/app/.env"))
    (found,) = refused(made)
    assert "secrets_allow lists chat:*:/app/.env" in found
