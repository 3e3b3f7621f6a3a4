"""Kinetics' lists and class folders to a clip table of activities."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from transm3e.data.activities import find_activities
from transm3e.data.annotations import read_clip_table

DATASETS = Path(__file__).resolve().parents[3] / "datasets"
NAMES = ["air drumming", "squat", "yoga, slow"]


def script(name):
    spec = importlib.util.spec_from_file_location(name, DATASETS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


MAIN = script("prepare_kinetics")


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
    rows, names = run(out, "--videos", videos, "--lists", lists, "--separator", separator, *options)
    assert names == (NAMES if classes else ["0", "1", "2"])
    wanted = [("a/with blank, comma.mp4", "train", 2), ("b/two.mp4", "train", 0), ("c/four.avi", "known_val", 1)]
    wanted += [("a/one.mp4", "known_val", 1), ("b/three.mp4", "known_test", 2)]
    assert rows == [[f"videos/{path}", split, names[label]] for path, split, label in wanted]
    assert all((out / path).is_file() for path, *_ in rows)
    report = capsys.readouterr().out
    assert "Videos of test that val lists too: 1; each is written once, as known_val" in report
    assert 'MODEL.NUM_CLASSES 3 TEST.SPLITS "[known_test, known_val]"' in report
    # The same again is kept, something else is refused and replaced only on demand.
    same = (out / "clips.csv").read_bytes()
    run(out, "--videos", videos, "--lists", lists, "--separator", separator, *options)
    assert (out / "clips.csv").read_bytes() == same
    listed(lists, val=[f"a/one.mp4{separator}1"])
    with pytest.raises(SystemExit):
        MAIN(["--videos", str(videos), "--lists", str(lists), "--separator", separator, "--out", str(out)])
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "clips.csv").read_bytes() == same
    assert len(run(out, "--videos", videos, "--lists", lists, "--separator", separator, "--overwrite")[0]) == 4


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
    assert "--strip PREFIX" in fails(capsys, tmp_path / "other", *given[:4], "--allow-missing")


@pytest.mark.parametrize(
    ("lists", "classes", "said"),
    [
        ({"train": ["a/one.mp4 0", "b/two.mp4 -1"]}, "", r"train.csv:2: 'b/two.mp4 -1' is not PATH NUMBER"),
        ({"train": ["a/one.mp4,0"]}, "", "--separator"),
        (
            {"train": ["a/one.mp4 0", "b/two.mp4 2"]},
            "x\ny",
            "train.csv:2: label 2 has no class; --classes names 2, 0..1",
        ),
        ({"train": ["a/one.mp4 0"], "val": ["a/one.mp4 0"]}, "", "val.csv:1: a/one.mp4 stands in"),
        ({"val": ["a/one.mp4 0"], "test": ["a/one.mp4 1"]}, "", "two classes"),
        ({"train": ["../a/one.mp4 0"]}, "", "does not lie in --videos"),
        ({"train": []}, "", "an empty list"),
        ({}, "", "none of train.csv, val.csv, test.csv"),
        ({"train": ["nowhere.mp4 0"]}, "", "none of 1 listed videos is there"),
        ({"train": ["a/one.mp4 0"]}, "x\nx", "class 'x' stands there twice"),
        ({"train": ["a/one.mp4 0"]}, "{}", "no class"),
        ({"train": ["a/one.mp4 0"]}, '{"x": 0, "y": 2}', "must be a JSON object"),
        ({"train": ["a/one.mp4 0"]}, "{", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(videos, tmp_path, lists, classes, said, capsys):
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
        (["train/one.mp4"], "lies in no class folder"),
        (["train/a/notes.txt"], "no video in train"),
    ],
)
def test_folders_of_another_form_are_refused(tmp_path, files, said, capsys):
    idle = fails(capsys, tmp_path / "out", "--videos", tmp_path, "--allow-missing")
    assert "no effect without --lists" in idle
    assert said in fails(capsys, tmp_path / "out", "--videos", touch(tmp_path / "k", *files))
