"""The released layout of 3DIEBench, read: index files, poses, virtual clips; and one error for each thing that can be wrong."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vsie import pose
from vsie.data import ClipsDataset, VideoError, WindowsDataset, three_die_bench
from vsie.data.three_die_bench import ViewSource, load, with_held_out_rotations
from vsie.render.dataset import render_dataset
from vsie.render.scene import Camera

VIEWS = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Ten objects of two classes, eight views of 32 px: plain, moved, and turned out of the range."""
    base = tmp_path_factory.mktemp("bench")
    common = dict(objects=10, clips_per_object=VIEWS, frames=None, size=32, seed=3, workers=1, layout="3diebench", supersample=1,
                  families=["car", "sofa"], val_fraction=0.4, progress=False)  # fmt: skip
    more = {"plain": {}, "moved": {"translated": True}, "ood": {"trajectory": "ood"}}
    return {name: render_dataset(out=base / name, **{"trajectory": None} | common | options) for name, options in more.items()}


@pytest.fixture
def copy(folders, tmp_path) -> Path:
    return Path(shutil.copytree(folders["plain"], tmp_path / "copy"))


def latents_of(folder: Path, place: str) -> np.ndarray:
    return np.stack([np.load(folder / place / f"latent_{view}.npy") for view in range(VIEWS)])


def images_of(folder: Path, place: str) -> np.ndarray:
    return np.stack([cv2.imread(str(folder / place / f"image_{view}.jpg"))[..., ::-1] for view in range(VIEWS)])


def source(manifest, **options) -> ViewSource:
    return ViewSource(manifest, views=VIEWS, **options)


def test_an_object_is_a_clip_with_its_label_and_split(folders):
    manifest = load(folders["plain"])
    assert len(manifest) == 10 and manifest.classes == ("car", "sofa") and manifest.unordered
    for split in ("train", "val"):
        names = [place.strip("/") for place in np.load(folders["plain"] / f"{split}_images.npy")]
        rows = manifest.rows(split)
        assert [str(manifest.path[row]) for row in rows] == names == [str(manifest.objects[manifest.object[row]]) for row in rows]
        assert manifest.label[rows].tolist() == np.load(folders["plain"] / f"{split}_labels.npy").tolist()
    assert manifest.latent_names == three_die_bench.LATENTS[:7] and manifest.posed.all()


def test_index_entries_may_have_slashes_or_not(copy):
    expected = load(copy)
    for change in ("{}", "/{}/", "{}/"):
        for split in ("train", "val"):
            names = [change.format(place.strip("/")) for place in np.load(copy / f"{split}_images.npy")]
            np.save(copy / f"{split}_images.npy", np.array(names))
        assert load(copy).path.tolist() == expected.path.tolist()


def test_body_deltas_are_those_of_scipys_extrinsic_xyz(folders):
    """R1^-1 R2 with from_euler("xyz"), as SIE conditions on it: between all views of a virtual clip."""
    manifest = load(folders["plain"])
    item = ClipsDataset(manifest, "train", source(manifest))[2]
    latents = latents_of(folders["plain"], item["path"])
    rotations = Rotation.from_euler("xyz", latents[item["numbers"].numpy(), :3])
    for first, second in itertools.permutations(range(VIEWS), 2):
        expected = (rotations[first].inv() * rotations[second]).as_matrix()
        found = pose.delta(item["poses"][first].double(), item["poses"][second].double(), "body")
        np.testing.assert_allclose(found[:3, :3], expected, atol=1e-6)


def test_poses_are_object_in_the_renderers_camera():
    angles = np.random.default_rng(0).uniform(-1.5, 1.5, (6, 3))
    latents = np.concatenate([angles, np.zeros((6, 4))], 1)
    camera = Camera.default().world_in_camera
    found = three_die_bench.object_in_camera(latents)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[:, :3, :3], camera[:3, :3] @ Rotation.from_euler("xyz", angles).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(found[:, :3, 3], np.tile(camera[:3, 3], (6, 1)), atol=1e-12)


def test_translations_of_3diebench_t_are_in_the_objects_frame(folders):
    manifest = load(folders["moved"])
    assert manifest.latent_names == three_die_bench.LATENTS
    clip = source(manifest).clip(0)
    latents = latents_of(folders["moved"], str(manifest.path[0]))[clip.numbers]
    np.testing.assert_array_equal(clip.latents, latents)
    point = np.array([0.1, -0.2, 0.3])
    world = Rotation.from_euler("xyz", latents[:, :3]).apply(point + latents[:, 7:])
    camera = Camera.default().world_in_camera
    expected = world @ camera[:3, :3].T + camera[:3, 3]
    np.testing.assert_allclose(clip.poses[:, :3, :3] @ point + clip.poses[:, :3, 3], expected, atol=1e-12)


def test_a_virtual_clip_holds_every_view_once_in_the_order_of_its_path(folders):
    manifest = load(folders["plain"])
    for row in range(len(manifest)):
        clip = source(manifest).clip(row)
        place = str(manifest.path[row])
        latents = latents_of(folders["plain"], place)
        rotations = Rotation.from_euler("xyz", latents[:, :3]).as_matrix()[None]
        np.testing.assert_array_equal(clip.numbers, three_die_bench.geodesic_path.shortest(rotations)[0])
        np.testing.assert_array_equal(clip.latents, latents[clip.numbers])
        pictures = clip.read(np.arange(VIEWS))
        np.testing.assert_array_equal(pictures, images_of(folders["plain"], place)[clip.numbers])
        np.testing.assert_array_equal(clip.times, np.arange(VIEWS))


def test_swap_rb_changes_red_and_blue(folders):
    manifest = load(folders["plain"])
    plain, swapped = (source(manifest, swap_rb=swap).clip(1).read(np.arange(3)) for swap in (False, True))
    np.testing.assert_array_equal(plain, swapped[..., ::-1])
    assert (plain != swapped).any()


def test_windows_run_along_the_virtual_clip_and_carry_latents(folders):
    manifest = load(folders["plain"])
    dataset = WindowsDataset(manifest, "train", windows=2, frames=3, spacing=(1, 1), seed=1, cache=source(manifest))
    for index in range(len(dataset)):
        item = dataset[index]
        clip = source(manifest).clip(int(np.flatnonzero(manifest.object == int(item["object"]))[0]))
        for window in range(2):
            places = item["times"][window].numpy().astype(int)
            assert (np.diff(places) == 1).all()
            np.testing.assert_array_equal(item["latents"][window], clip.latents[places].astype(np.float32))
            np.testing.assert_array_equal(item["poses"][window], clip.poses[places].astype(np.float32))
            np.testing.assert_array_equal(item["clips"][window], clip.read(places))


def test_still_pairs_are_any_two_different_views_equally_often(folders):
    manifest = load(folders["plain"], objects=4)
    dataset = WindowsDataset(manifest, "val", windows=2, frames=1, seed=0, cache=source(manifest))
    counts = np.zeros((VIEWS, VIEWS))
    for epoch in range(1200):
        dataset.set_epoch(epoch)
        first, second = dataset._place(np.random.default_rng(epoch), 0, VIEWS, 2, None)[:, 0]
        counts[first, second] += 1
    assert (np.diag(counts) == 0).all()
    pairs = counts[~np.eye(VIEWS, dtype=bool)]
    expected = 1200 / len(pairs)
    chi_square = ((pairs - expected) ** 2 / expected).sum()
    assert chi_square < 55 + 4 * np.sqrt(2 * 55)
    assert dataset[0]["clips"].shape == (2, 1, 32, 32, 3) and dataset[0]["poses"].shape == (2, 1, 4, 4)


def test_evaluation_items_have_latents_and_the_numbers_on_disk(folders):
    manifest = load(folders["plain"])
    item = ClipsDataset(manifest, "val", source(manifest, size=16))[0]
    assert item["frames"].shape == (VIEWS, 16, 16, 3) and item["poses"].shape == (VIEWS, 4, 4)
    assert item["latents"].shape == (VIEWS, 7) and sorted(item["numbers"].tolist()) == list(range(VIEWS))
    np.testing.assert_array_equal(item["latents"], latents_of(folders["plain"], item["path"])[item["numbers"]])


def test_held_out_rotations_take_the_place_of_the_views_of_val(folders):
    manifest = with_held_out_rotations(load(folders["plain"]), folders["ood"])
    plain = load(folders["plain"])
    assert manifest.label.tolist() == plain.label.tolist() and manifest.objects.tolist() == plain.objects.tolist()
    views = source(manifest)
    for row in manifest.rows("train"):
        assert (np.abs(views.clip(row).latents[:, :3]) <= np.pi / 2).all()
    for row in manifest.rows("val"):
        clip = views.clip(row)
        assert (np.abs(clip.latents[:, [0, 2]]) >= np.pi / 2).all() and (np.abs(clip.latents[:, 1]) <= np.pi / 2).all()
        expected = latents_of(folders["ood"], str(plain.path[row]))[clip.numbers]
        np.testing.assert_array_equal(clip.latents, expected)


def test_rotations_that_seq_jepa_holds_out_are_read(folders, tmp_path):
    """All three angles of 90 to 180 degrees; but views of training are no held-out ones, and say so."""
    ood = Path(shutil.copytree(folders["ood"], tmp_path / "ood"))
    for file in ood.rglob("latent_*.npy"):
        latent = np.load(file)
        latent[1] = np.copysign(np.pi, latent[1]) - latent[1]
        np.save(file, latent)
    manifest = with_held_out_rotations(load(folders["plain"]), ood)
    for row in manifest.rows("val"):
        assert (np.abs(source(manifest).clip(row).latents[:, :3]) >= np.pi / 2).all()
    manifest = with_held_out_rotations(load(folders["plain"]), folders["plain"])
    with pytest.raises(ValueError, match=r"rotation_[xz] is .*, expected a size of 1.5708 to 3.1416 radians \(rotations=ood;"):
        source(manifest).clip(manifest.rows("val")[0])


def test_held_out_rotations_may_have_few_views_of_some_objects(folders, copy, tmp_path, caplog):
    ood = tmp_path / "ood"
    place = np.load(copy / "val_images.npy")[1].strip("/")
    shutil.copytree(folders["ood"] / place, ood / place)
    for view in (0, 1, 4, 6, 7):
        (ood / place / f"image_{view}.jpg").unlink()
        (ood / place / f"latent_{view}.npy").unlink()
    with caplog.at_level("WARNING", "vsie"):
        manifest = with_held_out_rotations(load(copy), ood)
    assert "ood: holds 1 of the 4 objects of the split val, of 1 of its 2 classes; the others are left out" in caplog.text
    (row,) = manifest.rows("val")
    assert sorted(source(manifest).clip(row).numbers.tolist()) == [2, 3, 5]
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder of held-out rotations"):
        with_held_out_rotations(load(copy), tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds none of the 4 objects of the split val"):
        with_held_out_rotations(load(copy), tmp_path)


def test_a_part_of_a_download_without_index_files_can_be_looked_at(copy, caplog):
    for file in copy.glob("*.npy"):
        file.unlink()
    with caplog.at_level("WARNING", "vsie"):
        manifest = load(copy)
    assert "every fifth object of a class is held out, 2 of 10, which is not the released split" in caplog.text
    assert manifest.classes == ("car", "sofa") and len(manifest) == 10
    assert len(manifest.rows("val")) == 2 and set(manifest.label[manifest.rows("val")]) == {0, 1}
    assert source(manifest).clip(3).read(np.arange(2)).shape == (2, 32, 32, 3)


def test_a_quick_look_takes_few_objects_of_both_splits_and_all_classes(copy):
    full, manifest = load(copy), load(copy, objects=5)
    assert len(manifest.rows("train")) == 3 and len(manifest.rows("val")) == 2
    assert all(set(manifest.label[manifest.rows(split)]) == {0, 1} for split in ("train", "val"))
    assert set(manifest.objects) < set(full.objects)
    gone = next(name for name in full.objects.tolist() if name not in set(manifest.objects.tolist()))
    shutil.rmtree(copy / gone)
    assert load(copy, objects=5).objects.tolist() == manifest.objects.tolist()  # what is not chosen need not be there


def test_the_class_names_are_those_of_the_55_synsets():
    names = three_die_bench.class_names()
    assert len(names) == 55 and len(set(names.values())) == 55 and list(names) == sorted(names)
    assert all(len(synset) == 8 and synset.isdigit() for synset in names) and names["02958343"] == "car"


def rewrite(file: Path, change) -> None:
    np.save(file, change(np.load(file)))


def reversed_labels(folder: Path, *_) -> None:
    rewrite(folder / "val_labels.npy", lambda labels: 1 - labels)


def no_val(folder: Path, *_) -> None:
    keep = np.load(folder / "val_labels.npy") != 1
    for name in ("val_images", "val_labels"):
        rewrite(folder / f"{name}.npy", lambda values: values[keep])


@pytest.mark.parametrize(("spoil", "kind", "told"), [
    (lambda f, p: rewrite(f / p / "latent_3.npy", lambda v: v[:6]), ValueError,
     r"{p}/latent_3.npy: found float64 latents of shape \(6,\), expected float64 of shape \(7,\)"),
    (lambda f, p: rewrite(f / p / "latent_3.npy", lambda v: np.append(v, [0, 0, 0])), ValueError,
     r"{p}/latent_3.npy: found float64 latents of shape \(10,\), expected float64 of shape \(7,\)"),
    (lambda f, p: rewrite(f / p / "latent_5.npy", lambda v: [0, -1.6, 0, *v[3:]]), ValueError,
     r"{p}/latent_5.npy: rotation_y is -1.6000, expected a size of 0.0000 to 1.5708 radians \(rotations=released; there are"),
    (lambda f, p: rewrite(f / p / "latent_0.npy", lambda v: v * np.nan), ValueError, "latent_0.npy: latent rotation_x is not"),
    (lambda f, p: (f / p / "latent_1.npy").write_bytes(b"no array"), ValueError, "{p}/latent_1.npy: cannot be read as latents"),
    (lambda f, p: shutil.rmtree(f / p), FileNotFoundError, r"train_images.npy: row 0 names '{p}', but .*/{p} is not there"),
    (no_val, ValueError, r"val_images.npy: class sofa \(label 1\) has no object in val, expected at least one as it has"),
    (lambda f, p: [(f / p / f"{n}").unlink() for n in ("image_7.jpg", "latent_7.npy")], ValueError,
     r"{p}: found 7 views, without image_7.jpg and latent_7.npy, expected 8"),
    (lambda f, p: (f / p / "image_2.jpg").unlink(), ValueError, "{p}: found 7 views, without image_2.jpg"),
    (reversed_labels, ValueError, "val_images.npy: row 0: found 'sofa/.*' with label 0, expected .*: label 0 is car"),
    (lambda f, p: rewrite(f / "val_labels.npy", lambda v: v[1:]), ValueError, "val_labels.npy: 3 labels, expected 4"),
    (lambda f, p: rewrite(f / "val_images.npy", lambda v: np.append(v[:-1], "/" + p)), ValueError,
     "val_images.npy: row 3: '{p}' is there already, in .*train_images.npy: row 0"),
    (lambda f, p: rewrite(f / "val_images.npy", lambda v: np.append(v[:-1], "/car")), ValueError,
     "val_images.npy: row 3 is 'car', expected /<synset>/<object>"),
    (lambda f, p: (f / "train_labels.npy").unlink(), FileNotFoundError, "train_labels.npy: the index file is missing"),
    (lambda f, p: np.save(f / "train_images.npy", np.array(["/a/b", None], dtype=object)), ValueError,
     "train_images.npy: cannot be read as strings without unpickling"),
    (lambda f, p: np.save(f / "train_images.npy", np.array([["car", "000000"]])), ValueError,
     r"train_images.npy: found <U6 of shape \(1, 2\), expected strings of shape \(N,\)"),
])  # fmt: skip
def test_bad_input_is_one_error_with_the_path(copy, spoil, kind, told):
    place = np.load(copy / "train_images.npy")[0].strip("/")
    spoil(copy, place)
    with pytest.raises(kind, match=told.replace("{p}", place)) as caught:
        manifest = load(copy)
        source(manifest).clip(0)
    assert str(copy) in str(caught.value)


def test_a_cut_image_is_named_and_in_training_left_out(copy):
    place = np.load(copy / "train_images.npy")[0].strip("/")
    for view in range(VIEWS):
        data = (copy / place / f"image_{view}.jpg").read_bytes()
        (copy / place / f"image_{view}.jpg").write_bytes(data[: len(data) // 2])
    manifest = load(copy)
    with pytest.raises(VideoError, match=f"{place}/image_.*jpg: not an image that can be read whole"):
        source(manifest).clip(0).read(np.arange(1))
    dataset = WindowsDataset(manifest, "train", windows=2, frames=1, cache=source(manifest), allowed_share=0.5)
    assert torch.equal(dataset[0]["object"], torch.tensor(1)) and dataset.skipped.count == 1


@pytest.mark.parametrize(("options", "told"), [
    ({"rotations": "all"}, "rotations is 'all', expected one of released, ood, any"), ({"views": 1}, "views is 1, expected"),
])  # fmt: skip
def test_wrong_options_are_refused(folders, options, told):
    with pytest.raises(ValueError, match=told):
        ViewSource(load(folders["plain"]), **options)
    with pytest.raises(ValueError, match="objects is 1, expected at least 2"):
        load(folders["plain"], objects=1)
    with pytest.raises(FileNotFoundError, match="no such folder of 3DIEBench"):
        load(folders["plain"] / "nowhere")


def test_fifty_views_are_expected_where_nothing_is_said(folders):
    with pytest.raises(ValueError, match="found 8 views, without image_8.jpg and latent_8.npy, expected 50"):
        ViewSource(load(folders["plain"])).clip(0)
