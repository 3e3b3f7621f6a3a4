import csv
import importlib.util
import time
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from transm3e.data.annotations import MUSCLES, SPLITS, Clip, read_clip_table, table_from_clips, write_clip_table
from transm3e.data.check import activity_problems, check_table, map_with_progress, summary, video_fault
from transm3e.data.encode import write_video
from transm3e.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY / ".." / "shared" / "data" / "clips"


def noise(frames=20, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (frames, 48, 64, 3), np.uint8)


def write_as(path, codec, options=None, frames=20):
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in noise(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize("decode", ["first", "all", "none"])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_good_videos_have_no_fault(tmp_path, name, decode):
    file = write_as(tmp_path / name, "mpeg4" if name.endswith("avi") else "libx264")
    assert video_fault(file, decode) == ""


@pytest.mark.parametrize("decode", ["first", "all"])
def test_cut_files_are_found_by_their_index(tmp_path, decode):
    at_end = write_as(tmp_path / "at_end.mp4", "libx264")
    at_start = write_as(tmp_path / "at_start.mp4", "libx264", {"movflags": "faststart"})
    avi = write_as(tmp_path / "a.avi", "mpeg4")
    assert "cannot be decoded" in video_fault(cut(at_end, 0.7), decode)
    assert "cut off: its index reaches byte" in video_fault(cut(at_start, 0.7), decode)
    assert "the header says 20 frames" in video_fault(cut(avi, 0.7), decode)


def test_only_decoding_all_finds_a_cut_file_without_an_index(tmp_path):
    file = cut(write_as(tmp_path / "a.mkv", "libx264"), 0.6)
    assert video_fault(file, "first") == ""
    assert "cut off: the last frame is at" in video_fault(file, "all")


def test_only_decoding_all_finds_damage_in_the_middle(tmp_path):
    file = write_as(tmp_path / "a.mp4", "libx264", frames=40)
    data = bytearray(file.read_bytes())
    for i in range(len(data) // 2, len(data) * 3 // 4, 301):
        data[i] ^= 0x55
    file.write_bytes(data)
    assert video_fault(file, "first") == ""
    assert "decoded frames are damaged" in video_fault(file, "all")


def test_what_is_no_video(tmp_path):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    assert video_fault(tmp_path / "sound.wav", "first") == "no video stream (audio only?)"
    assert "cannot be decoded" in video_fault(tmp_path / "text.mp4", "first")
    assert "cannot be decoded" in video_fault(tmp_path / "empty.mp4", "all")
    for decode in ("first", "none"):
        assert video_fault(tmp_path / "missing.mp4", decode) == "file does not exist"
        assert video_fault(tmp_path / "folder.mp4", decode) == "file does not exist"


def test_leakage_and_known_activities_that_train_lacks():
    rows = [
        ("train", "squat"),
        ("known_val", "squat"),
        ("known_val", "jump"),
        ("new_val", "Jump"),
        ("new_test", "SQUAT"),
    ]
    table = table_from_clips([Clip(f"{i}.mp4", split, activity, ()) for i, (split, activity) in enumerate(rows)])
    found = {(problem.split, problem.reason) for problem in activity_problems(table)}
    assert found == {
        ("new_val", "leakage: new activity 'jump' also occurs in known_val"),
        ("new_test", "leakage: new activity 'squat' also occurs in train, known_val"),
        ("known_val", "known activity 'jump' never occurs in train"),
    }
    fine = [("train", "squat"), ("known_test", "squat"), ("new_val", "row"), ("new_test", "row")]
    assert activity_problems(table_from_clips([Clip(f"{a}{s}", s, a, ()) for s, a in fine])) == []


def test_summary_counts_as_the_labels_do():
    rng = np.random.default_rng(0)
    clips = [
        Clip(f"{i}.mp4", str(rng.choice(SPLITS)), f"act {i % 7}", tuple(np.flatnonzero(rng.random(20) < 0.3).tolist()))
        for i in range(60)
    ]
    lines = {
        line.split()[0]: [int(n) for n in line.split()[1:]]
        for line in summary(table_from_clips(clips)).splitlines()[1:]
    }
    for column, split in enumerate(SPLITS):
        chosen = [clip for clip in clips if clip.split == split]
        assert lines["clips"][column] == len(chosen)
        assert lines["activities"][column] == len({clip.activity for clip in chosen})
        for index, name in enumerate(MUSCLES):
            assert lines[name][column] == sum(index in clip.muscles for clip in chosen)


def make_dataset(root, broken):
    write_video(root / "a.mp4", noise(4), 10)
    write_video(root / "b.mp4", noise(4, 1), 10)
    (root / "b.json").write_text("{}")
    clips = [Clip("a.mp4", "train", "squat", (1,)), Clip("b.mp4", "new_val", "row", (2,), "b.json")]
    if broken:
        cut(root / "b.mp4", 0.5)
        clips.append(Clip("gone.mp4", "new_test", "row", ()))
        (root / "b.json").unlink()
    write_clip_table(root / "clips.csv", clips)
    return root


@pytest.mark.parametrize("workers", [1, 3])
def test_problems_come_in_the_order_of_the_table(tmp_path, workers):
    root = make_dataset(tmp_path, broken=True)
    problems = check_table(read_clip_table(root), root, "first", workers)
    assert [(p.split, p.path) for p in problems] == [
        ("new_val", "b.mp4"),
        ("new_val", "b.json"),
        ("new_test", "gone.mp4"),
    ]


def test_wrong_options_are_user_errors(tmp_path):
    table = read_clip_table(make_dataset(tmp_path, broken=False))
    with pytest.raises(UserError, match="decode 'some': allowed are first, all, none"):
        check_table(table, tmp_path, "some")
    with pytest.raises(UserError, match="workers 0"):
        check_table(table, tmp_path, workers=0)


def test_the_first_exception_ends_the_work():
    begun = []

    def work(item):
        begun.append(item)
        if item == 0:
            raise UserError("disk full")
        time.sleep(0.001)
        return item

    with pytest.raises(UserError, match="disk full"):
        map_with_progress(work, range(3000), 1, "items")
    assert len(begun) < 3000
    assert map_with_progress(lambda item: item + 1, range(5), 3, "items") == [1, 2, 3, 4, 5]


@pytest.fixture
def command():
    script = REPOSITORY / "datasets" / "check_dataset.py"
    spec = importlib.util.spec_from_file_location("check_dataset", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_command_line_on_a_good_data_set_writes_nothing(tmp_path, command, capsys):
    root = make_dataset(tmp_path, broken=False)
    before = sorted(root.iterdir())
    assert command([str(root)]) == 0
    assert command([str(root / "clips.csv"), "--decode", "all"]) == 0
    assert sorted(root.iterdir()) == before
    assert "0 problem(s) in 2 clips" in capsys.readouterr().out


def test_command_line_names_problems_and_reports_them(tmp_path, command, capsys):
    root = make_dataset(tmp_path, broken=True)
    report = tmp_path / "report.csv"
    assert command([str(root), "--decode", "none", "--report", str(report)]) == 2
    assert "new_test: gone.mp4: file does not exist" in capsys.readouterr().out
    with report.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert rows[-1] == {"split": "new_test", "path": "gone.mp4", "reason": "file does not exist"}


def test_command_line_with_a_prefix_and_with_mistakes(tmp_path, command, capsys):
    (tmp_path / "videos").mkdir()
    root = make_dataset(tmp_path / "videos", broken=False)
    table = (root / "clips.csv").rename(tmp_path / "clips.csv")
    assert command([str(table), "--prefix", str(root)]) == 0
    assert command([str(table)]) == 2
    with pytest.raises(SystemExit) as ended:
        command([str(tmp_path / "nowhere")])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "no clip table at" in message
    assert message.count("\n") == 1


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/clips is absent")
@pytest.mark.parametrize("decode", ["first", "all"])
def test_real_videos_have_no_fault(decode):
    files = sorted(file for file in REAL.iterdir() if file.suffix in {".mp4", ".mkv", ".avi"})
    files = [file for file in files if decode == "first" or file.stat().st_size < 800_000]
    assert len(files) > 20
    assert {file.name: fault for file in files if (fault := video_fault(file, decode))} == {}
