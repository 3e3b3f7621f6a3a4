"""Activities as classes: their order, one-hot labels, their muscles, and what a dataset is labelled with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transm3e.data import build_dataset
from transm3e.data.activities import Activities, build_activities, find_activities
from transm3e.data.annotations import Clip, read_clip_table, table_from_clips
from transm3e.data.build import check_tables
from transm3e.errors import UserError

CLIPS = [
    Clip("a.mp4", "train", "squat", (13, 17)),
    Clip("b.mp4", "train", "squat", (13,)),
    Clip("c.mp4", "train", "squat", (13, 2)),
    Clip("d.mp4", "train", "curl", (3,)),
    Clip("e.mp4", "new_val", "plank", (9,)),
]


def test_classes_are_those_of_train_by_name_with_the_muscles_that_half_of_their_clips_carry(tmp_path):
    found = find_activities(table_from_clips(CLIPS), tmp_path / "clips.csv")
    assert found.names == ("curl", "squat")
    assert [np.flatnonzero(row).tolist() for row in found.muscles] == [[3], [13]]
    even = [*CLIPS, Clip("f.mp4", "train", "squat", (13, 17))]
    assert np.flatnonzero(find_activities(table_from_clips(even), tmp_path / "clips.csv").muscles[1]).tolist() == [
        13,
        17,
    ]


def test_labels_are_one_hot_and_zero_for_an_unknown_activity():
    labels = Activities(("curl", "squat")).labels(np.array(["squat", "plank", "curl"]))
    assert labels.tolist() == [[0, 1], [0, 0], [1, 0]]
    assert labels.dtype == np.uint8


def test_a_clip_may_show_several_of_any_number_of_activities(tmp_path):
    clips = [
        Clip("a.mp4", "train", "sit; read", ()),
        Clip("b.mp4", "train", "read;eat", ()),
        Clip("c.mp4", "known_val", "fly", ()),
    ]
    found = find_activities(table_from_clips(clips), tmp_path / "clips.csv", several=True)
    assert (found.names, found.muscles, found.target) == (("eat", "read", "sit"), None, "activities")
    assert found.labels(np.array(["sit;read", "fly", "eat"])).tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert Activities.from_plain(found.as_plain(), "a checkpoint") == found


def test_activities_txt_gives_the_order(tmp_path):
    table, order = table_from_clips(CLIPS), tmp_path / "activities.txt"
    order.write_text("squat\n\nnever seen\ncurl\n")
    found = find_activities(table, tmp_path / "clips.csv")
    assert found.names == ("squat", "never seen", "curl")
    assert found.muscles[1].sum() == 0
    for text, message in (
        ("squat\ncurl\nsquat\n", "squat is listed twice"),
        ("squat\n", "lacks 1 activities of train: curl"),
    ):
        order.write_text(text)
        with pytest.raises(UserError, match=message):
            find_activities(table, tmp_path / "clips.csv")
    order.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        find_activities(table, tmp_path / "clips.csv")
    order.unlink()
    with pytest.raises(UserError, match="no clips in split 'train'"):
        find_activities(table.select("new_val"), tmp_path / "clips.csv")


def test_training_clips_without_an_activity_are_named(tmp_path):
    with pytest.raises(UserError, match=r"1 of 5 training clips have no activity: x\.mp4; name it"):
        find_activities(table_from_clips([*CLIPS, Clip("x.mp4", "train", "", ())]), tmp_path / "clips.csv")


def test_activities_round_trip_through_a_checkpoint():
    for activities in (Activities(("a", "b"), np.eye(20, dtype=np.uint8)[[3, 5]]), Activities(("a",))):
        back = Activities.from_plain(activities.as_plain(), "x.pyth")
        assert back.names == activities.names
        assert np.array_equal(back.muscles, activities.muscles) or back.muscles is activities.muscles is None


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        {"names": []},
        {"names": [1]},
        {"names": ["a"], "muscles": [[1, 2]]},
        {"names": ["a"], "muscles": [[2] * 20]},
        {"names": ["a"], "muscles": "text"},
        {"names": ["a"], "muscles": [[-1] * 20]},
    ],
)
def test_malformed_activities_are_refused(plain):
    with pytest.raises(UserError, match=r"x\.pyth: "):
        Activities.from_plain(plain, "x.pyth")


def test_datasets_are_labelled_with_what_is_trained_and_what_is_scored(tiny_cfg, noise_data):
    tiny_cfg.DATA.PATH_TO_DATA_DIR, tiny_cfg.MODEL.NUM_CLASSES = str(noise_data), 3
    table = read_clip_table(noise_data)
    assert build_activities(tiny_cfg) is None
    for task, loss, train, scored in (
        ("classify", "bce_softmax", 20, 20),
        ("classify", "cross_entropy", 3, 3),
        ("har_lookup", "cross_entropy", 3, 20),
    ):
        tiny_cfg.TASK, tiny_cfg.MODEL.LOSS_FUNC = task, loss
        datasets = [build_dataset(tiny_cfg, split) for split in ("train", "known_val")]
        assert [dataset.table.labels.shape[1] for dataset in datasets] == [train, scored]
        assert datasets[0][0].label.shape == (train,)
    expected = [f"activity {i}" for i in datasets[0].table.labels.argmax(axis=1)]
    assert expected == table.select("train").activities.tolist()


def test_a_wrong_number_of_classes_names_the_right_one(tiny_cfg, noise_data):
    tiny_cfg.DATA.PATH_TO_DATA_DIR, tiny_cfg.MODEL.LOSS_FUNC = str(noise_data), "cross_entropy"
    with pytest.raises(UserError, match=r"MODEL\.NUM_CLASSES is 20, but .* has 3 activities to train on; set .* 3"):
        build_activities(tiny_cfg)


def test_missing_parts_of_a_table_are_refused_before_training(tiny_cfg, tmp_path):
    tiny_cfg.DATA.PATH_TO_DATA_DIR = str(tmp_path)
    write = Path(tmp_path / "clips.csv").write_text
    write("path,split,activity\na.mp4,train,run\nb.mp4,val,run\n")
    with pytest.raises(UserError, match=r"no column muscles; add it, or set DATA\.TARGET activity"):
        check_tables([tiny_cfg])
    tiny_cfg.MODEL.LOSS_FUNC, tiny_cfg.MODEL.NUM_CLASSES = "cross_entropy", 1
    with pytest.raises(UserError, match=r"no clips in split 'new_val'.*TEST\.SPLITS .\[known_val\]"):
        check_tables([tiny_cfg])
    tiny_cfg.TEST.SPLITS = ["known_val"]
    check_tables([tiny_cfg])
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.DATA.MODALITY = "STGCN", "skeleton"
    with pytest.raises(
        UserError, match=r"nothing in the column skeleton: a\.mp4; make it with datasets/extract_skeleton\.py"
    ):
        check_tables([tiny_cfg])
    tiny_cfg.TRAIN.ENABLE = tiny_cfg.TEST.ENABLE = False
    check_tables([tiny_cfg])
