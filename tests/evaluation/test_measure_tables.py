from __future__ import annotations

from vsie.report import measures


def metrics():
    found = {"classification/top1/all": 0.9}
    for part in ("inv", "equi", "all"):
        for key in ("seis/equiv@30", "seis/inv@30", "ladder/identity@30", "ladder/isometry@30", "ladder/linear@30"):
            found |= {f"{key}/{part}": 0.5, f"{key}/{part}/null": 0.01}
        found |= {f"ladder/conditional/{part}": 0.8, f"ladder/conditional/{part}/shuffled": 0.4}
        found |= {f"ladder/orbit_share/{part}": 0.3, f"ladder/orbit_share/{part}/null": 0.9}
    found |= {
        "ladder/group_law": 0.1,
        "ladder/group_law/null": 1.2,
        "ladder/inverse": 0.2,
        "lie/ratio": 0.7,
        "lie/ratio/floor": 1.0,
    }
    for row in ("inv", "equi", "all", "leace"):
        for column in ("class_linear", "pose_linear", "pair_median_deg"):
            found |= {f"leakage/{column}/{row}": 12.345 if "deg" in column else 0.25, f"leakage/{column}/{row}/floor": 0.1}
    found |= {"leakage/class_linear/all/shuffled": 0.11, "leakage/leak_pose/pose_linear": 0.125,
              "leakage/leak_pose/pose_linear/low": 0.1, "leakage/leak_pose/pose_linear/high": 0.15,
              "leakage/utility/inv": 0.95}  # fmt: skip
    for eraser in ("none", "leace-rotation"):
        found |= {f"erasure/pose_linear/{eraser}": 0.5, f"erasure/change/{eraser}": 0.25, f"erasure/kept/{eraser}": 60.0}
    found |= {"erasure/pose_linear/leace-rotation/random": 0.45}
    found |= {"cleaned/rank/inlp": 9.0, "cleaned/pose_mlp/inlp": 0.625, "cleaned/pose_mlp/inlp/floor": 0.01}
    found |= {"dci/informativeness/class": 0.9, "dci/informativeness/class/floor": 0.1, "dci/importance/class/inv": 1.0,
              "dci/importance/class/equi": 0.0, "dci/disentanglement": 0.75, "dci/completeness": 0.8}  # fmt: skip
    return found


def test_every_table_has_its_nulls_and_aligned_columns():
    text = measures.terminal(metrics())
    blocks = text.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [
        "SEIS and the ladder", "the predictor as a group action", "what leaks (held-out objects)",
        "leakage and utility, as shares of what all knows", "all, the pose erased afterwards, at the width of what leaks",
        "the pose erased afterwards", "block DCI",
    ]  # fmt: skip
    for block in blocks:
        lengths = {len(line) for line in block.splitlines()[1:]}
        assert len(lengths) == 1, block
    assert "S_equiv, 30 deg" in blocks[0] and "0.010" in blocks[0]
    assert "12.3" in blocks[2] and "all, LEACE-cleaned" in blocks[2] and "shuffled" in blocks[2]
    line = next(line for line in blocks[3].splitlines() if line.startswith("LeakPose of inv: pose R2, linear"))
    assert line.split()[-3:] == ["0.125", "0.100", "0.150"]
    assert "0.625" in blocks[4] and blocks[4].splitlines()[-1].split() == ["floor", "0.010"]
    assert "random, same rank" in blocks[5] and "60" in blocks[5]


def test_what_was_not_measured_is_left_out():
    assert measures.terminal({"classification/top1/all": 0.9, "tracking/probe/drift_deg": 3.0}) == ""
    only = {key: value for key, value in metrics().items() if key.startswith("dci/")}
    assert [title for title, _, _ in measures.tables(only)] == ["block DCI"]


def test_markdown_has_the_same_rows():
    text = measures.markdown(metrics())
    for title, header, lines in measures.tables(metrics()):
        assert f"**{title}**" in text and "| " + " | ".join(header) + " |" in text
        assert all("| " + " | ".join(line) + " |" in text for line in lines)


def test_what_looks_at_pictures_has_its_tables():
    metrics = {
        "lie/plane/shear_x/inv": 3.0, "lie/plane/shear_x/inv/relative": 0.25, "lie/plane/shear_x/all/relative": 0.5,
        "lie/rendered/relative/equi": 0.75, "correlation/equivariance@rotation/backbone.stem": 0.9,
        "correlation/equivariance@rotation/backbone.stem/null": 0.1, "correlation/invariance@rotation/backbone.stem": 0.4,
        "lie/block/rotation/backbone.stem/relative": 0.05, "position/position_linear/none": 0.95,
        "position/position_linear/rasa": 0.02, "position/position_linear/rasa/random": 0.93, "position/kept/rasa": 48.0,
        "position/change/rasa": 0.125, "position/class_linear/rasa": 0.8,
    }  # fmt: skip
    found = {title: lines for title, _, lines in measures.tables(metrics)}
    assert found["Lie derivative over the variance (0: invariant)"] == [
        ["shear x", "0.250", "-", "0.500"], ["out of the plane, rendered", "-", "0.750", "-"]
    ]  # fmt: skip
    assert found["do feature maps move with the image?"] == [["backbone.stem, rotation", "0.900", "0.400", "0.050"]]
    assert found["the position of a patch erased from its token"] == [
        ["none", "0.950", "-", "-", "-"], ["rasa", "0.020", "0.800", "0.125", "48"],
        ["  random, same rank", "0.930", "-", "-", "-"],
    ]  # fmt: skip
