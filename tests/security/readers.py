"""The table of all readers of untrusted files: a new reader is one more entry."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.security.damage import WRONG
from tests.security.samples import (
    ARRAYS,
    BAD_STEP,
    CHECKPOINT,
    COMPACT,
    CONFIG,
    DEEP,
    DETECTION,
    EXERCISES,
    FACTS,
    GRID,
    INSTANCE,
    LANDMARKS,
    NTU,
    PERSON,
    PREDICTIONS,
    PYSKL,
    RESULTS,
    ROWS,
    SAFE,
    STATE,
    TABLE,
    YOLO,
    as_cache,
    as_csv,
    as_json,
    as_lines,
    as_log,
    as_npy,
    as_npz,
    as_safetensors,
    as_torch,
    as_yaml,
    clip_table,
    flat,
    flow_file,
    sample_image,
    sample_video,
    wheel,
)
from tests.security.uses import (
    use_activities,
    use_bad_step,
    use_cache,
    use_checkpoint,
    use_flow,
    use_in_folder,
    use_list,
    use_listed_run,
    use_owner,
    use_results,
    use_skeleton,
    use_video,
    use_wheel,
)
from transm3e.config import load_cfg
from transm3e.data.annotations import read_clip_table
from transm3e.data.csv_tables import read_rows
from transm3e.data.decode import DecodeError
from transm3e.data.images import read_image
from transm3e.data.video_files import is_video
from transm3e.errors import UserError
from transm3e.prepare.benchmarks.authors import read_lists
from transm3e.prepare.benchmarks.list_files import read_classes
from transm3e.prepare.check.cache import key
from transm3e.prepare.free_exercise.families import read_families
from transm3e.prepare.free_exercise.landmarks import FIELDS, read_poses
from transm3e.prepare.free_exercise.source import read_exercises
from transm3e.report.scores import read_predictions
from transm3e.runs import lock as folder_lock
from transm3e.runs.lock import Owner
from transm3e.tables.cluster.slurm import read_submissions
from transm3e.tables.progress import last_stats
from transm3e.tables.read import read_table
from transm3e.unpickle import read_pickle


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: shown in test ids.
        suffix: of its files; or the whole name if that is fixed.
        good: bytes of a valid file.
        read: path -> content, which it also uses once, so that wrong values show up.
        document: content of `good` as Python values; None if the format is not made of such.
        dump: document -> bytes.
        wrong: values that tests put into the document.
        errors: what reading may raise.
    """

    name: str
    suffix: str
    good: Callable[[], bytes]
    read: Callable[[Path], Any]
    document: Any = field(default=None, repr=False)
    dump: Callable[[Any], bytes] = field(default=lambda document: json.dumps(document).encode())
    wrong: tuple[Any, ...] = field(default=WRONG, repr=False)
    errors: tuple[type[Exception], ...] = (UserError,)


def of_document(name: str, suffix: str, document: Any, dump: Callable[[Any], bytes], read: Any, **more: Any) -> Reader:
    """A reader whose files are dumped from a document."""
    return Reader(name, suffix, lambda: dump(document), read, document, dump, **more)


OF_VIDEOS: dict[str, Any] = {"errors": (DecodeError,)}

READERS = [
    of_document("config", ".yaml", CONFIG, as_yaml, load_cfg),
    of_document("table", ".yaml", TABLE, as_yaml, read_table),
    of_document("grid", ".yaml", GRID, as_yaml, read_table),
    Reader("clip table", ".csv", clip_table, lambda path: read_clip_table(path).select("train")),
    of_document("clip table by cell", ".csv", ROWS, as_csv, read_clip_table),
    of_document("rows", ".csv", ROWS, as_csv, partial(read_rows, columns=("path",))),
    of_document(
        "AlphaPose",
        ".json",
        [PERSON, {**PERSON, "image_id": "1.jpg"}],
        as_json,
        use_skeleton,
        wrong=(*WRONG, *DEEP),
        **OF_VIDEOS,
    ),
    of_document(
        "AlphaPose cmu", ".json", {"0.jpg": {"bodies": [{"joints": flat(18)}]}}, as_json, use_skeleton, **OF_VIDEOS
    ),
    *(
        of_document(name, ".json", document, as_json, use_skeleton, wrong=(*WRONG, *DEEP), **OF_VIDEOS)
        for name, document in (
            ("MMPose", {"meta_info": {}, "instance_info": [{"frame_id": 1, "instances": [INSTANCE]}]}),
            ("Ultralytics", [[DETECTION], []]),
            ("MediaPipe", [{"frame": 0, "landmarks": LANDMARKS}, {"frame": 3, "landmarks": []}]),
            ("MediaPipe tasks", [{"pose_landmarks": [LANDMARKS]}, None]),
        )
    ),
    of_document(
        "OpenPose",
        "a_000_keypoints.json",
        {"people": [{"pose_keypoints_2d": flat(25)}]},
        as_json,
        partial(use_in_folder, use_skeleton),
        **OF_VIDEOS,
    ),
    of_document(
        "Ultralytics txt", "a_1.txt", [YOLO, YOLO], as_lines, partial(use_in_folder, use_skeleton), **OF_VIDEOS
    ),
    of_document("NTU skeleton", ".skeleton", NTU, as_lines, use_skeleton, **OF_VIDEOS),
    Reader("landmarks npy", ".npy", lambda: as_npy(np.full((2, 33, 4), 0.5)), use_skeleton, **OF_VIDEOS),
    of_document("PYSKL compact", ".pkl", COMPACT, pickle.dumps, use_skeleton, wrong=ARRAYS, **OF_VIDEOS),
    of_document("PYSKL", ".pkl", {"annotations": [PYSKL]}, pickle.dumps, use_skeleton, wrong=ARRAYS, **OF_VIDEOS),
    of_document(
        "PYSKL of many",
        ".pkl",
        [PYSKL, {**PYSKL, "frame_dir": "b"}],
        partial(pickle.dumps, protocol=2),
        partial(use_skeleton, member="::b"),
        wrong=ARRAYS,
        **OF_VIDEOS,
    ),
    of_document(
        "skeleton npz",
        ".npz",
        {k: v for k, v in PYSKL.items() if k != "frame_dir"},
        as_npz,
        use_skeleton,
        wrong=ARRAYS,
        **OF_VIDEOS,
    ),
    of_document(
        "pickle",
        ".pkl",
        {"a": [1, (2,), {3}, "x", b"y", 1.5], "b": np.arange(3.0)},
        pickle.dumps,
        read_pickle,
        wrong=ARRAYS,
    ),
    of_document(
        "pickle, protocol 0",
        ".pkl",
        {"a": [1, "x", b"y", 1.5], "b": np.arange(3.0)},
        partial(pickle.dumps, protocol=0),
        read_pickle,
        wrong=ARRAYS,
    ),
    of_document(
        "authors' lists",
        "train_labels.pkl",
        [[1, 2], [3]],
        pickle.dumps,
        partial(use_in_folder, read_lists),
        wrong=ARRAYS,
    ),
    Reader("flow video", ".mp4", lambda: flow_file(".mp4"), use_flow, **OF_VIDEOS),
    Reader("flow npz", ".npz", lambda: flow_file(".npz"), use_flow, **OF_VIDEOS),
    of_document(
        "flow npz by array",
        ".npz",
        {"mark": '{"bound": 20}', "num_frames": 2, "flow_00000": np.zeros((2, 4, 4, 2), np.uint8)},
        as_npz,
        use_flow,
        wrong=(*ARRAYS, '{"bound": 1e400}', '{"bound": ' + "9" * 400 + "}", 10**18),
        **OF_VIDEOS,
    ),
    of_document(
        "checkpoint",
        ".pyth",
        CHECKPOINT,
        as_torch,
        use_checkpoint,
        wrong=(*ARRAYS, torch.ones(1), torch.ones(1).expand(10**6, 10**6), torch.ones(2).to_sparse()),
    ),
    of_document(
        "checkpoint of a training script",
        ".pth",
        {"state_dict": STATE, "args": argparse.Namespace(a=1), "epoch": np.int64(3), "b": np.arange(2.0), "c": {1}},
        as_torch,
        use_checkpoint,
        wrong=(*ARRAYS, argparse.Namespace(a=ARRAYS[0])),
    ),
    of_document("batch of a bad step", ".pt", BAD_STEP, as_torch, use_bad_step, wrong=(*ARRAYS, torch.ones(3))),
    of_document("old checkpoint", ".pth", CHECKPOINT, partial(as_torch, zipped=False), use_checkpoint, wrong=ARRAYS),
    of_document("safetensors", ".safetensors", SAFE, as_safetensors, use_checkpoint),
    of_document(
        "Caffe2 checkpoint",
        ".pkl",
        {"blobs": {"a": np.ones((2, 2), "f4"), "lr": 0.1}},
        partial(pickle.dumps, protocol=2),
        use_checkpoint,
        wrong=ARRAYS,
    ),
    of_document("results.json", ".json", RESULTS, as_json, use_results, wrong=(*WRONG, *DEEP)),
    of_document(
        "run.json", "run.json", {"name": "a", "id": "b", "table": "c"}, as_json, use_owner, wrong=(*WRONG, *DEEP)
    ),
    of_document(
        "config of a listed run",
        "config.yaml",
        {"TRAIN": {"DATASET": "Mine"}, "SOLVER": {"MAX_EPOCH": 3}},
        as_yaml,
        use_listed_run,
    ),
    of_document("predictions", ".npz", PREDICTIONS, as_npz, read_predictions, wrong=ARRAYS),
    of_document(
        "cache of checks",
        ".jsonl",
        [{"key": key("video", "a.mp4", Path("a.mp4"), "none", 0), "value": FACTS}, {"key": "k", "value": ""}],
        as_cache,
        use_cache,
        wrong=(*WRONG, *DEEP),
    ),
    of_document(
        "log",
        ".log",
        [{"_type": "train_epoch", "epoch": "1/2", "loss": 0.5}],
        as_log,
        last_stats,
        wrong=(*WRONG, *DEEP),
    ),
    of_document(
        "submissions",
        ".json",
        {"a": {"mark": "transm3e-1", "task": 0, "logs": "b"}},
        as_json,
        read_submissions,
        wrong=(*WRONG, *DEEP),
    ),
    of_document(
        "owner of a folder",
        ".lock.owner",
        vars(Owner("process 1 on n", "0", "p", 1, "2", "t")),
        as_json,
        folder_lock._read,
        wrong=(*WRONG, *DEEP),
    ),
    of_document("activities.txt", "activities.txt", ["squat", "jump"], as_lines, use_activities),
    of_document("list", "train.txt", ["a/b.mp4 0 7", "c d.mp4 1"], as_lines, use_list),
    of_document("list without labels", "testlist01.txt", ["a/b.avi", "c/d.avi"], as_lines, use_list),
    of_document("HMDB51 list", "a_test_split1.txt", ["b.avi 1 ", "c.avi 2 "], as_lines, use_list),
    of_document(
        "Kinetics list",
        "train.csv",
        [["label", "youtube_id", "time_start", "time_end", "split"], ["a", "b", "1", "2", "train"]],
        as_csv,
        use_list,
    ),
    of_document("Kinetics classes", ".json", {"a": 0, '"b c"': 1}, as_json, read_classes, wrong=(*WRONG, *DEEP)),
    of_document("UCF101 classes", "classInd.txt", ["1 a", "2 b c"], as_lines, read_classes),
    of_document(
        "families",
        ".csv",
        [["id", "family", "proposed_split"], ["A", "f", "known"]],
        as_csv,
        lambda path: read_families(path, []),
    ),
    of_document(
        "exercises",
        "exercises.json",
        EXERCISES,
        as_json,
        partial(use_in_folder, lambda folder: read_exercises(folder, {"chest": (1,)}, "all")),
        wrong=(*WRONG, *DEEP),
    ),
    of_document(
        "landmarks of photos",
        ".npz",
        {
            name: np.full((1, *shape), "a") if kind == "U" else np.ones((1, *shape), {"i": "i2", "f": "f2"}[kind])
            for name, (kind, shape) in FIELDS.items()
        },
        as_npz,
        read_poses,
        wrong=ARRAYS,
    ),
    Reader("wheel", ".whl", wheel, use_wheel),
    Reader("video mp4", ".mp4", lambda: sample_video(".mp4"), use_video, **OF_VIDEOS),
    Reader("video mkv", ".mkv", lambda: sample_video(".mkv"), use_video, **OF_VIDEOS),
    Reader("video avi", ".avi", lambda: sample_video(".avi", "XVID"), use_video, **OF_VIDEOS),
    Reader("what may be a video", ".dat", lambda: sample_video(".mp4"), is_video, errors=()),
    *(
        Reader(f"image {kind}", kind, partial(sample_image, kind), read_image, **OF_VIDEOS)
        for kind in (".jpg", ".png", ".bmp", ".webp")
    ),
]
