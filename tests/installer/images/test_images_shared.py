"""Images are given up by id once nobody needs them: not those of another product, and not the operator's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from installer.audit.removal_check import check_removal
from installer.core.digest import sha256_hex
from installer.core.errors import RolledBackError
from installer.core.format import manifest_json
from installer.core.format.checksums import sum_lines
from installer.core.format.manifest import FileEntry, Image
from installer.deploy.health.watch import ProbeResult
from installer.deploy.inventory import InventoryItem
from installer.deploy.method import Target
from installer.deploy.operation import StepError
from installer.host.directories import make_directory
from installer.host.layout import Layout, release_name
from installer.host.resolved import Resolver
from installer.images.method import METHOD
from installer.planning import owners
from installer.planning.owners import name_problems, names_of, other_products
from installer.state.state import Entry, State, load
from installer.transaction.execute import Change, execute
from tests.rig.imagerelease import ReleaseDirectory
from tests.rig.imagesite import Meter, Site


class Product:
    """A product on the engine, with the transactions that bring its releases there and away."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.meter, self.target, self.images = site, Meter(), None, list[Image]()
        layout = Layout(name, site.context.layout.state)
        self.context = replace(site.context, layout=layout, progress=self.meter)
        make_directory(self.context.system, layout.transactions)

    target: Target | None

    @property
    def state(self) -> State:
        return load(self.context.system, self.context.layout)

    def run(self, verb: str, entry: Entry | None, target: Target | None) -> None:
        number = self.state.transaction + 1
        ops = tuple(METHOD.operations(self.context, self.target, target))
        execute(self.context, Change(verb, f"{number:06d}", self.state, entry, ops), self.health)
        self.target = target

    def health(self) -> tuple[ProbeResult, ...]:
        """Finds the release healthy."""
        return ()

    def install(self, *images: tuple[str, Sequence[str], str]) -> list[Image]:
        """Installs the next release; an image is a name, its layers, and what else tells it from others."""
        sequence = self.state.highest + 1
        name = release_name(sequence, f"{sequence:064x}")
        directory = ReleaseDirectory(Path(self.context.layout.release(name)))
        made = [directory.image(reference, layers, label=label) for reference, layers, label in images]
        target = directory.target(sequence)
        blobs = directory.path / "images/blobs/sha256"
        expanded = {layer.digest: layer.expanded for image in made for layer in image.layers}
        files = tuple(
            FileEntry(
                f"images/blobs/sha256/{path.name}", path.stat().st_size, path.name, 0o644, "image",
                expanded=expanded.get(f"sha256:{path.name}", 0),
            )
            for path in sorted(blobs.iterdir())
        )  # fmt: skip
        manifest = replace(target.release.manifest, expires=2**32, files=files)
        data = manifest_json.dump(manifest)
        (directory.path / "bundle.json").write_bytes(data)
        (directory.path / "SHA256SUMS").write_bytes(b"".join(sum_lines(files, sha256_hex(data))))
        entry = Entry(
            name, manifest.version, sequence, f"{sequence:064x}", sha256_hex(data), "000001", "",
            methods=("files", "images"),
        )  # fmt: skip
        self.run("apply", entry, replace(target, release=replace(target.release, manifest=manifest)))
        self.images += made
        return made

    def remove(self) -> None:
        self.run("remove", None, None)

    def left(self) -> list[str]:
        """What a proof finds left of all images that were ever installed."""
        things = [InventoryItem("image", each.reference, each.config, each.manifest) for each in self.images]
        return [row.name for row in check_removal(self.context, "000009", things).of("left")]


@pytest.fixture
def one(site: Site) -> Product:
    return Product(site, site.name)


@pytest.fixture
def two(site: Site) -> Product:
    """A product whose name only begins like the other's."""
    return Product(site, f"{site.name}-2")


def test_products_with_the_same_image_by_the_same_name_leave_it_to_each_other(
    site: Site, one: Product, two: Product
) -> None:
    before = site.everything()
    same = (f"{site.name}/redis:7", ["base", "redis"], "redis")
    (image,) = one.install(same)
    two.install(same)
    one.remove()
    assert site.id(image.reference) == site.wanted(image)
    assert one.left() == []
    two.remove()
    assert site.everything() == before


def test_a_name_that_another_product_has_is_refused_for_any_other_image(
    site: Site, one: Product, two: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Releases of this rig are images alone: there is no record of their files.
    nothing = SimpleNamespace(release=SimpleNamespace(installed=()))
    monkeypatch.setattr(owners, "visible_release", lambda *_: nothing)
    (mine,) = one.install((f"{site.name}/redis:7", ["base"], "mine"))

    def refused(label: str) -> list[tuple[str, str]]:
        wanted = ReleaseDirectory(site.tmp / label)
        wanted.image(mine.reference, ["base"], label=label)
        others = other_products(two.context, Resolver(two.context.system))
        names = names_of(two.context, wanted.target(1).release, frozenset({"images"}))
        return [(problem.where, problem.what) for problem in name_problems(others, [*names])]

    assert refused("mine") == []
    what = f"belongs to {site.name}, which is installed on this host"
    assert refused("theirs") == [(f"image {mine.reference}", what)]
    one.remove()
    assert refused("theirs") == []


def test_a_name_that_only_the_product_that_goes_gave_goes_with_it(
    site: Site, one: Product, two: Product
) -> None:
    before = site.everything()
    (mine,) = one.install((f"{site.name}/mine:1", ["base"], "same"))
    (other,) = two.install((f"{site.name}/other:1", ["base"], "same"))
    assert site.wanted(mine) == site.wanted(other)
    one.remove()
    assert not site.id(mine.reference)
    assert site.id(other.reference) == site.wanted(other)
    two.remove()
    assert site.everything() == before


def test_the_image_names_of_a_busy_product_stay(site: Site, one: Product, two: Product) -> None:
    (mine,) = one.install((f"{site.name}/mine:1", ["base"], "same"))
    two.install((f"{site.name}/other:1", ["base"], "same"))
    lock = two.context.system.lock(two.context.layout.lock)
    try:
        one.remove()
    finally:
        lock.release()
    assert site.id(mine.reference) == site.wanted(mine)


def test_layers_that_another_product_shares_stay_whole(site: Site, one: Product, two: Product) -> None:
    one.install((f"{site.name}/a:1", ["base", "shared", "a"], ""))
    (image,) = two.install((f"{site.name}/b:1", ["base", "shared", "b"], ""))
    one.remove()
    saved = site.engine.docker("save", image.reference).stdout
    assert len(saved) > 9000, "three layers of 3000 bytes"
    assert METHOD.drift(two.context, two.target) == []  # type: ignore[arg-type]


def test_an_image_whose_name_alone_is_new_in_every_release_leaves_no_name(site: Site, one: Product) -> None:
    before = site.everything()
    for version in range(5):
        one.install((f"{site.name}/same:{version}", ["base"], "same"))
    names = {line.split()[1] for line in site.everything() - before}
    assert {f"{site.name}/same:{version}" for version in range(5)} & names == {
        f"{site.name}/same:{version}" for version in (2, 3, 4)
    }
    one.remove()
    assert site.everything() == before


def test_an_image_that_the_operator_tagged_stays_by_that_tag(site: Site, one: Product) -> None:
    (image,) = one.install((f"{site.name}/a:1", ["a"], ""))
    site.engine.docker("tag", image.reference, f"{site.name}/mine:1")
    for version in (2, 3, 4):
        one.install((f"{site.name}/a:{version}", ["a", str(version)], ""))
    assert not site.id(image.reference)
    assert site.id(f"{site.name}/mine:1") == site.wanted(image)
    one.remove()
    assert site.id(f"{site.name}/mine:1") == site.wanted(image)
    assert one.left() == []


def test_an_image_that_was_there_by_its_name_before_us_stays_by_it(site: Site, one: Product) -> None:
    (image,) = one.install((f"{site.name}/a:1", ["a"], ""))
    site.engine.docker("rmi", site.kept(image))
    found = site.everything()
    again = Product(site, f"{site.name}-again")
    again.install((f"{site.name}/a:1", ["a"], ""))
    again.remove()
    assert site.everything() == found


def test_a_release_that_fails_takes_no_name_along_that_was_there_before(site: Site, one: Product) -> None:
    (image,) = one.install((f"{site.name}/a:1", ["a"], ""))
    site.engine.docker("rmi", site.kept(image))
    found = site.everything()

    class Sick(Product):
        def health(self) -> None:
            raise StepError("is not healthy")

    with pytest.raises(RolledBackError):
        Sick(site, f"{site.name}-again").install((f"{site.name}/a:1", ["a"], ""))
    assert site.everything() == found


def test_a_container_of_the_operator_keeps_its_image_and_both_are_named(site: Site, one: Product) -> None:
    (image,) = one.install((f"{site.name}/a:1", ["a"], ""))
    site.engine.docker("create", "--name", f"{site.name}-mine", site.wanted(image), "/x")
    for version in (2, 3, 4):
        one.install((f"{site.name}/a:{version}", ["a", str(version)], ""))
    assert site.id(site.wanted(image)) == site.wanted(image)
    assert any(
        note.startswith(f"cannot remove image {site.kept(image)} from the engine: ")
        for note in one.meter.notes
    )
    one.remove()
    assert site.id(site.wanted(image)) == site.wanted(image)
    things = [InventoryItem("image", image.reference, image.config, image.manifest)]
    (row,) = [row for row in check_removal(one.context, "000009", things).rows if row.kind == "image"]
    assert (row.how, row.what) == ("stays", f"container {site.name}-mine uses it")
    site.engine.docker("rm", f"{site.name}-mine")
    assert one.left() == [image.reference]
