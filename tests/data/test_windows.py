from __future__ import annotations

import csv
import dataclasses
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.data.conftest import moving_picture, write_dataset, write_video
from vsie import pose
from vsie.data import (
    ClipsDataset,
    FrameCache,
    SkippedError,
    StepSampler,
    VideoError,
    WindowsDataset,
    collate,
    decode,
    load,
)
from vsie.data.clips import lengths, of_one_length
from vsie.data.decode import Video


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def frame_numbers(item: dict, fps: float = 12) -> np.ndarray:
    numbers = item["times"].numpy() * fps
    np.testing.assert_allclose(numbers, numbers.round(), atol=1e-6)
    return numbers.round().astype(int)


def test_an_item_holds_the_frames_and_poses_that_it_names(manifest):
    dataset = WindowsDataset(manifest, "train", windows=2, frames=4, spacing=(1, 5), seed=1)
    assert len(dataset) == 6
    for index in range(len(dataset)):
        item = dataset[index]
        assert item["clips"].shape == (2, 4, 32, 32, 3) and item["clips"].dtype == torch.uint8
        assert item["poses"].shape == (2, 4, 4, 4) and item["poses"].dtype == torch.float32
        assert item["times"].shape == (2, 4) and item["times"].dtype == torch.float64
        assert manifest.objects[item["object"]] == f"object_{index}" and item["label"] == index % 3
        for view in range(2):
            row = np.flatnonzero((manifest.object == int(item["object"])) & (manifest.clip == int(item["clip"][view])))[0]
            times, poses = manifest.poses(row)
            numbers = frame_numbers(item)[view]
            np.testing.assert_array_equal(item["clips"][view], decode(manifest.video(row), item["times"][view]))
            np.testing.assert_array_equal(item["poses"][view], poses[numbers].astype(np.float32))
            np.testing.assert_array_equal(item["times"][view], times[numbers])


def test_windows_come_from_different_clips_and_run_forward_with_one_spacing(manifest):
    dataset = WindowsDataset(manifest, "train", windows=3, frames=4, spacing=(1, 5), seed=2)
    orders, spacings = set(), set()
    for epoch in range(12):
        dataset.set_epoch(epoch)
        item = dataset[0]
        assert sorted(item["clip"].tolist()) == [0, 1, 2]
        orders.add(tuple(item["clip"].tolist()))
        steps = np.diff(frame_numbers(item))
        assert (steps == steps[:, :1]).all()
        spacings |= set(steps[:, 0].tolist())
    assert spacings == {1, 2, 3, 4, 5} and len(orders) >= 4


@pytest.mark.parametrize(("windows", "clips"), [(2, 1), (3, 1), (5, 3), (4, 2)])
def test_windows_that_share_a_clip_never_overlap(tmp_path, windows, clips):
    manifest = load(write_dataset(tmp_path, objects=2, clips=clips, val=0))
    dataset = WindowsDataset(manifest, "train", windows=windows, frames=3, spacing=(1, 9), seed=0)
    context_first = set()
    for epoch in range(10):
        dataset.set_epoch(epoch)
        item = dataset[epoch % 2]
        numbers = frame_numbers(item)
        used = item["clip"].tolist()
        counts = [used.count(clip) for clip in set(used)]
        assert len(counts) == min(windows, clips) and max(counts) - min(counts) <= 1
        for clip in set(used):
            spans = sorted((row[0], row[-1]) for row, where in zip(numbers, used, strict=True) if where == clip)
            assert all(before[1] < after[0] for before, after in zip(spans, spans[1:], strict=False)), spans
        context_first.add(bool(numbers[0, 0] < numbers[-1, 0]))
    if clips == 1:
        assert context_first == {True, False}, "the context is not always the earlier one"


@pytest.mark.parametrize(("clips", "at_most", "one"), [(1, None, True), (3, None, False), (3, 1, True), (3, 2, False)])
def test_it_is_told_where_all_windows_of_an_item_are_of_one_clip(tmp_path, clips, at_most, one):
    manifest = load(write_dataset(tmp_path, objects=2, clips=clips, val=0))
    dataset = WindowsDataset(manifest, "train", windows=3, frames=1, clips_per_item=at_most)
    assert dataset.one_clip is one
    assert (len(set(dataset[0]["clip"].tolist())) == 1) is one
    views = dataclasses.replace(manifest, unordered=True)  # each with a light of its own
    assert not WindowsDataset(views, "train", windows=3, frames=1, clips_per_item=at_most).one_clip


def test_spacing_can_be_drawn_once_per_object(manifest):
    dataset = WindowsDataset(manifest, "train", windows=3, frames=3, spacing=(1, 7), spacing_per="object", seed=0)
    found = set()
    for index in range(6):
        steps = np.diff(frame_numbers(dataset[index]))
        assert (steps == steps[0, 0]).all()
        found.add(int(steps[0, 0]))
    assert len(found) > 1


def test_an_item_is_a_function_of_seed_epoch_and_index(manifest):
    settings = {"windows": 2, "frames": 2, "spacing": (1, 6)}
    first, second = (WindowsDataset(manifest, "train", seed=5, **settings) for _ in range(2))
    second.set_epoch(3)
    _ = second[4], second[1]
    second.set_epoch(0)
    for index in (3, 0, 5):
        assert same(first[index], second[index])
    first.set_epoch(1)
    assert not same(first[0], second[0])
    assert not same(WindowsDataset(manifest, "train", seed=6, **settings)[0], second[0])
    assert same(first[-1], first[5])
    with pytest.raises(IndexError):
        first[6]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_items_whatever_the_number_of_workers(manifest, workers):
    dataset = WindowsDataset(manifest, "train", windows=2, frames=2, spacing=(1, 6), seed=5)
    sampler = StepSampler(len(dataset), batch=3, end=4)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
    batches = list(loader)
    assert len(batches) == 4
    for indices, batch in zip(sampler, batches, strict=True):
        assert batch["clips"].shape == (3, 2, 2, 32, 32, 3)
        for place, (epoch, index) in enumerate(indices):
            dataset.set_epoch(epoch)
            assert same(dataset[index], {name: value[place] for name, value in batch.items()})


def step_pairs(times):
    return times.unflatten(-1, (-1, 2)).mean(-1)


def test_poses_are_interpolated_at_the_steps_of_the_encoder(manifest):
    settings = {"windows": 2, "frames": 4, "spacing": (1, 5), "seed": 0}
    plain, stepped = (WindowsDataset(manifest, "train", step_times=f, **settings) for f in (None, step_pairs))
    for index in range(6):
        frames, steps = plain[index], stepped[index]
        assert torch.equal(frames["clips"], steps["clips"])
        assert torch.equal(steps["times"], step_pairs(frames["times"])) and steps["poses"].shape == (2, 2, 4, 4)
        for view in range(2):
            row = np.flatnonzero((manifest.object == int(steps["object"])) & (manifest.clip == int(steps["clip"][view])))[0]
            known = [torch.from_numpy(array) for array in manifest.poses(row)]
            expected = pose.interpolate(*known, steps["times"][view])
            torch.testing.assert_close(steps["poses"][view], expected.float(), atol=1e-6, rtol=0)
    same_steps = WindowsDataset(manifest, "train", step_times=lambda times: times, **settings)
    assert same(same_steps[0], plain[0])


def test_stills_are_windows_of_one_frame(tmp_path):
    manifest = load(write_dataset(tmp_path, objects=2, clips=2, frames=1, val=0))
    dataset = WindowsDataset(manifest, "train", windows=2, frames=1, spacing=(3, 9), step_times=lambda times: times + 1.0)
    item = dataset[1]
    assert item["clips"].shape == (2, 1, 32, 32, 3)
    expected = np.concatenate([manifest.poses(2 + int(clip))[1] for clip in item["clip"]])
    np.testing.assert_allclose(item["poses"][:, 0], expected, atol=1e-6)


def test_real_video_has_no_poses_and_no_label(tmp_path):
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", moving_picture(12, seed=number))
    item = WindowsDataset(load(tmp_path), "train", windows=2, frames=3, spacing=(1, 4))[2]
    assert "poses" not in item and item["label"] == -1 and item["object"] == 2
    assert item["times"].shape == (2, 3)


def test_videos_of_any_size_are_brought_to_one(tmp_path):
    for number, (height, width) in enumerate([(32, 32), (48, 64), (64, 40)]):
        write_video(tmp_path / f"{number}.mp4", moving_picture(8, height, width))
    manifest = load(tmp_path)
    batch = WindowsDataset(manifest, "train", windows=1, frames=2, size=24).__getitems__([0, 1, 2])
    assert batch["clips"].shape == (3, 1, 2, 24, 24, 3)
    with pytest.raises(ValueError, match="frames of different sizes in one batch.*give a size"):
        WindowsDataset(manifest, "train", windows=1, frames=2).__getitems__([0, 1])


def test_a_video_shorter_than_its_windows_is_an_error_that_names_it(manifest, tmp_path):
    with pytest.raises(ValueError, match=r"object_0/\d.mp4: 16 frames are too few, expected at least 17 for 1 window"):
        WindowsDataset(manifest, "train", windows=2, frames=17)[0]
    write_video(tmp_path / "short.mp4", moving_picture(7))
    with pytest.raises(ValueError, match="short.mp4: 7 frames are too few, expected at least 8 for 2 window"):
        WindowsDataset(load(tmp_path), "train", windows=2, frames=4)[0]
    assert WindowsDataset(load(tmp_path), "train", windows=1, frames=4, spacing=(2, 99))[0]["clips"].shape[1] == 4


def test_wrong_settings_are_refused(manifest):
    for settings, message in [
        ({"windows": 0}, "windows is 0"),
        ({"frames": 0}, "frames is 0"),
        ({"spacing": (0, 2)}, "spacing is"),
        ({"spacing": (3, 2)}, "spacing is"),
        ({"spacing_per": "clip"}, "spacing_per is 'clip'"),
    ]:
        with pytest.raises(ValueError, match=message):
            WindowsDataset(manifest, "train", **settings)
    with pytest.raises(ValueError, match="no row of split 'test', found train, val"):
        WindowsDataset(manifest, "test")


def test_poses_for_some_videos_only_are_refused_or_left_out(tmp_path):
    folder = write_dataset(tmp_path, objects=2, clips=1, val=0)
    text = (folder / "manifest.csv").read_text().replace("clips/object_1/0.npz", "")
    (folder / "manifest.csv").write_text(text)
    with pytest.raises(ValueError, match="object_1/0.mp4 has no poses where others have"):
        WindowsDataset(load(folder), "train")
    assert "poses" not in WindowsDataset(load(folder), "train", poses=False)[0]


def test_poses_of_another_length_than_the_video_are_named(tmp_path):
    folder = write_dataset(tmp_path, objects=1, clips=1, val=0)
    np.savez(folder / "clips/object_0/0.npz", times=np.arange(9.0), object_in_camera=np.tile(np.eye(4), (9, 1, 1)))
    with pytest.raises(ValueError, match="object_0/0.npz: poses of 9 frames, expected 16"):
        WindowsDataset(load(folder), "train")[0]


@pytest.fixture
def damaged(posed_folder, tmp_path):
    """A copy of the posed folder in which object 0 has lost a clip, and object 1 all of its clips."""
    folder = tmp_path / "damaged"
    shutil.copytree(posed_folder, folder)
    for name in ("object_0/1", "object_1/0", "object_1/1", "object_1/2"):
        data = (folder / f"clips/{name}.mp4").read_bytes()
        (folder / f"clips/{name}.mp4").write_bytes(data[: len(data) // 2])
    return load(folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_videos_are_replaced_counted_and_listed(damaged, tmp_path, workers):
    listing = tmp_path / "run" / "skipped.csv"
    settings = {"windows": 2, "frames": 2, "seed": 0, "allowed_share": 0.3}
    dataset = WindowsDataset(damaged, "train", skipped=listing, **settings)
    loader = partial(DataLoader, dataset, batch_size=2, collate_fn=collate, num_workers=workers)
    for epoch in range(4):
        dataset.set_epoch(epoch)
        batch = torch.cat([batch["object"] for batch in loader()])
        assert batch.tolist() == [0, 2, 2, 3, 4, 5], "the next object stands in for object 1"
        item = dataset[0]
        assert sorted(item["clip"].tolist()) == [0, 2]
    assert dataset.skipped.count == 4, "the main process knows what its workers skipped"
    with open(listing, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == sorted(str(damaged.video(row)) for row in (1, 3, 4, 5))
    assert all("not a video that can be read" in row["reason"] for row in rows)
    fresh = WindowsDataset(damaged, "train", skipped=listing, **settings)
    fresh.set_epoch(3)
    assert same(fresh[0], dataset[0]), "what was skipped before makes no difference"
    assert len(listing.read_text().splitlines()) == 5, "and is not listed twice"


def test_too_many_unreadable_videos_stop_the_run(damaged, tmp_path):
    dataset = WindowsDataset(damaged, "train", windows=2, frames=2, skipped=tmp_path / "skipped.csv", allowed_share=0.1)
    with pytest.raises(SkippedError, match=r"2 of 18 videos cannot be used \(see .*skipped.csv\), expected at most 10.00%"):
        dataset[1]
    with pytest.raises(SkippedError, match="videos cannot be used"):
        list(DataLoader(WindowsDataset(damaged, "train", frames=2), num_workers=1, collate_fn=collate))


def test_when_nothing_can_be_read_that_is_said(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoError, match="no video of split 'train' can be read"):
        WindowsDataset(load(tmp_path), "train", allowed_share=1.0)[0]


def test_clips_come_whole_and_in_order(manifest, tmp_path):
    cache = FrameCache.build(manifest, tmp_path / "cache", workers=0)
    for source in (None, cache):
        dataset = ClipsDataset(manifest, "val", source)
        assert [dataset[index]["path"] for index in range(len(dataset))] == manifest.path[manifest.rows("val")].tolist()
        item = dataset[4]
        row = int(manifest.rows("val")[4])
        times, poses = manifest.poses(row)
        np.testing.assert_array_equal(item["frames"], decode(manifest.video(row), times))
        np.testing.assert_array_equal(item["times"], times)
        np.testing.assert_array_equal(item["poses"], poses.astype(np.float32))
        assert (item["object"], item["clip"], item["label"]) == (7, 1, 1)
    batch = next(iter(DataLoader(dataset, batch_size=3, collate_fn=collate)))
    assert batch["frames"].shape == (3, 16, 32, 32, 3) and len(batch["path"]) == 3
    assert len(ClipsDataset(manifest, None)) == 24


def test_clips_of_different_lengths_are_cut_to_one(tmp_path, monkeypatch):
    """Three quarters of them have 9 frames: one of 5 is left out, of one of 21 every second frame is taken, and no more."""
    root = write_dataset(tmp_path / "data", objects=7, clips=1, frames=9)
    long = write_dataset(tmp_path / "long", objects=6, clips=1, frames=21)
    short = write_dataset(tmp_path / "short", objects=6, clips=1, frames=5)
    for number, other in ((1, long), (4, short)):
        for suffix in ("mp4", "npz"):
            name = f"clips/object_{number}/0.{suffix}"
            shutil.copy(other / name, root / name)
    manifest = load(root)
    whole = {split: ClipsDataset(manifest, split) for split in ("train", "val")}
    assert [lengths(own, 0)[0].tolist() for own in whole.values()] == [[9, 21, 9, 9, 5], [9, 9]]
    cut, said = of_one_length(whole, widest=2)
    assert [len(cut["train"]), len(cut["val"])] == [4, 2] and cut["train"].left_out == 1
    assert said == ["clips are of 5 to 21 frames: 9 of each are judged, evenly apart",
                    "train: 1 of 5 clips are shorter and left out"]  # fmt: skip
    for place, numbers in ((0, np.arange(9)), (1, 2 * np.arange(9))):
        item, all_of_it = cut["train"][place], whole["train"][place]
        assert all(torch.equal(item[name], all_of_it[name][numbers]) for name in ("frames", "times", "poses"))
        assert item["path"] == all_of_it["path"]
    cached = {split: ClipsDataset(manifest, split, FrameCache.build(manifest, tmp_path / "cache", workers=0)) for split in whole}
    assert [lengths(own, 0)[0].tolist() for own in cached.values()] == [[9, 21, 9, 9, 5], [9, 9]]
    alike = {split: ClipsDataset(load(long), split) for split in whole}
    assert of_one_length(alike, widest=2) == (alike, [])
    asked, read = [], Video.read
    monkeypatch.setattr(Video, "read", lambda video, numbers: asked.append(numbers.tolist()) or read(video, numbers))
    cut["train"][1]
    assert asked == [list(range(0, 18, 2))], "no other frame is decoded"


@pytest.mark.parametrize("train, val, judged", [
    (range(34, 44), (20, 20), {"train": 10, "val": 2}), ((20, 20), range(34, 44), {"train": 2, "val": 10}),
    ((40, 40, 3, 40, 40), (40, 9, 40, 40, 40), {"train": 4, "val": 4}),
])  # fmt: skip
def test_of_each_split_three_quarters_of_the_clips_are_judged(tmp_path, train, val, judged):
    manifest = load(write_dataset(tmp_path, objects=len(train) + len(val), clips=1, frames=2, val=len(val)))
    splits = {split: ClipsDataset(manifest, split) for split in ("train", "val")}
    for clips in splits.values():
        clips.source = SimpleNamespace(length=[*train, *val].__getitem__)
    cut, _ = of_one_length(splits, widest=1)
    assert {name: len(own) for name, own in cut.items()} == judged


@pytest.mark.parametrize("cached", [False, True])
def test_of_videos_that_cannot_be_read_as_few_as_in_training_are_left_out_by_name(damaged, tmp_path, cached):
    cache = FrameCache.build(damaged, tmp_path / "cache", workers=0) if cached else None
    splits = {split: ClipsDataset(damaged, split, cache) for split in ("train", "val")}
    cut, said = of_one_length(splits, widest=1, allowed_share=0.3)
    assert cut["val"] is splits["val"] and len(said) == 1
    assert said[0].startswith(f"train: 4 of 18 clips cannot be read and are left out: {damaged.video(1)}")
    assert said[0].endswith(", and 3 more")
    kept = [row for row in damaged.rows("train").tolist() if row not in (1, 3, 4, 5)]
    assert cut["train"].rows.tolist() == kept
    assert [cut["train"][place]["path"] for place in range(14)] == [damaged.path[row] for row in kept]
    with pytest.raises(SkippedError, match="of 18 videos cannot be used, expected at most 10.00%"):
        of_one_length(splits, widest=1, allowed_share=0.1)


def test_a_video_that_breaks_in_decoding_is_left_out_where_a_cache_has_found_that(tmp_path):
    manifest = load(write_dataset(tmp_path / "data", objects=5, clips=1, frames=48, val=1))
    video = manifest.video(2)
    data = bytearray(video.read_bytes())
    media, index = data.index(b"mdat") + 4, data.index(b"moov")
    data[(media + index) // 2 : (media + index) // 2 + 300] = bytes(300)
    video.write_bytes(data)
    cache = FrameCache.build(manifest, tmp_path / "cache", workers=0)
    cut, said = of_one_length({"train": ClipsDataset(manifest, "train", cache)}, widest=1, allowed_share=0.3)
    assert cut["train"].rows.tolist() == [0, 1, 3] and "1 of 4 clips" in said[0]
    with pytest.raises(VideoError, match="2/0.mp4: damaged"):
        ClipsDataset(manifest, "train")[2]


def test_latents_of_another_length_are_named(manifest, tmp_path):
    row = int(manifest.rows("val")[0])
    with np.load(manifest.pose_file(row)) as archive:
        fields = dict(archive) | {"latents": np.zeros((7, 2))}
    other = dataclasses.replace(manifest, root=tmp_path, latent_names=("a", "b"))
    other.pose_file(row).parent.mkdir(parents=True)
    np.savez(other.pose_file(row), **fields)
    with pytest.raises(ValueError, match=r"npz: field 'latents' has shape \(7, 2\), expected \(16, 2\) finite numbers"):
        other.latents(row, 16)


def test_a_step_lies_between_the_frames_around_it_or_on_one():
    from vsie.data.windows import bracket

    found = bracket(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.5, 2.0, 3.5, -1.0]))
    assert found.tolist() == [[0, 0], [0, 1], [2, 2], [3, 3], [0, 0]]


def test_motions_are_those_of_the_items_and_no_frame_is_decoded(manifest, monkeypatch):
    from vsie.data.decode import Video

    dataset = WindowsDataset(manifest, "train", windows=3, frames=2, spacing=(1, 6), seed=5)
    whole = dataset.__getitems__([(7, 1), (2, 4)])
    monkeypatch.setattr(Video, "read", None)
    assert same(dataset.motions([(7, 1), (2, 4)]), {name: value for name, value in whole.items() if name != "clips"})
