"""The runner of everything that makes a file of each of many: processes, threads, shards, and SLURM."""

import errno
import os
import runpy
import shutil
import sys
import time

import numpy as np
import pytest

from tests.tables.fake_slurm import install, shut_down, submitted
from transm3e.data.encode import write_video
from transm3e.data.skeleton.pyskl import write_npz
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.errors import UserError
from transm3e.prepare.jobs import FileJob, NoResult, Shard, make_files, parse_shard, run_each
from transm3e.prepare.resize import link_or_copy
from transm3e.tables.cluster.shards import submit_shards


def misbehave(item):
    if item == "hang":
        time.sleep(600)
    if item == "crash":
        os._exit(11)
    if item == "kill":
        os.kill(os.getpid(), 9)
    if item == "raise":
        raise IndexError("tuple index out of range\nsecond line")
    if item == "full":
        raise UserError("disk full")
    return item.upper()


def test_files_that_hang_crash_or_raise_cost_only_themselves():
    items = ["a", "hang", "b", "crash", "raise", "c", "kill", "d"]
    results = dict(run_each(misbehave, items, 2, "items", timeout=2.0))
    assert sorted(results) == list(range(8))
    assert [results[i] for i in (0, 2, 5, 7)] == ["A", "B", "C", "D"]
    assert results[1] == NoResult("took longer than 2 s; raise --timeout, or re-encode it")
    assert results[3] == NoResult("the decoder crashed on it; re-encode it")
    assert results[4] == NoResult("cannot be used: IndexError: tuple index out of range")
    assert "out of host memory" in results[6].reason


@pytest.mark.parametrize("way", [{}, {"threads": True}, {"timeout": 60.0}])
def test_a_users_mistake_ends_the_work_at_once(way):
    begun = []

    def work(item):
        begun.append(item)
        return misbehave(item)

    with pytest.raises(UserError, match="disk full"):
        list(run_each(misbehave if "timeout" in way else work, ["full", *"abc" * 1000], 1, "items", **way))
    assert len(begun) < 3000
    with pytest.raises(UserError, match="workers 0: at least 1"):
        list(run_each(misbehave, ["a"], 0, "items", **way))


def test_two_processes_make_files_and_a_full_disk_ends_the_work(tmp_path):
    jobs = [FileJob(name, tmp_path / name, tmp_path / "out" / name) for name in "abc"]
    for name in "ac":
        (tmp_path / name).write_text(name)
    assert [each.status for each in make_files(link_or_copy, jobs, 2, "files")] == ["made", "failed", "made"]
    assert (tmp_path / "out/c").read_text() == "c"

    def convert(source, target):
        raise UserError("cannot write") from OSError(errno.ENOSPC, "full")

    with pytest.raises(UserError, match="cannot write"):
        make_files(convert, jobs, 1, "files")


def test_shards_are_disjoint_and_together_everything():
    items = list(range(10))
    shards = [Shard(number, 3).of(items) for number in range(3)]
    assert sorted(item for shard in shards for item in shard) == items
    assert parse_shard("2/3") == Shard(2, 3)
    for wrong in ("3/3", "-1/3", "1", "a/b", "0/0"):
        with pytest.raises(Exception, match="is not I/N"):
            parse_shard(wrong)


@pytest.fixture
def data(tmp_path):
    """A data set of five clips, one of them broken, twice; and a detector's files."""
    root = tmp_path / "one_call"
    root.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (5, 6, 48, 64, 3), np.uint8)
    found = tmp_path / "found"
    found.mkdir()
    for number, frames in enumerate(noise):
        write_video(root / f"{number}.mp4", frames, 20)
        joints = np.random.default_rng(number).uniform(1, 40, (6, 1, 17, 3)).astype(np.float32)
        joints[..., 2] = 1
        write_npz(found / f"{number}.npz", Skeleton(joints, "coco17"), (48, 64), "x")
    (found / "2.npz").unlink()
    (root / "3.mp4").write_bytes(b"no video")
    rows = [f"{n}.mp4,{'new_val' if n == 4 else 'train'},squat,biceps,{n}" for n in range(5)]
    (root / "clips.csv").write_text("\n".join(["path,split,activity,muscles,note", *rows, ""]))
    shutil.copytree(root, tmp_path / "in_parts")
    return tmp_path


def files_below(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize(
    ("script", "words", "merged"),
    [
        ("resize_videos", ["--out", "OUT", "--short-side", "32", "--preset", "ultrafast"], "OUT/clips.csv"),
        ("extract_flow", ["--update-table", "--short-side", "32", "--format", "npz"], "ROOT/clips.csv"),
        ("extract_skeleton", ["--from", "found", "--update-table"], "ROOT/skeletons/without_skeleton.csv"),
        ("check_dataset", ["--out", "OUT", "--decode", "all", "--report", "OUT.csv"], "OUT/report.md"),
    ],
)
def test_shards_and_a_merge_leave_what_one_call_leaves(repo, data, script, words, merged, monkeypatch):
    main = runpy.run_path(str(repo / "datasets" / f"{script}.py"))["main"]
    monkeypatch.setattr("transm3e.report.figures.save", lambda figure, path: path.write_text("drawn"))
    monkeypatch.setattr("transm3e.prepare.check.figures.save", lambda figure, path: path.write_text("drawn"))
    left = {}
    for name, shards in (("one_call", [[]]), ("in_parts", [["--shard", f"{i}/3"] for i in (2, 0, 1)] + [[]])):
        place = data / name
        given = [w.replace("OUT", f"{place}_out").replace("found", str(data / "found")) for w in words]
        file = data / merged.replace("OUT", f"{name}_out").replace("ROOT", name)
        before = file.read_bytes() if file.exists() else None
        for shard in shards:
            assert (file.read_bytes() if file.exists() else None) == before, "only the last call merges"
            status = main([str(place), *given, "--workers", "1", *shard])
        assert status == 2, "a clip is broken"
        left[name] = {str(k).replace(name, ""): v for k, v in files_below(data).items() if k.startswith(name)}
    if script == "check_dataset":  # keys hold the time of a file's last change
        left = {name: {k: v for k, v in some.items() if "jsonl" not in k or "-of-" in k} for name, some in left.items()}
        left = {name: {k: v.replace(name.encode(), b"") for k, v in some.items()} for name, some in left.items()}
    assert left["one_call"].keys() == left["in_parts"].keys()
    assert [k for k, v in left["one_call"].items() if left["in_parts"][k] != v] == []


def test_a_shard_of_a_check_has_to_keep_what_it_finds(repo, data, capsys):
    main = runpy.run_path(str(repo / "datasets" / "check_dataset.py"))["main"]
    with pytest.raises(SystemExit):
        main([str(data / "one_call"), "--shard", "0/2"])
    assert "--out or --cache" in capsys.readouterr().err


def test_slurm_runs_the_shards_and_then_the_merge(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    place = tmp_path / "slurm"
    place.mkdir()
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin")), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_STAND_IN", str(place))
    code = f"import sys; open({str(tmp_path / 'said')!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))"
    try:
        said = submit_shards(
            [sys.executable, "-Sc", code, "--workers", "3"], ["partition=cpu"], 2, tmp_path / "logs", 3
        )
        assert "array 1000 of 2 shards, then job 1001" in said
        merging = submitted(place)[1001]
        assert (merging["dependency"], merging["cpus-per-task"], merging["partition"]) == (
            "afterany:1000_0:1000_1",
            "3",
            "cpu",
        )
        end = time.monotonic() + 60
        while (place / "1001.state").read_text() not in ("COMPLETED", "FAILED") and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        shut_down(place)
    lines = (tmp_path / "said").read_text().splitlines()
    assert sorted(lines[:2]) == ["--workers 3 --shard 0/2", "--workers 3 --shard 1/2"]
    assert lines[2:] == ["--workers 3"]


def test_slurm_takes_its_own_words_away_and_refuses_a_shard(repo, data, monkeypatch, capsys):
    main = runpy.run_path(str(repo / "datasets" / "resize_videos.py"))["main"]
    given = []
    monkeypatch.setattr(main.__globals__["submit_if_asked"].__globals__["sys"], "executable", "python")
    monkeypatch.setitem(
        main.__globals__["submit_if_asked"].__globals__,
        "submit_shards",
        lambda *args: given.append(args) or "submitted",
    )
    words = [
        str(data / "one_call"),
        "--slurm",
        "time=60",
        "partition=cpu",
        "--crf",
        "30",
        "--job",
        "4",
        "--work=3",
        "--out",
        "x",
    ]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    command, slurm, jobs, _, cpus = given[0]
    assert command[2:] == [str(data / "one_call"), "--crf", "30", "--work=3", "--out", "x"]
    assert (slurm, jobs, cpus) == (["time=60", "partition=cpu"], 4, 3)
    with pytest.raises(SystemExit):
        main([*words, "--shard", "0/2"])
    assert "--slurm makes the shards itself" in capsys.readouterr().err
