"""Published lists and class folders to a clip table."""

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from transm3e.data.activities import find_activities
from transm3e.data.annotations import MUSCLES, read_clip_table

DATASETS = Path(__file__).resolve().parents[3] / "datasets"
NAMES = ["air drumming", "squat", "yoga, slow"]


def script(name):
    spec = importlib.util.spec_from_file_location(name, DATASETS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


MAIN = script("prepare_lists")


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


def listed(folder, **lists):
    folder.mkdir(exist_ok=True)
    for name, lines in lists.items():
        (folder / f"{name}.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def run(out, *options):
    assert MAIN([*map(str, options), "--out", str(out)]) == 0
    with (out / "clips.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["path", "split", "activity"]
    return rows[1:], (out / "activities.txt").read_text(encoding="utf-8").splitlines()


def fails(capsys, out, *options):
    with pytest.raises(SystemExit) as end:
        MAIN([*map(str, options), "--out", str(out)])
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert not (out / "clips.csv").exists()
    return message


@pytest.fixture
def videos(tmp_path):
    return touch(tmp_path / "videos", "a/one.mp4", "a/with blank, comma.mp4", "b/two.mp4", "b/three.mp4", "c/four.avi")


@pytest.mark.parametrize(("separator", "classes"), [(" ", "json"), (",", "txt"), (" ", "")])
def test_lists_become_a_table_in_the_order_of_the_lists(videos, tmp_path, separator, classes, capsys):
    options = []
    if classes:
        file = tmp_path / f"names.{classes}"
        # As Kinetics' own file: quoted names, in any order.
        numbers = {f'"{name}"': number for number, name in reversed(list(enumerate(NAMES)))}
        file.write_text(json.dumps(numbers) if classes == "json" else "\n".join([*NAMES, ""]), encoding="utf-8")
        options = ["--classes", file]
    absolute = videos / "b" / "two.mp4"
    lists = listed(
        tmp_path / "lists",
        train=[f"a/with blank, comma.mp4{separator}2", f"{absolute}{separator}0", ""],
        val=[f"./c//four.avi{separator}1", f"a/one.mp4{separator}1"],
        # As PySlowFast users have it: the test list is the validation list.
        test=[f"a/one.mp4{separator}1", f"b/three.mp4{separator}2"],
    )
    out = tmp_path / "out"
    rows, names = run(out, "--videos", videos, "--lists", lists, *options)
    assert names == (NAMES if classes else ["0", "1", "2"])
    wanted = [("a/with blank, comma.mp4", "train", 2), ("b/two.mp4", "train", 0), ("c/four.avi", "known_val", 1)]
    wanted += [("a/one.mp4", "known_val", 1), ("b/three.mp4", "known_test", 2)]
    assert rows == [[f"videos/{path}", split, names[label]] for path, split, label in wanted]
    assert all((out / path).is_file() for path, *_ in rows)
    report = capsys.readouterr().out
    assert "Videos of known_test that known_val lists too: 1; each is written once, as known_val" in report
    assert 'MODEL.NUM_CLASSES 3 TEST.SPLITS "[known_test, known_val]"' in report
    # The same again is kept, something else is refused and replaced only on demand.
    same = (out / "clips.csv").read_bytes()
    run(out, "--videos", videos, "--lists", lists, *options)
    assert (out / "clips.csv").read_bytes() == same
    listed(lists, val=[f"a/one.mp4{separator}1"])
    with pytest.raises(SystemExit):
        MAIN(["--videos", str(videos), "--lists", str(lists), "--out", str(out)])
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "clips.csv").read_bytes() == same
    assert len(run(out, "--videos", videos, "--lists", lists, "--overwrite")[0]) == 4


def test_class_folders_by_name_or_in_the_order_of_the_classes_file(tmp_path):
    videos = touch(
        tmp_path / "k", "train/squat/b.mp4", "train/squat/a.mp4", "train/air_drumming/x.webm", "val/squat/c.mp4"
    )
    touch(videos, "val/squat/notes.txt")
    rows, names = run(tmp_path / "by_name", "--videos", videos)
    assert names == ["air_drumming", "squat"]
    assert rows == [
        ["videos/train/air_drumming/x.webm", "train", "air_drumming"],
        ["videos/train/squat/a.mp4", "train", "squat"],
        ["videos/train/squat/b.mp4", "train", "squat"],
        ["videos/val/squat/c.mp4", "known_val", "squat"],
    ]
    assert "val/squat/notes.txt,not a video" in (tmp_path / "by_name" / "skipped.csv").read_text(encoding="utf-8")
    file = tmp_path / "names.txt"
    file.write_text("squat\nyoga\nAir drumming\n", encoding="utf-8")
    rows, names = run(tmp_path / "named", "--videos", videos, "--classes", file)
    assert names == ["squat", "yoga", "Air drumming"]
    assert [row[2] for row in rows] == ["Air drumming", "squat", "squat", "squat"]
    # What training reads of it: all classes in the file's order, and nothing of muscles.
    table = read_clip_table(tmp_path / "named")
    activities = find_activities(table, tmp_path / "named" / "clips.csv")
    assert activities.labels(table.activities).tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert activities.muscles is None


def test_listed_videos_that_are_not_there_are_named_or_left_out_on_demand(videos, tmp_path, capsys):
    lists = listed(tmp_path / "lists", train=["/far/a/one.mp4 0", "/far/gone.mp4 1"], val=["/far/c/four.avi 0"])
    given = ("--videos", videos, "--lists", lists, "--strip", "/far/")
    assert "1 of 3 listed videos are not in" in (message := fails(capsys, tmp_path / "out", *given))
    assert "gone.mp4" in message
    rows, names = run(tmp_path / "out", *given, "--allow-missing")
    assert ([row[0] for row in rows], names) == (["videos/a/one.mp4", "videos/c/four.avi"], ["0", "1"])
    assert "gone.mp4,no such file" in (tmp_path / "out" / "skipped.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("lists", "classes", "said"),
    [
        (
            {"train": ["a/one.mp4 0", "b/two.mp4 -1"]},
            "",
            "train.csv:2: 'b/two.mp4 -1' is followed by no numbers; the file was",
        ),
        ({"train": ["a/one.mp4 0", "b/two.mp4 2"]}, "x\ny", "train.csv:2: label 2 has no class; there are 2, 0..1"),
        (
            {"train": ["a/one.mp4 1"]},
            "x\ny\nz",
            "labels are 1 to 1, so they may start at 0 or at 1; use --first-label",
        ),
        (
            {"train": ["a/one.mp4 0", "b/two.mp4 0"]},
            "a\nb",
            "train.csv:2: label 0 of a video in b, which is number 1 (from 0)",
        ),
        ({"train": ["a/one.mp4 0"], "val": ["a/one.mp4 0"]}, "", "val.csv:1: a/one.mp4 is also in"),
        ({"val": ["a/one.mp4 0"], "test": ["a/one.mp4 1"]}, "", "two classes"),
        ({"train": []}, "", "an empty list"),
        ({"train": ["a/one.mp4 0", "b/two.mp4 99999999"]}, "", "train.csv:2: label 99999999 is above 100000"),
        ({}, "", "holds no .csv or .txt file"),
        ({"one": ["a/one.mp4 0"]}, "", "one.csv: its name says none of train, val, test; write SPLIT=one.csv"),
        ({"train": ["nowhere.mp4 0"]}, "", "none of 1 listed videos exists"),
        ({"train": ["x"]}, "", "'x' is in no folder"),
        (
            {"train": ["a/one.mp4 0 1"]},
            "",
            "train.csv:1: 2 numbers after 'a/one.mp4', and its paths are videos; tell their meaning with --line",
        ),
        ({"train": ["a/one.mp4 0 1", "b/two.mp4 1"]}, "", "has one activity; use --muscles if the numbers are muscles"),
        ({"train": ["a/one.mp4 0 1 0 1"]}, "", "train.csv:1: a label occurs twice"),
        (
            {"train_split1": ["a/one.mp4 0"], "train_split_2": ["a/one.mp4 0"]},
            "",
            "--fold is not given: by their names the lists are of these folds: 1, 2",
        ),
        ({"train": ["youtube_id,label", "x,y"]}, "", "train.csv: column(s) time_start, time_end missing"),
        ({"train": ["a/one.mp4 0"]}, "x\nx", "class 'x' occurs twice"),
        ({"train": ["a/one.mp4 0"]}, "{}", "no class"),
        ({"train": ["a/one.mp4 0"]}, '{"x": 0, "y": 2}', "must be a JSON object"),
        ({"train": ["a/one.mp4 0"]}, "{", "cannot be read"),
    ],
)
def test_mistakes_are_reported_in_one_line(videos, tmp_path, lists, classes, said, capsys):
    folder = listed(tmp_path / "lists", **lists)
    options = ["--videos", videos, "--lists", folder]
    if classes:
        file = tmp_path / ("names.json" if classes.startswith("{") else "names.txt")
        file.write_text(classes, encoding="utf-8")
        options += ["--classes", file]
    assert said in fails(capsys, tmp_path / "out", *options)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a/one.mp4"], "holds none of train/, val/, test/"),
        (["train/one.mp4"], "is in no class folder"),
        (["train/a/notes.txt"], "no video in train"),
    ],
)
def test_folders_of_another_form_are_refused(tmp_path, files, said, capsys):
    idle = fails(capsys, tmp_path / "out", "--videos", tmp_path, "--allow-missing")
    assert "without --lists only --classes" in idle
    assert said in fails(capsys, tmp_path / "out", "--videos", touch(tmp_path / "k", *files))


TREE = {
    "ucf": (
        "Archery/v_Archery_g08_c01.avi",
        "BasketballDunk/v_BasketballDunk_g01_c01.avi",
        "Archery/v_Archery_g01_c02.avi",
    ),
    "hmdb": ("kick/#1_kick_u_nm_np1_ba_goo_0.avi", "kick/b_kick_0.avi", "wave/x_wave_1.avi", "wave/y_wave_2.avi"),
    "k400": ("train/air_drumming/-Ab_000004_000014.mp4", "train/squat/0_z_000010_000020.mp4", "val/squat/x9.webm"),
    "frames": ("100/img_1.jpg", "200/img_1.jpg", "300/img_1.jpg"),
    "multi": ("squats/a b.mp4", "squats/c.mp4", "rest/d, 2.mp4"),
}
# How each is published: files and their lines, options, the table's rows without videos/, and what the report must say.
PUBLISHED = {
    "UCF101": (
        "ucf",
        {
            "classInd.txt": "1 Archery\r\n2 BasketballDunk\r\n",
            "trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\r\nBasketballDunk/v_BasketballDunk_g01_c01.avi 2\r\n",
            "testlist01.txt": "Archery/v_Archery_g01_c02.avi\r\n",
            "trainlist02.txt": "Archery/v_Archery_g01_c02.avi 1\r\n",
        },
        ("--fold", "1"),
        [(0, "train", "Archery"), (1, "train", "BasketballDunk"), (2, "known_test", "Archery")],
        (
            "classInd.txt: the names of the classes",
            "Labels start at 1, as the folders are named",
            "UCF101's testlist",
        ),
    ),
    "MMAction2's lists of UCF101 count from 0, suffixes are absent, the path is another machine's": (
        "ucf",
        {
            "ucf101_train_split_1_videos.txt": "data/ucf101/videos/Archery/v_Archery_g08_c01 0\n",
            "ucf101_val_split_1_videos.txt": "C:\\BasketballDunk\\v_BasketballDunk_g01_c01.avi 1\n",
            "classInd.txt": "1 Archery\n2 BasketballDunk\n",
        },
        (),
        [(1, "known_val", "BasketballDunk"), (0, "train", "Archery")],
        ("Labels start at 0, as the folders are named", "`path label`"),
    ),
    "HMDB51": (
        "hmdb",
        {
            "kick_test_split1.txt": "#1_kick_u_nm_np1_ba_goo_0.avi 1 \nb_kick_0.avi 2 \n",
            "wave_test_split1.txt": "x_wave_1.avi 0 \ny_wave_2.avi 1 \n",
            "wave_test_split2.txt": "x_wave_1.avi 2 \ny_wave_2.avi 1 \n",
        },
        ("--fold", "1"),
        [(0, "train", "kick"), (1, "known_test", "kick"), (3, "train", "wave")],
        ("HMDB51's split files", "classes"),
    ),
    "Kinetics": (
        "k400",
        {
            "train.csv": 'label,youtube_id,time_start,time_end,split,is_cc\n"air drumming",-Ab,4,14,train,0\n'
            "squat,0_z,10,20,train,0\n",
            "validate.csv": "label,youtube_id,time_start,time_end,split,is_cc\nsquat,x9,0,10,validate,0\n",
        },
        (),
        [(0, "train", "air drumming"), (1, "train", "squat"), (2, "known_val", "squat")],
        ("Kinetics' official CSV", "2 classes"),
    ),
    "MMAction2's folders of images": (
        "frames",
        {"sthv1_train_list_rawframes.txt": "100 42 0\n200 24 1\n", "sthv1_val_list_rawframes.txt": "300 7 1\n"},
        (),
        [("100", "train", "0"), ("200", "train", "1"), ("300", "known_val", "1")],
        ("`folder frames label`", "2 numbers in each line, and the paths are folders"),
    ),
    "MMAction2's multi-class list": (
        "multi",
        {"train.txt": "squats/a b.mp4 12 13 17\nsquats/c.mp4 13\n", "val.txt": "rest/d, 2.mp4 0\n"},
        ("--muscles",),
        [
            (0, "train", "squats", "hamstring;quadriceps;gluteus"),
            (1, "train", "squats", "quadriceps"),
            (2, "known_val", "rest", "neck_and_head"),
        ],
        ("several labels per video (1 to 3 numbers in a line, and the paths are videos)",),
    ),
    "PySlowFast's several labels, counted from 1, with two in each line": (
        "multi",
        {"train.csv": "squats/a b.mp4 14,18\nsquats/c.mp4 14,1\n", "test.csv": "rest/d, 2.mp4 2,3\n"},
        ("--muscles", "--first-label", "1"),
        [
            (0, "train", "squats", "quadriceps;gluteus"),
            (1, "train", "squats", "neck_and_head;quadriceps"),
            (2, "known_test", "rest", "chest;shoulder"),
        ],
        ("numbers joined by commas", "Labels start at 1, as --first-label says"),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_list_as_it_is_published_becomes_a_table(name, tmp_path, capsys):
    tree, files, options, rows, says = PUBLISHED[name]
    videos, lists = touch(tmp_path / "v", *TREE[tree]), tmp_path / "lists"
    lists.mkdir()
    for file, text in files.items():
        (lists / file).write_bytes(text.encode())
    assert MAIN(["--videos", str(videos), "--lists", str(lists), "--out", str(tmp_path / "out"), *options]) == 0
    table = read_clip_table(tmp_path / "out")
    muscles = [";".join(MUSCLES[m] for m in np.flatnonzero(label)) for label in table.labels]
    found = list(
        zip(table.paths, table.splits, table.activities, *([muscles] if table.labels.size else []), strict=True)
    )
    wanted = [(TREE[tree][n] if isinstance(n, int) else n, *rest) for n, *rest in rows]
    assert sorted(found) == sorted((f"videos/{path}", *rest) for path, *rest in wanted)
    report = capsys.readouterr().out
    assert all(part in report for part in says), report


def test_what_a_list_leaves_open_is_asked_for_and_then_believed(tmp_path, capsys):
    videos = touch(tmp_path / "v", "clip 12/img_1.jpg", "clip 7/img_1.jpg")
    lists = listed(tmp_path / "lists", train=["clip 12 1"], val=["clip 7 2"])
    asked = fails(capsys, tmp_path / "out", "--videos", videos, "--lists", lists)
    assert (
        "train.csv:1: 2 numbers after 'clip', and none of its paths is in --videos; tell their meaning with --line"
        in asked
    )
    lists = listed(tmp_path / "more", train=["clip 12 30 1", "clip 7 31 2"])
    given = ("--videos", videos, "--lists", lists, "--line", "frames")
    assert "labels are 1 to 2, so they may start at 0 or at 1" in fails(capsys, tmp_path / "out", *given)
    rows, names = run(tmp_path / "out", *given, "--first-label", "1")
    assert rows == [["videos/clip 12", "train", "1"], ["videos/clip 7", "train", "2"]]
    assert names == ["1", "2"]


def test_a_video_may_have_several_activities(videos, tmp_path, capsys):
    lists = listed(tmp_path / "lists", train=["a/one.mp4 0,2", "b/two.mp4 1"], val=["c/four.avi 2,1,0"])
    given = ("--videos", videos, "--lists", lists, "--line", "labels")
    assert "use --muscles if the numbers are muscles" in fails(capsys, tmp_path / "out", *given)
    rows, names = run(tmp_path / "out", *given, "--multi-label")
    assert rows == [
        ["videos/a/one.mp4", "train", "0;2"],
        ["videos/b/two.mp4", "train", "1"],
        ["videos/c/four.avi", "known_val", "2;1;0"],
    ]
    assert names == ["0", "1", "2"]
    assert "DATA.MULTI_LABEL True MODEL.LOSS_FUNC bce_logit" in capsys.readouterr().out


def test_activities_get_their_muscles_from_a_table_and_those_without_are_left_out(videos, tmp_path, capsys):
    lists = listed(tmp_path / "lists", train=["a/one.mp4,0", "b/two.mp4,1"], val=["c/four.avi,0"])
    for name, text in (
        ("names.txt", "air drumming\nsquat\n"),
        ("labels.csv", "activity,muscles\nSquat,quadriceps;17\n"),
    ):
        (tmp_path / name).write_text(text)
    options = ["--lists", f"train={lists / 'train.csv'}", f"test={lists / 'val.csv'}"]
    options += ["--classes", tmp_path / "names.txt", "--labels", tmp_path / "labels.csv"]
    MAIN(list(map(str, ["--videos", videos, "--out", tmp_path / "out", *options])))
    assert [row[:4] for row in csv.reader((tmp_path / "out" / "clips.csv").open())][1:] == [
        ["videos/b/two.mp4", "train", "squat", "quadriceps;gluteus"]
    ]
    assert "a/one.mp4,activity air drumming has no labels" in (tmp_path / "out" / "skipped.csv").read_text()
