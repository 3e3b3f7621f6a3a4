import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from transm3e.data.annotations import Clip, read_clip_table, write_clip_table
from transm3e.data.encode import write_video
from transm3e.errors import UserError
from transm3e.prepare.check import check_table
from transm3e.prepare.check.companions import companion_fault
from transm3e.prepare.check.table import CheckSettings

REPOSITORY = Path(__file__).resolve().parents[2]


def noise(frames, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (frames, 48, 64, 3), np.uint8)


def skeleton(file, frames):
    points = np.random.default_rng(0).uniform(1, 47, (1, frames, 17, 2)).astype(np.float32)
    scores = np.ones((1, frames, 17), np.float32)
    np.savez(file, keypoint=points, keypoint_score=scores, img_shape=(48, 64), total_frames=frames)


def make_dataset(root, broken=False):
    write_video(root / "a.mp4", noise(70), 10)
    write_video(root / "b.mp4", noise(70, 1), 10)
    skeleton(root / "b.npz", 70)
    clips = [Clip("a.mp4", "train", "squat", (1,)), Clip("b.mp4", "new_val", "row", (2,), "b.npz")]
    if broken:
        (root / "b.mp4").write_bytes((root / "b.mp4").read_bytes()[:900])
        (root / "b.npz").unlink()
        write_video(root / "c.mp4", noise(20, 2), 10)
        (root / "copy.mp4").write_bytes((root / "a.mp4").read_bytes())
        skeleton(root / "copy.npz", 90)
        clips.append(Clip("gone.mp4", "new_test", "row", ()))
        clips.append(Clip("c.mp4", "new_test", "row", (2,), flow="a.mp4"))
        clips.append(Clip("copy.mp4", "new_test", "row", (2,), "copy.npz"))
    write_clip_table(root / "clips.csv", clips)
    return root


@pytest.fixture
def command():
    script = REPOSITORY / "datasets" / "check_dataset.py"
    spec = importlib.util.spec_from_file_location("check_dataset", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *words: module.main([*map(str, words), "--workers", "2"])


def test_problems_come_in_the_order_of_the_table_and_notes_beside_them(tmp_path):
    root = make_dataset(tmp_path, broken=True)
    checked = check_table(read_clip_table(root), CheckSettings(root, "all", 2))
    assert [(p.split, p.path) for p in checked.problems] == [
        ("new_val", "b.mp4"),
        ("new_val", "b.npz"),
        ("new_test", "gone.mp4"),
        ("new_test", "a.mp4"),
        ("new_test", "copy.npz"),
        ("new_test", "copy.mp4"),
    ]
    reasons = {p.path: p.reason for p in checked.problems}
    assert "not of optical flow" in reasons["a.mp4"]
    assert "has 90 frames, its video has 70" in reasons["copy.npz"]
    assert reasons["copy.mp4"] == "duplicate: the same bytes as a.mp4 in train"
    assert [note.path for note in checked.notes if "shorter than the 64" in note.reason] == ["c.mp4"]
    assert any("activity 'row' (clips: 4) carries 2 different sets" in note.reason for note in checked.notes)


def test_companions_that_are_missing_or_damaged_are_named(tmp_path):
    for kind in ["skeleton", "flow"]:
        (tmp_path / "broken.npz").write_bytes(b"PK broken")
        assert companion_fault(kind, tmp_path, "gone.npz", (10, 48, 64), "none") == f"{kind} file does not exist"
        assert companion_fault(kind, tmp_path, "broken.npz", (10, 48, 64), "none") == ""
        assert companion_fault(kind, tmp_path, "broken.npz", (10, 48, 64), "first").startswith(f"{kind}: ")


def test_wrong_options_are_user_errors(tmp_path):
    write_clip_table(tmp_path / "clips.csv", [Clip("a.mp4", "train", "squat", (1,))])
    for argument, message in (
        ({"decode": "some"}, "decode 'some': allowed are first, all, none"),
        ({"workers": 0}, "workers 0, timeout 120: at least 1"),
        ({"timeout": 0.0}, "workers 1, timeout 0: at least 1, and seconds above 0"),
    ):
        with pytest.raises(UserError, match=message):
            CheckSettings(tmp_path, **argument)
    with pytest.raises(UserError, match="frames 16, stride 0: both at least 1"):
        check_table(read_clip_table(tmp_path), CheckSettings(tmp_path), stride=0)


def test_a_good_data_set_has_no_problem_and_nothing_is_written(tmp_path, command, capsys):
    root = make_dataset(tmp_path)
    before = sorted(root.iterdir())
    assert command(root) == 0
    assert sorted(root.iterdir()) == before
    said = capsys.readouterr().out
    assert "note: new_val: train never shows, but clips here carry: shoulder\n" in said
    assert "\n0 problem(s), 6 note(s) in 2 clips" in said


def test_a_second_check_looks_only_at_what_changed(tmp_path, command, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    root, out = make_dataset(tmp_path / "data"), tmp_path / "report"
    assert command(root, "--decode", "all", "--out", out) == 0
    files = {"report.md", "problems.csv", "notes.csv", "files.jsonl"}
    assert files < {file.name for file in out.iterdir()}
    assert "No problem" in (out / "report.md").read_text()
    looked = []

    def run(function, items, workers, title, timeout):
        looked.extend(items)
        return ((number, function(item)) for number, item in enumerate(items))

    monkeypatch.setattr("transm3e.prepare.check.table.run_each", run)
    monkeypatch.setattr("transm3e.prepare.check.report.draw_dataset", lambda table, folder: None)
    assert command(root, "--decode", "first", "--out", out) == 0  # "all" serves as well
    assert looked == []
    (root / "b.mp4").write_bytes(b"cut")
    assert command(root, "--decode", "all", "--out", out) == 2
    assert [name for _, name, _ in looked] == ["b.mp4", "b.npz"]
    assert "cannot be decoded" in (out / "problems.csv").read_text()
    assert "new_val: b.mp4: " in capsys.readouterr().out


def test_command_line_with_a_prefix_a_report_and_mistakes(tmp_path, command, capsys):
    (tmp_path / "videos").mkdir()
    root = make_dataset(tmp_path / "videos", broken=True)
    table = (root / "clips.csv").rename(tmp_path / "clips.csv")
    report = tmp_path / "report.csv"
    for _ in range(2):  # its own report is written anew
        assert command(table, "--prefix", root, "--decode", "none", "--report", report) == 2
    with report.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert rows[-1] == {"split": "new_test", "path": "gone.mp4", "reason": "file does not exist"}
    capsys.readouterr()
    for words, message in (
        ((tmp_path / "nowhere",), "no clip table at"),
        ((table, "--report", table, "--decode", "none"), "left as it is"),
        ((table, "--out", tmp_path), "holds other files"),
    ):
        with pytest.raises(SystemExit) as ended:
            command(*words)
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_table_without_muscles_is_checked_and_its_order_of_activities(tmp_path, command, capsys):
    make_dataset(tmp_path)
    rows = list(csv.DictReader((tmp_path / "clips.csv").open()))
    lines = ["path,split,activity", *(f"{row['path']},{row['split']},{row['activity']}" for row in rows)]
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    report = tmp_path / "report"
    assert command(tmp_path, "--decode", "none", "--out", report) == 0
    assert sorted(path.name for path in report.glob("*.png")) == ["clips_per_activity.png", "splits.png"]
    assert "chest" not in capsys.readouterr().out
    text = (report / "report.md").read_text()
    assert "| activity | clips | kind |" in text
    assert "regions.png" not in text
    (tmp_path / "activities.txt").write_text("another\n")
    with pytest.raises(SystemExit) as end:
        command(tmp_path, "--decode", "none")
    assert end.value.code == 2
    assert "activities.txt lacks" in capsys.readouterr().err
