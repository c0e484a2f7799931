"""The released layout of 3DIEBench, written by our renderer: names, types, distributions, and what the latents mean."""

from __future__ import annotations

import dataclasses
import json
import math
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vsie.data.three_die_bench import load
from vsie.render import Camera, Light, Mesh, Renderer, dataset, families, occlusion, three_die_bench
from vsie.render.clips import ClipSettings, generator
from vsie.render.dataset import render_dataset

SMALL = {
    "objects": 4, "clips_per_object": 3, "frames": None, "size": 24, "trajectory": None, "seed": 7, "workers": 1,
    "families": ("chair", "sofa"), "supersample": 1, "val_fraction": 0.5, "progress": False, "layout": "3diebench",
}  # fmt: skip


def render(out: Path, **changes) -> Path:
    return render_dataset(out=out, **{**SMALL, **changes})


def contents(out: Path) -> dict[str, bytes]:
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and ".shard-" not in path.name]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return render(tmp_path_factory.mktemp("bench") / "set")


def test_the_layout_is_the_released_one(folder):
    found = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in
             ("train_images", "train_labels", "val_images", "val_labels", "all_objects")}  # fmt: skip
    assert found["train_images"].tolist() == ["/chair/000000", "/sofa/000003"]
    assert found["val_images"].tolist() == ["/sofa/000001", "/chair/000002"]
    for split in ("train", "val"):
        labels = found[f"{split}_labels"]
        assert labels.dtype == np.int64 and found[f"{split}_images"].dtype.kind == "U"
        classes = [place.split("/")[1] for place in found[f"{split}_images"]]
        assert [("chair", "sofa")[label] for label in labels] == classes
    assert sorted("/" + "/".join(row) for row in found["all_objects"].tolist()) == sorted(
        found["train_images"].tolist() + found["val_images"].tolist()
    )
    for place in [*found["train_images"], *found["val_images"]]:
        names = {path.name for path in (folder / place[1:]).iterdir()}
        assert names == {f"{kind}_{view}.{end}" for view in range(3) for kind, end in (("image", "jpg"), ("latent", "npy"))}
        for view in range(3):
            latent = np.load(folder / place[1:] / f"latent_{view}.npy", allow_pickle=False)
            assert latent.shape == (7,) and latent.dtype == np.float64
            assert cv2.imread(str(folder / place[1:] / f"image_{view}.jpg")).shape == (24, 24, 3)
    summary = json.loads((folder / "dataset.json").read_text())
    assert summary["counts"]["splits"] == {"train": 2, "val": 2} and summary["arguments"]["layout"] == "3diebench"


def test_an_object_has_fifty_views_where_nothing_is_said(tmp_path):
    out = render(tmp_path / "set", objects=1, clips_per_object=None, families=("sofa",), val_fraction=0.0)
    assert len(list(out.glob("sofa/*/image_*.jpg"))) == len(list(out.glob("sofa/*/latent_*.npy"))) == 50


def test_latents_and_image_belong_together(folder):
    """Rendered again from the latents alone, red is red, and all that is left is the JPEG's error."""
    for view in range(3):
        latent = np.load(folder / f"sofa/000001/latent_{view}.npy")
        renderer = Renderer(families.build("sofa", generator(7, 1)), size=24, supersample=1)
        again = renderer.render(Rotation.from_euler("xyz", latent[:3]).as_matrix(), Light(*latent[3:])).rgb
        stored = cv2.imread(str(folder / f"sofa/000001/image_{view}.jpg"))[..., ::-1].astype(float)
        error, swapped = (np.abs(stored[..., order] - again).mean() for order in ([0, 1, 2], [2, 1, 0]))
        assert error < 6 < swapped  # 24 px, quality 95, chroma at half the resolution


@pytest.mark.parametrize(("trajectory", "least"), [("views", (0.0, 0.0, 0.0)), ("ood", (math.pi / 2, 0.0, math.pi / 2))])
def test_latents_have_the_ranges_and_means_of_3diebench(monkeypatch, trajectory, least):
    """Uniform in their ranges, independent of each other; the light and the colours as SIE's data set."""
    monkeypatch.setattr(Renderer, "render", lambda self, *_: type("Frame", (), {"rgb": None}))
    renderer = Renderer(Mesh([[-0.3, 0, 0], [0.3, 0, 0], [0, 0.4, 0]], [[0, 1, 2]], np.zeros((3, 3)), np.zeros((3, 3))), size=16)
    settings = ClipSettings(1, 16, trajectory, 0, 1, 8.0)
    keys = [(item, view) for item in range(80) for view in range(50)]
    latents = np.array([three_die_bench.render_view(renderer, settings, generator(0, *key))[1] for key in keys])
    low, high = np.zeros(7), np.array([math.pi] * 3 + [1, math.pi / 4, 2 * math.pi, 1])
    low[:3], high[:3] = least, np.add(least, math.pi / 2)
    assert (np.abs(latents[:, :3]) >= low[:3]).all() and (np.abs(latents[:, :3]) <= high[:3]).all()
    assert (latents[:, 3:] >= low[3:]).all() and (latents[:, 3:] <= high[3:]).all()
    assert latents[:, 3:].max(0) == pytest.approx(high[3:], rel=0.01)
    np.testing.assert_allclose(np.abs(latents[:, :3]).mean(0), (low + high)[:3] / 2, rtol=0.03)
    assert (np.abs(latents[:, :3].mean(0)) < 0.06 * high[:3]).all()
    np.testing.assert_allclose(latents[:, 3:].mean(0), high[3:] / 2, rtol=0.04)
    np.testing.assert_allclose(np.abs(latents[:, :3]).std(0), math.pi / 2 / math.sqrt(12), rtol=0.05)
    np.testing.assert_allclose(latents[:, 3:].std(0), high[3:] / math.sqrt(12), rtol=0.05)
    assert np.abs(np.corrcoef(latents.T) - np.eye(7)).max() < 0.07


def test_a_translation_is_in_the_objects_own_frame(tmp_path):
    """x_world = R (x_object + t), as 3DIEBench-T: the object is drawn where that puts it, and above the floor."""
    changes = {"families": ("sofa",), "objects": 1, "val_fraction": 0.0}
    out = render(tmp_path / "set", translated=True, clips_per_object=8, size=64, **changes)
    mesh = families.build("sofa", generator(7, 0))
    moves = []
    for view in range(8):
        latent = np.load(out / f"sofa/000000/latent_{view}.npy")
        assert latent.shape == (10,) and (np.abs(latent[7:]) <= 0.5).all()
        moves.append(latent[7:])
        rotation = Rotation.from_euler("xyz", latent[:3])
        world = rotation.apply(mesh.vertices + latent[7:])
        assert world[:, 2].min() > -1
        camera = Camera.default()
        points = (world @ camera.world_in_camera[:3, :3].T + camera.world_in_camera[:3, 3]) @ camera.intrinsics(64).T
        pixels = np.floor(points[:, :2] / points[:, 2:]).astype(int)
        inside = ((pixels >= 1) & (pixels < 63)).all(1)
        if not inside.any():
            continue
        speck = Mesh([[0, 0, 0.9], [0.001, 0, 0.9], [0, 0.001, 0.9]], [[0, 1, 2]], np.zeros((3, 3)), np.zeros((3, 3)))
        bare = Renderer(speck, size=64)
        floor = bare.render(np.eye(3), Light(*latent[3:7])).rgb.astype(int)
        image = cv2.imread(str(out / f"sofa/000000/image_{view}.jpg"))[..., ::-1].astype(int)
        differs = cv2.dilate((np.abs(image - floor).max(-1) > 12).astype(np.uint8), np.ones((3, 3), np.uint8))
        assert differs[pixels[inside, 1], pixels[inside, 0]].mean() > 0.8
    assert np.std(moves, axis=0).min() > 0.1


@pytest.mark.parametrize("family", ["chair", "mug"])
def test_a_moved_object_looks_as_one_that_was_built_where_it_is(family):
    """By whole cells of the lattice of baked points, which is then laid alike: to the last level."""
    mesh, light = families.build(family, generator(0, 0)), Light(0.3, 0.5, 1.0, 0.6)
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    rotation, still = Rotation.from_euler("xyz", [0.4, -0.3, 1.0]).as_matrix(), Renderer(mesh, size=64, supersample=2)
    for cells in ((1, -2, 0), (-2, 1, 1)):
        by = 0.8 * math.sqrt(area / occlusion._POINTS) * np.array(cells)
        moved = Renderer(dataclasses.replace(mesh, vertices=mesh.vertices + by), size=64, supersample=2)
        found, expected = (one.render(rotation, light, auxiliary=True) for one in (still.moved(by), moved))
        error = np.abs(found.rgb.astype(int) - expected.rgb)
        assert expected.mask.mean() > 0.02 and error.max() <= 1 and error[expected.mask].mean() < 0.01
        np.testing.assert_array_equal(found.mask, expected.mask)
        np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-5)
    assert np.abs(still.render(rotation, light).rgb.astype(int) - found.rgb).max() > 20  # and the first stays where it is


def test_the_light_of_an_object_is_baked_once_for_all_places(tmp_path, monkeypatch):
    bake, baked = occlusion.SurfaceLight._bake, []
    monkeypatch.setattr(occlusion.SurfaceLight, "_bake", lambda self: (baked.append(self), bake(self)))
    render(tmp_path / "set", translated=True, objects=2, clips_per_object=3, val_fraction=0.0)
    assert len(baked) == 2


@pytest.mark.parametrize("how", ["workers", "shards", "resumed"])
def test_the_bytes_depend_on_the_arguments_alone(folder, tmp_path, how):
    out = tmp_path / "set"
    if how == "workers":
        render(out, workers=2)
    elif how == "shards":
        first = render(out, shard=(1, 2))
        assert first.name == "manifest.shard-1-of-2.csv" and not (out / "train_images.npy").exists()
        render(out, shard=(0, 2))
    else:
        render(out)
        for name in ("chair/000000/image_1.jpg", "sofa/000003/latent_0.npy", "val_images.npy"):
            (out / name).unlink()
        (out / "sofa/000001/.image_0.99999999.partial.jpg").write_bytes(b"left by a process that was killed")
        (out / "sofa/000001/image_2.jpg").unlink()
        render(out)
    assert contents(out) == contents(folder)


def test_overwrite_removes_the_views_of_other_arguments(folder, tmp_path):
    render(tmp_path / "set", seed=8, objects=8)
    with pytest.raises(ValueError, match="begun with other arguments"):
        render(tmp_path / "set")
    render(tmp_path / "set", overwrite=True)
    assert contents(tmp_path / "set") == contents(folder)
    with pytest.raises(ValueError, match="layout: found '3diebench', expected None"):
        render(tmp_path / "set", layout="clips", trajectory="views", frames=1, clips_per_object=3)


@pytest.mark.parametrize(("changes", "told"), [
    ({"layout": "imagenet"}, "layout is 'imagenet', expected one of clips, 3diebench"),
    ({"trajectory": "orbit"}, "trajectory is 'orbit', expected one of views, ood, turntable"),
    ({"frames": 16}, "frames is 16, expected 1"),
    ({"auxiliary": ["depth"]}, "auxiliary is ..depth.., expected"),
    ({"layout": "clips", "translated": True}, "translated is true, expected false"),
])  # fmt: skip
def test_what_the_layout_cannot_hold_is_refused(tmp_path, changes, told):
    with pytest.raises(ValueError, match=told):
        render(tmp_path / "set", **changes)
    assert not (tmp_path / "set").exists()


def test_every_class_that_is_trained_on_is_held_out_too(tmp_path):
    """As `vsie.data.three_die_bench` asks for: of small classes the last object, else no plan changes."""
    names = families.TURNTABLE_FAMILIES
    with pytest.raises(ValueError, match=r"an object of every class in val, found none of car \(1 in train\), .*objects=24"):
        render(tmp_path / "few", objects=10, families=names, val_fraction=0.2)
    assert not (tmp_path / "few").exists()
    for objects in (24, 40, 600, 1200):
        items = dataset._plan(*dataset._family_sources(names, objects), objects, Fraction(1, 5))
        labels = [{item.label for item in items if item.split == split} for split in ("train", "val")]
        kept = dataset._hold_out(items)
        assert (kept == items) == (labels[0] <= labels[1]) and (objects < 600 or kept == items)
        dataset._check_held_out(kept, names)
        moved = [new for old, new in zip(items, kept, strict=True) if old != new]
        assert {item.label for item in moved} == labels[0] - labels[1] and all(item.index >= objects - 12 for item in moved)
    out = render(tmp_path / "set", objects=4, clips_per_object=2, val_fraction=0.1)
    assert len(load(out).rows("val")) == 2


def test_a_class_that_has_lost_what_it_holds_out_is_named(tmp_path):
    for name in ("box/a", "box/b", "slab/a", "slab/b"):
        (tmp_path / "meshes" / name).parent.mkdir(parents=True, exist_ok=True)
        solid = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
        (tmp_path / "meshes" / f"{name}.obj").write_text("nothing\n" if name == "slab/b" else solid)
    changes = {"objects": None, "families": None, "meshes": tmp_path / "meshes", "val_fraction": 0.1, "allowed_skips": 0.5}
    with pytest.raises(ValueError, match=r"found none of slab \(1 in train\): expected at least 2 usable"):
        render(tmp_path / "set", **changes)
    assert not (tmp_path / "set/train_images.npy").exists() and (tmp_path / "set/skipped.csv").exists()
    (tmp_path / "meshes" / "slab" / "aa.obj").write_text(solid)
    out = render(tmp_path / "more", **changes)
    table = load(out)
    assert sorted(table.objects[table.object[table.rows("val")]].tolist()) == ["box/b", "slab/aa"]


def test_shapenet_meshes_keep_their_synset_and_name(tmp_path):
    root = tmp_path / "shapes"
    for synset, name in (("02691156", "a1b2"), ("04530566", "c3d4")):
        model = root / synset / name / "models" / "model_normalized.obj"
        model.parent.mkdir(parents=True)
        model.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n")
    np.save(root / "all_objects.npy", np.array([["02691156", "a1b2"], ["04530566", "c3d4"]]))
    out = render(tmp_path / "set", meshes=root, families=None, objects=None, val_fraction=0.0)
    assert np.load(out / "train_images.npy").tolist() == ["/02691156/a1b2", "/04530566/c3d4"]
    assert (out / "02691156/a1b2/image_2.jpg").is_file()
