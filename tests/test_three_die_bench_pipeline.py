"""3DIEBench through the pipeline: from a config to training windows, features with latents, and the published figures."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_config import run as run_tool
from vsie import feature_cache, features, pipeline
from vsie.config import compose, to_plain
from vsie.data import ClipsDataset, ImageShards, image_shards
from vsie.data.clips import of_one_length
from vsie.data.three_die_bench import LATENTS, ViewSource
from vsie.feature_set import load_features, save_features
from vsie.model import build_method
from vsie.render.dataset import render_dataset
from vsie.report import published

VIEWS = 6
TINY = ["data=3diebench", f"data.bench.views={VIEWS}", "encoder.widths=[8,16]", "encoder.depths=[1]", "encoder.dim=16",
        "encoder.mixing=0", "method.projector_width=16", "trainer.batch=4", "trainer.images=128", "trainer.precision=32-true",
        "protocol=[]", "threads=1"]  # fmt: skip


def render(out: Path, **changes) -> Path:
    options = dict(objects=8, clips_per_object=VIEWS, frames=None, size=16, trajectory=None, seed=3, workers=1, progress=False,
                   layout="3diebench", supersample=1, families=["car", "sofa"], val_fraction=0.25)  # fmt: skip
    return render_dataset(out=out, **options | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return render(tmp_path_factory.mktemp("bench") / "set")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VSIE_DATA", str(tmp_path / "cache"))


def test_a_config_opens_the_shards_or_the_small_files(folder):
    manifest, shards = pipeline.open_data(compose("train", [*TINY, f"data.root={folder}"]))
    again, source = pipeline.open_data(compose("train", [*TINY, f"data.root={folder}", "data.cache=false", "data.size=8"]))
    assert isinstance(shards, ImageShards) and isinstance(source, ViewSource) and len(manifest) == len(again) == 8
    assert shards.side == 16 and source.clip(0).read(np.arange(1)).shape == (1, 8, 8, 3)
    small = pipeline.open_data(compose("train", [*TINY, f"data.root={folder}", "data.bench.objects=4"]))[0]
    assert len(small) == 4


def test_a_recipe_wants_the_split_of_the_index_files(folder, tmp_path):
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    for file in bare.glob("*.npy"):
        file.unlink()
    recipe = ["experiment=3diebench_128", f"data.bench.views={VIEWS}", f"data.root={bare}", "data.size=16"]
    with pytest.raises(FileNotFoundError, match="bare/train_images.npy: missing, and this recipe is of the split that"):
        pipeline.open_data(compose("train", recipe))
    assert len(pipeline.open_data(compose("train", [*recipe, "data.need_root=false"]))[0]) == 8


def test_without_a_root_objects_are_rendered_in_the_layout_once(tmp_path, monkeypatch):
    render = "data.render={objects: 12, clips_per_object: 3, size: 16, families: [car, sofa], supersample: 1, workers: 1}"
    manifest, shards = pipeline.open_data(compose("train", ["data=3diebench", render]))
    assert (Path(manifest.root) / "train_images.npy").is_file() and np.diff(shards.start).tolist() == [3] * 12
    assert manifest.root.is_relative_to(tmp_path / "cache")
    held, known = ClipsDataset(manifest, "val", shards), []
    monkeypatch.setattr(image_shards, "write_shard", lambda *_: pytest.fail("the shards were made again"))
    for _ in range(2):
        known.append(feature_cache.state_of(held))
        manifest, shards = pipeline.open_data(compose("train", ["data=3diebench", render]))
        held = ClipsDataset(manifest, "val", shards)
    assert known == [feature_cache.state_of(held)] * 2, "so features stay, too"


def test_a_run_trains_on_it_and_is_resumed(folder, tmp_path):
    options = [*TINY, f"data.root={folder}", f"out={tmp_path / 'run'}"]
    run = pipeline.train(compose("train", options))
    rows = (run / "log.csv").read_text().splitlines()
    assert len(rows) > 1 and all(np.isfinite(float(cell)) for row in rows[1:] for cell in row.split(","))
    assert pipeline.train(compose("train", options)) == run  # nothing is left to do
    with pytest.raises(ValueError, match="data.bench.swap_rb was False, now True"):
        pipeline.train(compose("train", [*options, "data.bench.swap_rb=true"]))


def test_features_carry_latents_and_numbers_to_disk_and_back(folder, tmp_path):
    config = compose("train", [*TINY, f"data.root={folder}"])
    manifest, shards = pipeline.open_data(config)
    method = build_method(to_plain(config)).eval()
    dataset = ClipsDataset(manifest, "val", shards)
    found = features.evaluation_features(method, dataset, frames=1)
    assert found.latents.shape == (2, VIEWS, 7) and found.latent_names == LATENTS[:7]
    for clip, path in enumerate(found.paths):
        for frame, number in enumerate(found.frame_numbers[clip]):
            np.testing.assert_array_equal(found.latents[clip, frame], np.load(folder / path / f"latent_{number}.npy"))
            image = torch.from_numpy(np.array(shards.clip(manifest.rows("val")[clip]).read(np.array([frame]))))
            latent = features.encode(method.encoder, image[None])[0, 0]
            np.testing.assert_allclose(found.image[clip, frame], latent, atol=1e-5)
    save_features(tmp_path / "features", found)
    again = load_features(tmp_path / "features")
    assert again.latent_names == found.latent_names
    for name in ("latents", "frame_numbers", "poses", "image"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_features_of_rendered_videos_have_latents_and_those_of_others_none(clips, tmp_path):
    import dataclasses

    from vsie.data import load

    method, manifest = build_method(to_plain(compose("train", TINY[2:]))).eval(), load(clips)
    found = features.evaluation_features(method, ClipsDataset(manifest, "val"), frames=2)
    assert found.latent_names == LATENTS[:7]
    for values, path in zip(found.latents, found.paths, strict=True):
        np.testing.assert_array_equal(values, np.load((manifest.root / path).with_suffix(".npz"))["latents"])
    manifest = dataclasses.replace(manifest, latent_names=())
    found = features.evaluation_features(method, ClipsDataset(manifest, "val"), frames=2)
    assert found.latents is None and found.frame_numbers is None and found.latent_names == ()
    save_features(tmp_path / "features", found)
    again = load_features(tmp_path / "features")
    assert again.latents is None and again.latent_names == () and again.paths == found.paths


def test_features_refuse_latents_of_another_shape(folder):
    import dataclasses

    config = compose("train", [*TINY, f"data.root={folder}"])
    manifest, shards = pipeline.open_data(config)
    method = build_method(to_plain(config)).eval()
    found = features.evaluation_features(method, ClipsDataset(manifest, "val", shards), frames=1)
    with pytest.raises(ValueError, match=r"features.latents has shape \(2, 6, 7\), expected \(2, 6, 6\)"):
        dataclasses.replace(found, latent_names=found.latent_names[1:])
    with pytest.raises(ValueError, match="features.frame_numbers has shape"):
        dataclasses.replace(found, frame_numbers=found.frame_numbers[:, 1:])


def test_published_figures_stand_beside_the_result_and_say_whether_they_compare(folder, tmp_path, capsys):
    manifest = pipeline.open_data(compose("train", [*TINY, f"data.root={folder}"]))[0]
    metrics = {"classification/top1/all": 0.5, "pose/r2_sie/all": 0.25, "steering/mrr": 0.125, "steering/mrr/floor": 0.0625}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    file = published.write(tmp_path, name="vsie", manifest=manifest, supervision="none", size=16, swap_rb=True)
    text = file.read_text()
    assert text in capsys.readouterr().out + "\n"
    lines = text.splitlines()
    assert "NOT COMPARABLE: other data, 6 + 2 objects of 2 classes, 16 px, red and blue changed" in lines[3]
    assert lines[3].endswith("run: classification, pose, steering")
    for value in ("50", "0.25", "0.125"):
        assert value in lines[3].split()
    assert lines[4].split()[:4] == ["-", "its", "floor", "-"] and "0.0625" in lines[4].split()
    assert "compat=sie" in lines[-1]  # published figures compare with these protocols alone
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"compat_sie/rotation/r2/all": 0.6}))
    assert "compat=sie" not in published.write(tmp_path, name="vsie", manifest=manifest, supervision="none").read_text()
    rows = published.rows()
    assert all(row["mark"] == "fig" and row["system"] for row in rows)
    known = {(row["system"], row["setting"]): row for row in rows}
    assert known["SIE", "128 px 1000 epochs (re-run by ContextSSL)"]["top1"] == "77.3"
    assert known["SIE", "256 px 2000 epochs"]["r2_sie"] == "0.73"
    assert known["ContextSSL", "context of 126"]["supervision"] == "regresses the pose"
    assert [row["system"] for row in published.rows(translated=True)] == ["EquiCaps"]


@pytest.mark.parametrize("cache", ["true", "false"])
def test_held_out_rotations_with_different_numbers_of_views_are_judged_by_as_many_of_each(folder, tmp_path, cache):
    ood = render(tmp_path / "ood", trajectory="ood")
    place = np.load(folder / "val_images.npy")[1].strip("/")
    for view in (0, 3):
        (ood / place / f"image_{view}.jpg").unlink()
        (ood / place / f"latent_{view}.npy").unlink()
    config = compose("train", [*TINY, f"data.root={folder}", f"data.bench.ood={ood}", f"data.cache={cache}"])
    manifest, source = pipeline.open_data(config)
    splits = {name: ClipsDataset(manifest, split, source) for name, split in (("train", "train"), ("test", "val"))}
    cut, said = of_one_length(splits, 1)
    assert cut["train"] is splits["train"] and said == ["test: objects have 4 to 6 views: 4 of each are judged"]
    found = features.evaluation_features(build_method(to_plain(config)), cut["test"], frames=1)
    assert found.image.shape[:2] == (len(splits["test"]), 4) and len(set(found.paths)) == len(splits["test"])
    assert (np.abs(found.latents[..., [0, 2]]) >= np.pi / 2 - 1e-4).all()


def test_the_protocols_that_reproduce_published_figures_come_first_and_are_named():
    metrics = {
        "compat_sie/rotation/r2/all": 0.6, "compat_sie/mrr/mrr": 0.3, "classification/top1/all": 0.5, "pose/r2_sie/all": 0.2,
        "mrr/mrr": 0.25, "mrr/hit@1": 0.125, "steering/hit@1": 0.1, "colour/r2/all": 0.9, "steering/hit@5": None,
    }  # fmt: skip
    metrics["compat_sie/mrr/mrr/floor"] = 0.09
    who = {"system": "sie", "setting": "x", "supervision": "none"}
    assert published.own_rows(metrics, name="sie", setting="x", supervision="none") == [
        who | {"r2_sie": "0.6", "mrr": "0.3", "mark": "run: compat_sie/rotation, compat_sie/mrr"},
        {"system": "", "setting": "its floor", "mrr": "0.09"},
        who | {"top1": "50", "r2_sie": "0.2", "mrr": "0.25", "hit1": "0.125", "colour_r2": "0.9",
               "mark": "run: classification, pose, mrr, colour"},
        {"system": "", "setting": "its floor"},
    ]  # fmt: skip


def test_the_class_from_several_views_has_rows_of_its_own():
    """seq-JEPA's published figures are of its aggregate, and not of one frame."""
    metrics = {"classification/top1/all": 0.5, "aggregate/top1@3": 0.75, "aggregate/top1@3/floor": 0.25,
               "aggregate/top1@3/mean": 0.6}  # fmt: skip
    rows = published.own_rows(metrics, name="seq_jepa", setting="x", supervision="none")
    assert [(row["setting"], row.get("top1")) for row in rows] == [
        ("x", "50"), ("its floor", None), ("class from 3 views, x", "75"), ("its floor", "25"),
    ]  # fmt: skip
    assert rows[2]["mark"] == "run: aggregate"


def test_a_run_is_asked_as_released_beside_what_is_sound(folder, tmp_path):
    options = ["method=sie", "data.windows=2", "data.frames=1", "protocol=[classification,mrr,tracking]", "compat=sie"]
    told = [*TINY[:-2], *options, f"data.root={folder}", f"out={tmp_path}/run", "threads=1"]
    run = pipeline.train(compose("train", told))
    metrics = json.loads((run / "metrics.json").read_text())
    for key in ("classification/top1/all", "mrr/mrr"):
        assert 0 <= metrics[key] <= 1 and 0 <= metrics[f"compat_sie/{key}"] <= 1
    lines = (run / "published.txt").read_text().splitlines()
    assert [line.rpartition("  ")[2] for line in lines[3:7:2]] == [
        "run: compat_sie/classification, compat_sie/mrr", "run: classification, mrr"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="compat is 'vsie', expected null or one of sie"):
        pipeline.train(compose("train", [*told, "compat=vsie"]))


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Path:
    """A run that nobody has judged."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSIE_DATA", str(place / "cache"))
        patch.chdir(place)
        own = ["method=sie", "data.windows=2", "data.frames=1", f"data.root={folder}", f"out={place}/run"]
        return pipeline.train(compose("train", [*TINY, *own]))


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "run"))


def test_released_probes_are_judged_with_the_statistics_that_their_training_leaves(folder, run):
    """Learned from in train mode; judged in eval mode, by running statistics that moved; the method is as it was."""
    manifest, shards = pipeline.open_data(compose("train", [*TINY, f"data.root={folder}"]))
    train, test = (ClipsDataset(manifest, split, shards) for split in ("train", "val"))
    method = features.load(run).method
    before = {name: value.clone() for name, value in method.state_dict().items()}
    moved = features.with_moved_statistics(method, train)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    norms = [module for module in moved.encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training or not norm.track_running_stats for norm in norms)
    images = torch.stack([torch.as_tensor(train[i]["frames"]) for i in range(len(train))]).flatten(0, 1)
    seen = (images.permute(0, 3, 1, 2).float() / 255 - moved.encoder.mean) / moved.encoder.std
    stem = next(module for module in moved.encoder.modules() if isinstance(module, torch.nn.Conv2d))(seen)
    torch.testing.assert_close(norms[0].running_mean, stem.mean((0, 2, 3)), atol=0.05, rtol=0.05)
    assert not torch.allclose(norms[0].running_mean, before["encoder.backbone.stem.1.running_mean"])
    assert norms[0].num_batches_tracked == before["encoder.backbone.stem.1.num_batches_tracked"] + features.STATISTICS
    # what a frame's latent is does not depend on who is judged beside it
    known = features.evaluation_features(moved, test, frames=1)
    drawn = np.array([[0, 3], [VIEWS + 1, VIEWS + 2]])
    found = features.drawn_features(moved, test, known, drawn)
    np.testing.assert_allclose(found.image.reshape(4, -1), known.image.reshape(2 * VIEWS, -1)[drawn.ravel()], atol=1e-5)


def test_labels_and_colours_that_changed_are_other_features(folder, run, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = compose("train", [*TINY, f"data.root={copy}"])

    def labels(*changes: str) -> tuple[list[int], str]:
        manifest, shards = pipeline.open_data(compose("train", [*TINY, f"data.root={copy}", *changes]))
        splits = {"test": ClipsDataset(manifest, "val", shards)}
        (found,) = feature_cache.feature_set(run, features.load(run).method, splits, (1, 1), "32-true", "features")
        return found.labels.tolist(), feature_cache.folder_of(found).name

    before, place = labels()
    assert labels("data.bench.swap_rb=true")[1] != place == labels()[1]
    for split in ("train", "val"):
        np.save(copy / f"{split}_labels.npy", 1 - np.load(copy / f"{split}_labels.npy"))
    assert labels()[0] == [1 - label for label in before]
    assert config.data.bench.swap_rb is False


def test_held_out_rotations_as_released_do_not_take_the_place_of_the_runs_own_figures(folder, run, tmp_path, tools):
    ood = render(tmp_path / "ood", trajectory="ood")
    asked = ("evaluate", f"checkpoint={run}", "compat=sie", "protocol=[mrr]")
    told = {"cwd": tmp_path, "env": {**os.environ, "VSIE_DATA": str(tmp_path / "cache")}}
    assert run_tool(tools, *asked, **told).returncode == 0
    before = (run / "metrics.json").read_text()
    result = run_tool(tools, *asked, f"ood={ood}", **told)
    assert result.returncode == 2 and "metrics.json exists; overwrite=true replaces it" in result.stderr
    assert (run / "metrics.json").read_text() == before
    result = run_tool(tools, *asked, f"ood={ood}", "out=elsewhere", **told)
    assert result.returncode == 0 and "signs of quaternions" in result.stdout, result.stderr
    assert "held-out rotations of 2 objects" in (tmp_path / "elsewhere" / "published.txt").read_text()
    assert (run / "metrics.json").read_text() == before


def test_a_run_is_judged_on_another_folder_in_the_layout_whole_and_by_its_views(folder):
    config = compose("train", [*TINY, "data.root=x", "data.bench.objects=4", "data.bench.ood=y"])
    bench = pipeline.judged_on(config, str(folder)).data.bench
    assert (bench.objects, bench.ood, bench.views) == (None, None, VIEWS)
    assert pipeline.judged_on(config, str(folder), views=3).data.bench.views == 3
    with pytest.raises(ValueError, match="views is 3, which goes with a folder in 3DIEBench's layout"):
        pipeline.judged_on(config, str(folder.parent), views=3)


def test_what_a_method_is_told_stands_in_its_row():
    said = {"vicreg": "none", "trajectory": "none", "sie": "conditions on the delta", "equicaps": "conditions on the delta",
            "seq_jepa": "conditions on the delta", "augself": "regresses the pose", "supervised": "supervised"}  # fmt: skip
    for name, words in said.items():
        assert published.supervision(build_method(to_plain(compose("train", [f"method={name}", *TINY[:2]])))) == words
    assert {row["supervision"] for row in published.rows()} <= {*said.values()}


def test_3diebench_itself_is_known_by_its_numbers(folder):
    import dataclasses

    facts = json.loads((published.MANIFESTS / "3diebench.json").read_text())
    assert facts["train"] + facts["val"] == facts["objects"] and facts["objects"] * facts["views"] == facts["images"]
    manifest = pipeline.open_data(compose("train", [*TINY, f"data.root={folder}"]))[0]
    split = np.repeat([0, 1], [facts["train"], facts["val"]]).astype(np.int8)
    real = dataclasses.replace(manifest, split=split, classes=tuple(map(str, range(55))))
    assert published.whose(real) == "3DIEBench"
    moved = dataclasses.replace(real, latent_names=LATENTS)
    assert published.whose(moved) == "3DIEBench-T"
    assert published.table({}, name="x", manifest=moved, supervision="none").startswith("Published on 3DIEBench-T, beside")


def test_held_out_rotations_are_judged_on_the_val_objects_alone(folder, tmp_path):
    ood = render(tmp_path / "ood", trajectory="ood")
    config = compose("train", [*TINY, f"data.root={folder}", f"data.bench.ood={ood}"])
    manifest, shards = pipeline.open_data(config)
    for split, inside in (("train", True), ("val", False)):
        for row in manifest.rows(split):
            assert ((np.abs(shards.clip(int(row)).latents[:, [0, 2]]) <= np.pi / 2) == inside).all()
    assert published.whose(manifest) == "NOT COMPARABLE: held-out rotations of 2 objects"
    with pytest.raises(ValueError, match="was not trained on data in 3DIEBench's layout"):
        run = tmp_path / "run"
        plain = to_plain(compose("train", TINY[2:]))
        from vsie import checkpoint

        checkpoint.save(run, build_method(plain), plain, {})
        pipeline.evaluate(run, ood=str(ood), protocols=[])


@pytest.mark.parametrize("indexed", [True, False])
def test_held_out_rotations_need_no_new_shards_and_no_new_features_of_the_objects_to_train_on(
    folder, run, tmp_path, monkeypatch, indexed
):
    ood, data = render(tmp_path / "ood", trajectory="ood"), Path(shutil.copytree(folder, tmp_path / "set"))
    if not indexed:  # splits take turns there
        for file in data.glob("*.npy"):
            file.unlink()
    method, known = features.load(run).method, {}

    def found(*changes: str) -> tuple:
        manifest, shards = pipeline.open_data(compose("train", [*TINY, f"data.root={data}", *changes]))
        splits = {name: ClipsDataset(manifest, name, shards) for name in ("train", "val")}
        sets = feature_cache.feature_set(run, method, splits, (1, 1), "32-true", "features")
        return manifest, shards, [feature_cache.folder_of(one).name for one in sets]

    own, _, known["own"] = found()
    written = []
    write = image_shards.write_shard
    monkeypatch.setattr(image_shards, "write_shard", lambda *asked: written.append(len(asked[2])) or write(*asked))
    manifest, shards, known["ood"] = found(f"data.bench.ood={ood}")
    assert sum(written) == len(manifest.rows("val")) == len(own.rows("val"))
    assert known["ood"][0] == known["own"][0] and known["ood"][1] != known["own"][1]
    assert manifest.objects.tolist() == own.path[np.concatenate([own.rows("train"), own.rows("val")])].tolist()
    plain = ViewSource(manifest, views=VIEWS)
    for source in (shards, pickle.loads(pickle.dumps(shards))):  # as loader processes are sent it
        for row in range(len(manifest)):
            one, two = plain.clip(row), source.clip(row)
            assert source.length(row) == VIEWS
            np.testing.assert_array_equal(one.latents, two.latents)
            np.testing.assert_array_equal(one.read(np.arange(VIEWS)), two.read(np.arange(VIEWS)))
    with pytest.raises(ValueError, match="shards of other objects"):
        shards.belong(own)
    with pytest.raises(ValueError, match="images of 16 px, expected 8 px"):
        shards.belong(manifest, 8)
    large = render(tmp_path / "large", trajectory="ood", size=24)
    with pytest.raises(ValueError, match="images of 24 px, expected 16 px as in .*; give a size to have all resized"):
        pipeline.open_data(compose("train", [*TINY, f"data.root={data}", f"data.bench.ood={large}"]))
    small = [f"data.root={data}", f"data.bench.ood={large}", "data.size=8"]
    assert pipeline.open_data(compose("train", [*TINY, *small]))[1].side == 8
