"""The shards give what the small files give, however they were built, and know when they no longer do."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from vsie.data import ClipsDataset, ImageShards, VideoError, WindowsDataset, image_shards, three_die_bench
from vsie.data.sources import resize
from vsie.data.three_die_bench import ViewSource, load
from vsie.render.dataset import render_dataset

VIEWS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return render_dataset(
        out=tmp_path_factory.mktemp("bench") / "set", objects=10, clips_per_object=VIEWS, frames=None, size=32, trajectory=None,
        seed=3, workers=1, layout="3diebench", supersample=1, families=["car", "sofa"], val_fraction=0.4, progress=False,
    )  # fmt: skip


def source(folder: Path, **options) -> ViewSource:
    return ViewSource(load(folder), views=VIEWS, **options)


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory) -> ImageShards:
    return ImageShards.build(source(folder), tmp_path_factory.mktemp("shards") / "set", workers=0, objects_per_shard=3)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "about.json"}


def same(first, second) -> None:
    assert first.keys() == second.keys()
    for name in first:
        if isinstance(first[name], torch.Tensor):
            assert torch.equal(first[name], second[name]), name
        else:
            assert first[name] == second[name]


def test_items_are_those_of_the_small_files_to_the_bit(folder, shards):
    views = source(folder)
    manifest = views.manifest
    for settings in ({"windows": 2, "frames": 1}, {"windows": 2, "frames": 3, "spacing": (1, 1)}):
        one, two = (WindowsDataset(manifest, "train", seed=4, cache=cache, **settings) for cache in (views, shards))
        for epoch in range(3):
            one.set_epoch(epoch)
            two.set_epoch(epoch)
            same(one.__getitems__(list(range(6))), two.__getitems__(list(range(6))))
    one, two = (ClipsDataset(manifest, None, cache) for cache in (views, shards))
    for index in range(len(manifest)):
        same(one[index], two[index])


def test_shards_are_tar_files_with_the_files_as_they_were(folder, shards):
    files = sorted(shards.folder.glob("shard-*.tar"))
    assert [file.name for file in files] == [f"shard-{number:05d}.tar" for number in range(4)]
    found = {}
    for file in files:
        with tarfile.open(file) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    expected = {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*/image_*.jpg")}
    assert found == expected


def test_long_names_do_not_move_the_index(folder, tmp_path):
    """Paths of more than 100 characters take another form of header."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    name = np.load(copy / "train_images.npy")[0].strip("/")
    long = f"{name.split('/')[0]}/{'x' * 120}"
    (copy / name).rename(copy / long)
    names = np.load(copy / "train_images.npy").astype("U200")
    names[0] = long
    np.save(copy / "train_images.npy", names)
    views = source(copy)
    built = ImageShards.build(views, tmp_path / "shards", workers=0)
    np.testing.assert_array_equal(built.clip(0).read(np.arange(VIEWS)), views.clip(0).read(np.arange(VIEWS)))


def test_other_sizes_are_resized_and_encoded_again(folder, tmp_path):
    built = ImageShards.build(source(folder, size=16), tmp_path / "shards", workers=0)
    plain = source(folder).clip(2)
    expected = resize(plain.read(np.arange(VIEWS)), 16).astype(float)
    found = built.clip(2).read(np.arange(VIEWS))
    assert found.shape == (VIEWS, 16, 16, 3) and np.abs(found - expected).mean() < 6  # the JPEG's error at 16 px
    assert built.belong(source(folder).manifest, 16) is built
    with pytest.raises(ValueError, match="images of 16 px, expected 32 px"):
        built.belong(source(folder).manifest, 32)


def test_swap_rb_needs_no_other_shards(folder, shards):
    swapped = ImageShards.build(source(folder, swap_rb=True), shards.folder, workers=0, objects_per_shard=3)
    picture = shards.clip(0).read(np.arange(2))
    np.testing.assert_array_equal(swapped.clip(0).read(np.arange(2)), picture[..., ::-1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(swapped)).clip(0).read(np.arange(2)), picture[..., ::-1])


def test_workers_and_interruptions_leave_the_same_bytes(folder, shards, tmp_path, monkeypatch):
    built = ImageShards.build(source(folder), tmp_path / "workers", workers=2, objects_per_shard=3)
    assert contents(built.folder) == contents(shards.folder)
    whole, calls = image_shards.write_shard, []

    def interrupted(*arguments):
        calls.append(arguments[1].name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        whole(*arguments)

    monkeypatch.setattr(image_shards, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ImageShards.build(source(folder), tmp_path / "again", workers=0, objects_per_shard=3)
    assert not (tmp_path / "again").exists()
    built = ImageShards.build(source(folder), tmp_path / "again", workers=0, objects_per_shard=3)
    assert contents(built.folder) == contents(shards.folder)
    assert calls == ["shard-00000", "shard-00001", "shard-00002", "shard-00002", "shard-00003"]  # what was there was kept
    monkeypatch.setattr(image_shards, "write_shard", None)
    ImageShards.build(source(folder), tmp_path / "again", workers=0, objects_per_shard=3)  # opened, not built


def test_the_index_is_mapped_and_not_read(shards):
    """Memory that does not grow with the number of views: no array of theirs is in the process."""
    for name in image_shards.COLUMNS:
        array = getattr(shards, name)
        while not isinstance(array, np.memmap):
            assert array.base is not None, name
            array = array.base
        assert not array.flags.writeable
    assert len(pickle.dumps(shards)) < 500


def test_a_worker_opens_the_shards_for_itself(folder, shards):
    shards.clip(0).read(np.arange(1))
    dataset = WindowsDataset(source(folder).manifest, "train", windows=2, frames=1, seed=0, cache=shards)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    for index, item in enumerate(loader):
        same(item, dataset[index])


def test_changed_bytes_are_found(folder, shards, tmp_path):
    assert shards.verify() == 10 * VIEWS
    copy = Path(shutil.copytree(shards.folder, tmp_path / "copy"))
    place = int(shards.start[4]) + 2
    with open(copy / "shard-00001.tar", "r+b") as file:
        file.seek(int(shards.offset[place]) + 60)
        file.write(b"\0\1\2")
    with pytest.raises(ValueError, match=f"shard-00001.tar: view {shards.number[place]} of object 4 has changed"):
        ImageShards(copy).verify()
    clip = ImageShards(copy).clip(4)
    assert clip.read(np.array([1])).shape == (1, 32, 32, 3)
    with pytest.raises(ValueError, match=f"shard-00001.tar: view {shards.number[place]} of object 4 has changed"):
        clip.read(np.array([2]))  # nor is it ever read as an image
    (copy / "shard-00002.tar").write_bytes(b"short")
    with pytest.raises(ValueError, match="shard-00002.tar: 5 bytes, expected"):
        ImageShards(copy)


@pytest.mark.parametrize(("file", "told"), [("poses.bin", "poses.bin: 8 bytes, expected"), ("about.json", "no finished shards")])
def test_an_unfinished_folder_is_not_opened(shards, tmp_path, file, told):
    copy = Path(shutil.copytree(shards.folder, tmp_path / "copy"))
    (copy / file).write_bytes(b"12345678")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        ImageShards(copy)


def test_another_data_set_is_refused_and_another_size_built_again(folder, shards, tmp_path):
    with pytest.raises(ValueError, match="shards of other objects"):
        shards.belong(load(folder, objects=4))
    with pytest.raises(ValueError, match="holds something that is no shards of images"):
        ImageShards.build(source(folder), folder, workers=0)
    built = ImageShards.build(source(folder), tmp_path / "set", workers=0)
    again = ImageShards.build(source(folder, size=16), tmp_path / "set", workers=0)
    assert (built.side, again.side) == (32, 16)
    assert json.loads((tmp_path / "set" / "about.json").read_text())["side"] == 16


def test_defects_stop_building_and_are_named(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    name = np.load(copy / "train_images.npy")[3].strip("/")
    image = copy / name / "image_1.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:200])
    with pytest.raises(VideoError, match=f"{name}/image_1.jpg: not an image that can be read whole"):
        ImageShards.build(source(copy), tmp_path / "shards", workers=0)
    image.write_bytes(whole)
    latent = copy / name / "latent_2.npy"
    np.save(latent, np.zeros(9))
    with pytest.raises(ValueError, match=f"{name}/latent_2.npy: found float64 latents of shape"):
        ImageShards.build(source(copy), tmp_path / "shards", workers=2, objects_per_shard=3)
    np.save(latent, np.zeros(7))
    assert len(ImageShards.build(source(copy), tmp_path / "shards", workers=0).start) == 11


def test_images_of_different_sizes_are_refused_without_a_size(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    other = render_dataset(
        out=tmp_path / "other", objects=10, clips_per_object=VIEWS, frames=None, size=24, trajectory=None, seed=3, workers=1,
        layout="3diebench", supersample=1, families=["car", "sofa"], val_fraction=0.4, progress=False,
    )  # fmt: skip
    name = np.load(copy / "val_images.npy")[0].strip("/")
    shutil.copytree(other / name, copy / name, dirs_exist_ok=True)
    for per_shard in (1, 256):
        with pytest.raises(ValueError, match="give a size to have all resized"):
            ImageShards.build(source(copy), tmp_path / "shards", workers=0, objects_per_shard=per_shard)
    assert ImageShards.build(source(copy, size=24), tmp_path / "shards", workers=0).side == 24


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="no space left on the disk, the shards of images take about"):
        ImageShards.build(source(folder), tmp_path / "shards", workers=0)
    assert not list(tmp_path.glob("shards*"))


def test_held_out_rotations_are_sharded_too(folder, tmp_path):
    ood = render_dataset(
        out=tmp_path / "ood", objects=10, clips_per_object=4, frames=None, size=32, trajectory="ood", seed=3, workers=1,
        layout="3diebench", supersample=1, families=["car", "sofa"], val_fraction=0.4, progress=False,
    )  # fmt: skip
    views = ViewSource(three_die_bench.with_held_out_rotations(load(folder), ood), views=VIEWS)
    built = ImageShards.build(views, tmp_path / "shards", workers=0, objects_per_shard=4)
    assert np.diff(built.start).tolist() == [VIEWS] * 6 + [4] * 4
    for row in range(10):
        one, two = views.clip(row), built.clip(row)
        np.testing.assert_array_equal(one.poses, two.poses)
        np.testing.assert_array_equal(one.read(np.arange(4)), two.read(np.arange(4)))
    assert (three_die_bench.RANGES["ood"][0] <= np.abs(built.clip(9).latents[:, :3])).all()
    before = image_shards.state(views, 4)
    assert image_shards.state(views, 4) == before
    image = Path(views.manifest.path[9]) / "image_0.jpg"
    os.replace(shutil.copy(image, tmp_path / "new.jpg"), image)  # another picture of a held-out object
    assert image_shards.state(views, 4) != before
