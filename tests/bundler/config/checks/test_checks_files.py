"""What create says of the files of a bundle: secrets, placeholders of checkouts, missing libraries, units."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import zstandard

from bundler.commands.create import plan_bundle
from bundler.config.checks import documents, placeholders, units
from bundler.config.checks.libraries import Libraries
from bundler.config.loader import load
from bundler.config.model import InputFile
from installer.core.errors import Problem
from tests.rig.bundlebuild import read as read_bundle
from tests.rig.gitcheckout import commit_all, git
from tests.rig.product import EPOCH, Product
from tests.rig.products import add, faults, hints, put

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
TREE = "trees: [{path: web}]\n"


def warned(directory: Path) -> list[str]:
    return [f"{warning.where}: {warning.what}" for warning in load(directory, "1.4.0").warnings]


class TestSecretsOfTrees:
    @pytest.mark.parametrize(
        ("path", "content", "line"),
        [
            ("conf/app.yaml", "db:\n  user: app\n  password: S3cret-pass\n", 3),
            ("conf/app.yml", "db: {user: app, password: S3cret-pass}\n", 1),
            ("conf/k8s.yaml", "kind: Secret\ndata:\n  password: aHVudGVyMg==\n", 3),
            (".env", "A=1\nDB_PASS=hunter22\n", 2),
            ("app.properties", "spring.datasource.password=hunter22\n", 1),
            ("app.properties", "url=jdbc:postgresql://db/app?user=app&password=hunter22\n", 1),
            ("redis.conf", "port 1\nrequirepass hunter22\n", 2),
            ("appsettings.Production.json", '{"Db": {\n"Password": "hunter22"}}\n', 2),
            ("web.config", "<c>\n<password>hunter22</password>\n</c>\n", 2),
            ("x.ini", "[unit]\nExecStart=/bin/x --token abc123def\n", 2),
            (".docker/config.json", '{"auths": {\n"registry.lan": {"auth": "YTpiYzEyMw=="}}}\n', 2),
            (".dockercfg", '{"registry.lan": {"auth": "YTpiYzEyMw==", "email": "a@b"}}\n', 1),
            (".npmrc", "//registry.lan/:_authToken=abc123def456\n", 1),
            (".aws/credentials", "[default]\naws_secret_access_key = " + "a1B2c3D4/+" * 4 + "\n", 2),
            (
                "kube",
                "kind: Config\nclusters: []\nusers:\n- user:\n    client-key-data: LS0tLS1CRUdJTg==\n",
                5,
            ),
            (".git-credentials", "https://a:b@c\n", 0),
            ("_netrc", "machine x\n", 0),
            ("vpn.key", "-----BEGIN OpenVPN Static key V1-----\n" + "0123456789abcdef" * 2 + "\n", 1),
            ("wg0", "[Interface]\nPrivateKey = " + "a1B2c3D4" * 5 + "abc=\n", 2),
            ("k.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\n", 1),
        ],
    )
    def test_secrets_of_trees_are_refused_with_their_line(
        self, product_dir: Path, path: str, content: str, line: int
    ) -> None:
        put(product_dir, f"web/{path}", content)
        add(product_dir, TREE)
        found = faults(product_dir)
        assert len(found) == 1, found
        assert found[0].startswith(f"web/{path}:{line}: contains a" if line else f"web/{path}: contains a")
        assert "exclude" in hints(product_dir)
        assert "hunter22" not in found[0]

    @pytest.mark.parametrize(
        ("path", "content"),
        [
            ("i18n/de.yaml", "password: Kennwort1\n"),
            ("locales/messages_de.properties", "login.password=Passwort!\n"),
            ("conf/app.yaml", "password: ${DB_PASSWORD}\npassword_file: /run/secrets/db1\n"),
            ("conf/app.yaml", "password: secret://vault/db#1\n"),
            ("schema.yaml", "password: string\nsecret: required\n"),
            ("api.yaml", "  password:\n    type: string\n"),
            ("conf/help.yaml", "password: the password of 1 user\n"),
            ("app.js", 'const password = "hunter22";\n'),
            ("package.json", '{"auth": {"a": {"auth": "x"}}}\n'),
            ("config.json", '{"auths": {"registry.lan": {}}}\n'),
            ("compose.conf", "proxy_pass http://127.0.0.1:80;\n"),
        ],
    )
    def test_ordinary_files_are_not_suspected(self, product_dir: Path, path: str, content: str) -> None:
        put(product_dir, f"web/{path}", content)
        add(product_dir, TREE)
        load(product_dir, "1.4.0")

    def test_a_file_in_utf_16_is_read(self, product_dir: Path) -> None:
        put(product_dir, "web/app.ini", "[db]\r\npassword=hunter22\r\n".encode("utf-16"))
        add(product_dir, TREE)
        assert faults(product_dir) == ["web/app.ini:2: contains a literal password"]


class TestRepositories:
    def test_the_history_is_refused_and_can_be_left_out(self, product_dir: Path) -> None:
        put(product_dir, "web/sub/index.html", "x")
        commit_all(product_dir / "web/sub")
        add(product_dir, TREE)
        assert faults(product_dir) == [
            "web/sub/.git: contains the history of a repository, with everything that was ever committed"
        ]
        assert "exclude: [.git/]" in hints(product_dir)
        add(product_dir, "trees: [{path: web, exclude: [.git/]}]\n")
        (tree,) = load(product_dir, "1.4.0").trees
        assert ([file.path for file in tree.files], tree.excluded) == (["sub/index.html"], ("sub/.git",))

    @pytest.mark.parametrize("name", [".hg", ".svn", ".bzr"])
    def test_the_history_of_other_version_control_systems_is_refused(
        self, product_dir: Path, name: str
    ) -> None:
        put(product_dir, f"web/{name}/store", "x")
        add(product_dir, TREE)
        assert faults(product_dir)[0].startswith(f"web/{name}: contains the history")

    def test_a_bare_repository_is_refused_in_a_tree_and_as_the_tree_itself(self, product_dir: Path) -> None:
        (product_dir / "web").mkdir()
        git(product_dir, "init", "-q", "--bare", "web/repo")
        put(product_dir, "web/index.html", "x")
        add(product_dir, TREE)
        assert faults(product_dir)[0].startswith("web/repo: contains the history")
        add(product_dir, "trees: [{path: web/repo}]\n")
        assert faults(product_dir)[0].startswith("web/repo: contains the history")

    def test_a_repository_that_is_meant_to_be_shipped_is_allowed_with_a_reason(
        self, product_dir: Path
    ) -> None:
        put(product_dir, "web/sub/index.html", "x")
        commit_all(product_dir / "web/sub")
        allow = "secrets_allow: [{path: web/sub/.git, reason: the site edits it with git}]\n"
        add(product_dir, TREE + allow)
        config = load(product_dir, "1.4.0")
        assert config.allowed == (
            ("web/sub/.git", "the history of a repository", "the site edits it with git"),
        )
        assert any(file.path == "sub/.git/HEAD" for file in config.trees[0].files)


class TestExclude:
    def test_what_is_excluded_is_counted_and_not_looked_at(self, product_dir: Path) -> None:
        for path in ("index.html", "a.map", "js/b.map", "keys/id_rsa", "odd name"):
            put(product_dir, f"web/{path}", "x")
        add(product_dir, "trees: [{path: web, exclude: ['*.map', /keys/, 'odd*', '*.tmp']}]\n")
        (tree,) = load(product_dir, "1.4.0").trees
        assert [file.path for file in tree.files] == ["index.html"]
        assert tree.excluded == ("a.map", "js/b.map", "keys", "odd name")
        assert warned(product_dir) == ["bundle.yaml:8: exclude matches nothing in web: *.tmp"]

    def test_a_pattern_with_a_fault_is_named_with_its_line(self, product_dir: Path) -> None:
        put(product_dir, "web/index.html", "x")
        add(product_dir, "trees:\n  - path: web\n    exclude:\n      - good\n      - '!bad'\n")
        (found,) = faults(product_dir)
        assert found.startswith(
            "bundle.yaml:12: exclude: '!bad' starts with !, but a pattern cannot bring back"
        )

    def test_a_tree_of_which_nothing_is_left_is_empty(self, product_dir: Path) -> None:
        put(product_dir, "web/index.html", "x")
        add(product_dir, "trees: [{path: web, exclude: ['*']}]\n")
        assert faults(product_dir) == ["bundle.yaml:8: web contains no files"]


class TestPlaceholders:
    def test_a_pointer_in_place_of_a_file_is_refused_wherever_it_is(self, product_dir: Path) -> None:
        put(product_dir, "build/linux-amd64/chatd", POINTER)
        put(product_dir, "web/logo.png", POINTER)
        put(product_dir, "web/large.bin", b"/annex/objects/SHA256E-s1--abc\n")
        put(product_dir, "web/locked", b"\0GITCRYPT\0" + bytes(50))
        add(product_dir, TREE)
        assert faults(product_dir) == [
            "build/linux-amd64/chatd: is a pointer of Git LFS: the file itself is missing",
            "web/large.bin: is a pointer of git-annex: the file itself is missing",
            "web/locked: is encrypted by git-crypt: hosts would get the encrypted file",
            "web/logo.png: is a pointer of Git LFS: the file itself is missing",
        ]
        assert "run `git lfs pull`" in hints(product_dir)

    def test_a_pointer_in_place_of_an_archive_of_images_is_refused(self, product_dir: Path) -> None:
        put(product_dir, "images/redis.tar", POINTER)
        add(product_dir, "images: [{archive: images/redis.tar}]\n")
        assert faults(product_dir) == [
            "images/redis.tar: is a pointer of Git LFS: the file itself is missing"
        ]

    @pytest.mark.parametrize("data", [b"version 1\n", POINTER + bytes(1024), b"see /annex/objects/x", b""])
    def test_what_only_speaks_of_one_is_none(self, data: bytes) -> None:
        assert placeholders.check(data, "a") == []


class TestRecord:
    """What was let through is in the bundle, for whoever approves it."""

    def test_an_allowed_finding_is_in_the_bundle_and_in_inspect(
        self, product: Product, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from bundler.commands.inspect import inspect_bundle

        monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        before = product.create(product.directory / "before.tar")
        assert "docs/SECRETS-ALLOWED.md" not in [entry.path for entry in before.manifest.files]
        assert inspect_bundle(before.path).document["secrets_allowed"] == []
        put(product.directory, "web/demo.yaml", "password: hunter22\n")
        text = (product.directory / "bundle.yaml").read_text()
        text += "secrets_allow: [{path: web/demo.yaml, reason: the password of the demo}]\n"
        put(product.directory, "bundle.yaml", text)
        created = product.create()
        report = inspect_bundle(created.path)
        found = {"path": "web/demo.yaml", "what": "a literal password", "reason": "the password of the demo"}
        assert report.document["secrets_allowed"] == [found]
        assert "web/demo.yaml: a literal password; reason: the password of the demo" in report.text
        # Also for people without Waybill: it is a document of the bundle, and signed like one.
        shown = read_bundle(created.path.read_bytes()).read_file("docs/SECRETS-ALLOWED.md").decode()
        assert "- `web/demo.yaml`: a literal password. Reason: the password of the demo" in shown
        assert "hunter22" not in shown

    def test_a_document_of_that_name_is_not_replaced(self, product_dir: Path) -> None:
        put(product_dir, "web/demo.yaml", "password: hunter22\n")
        put(product_dir, "docs/SECRETS-ALLOWED.md", "none, I swear\n")
        add(
            product_dir,
            TREE + "rollback: {plan: docs/SECRETS-ALLOWED.md}\n"
            "secrets_allow: [{path: web/demo.yaml, reason: of the demo only}]\n",
        )
        with pytest.raises(Exception, match="which Waybill writes itself") as caught:
            plan_bundle(load(product_dir, "1.4.0"))
        assert caught.value.exit_code == 30  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real programs with the name of one library, or of the loader, replaced."""
    place = tmp_path_factory.mktemp("elf")
    (library,) = Path(zstandard.__file__).parent.glob("backend_c.*.so")
    content = library.read_bytes()
    assert b"libpthread.so.0\0" in content
    (place / "good").write_bytes(content)
    (place / "program").write_bytes(content.replace(b"libpthread.so.0\0", b"libownown.so.1\0\0"))
    python = Path(os.path.realpath(sys.executable)).read_bytes()
    start = python.index(b"/ld-linux")
    directory = python[:start].rpartition(b"\0")[2]
    foreign = b"/" + b"x" * (len(directory) - 1)
    (place / "foreign").write_bytes(python.replace(directory + b"/ld-linux", foreign + b"/ld-linux", 1))
    return place


class TestLibraries:
    def said(self, carried: set[str], *files: tuple[Path, str]) -> list[Problem]:
        libraries = Libraries(carried)
        for source, shown in files:
            libraries.add(source, shown)
        return libraries.warnings()

    def test_a_library_that_nobody_has_is_named_once(self, programs: Path) -> None:
        files = [(programs / "program", f"bin/{number}") for number in range(5)]
        assert self.said(set(), (programs / "good", "bin/good")) == []
        (found,) = self.said(set(), *files)
        assert found.where == "bin/0"
        assert found.what.startswith("needs the library libownown.so.1, like bin/1, bin/2 and 2 more files; ")
        assert self.said({"libownown.so.1"}, *files) == []

    def test_a_loader_that_no_host_has_is_named(self, programs: Path) -> None:
        found, *_ = self.said({"libownown.so.1"}, (programs / "foreign", "bin/x"))
        assert found.what.startswith("is started by ")
        assert "xxx" in found.what

    def test_at_most_25_loaders_and_25_libraries_are_named_and_the_others_counted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        libraries = Libraries(set())
        for number in range(40):
            needed = ("/lib/ld-musl.so.1", tuple(f"lib{number}-{each}.so" for each in range(500)))
            monkeypatch.setattr(
                "bundler.config.checks.libraries.loader_and_libraries", lambda _, found=needed: found
            )
            libraries.add("x", f"bin/{number}")
        said = libraries.warnings()
        assert len(said) == 52
        assert said[25].what == "15 more programs are started by such a loader"
        assert said[51].what == "more than 9,975 more libraries are needed, but not in the bundle"

    def test_a_stripped_program_is_understood_and_a_damaged_one_passed_over(
        self, programs: Path, tmp_path: Path
    ) -> None:
        data = bytearray((programs / "program").read_bytes())
        # No section headers, as after `sstrip`: a loader does not need them.
        data[0x28:0x30] = bytes(8)
        data[0x3A:0x40] = bytes(6)
        (tmp_path / "stripped").write_bytes(data)
        assert len(self.said(set(), (tmp_path / "stripped", "x"))) == 1
        for size in (4, 20, 64, 100, 500, 1000, 3000):
            (tmp_path / "short").write_bytes(data[:size])
            self.said(set(), (tmp_path / "short", "x"))

    def test_the_bundle_is_warned_of_and_can_be_made(self, product_dir: Path, programs: Path) -> None:
        put(product_dir, "web/lib/program", (programs / "program").read_bytes())
        add(product_dir, TREE)
        assert len(warned(product_dir)) == 1
        put(product_dir, "web/lib/libownown.so.1", (programs / "good").read_bytes())
        assert warned(product_dir) == []


class TestUnits:
    def check(self, directory: Path, name: str, text: str) -> list[str]:
        put(directory, name, text)
        item = InputFile(f"deploy/{name}", directory / name, f"deploy/systemd/{name}", "unit")
        return [f"{each.where}: {each.what}" for each in units.check([(item, text.encode())])]

    def test_crlf_is_warned_of(self, tmp_path: Path) -> None:
        (first, *_) = self.check(tmp_path, "a.service", "[Service]\r\nExecStart=/bin/true\r\n")
        assert first.startswith("deploy/a.service:1: has CRLF line endings")

    def test_a_line_that_hides_a_directive_is_warned_of_with_its_number(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        text = "[Unit]\nDescription=a\r[Service]\nExecStart=/bin/true \\"
        first, second = self.check(tmp_path, "a.service", text)
        assert first.startswith("deploy/a.service:2: this line ends with a lone carriage return or NUL")
        assert second.startswith("deploy/a.service:4: this line ends with a backslash, but no line follows")

    @pytest.mark.needs("systemd-analyze")
    def test_what_systemd_does_not_know_is_warned_of_with_its_line(self, tmp_path: Path) -> None:
        found = self.check(
            tmp_path, "a.service", "[Unit]\nAfter=x.service\n[Service]\nExecStart=/opt/x\nRestrat=always\n"
        )
        assert len(found) == 1, found
        assert found[0].startswith("deploy/a.service:5: systemd-analyze: Unknown key")
        assert "Restrat" in found[0]

    @pytest.mark.needs("systemd-analyze")
    def test_a_unit_that_it_refuses_is_warned_of_and_a_good_one_is_not(self, tmp_path: Path) -> None:
        assert "deploy/b.timer: systemd-analyze: " in "".join(self.check(tmp_path, "b.timer", "[Timer]\n"))
        good = "[Unit]\nRequires=db.service\n[Service]\nExecStart=/opt/chat/bin/chatd\nUser=nobody-here\n"
        assert self.check(tmp_path, "a@.service", good) == []

    def test_without_systemd_only_line_endings_are_checked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert self.check(tmp_path, "a.service", "[Service]\nRestrat=always\n") == []


class TestDocuments:
    @pytest.mark.parametrize("template", ["service", "compose"])
    def test_what_a_template_asks_for_is_warned_of_until_it_is_written(
        self, tmp_path: Path, template: str
    ) -> None:
        from bundler.commands.init import init_project

        init_project(tmp_path / "chat", template)
        for name, line in (("UPGRADE", 5), ("ROLLBACK", 4)):
            path = tmp_path / "chat" / "docs" / f"{name}.md"
            (found,) = documents.check(path.read_bytes(), "x.md", "chat")
            assert found.where == f"x.md:{line}"
            written = [
                row for row in path.read_text().splitlines() if "escribe" not in row and "Name" not in row
            ]
            assert documents.check("\n".join(written).encode(), "x.md", "chat") == []

    @pytest.mark.parametrize("text", ["TODO: write this", "# Upgrading example-product", "Lorem ipsum dolor"])
    def test_a_placeholder_for_text_is_warned_of(self, text: str) -> None:
        assert len(documents.check(f"# x\n\n{text}\n".encode(), "x.md", "chat")) == 1

    @pytest.mark.parametrize(
        "text", ["Describe the fault to the vendor.", "```\ngrep TODO x\n```", "todo-app stops", "XXXL"]
    )
    def test_ordinary_text_is_not(self, text: str) -> None:
        assert documents.check(text.encode(), "x.md", "chat") == []
        assert documents.check(b"example-product", "x.md", "example-product") == []


def test_warnings_have_a_place_and_a_hint(product_dir: Path) -> None:
    put(product_dir, "docs/UPGRADE.md", "TODO\n")
    (found,) = load(product_dir, "1.4.0").warnings
    assert (found.where, bool(found.hint)) == ("docs/UPGRADE.md:1", True)
    json.dumps([found.where, found.what, found.hint])
