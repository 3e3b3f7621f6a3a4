"""UCF101's and HMDB51's class folders, and folders of MuscleMap136, to clip tables."""

import csv
import importlib.util
import os
from pathlib import Path

import pytest

from transm3e.data.annotations import MUSCLES, read_clip_table

DATASETS = Path(__file__).resolve().parents[3] / "datasets"


def script(name):
    spec = importlib.util.spec_from_file_location(name, DATASETS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


UCF, HMDB, MAP = (script(f"prepare_{name}") for name in ("ucf90", "hmdb41", "musclemap136"))


def touch(root, *paths, content=b"x"):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def ucf_class(name, groups=8, clips=2, folder=None):
    return [f"{folder or name}/v_{name}_g{g:02}_c{c:02}.avi" for g in range(1, groups + 1) for c in range(1, clips + 1)]


def run(main, videos, out, *options):
    return main(["--videos", str(videos), "--out", str(out), *map(str, options)])


def fails(main, videos, out, *options, capsys):
    with pytest.raises(SystemExit) as end:
        run(main, videos, out, *options)
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


def skipped(out):
    with (out / "skipped.csv").open(encoding="utf-8", newline="") as lines:
        return {row["path"]: row["reason"] for row in csv.DictReader(lines)}


@pytest.fixture
def ucf(tmp_path):
    """Two known classes, one under another spelling of its folder, and two new ones."""
    files = [*ucf_class("PullUps"), *ucf_class("HandStandPushups", folder="handstand_pushups")]
    return touch(tmp_path / "UCF-101", *files, *ucf_class("Bowling"), *ucf_class("Shotput", groups=6))


def test_draft_labels_make_a_table_that_reads_back_and_keeps_groups_together(ucf, tmp_path, capsys):
    out = tmp_path / "out"
    before = sorted(ucf.rglob("*"))
    assert run(UCF, ucf, out, "--draft-labels") == 0
    table = read_clip_table(out)
    assert len(table) == 60
    assert all((out / path).is_file() for path in table.paths)
    assert sorted(ucf.rglob("*")) == before
    assert {str(a) for a in table.activities} == {"PullUps", "HandstandPushups", "Bowling", "Shotput"}
    pull_ups = table.labels[table.activities == "PullUps"]
    assert [MUSCLES[i] for i in pull_ups[0].nonzero()[0]] == ["biceps", "upper_back", "latissimus"]
    groups = {}
    for path, split in zip(table.paths, table.splits, strict=True):
        groups.setdefault(path.rsplit("_c", 1)[0], set()).add(str(split))
    assert all(len(splits) == 1 for splits in groups.values())
    for activity, clips in (("Bowling", 8), ("Shotput", 6)):
        found = table.splits[table.activities == activity].tolist()
        assert sorted(found) == ["new_test"] * clips + ["new_val"] * clips
    screen = capsys.readouterr().out
    assert "NOT the authors' labels" in screen
    assert screen == (out / "preparation.md").read_text(encoding="utf-8")
    for fact in ("| new_val | 14 | 1192 | -1178 | 2 |", "2384", "11530", "Shotput 12 of 144", "| sum | 60 | 10553 |"):
        assert fact in screen


def test_the_same_call_keeps_the_table_and_another_one_does_not_replace_it(ucf, tmp_path, capsys):
    out = tmp_path / "out"
    run(UCF, ucf, out, "--draft-labels")
    table = out / "clips.csv"
    # What another tool added to the table stays.
    table.write_text(table.read_text(encoding="utf-8").replace(",\n", ",s.npz\n"), encoding="utf-8")
    with_skeletons = table.read_bytes()
    run(UCF, ucf, out, "--draft-labels")
    assert table.read_bytes() == with_skeletons
    capsys.readouterr()
    report = (out / "preparation.md").read_bytes()
    assert "--overwrite" in fails(UCF, ucf, out, "--draft-labels", "--seed", 1, capsys=capsys)
    assert (table.read_bytes(), (out / "preparation.md").read_bytes()) == (with_skeletons, report)
    run(UCF, ucf, out, "--draft-labels", "--seed", 1, "--overwrite")
    assert table.read_bytes() != with_skeletons


def test_clips_can_be_drawn_one_by_one(ucf, tmp_path):
    run(UCF, ucf, tmp_path / "out", "--draft-labels", "--split-by", "clip")
    table = read_clip_table(tmp_path / "out")
    new = {path.rsplit("_c", 1)[0] for path in table.select("new_val").paths}
    assert new & {path.rsplit("_c", 1)[0] for path in table.select("new_test").paths}


def test_files_that_are_no_videos_of_a_class_are_named(ucf, tmp_path):
    touch(ucf, "PullUps/notes.txt", "PullUp/v_PullUps_g01_c01.avi", "Bowling/more/v_Bowling_g01_c01.mp4", "loose.avi")
    touch(ucf, "PullUps/.DS_Store", "PullUps/v_PullUps_g09_c01.avi", content=b"")
    touch(ucf, "Typing/one.avi", "Typing/two.avi", "ApplyLipstick/v_ApplyLipstick_g01_c01.avi")
    out = tmp_path / "out"
    run(UCF, ucf, out, "--draft-labels")
    reasons = skipped(out)
    assert reasons.pop("ApplyLipstick/v_ApplyLipstick_g01_c01.avi").startswith("ApplyLipstick is excluded")
    assert reasons == {
        "PullUps/notes.txt": "not a video (.txt)",
        "PullUps/v_PullUps_g09_c01.avi": "empty file",
        "PullUp/v_PullUps_g01_c01.avi": "folder 'PullUp' is no activity of UCF101 (did you mean PullUps?)",
        "loose.avi": "it is in no class folder",
        "Bowling/more/v_Bowling_g01_c01.mp4": "a second copy: its class has another file of that name",
    }
    assert len(read_clip_table(out)) == 62
    assert "2 file names do not identify their source video" in (out / "preparation.md").read_text(encoding="utf-8")


def test_own_labels_take_the_place_of_the_draft(ucf, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    labels.write_text("activity,muscles\npull ups,3;biceps;5\nShot Put,none\n", encoding="utf-8")
    run(UCF, ucf, tmp_path / "out", "--labels", labels)
    table = read_clip_table(tmp_path / "out")
    assert {a: tuple(r.nonzero()[0]) for a, r in zip(table.activities.tolist(), table.labels, strict=True)} == {
        "PullUps": (3, 5),
        "Shotput": (),
    }
    assert "DRAFT" not in capsys.readouterr().out
    reasons = skipped(tmp_path / "out")
    assert reasons["Bowling/v_Bowling_g01_c01.avi"] == "Bowling has no labels"


def test_bad_labels_are_one_line(ucf, tmp_path, capsys):
    for text, says in [
        ("activity,muscles\nPullUpz,biceps\n", "did you mean PullUps?"),
        ("activity,muscles\nPullUps,biceps\npull_ups,chest\n", "occurs twice"),
        ("# remark\nactivity,muscles\n\nPullUps,wings\n", "labels.csv:4: unknown muscle 'wings'"),
        ("activity,muscles\nPullUps,\n", "labels.csv:2: unknown muscle ''"),
        ("name,muscles\nPullUps,biceps\n", "column(s) activity missing"),
        ("activity,muscles\n", "no activity has labels"),
        ("activity,muscles,included\nPullUps,biceps,maybe\n", "write yes or no"),
        ("activity,muscles\nKnitting,wrists\n", "none of 60 videos has labels"),
    ]:
        labels = tmp_path / "labels.csv"
        labels.write_text(text, encoding="utf-8")
        assert says in fails(UCF, ucf, tmp_path / "out", "--labels", labels, capsys=capsys)
        assert not (tmp_path / "out").exists()


def test_without_labels_both_ways_are_named(ucf, tmp_path, capsys):
    message = fails(UCF, ucf, tmp_path / "out", capsys=capsys)
    assert "--labels" in message
    assert "--draft-labels" in message
    assert "--lists" in fails(MAP, ucf, tmp_path / "out", capsys=capsys)
    assert "--strip has no effect" in fails(
        UCF, ucf, tmp_path / "out", "--draft-labels", "--strip", "/x", capsys=capsys
    )
    assert "--seed has no effect" in fails(UCF, ucf, tmp_path / "out", "--lists", ucf, "--seed", 1, capsys=capsys)
    assert "not a folder" in fails(UCF, tmp_path / "no", tmp_path / "out", "--draft-labels", capsys=capsys)


def test_archives_that_are_not_unpacked_are_named(tmp_path, capsys):
    videos = touch(tmp_path / "HMDB51", "brush_hair.rar", "cartwheel.rar")
    message = fails(HMDB, videos, tmp_path / "out", "--draft-labels", capsys=capsys)
    assert "brush_hair.rar, cartwheel.rar" in message
    assert "unrar x" in message
    touch(videos, "cartwheel/cartwheel/A_cartwheel_f_cm_np1_fr_med_0.avi")
    message = fails(HMDB, videos, tmp_path / "out", "--draft-labels", capsys=capsys)
    assert "cartwheel.rar" not in message
    touch(videos, "brush_hair/B_brush_hair_h_cm_np1_fr_med_0.avi")
    assert run(HMDB, videos, tmp_path / "out", "--draft-labels") == 0
    empty = touch(tmp_path / "empty", "a/b.txt")
    assert "a/b.txt: not a video" in fails(HMDB, empty, tmp_path / "out", "--draft-labels", capsys=capsys)


def test_hmdb51_clips_of_one_film_stay_together(tmp_path):
    names = [f"Film_{film}_#1_(x)_{{}}_f_cm_np{clip}_fr_med_{clip}.avi" for film in range(20) for clip in range(3)]
    videos = touch(
        tmp_path / "HMDB51", *(f"{c}/{n.format(c)}" for c in ("sword", "sword_exercise", "turn") for n in names)
    )
    run(HMDB, videos, tmp_path / "out", "--draft-labels")
    table = read_clip_table(tmp_path / "out")
    rows = zip(table.activities.tolist(), table.paths.tolist(), table.splits.tolist(), strict=True)
    splits = {(activity, path.split("_#")[0], split) for activity, path, split in rows}
    assert len(splits) == 60
    assert {split for _, _, split in splits} == {"train", "known_val", "known_test", "new_val", "new_test"}


def test_videos_below_out_need_no_link_and_a_foreign_folder_is_left_alone(tmp_path, capsys):
    out = tmp_path / "out"
    touch(out / "UCF-101", *ucf_class("PullUps"))
    run(UCF, out / "UCF-101", out, "--draft-labels")
    assert read_clip_table(out).paths[0] == "UCF-101/PullUps/v_PullUps_g01_c01.avi"
    assert not (out / "videos").exists()
    touch(tmp_path / "other", "videos/mine.txt")
    message = fails(UCF, out / "UCF-101", tmp_path / "other", "--draft-labels", capsys=capsys)
    assert "exists and is not a link" in message
    assert os.listdir(tmp_path / "other") == ["videos"]


def test_where_no_link_can_be_made_the_prefix_is_named(ucf, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    run(UCF, ucf, tmp_path / "out", "--draft-labels")
    assert f"DATA.PATH_PREFIX {ucf.resolve()}" in capsys.readouterr().out
    assert all((ucf / path).is_file() for path in read_clip_table(tmp_path / "out").paths)


def test_musclemap136_tree_has_the_papers_new_activities(tmp_path, capsys):
    files = [f"{name}/{n}.mp4" for name in ("V-Ups", "Front_Kicks", "Squats", "crunch") for n in range(12)]
    videos = touch(tmp_path / "videos", *files, "crunch/part2/0.mp4")
    labels = tmp_path / "labels.csv"
    labels.write_text("activity,muscles\nv-ups,9;10\nfront kicks,13\nsquats,quadriceps\ncrunch,9\n", encoding="utf-8")
    run(MAP, videos, tmp_path / "out", "--labels", labels)
    table = read_clip_table(tmp_path / "out")
    assert len(table) == 49
    assert {str(a) for a in table.select("new_val").activities} == {"v-ups", "front kicks"}
    assert {str(a) for a in table.select("train").activities} == {"squats", "crunch"}
    assert "No clips of 18 new activities" in capsys.readouterr().out
    own = tmp_path / "new.csv"
    own.write_text("activity\nSquats\n", encoding="utf-8")
    run(MAP, videos, tmp_path / "own", "--labels", labels, "--new-activities", own)
    assert {str(a) for a in read_clip_table(tmp_path / "own").select("new_test").activities} == {"squats"}
