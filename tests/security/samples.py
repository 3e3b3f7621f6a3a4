"""Valid files of every format, and the documents from which most of them are made."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from tests.security.damage import WRONG, WRONG_ARRAYS, nested
from transm3e.data.annotations import Clip, write_clip_table
from transm3e.data.blazepose.models import ModelFile
from transm3e.data.encode import write_video
from transm3e.prepare.check.cache import MARK
from transm3e.prepare.flow.write import write_flow_npz, write_flow_video

JOINTS = 17


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


def as_yaml(document: Any) -> bytes:
    return yaml.safe_dump(document, allow_unicode=False).encode("utf-8", "surrogatepass")


def as_csv(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    for row in rows if isinstance(rows, list) else [rows]:
        csv.writer(text).writerow(row if isinstance(row, list) else [row])
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_lines(lines: Any) -> bytes:
    return "".join(f"{line}\n" for line in (lines if isinstance(lines, list) else [lines])).encode("utf-8", "replace")


# A network's file as a wheel brings it.
WHEEL_MODEL = ModelFile("a.tflite", "mediapipe/a.tflite", hashlib.sha256(b"network").hexdigest())


def wheel() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(WHEEL_MODEL.member, b"network")
    return file.getvalue()


def as_npz(arrays: Any) -> bytes:
    file = io.BytesIO()
    named = arrays if isinstance(arrays, dict) else {"one": arrays}
    np.savez_compressed(
        file, **{str(name) or "empty": _array(value) for name, value in named.items() if "/" not in str(name)}
    )
    return file.getvalue()


def as_npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, _array(array), allow_pickle=False)
    return file.getvalue()


def _array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:
        return np.array([value, None], object)[:1]


def as_torch(document: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(document, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def as_safetensors(document: Any) -> bytes:
    head = json.dumps(document).encode()
    return struct.pack("<Q", len(head)) + head + bytes(24)


def as_cache(document: Any) -> bytes:
    return (MARK + "\n" + "".join(json.dumps(line) + "\n" for line in document)).encode()


def as_log(document: Any) -> bytes:
    return "".join(f"[01/01] json_stats: {json.dumps(line)}\n" for line in document).encode()


@cache
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)


def written(suffix: str, write: Callable[[Path], Any]) -> bytes:
    """The bytes that a function writes into a file."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        file = Path(folder) / f"good{suffix}"
        write(file)
        return file.read_bytes()


def sample_video(suffix: str, codec: str = "libx264") -> bytes:
    def write(file: Path) -> None:
        write_video(file, frames(), fps=8) if codec == "libx264" else _write_with_opencv(file, codec)

    return written(suffix, write)


def _write_with_opencv(file: Path, codec: str) -> None:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*codec), 8, (48, 32))
    for image in frames():
        writer.write(image)
    writer.release()


def sample_image(suffix: str) -> bytes:
    return cv2.imencode(suffix, frames()[0])[1].tobytes()


def flow_file(suffix: str) -> bytes:
    fields = [np.full((32, 32, 2), 128, np.uint8)] * 20
    write = write_flow_npz if suffix == ".npz" else write_flow_video
    from fractions import Fraction

    mark = {"made_by": "transm3e flow", "bound": 20, "frames": 20}
    return written(suffix, lambda file: write(file, iter(fields), Fraction(8), mark))


def clip_table() -> bytes:
    clips = [Clip(f"clips/{i}.mp4", "train" if i < 3 else "new_val", "squat", (i, 4), f"s/{i}.npz") for i in range(5)]
    return written(".csv", lambda file: write_clip_table(file, clips))


def body(joints: int = JOINTS) -> np.ndarray:
    """(K, 3): x, y in pixels of 48x32, score."""
    return np.column_stack([np.linspace(1, 46, joints), np.linspace(1, 30, joints), np.full(joints, 0.5)])


def flat(joints: int = JOINTS) -> list[float]:
    return [float(value) for value in body(joints).ravel()]


PERSON = {"image_id": "0.jpg", "keypoints": flat(), "score": 2.0, "idx": 1, "box": [0, 0, 1, 1]}
INSTANCE = {"keypoints": body()[:, :2].tolist(), "keypoint_scores": [0.5] * JOINTS, "bbox": [[0, 0, 1, 1]]}
DETECTION = {"class": 0, "track_id": 3, "keypoints": {"x": flat()[::3], "y": flat()[1::3], "visible": flat()[2::3]}}
LANDMARKS = [{"x": 0.02 * n, "y": 0.03 * n, "z": -0.1, "visibility": 0.5} for n in range(33)]
YOLO = "0 0.5 0.5 1 1 " + " ".join(f"{0.05 * n:g} {0.04 * n:g} 0.5" for n in range(1, JOINTS + 1)) + " 0.9 3"
KINECT = [f"0 0 0 0 0 {600 + 20 * n} {300 + 9 * n} 0 0 0 0 2" for n in range(25)]
NTU = ["2", "0", "1", "72057594037931101 0 0 0 0 0 0 0 0 2", "25", *KINECT]
PYSKL = {
    "frame_dir": "a",
    "keypoint": np.tile(body()[:, :2], (2, 4, 1, 1)).astype(np.float16),
    "keypoint_score": np.ones((2, 4, JOINTS), np.float16),
    "img_shape": (32, 48),
    "total_frames": 4,
    "label": 3,
}
COMPACT = {"keypoint": np.tile(body(), (3, 1, 1)), "frame_inds": np.array([0, 0, 3]), "total_frames": 4}
STATE = {"a.weight": torch.arange(4.0).reshape(2, 2), "b": torch.ones(2)}
CHECKPOINT = {
    "model_state": STATE,
    "epoch": 3,
    "cfg": "RNG_SEED: 3\n",
    "activities": {"names": ["a"], "muscles": [[0] * 20]},
}
BAD_STEP = {
    **{"what": "loss", "value": float("nan"), "epoch": 1, "step": 2, "seed": 0, "rank": 0, "accum_steps": 1},
    "batches": [
        {
            "clips": {"rgb": torch.zeros(2, 3, 1, 4, 4, dtype=torch.uint8)},
            **{"labels": torch.zeros(2, 20), "rows": torch.arange(2), "views": torch.arange(2)},
            **{"paths": ["a.mp4", "b.mp4"], "samples": 1},
            "mix": {"lam": 0.5, "box": {"top": 0, "left": 0, "height": 2, "width": 1}, "label_smoothing": 0.1},
        }
    ],
}
SPLIT = {"mAP": 0.5, "num_clips": 2, "per_muscle": {"chest": 0.5}, "positives": {"chest": 1}, "failed_clips": []}
DRAWS = {"number": 200, "std": 0.1, "low": 0.3, "high": 0.7, "predictions": 0.6}
RESULTS = {
    "run": {"id": "a", "name": "b", "model": "MViT", "dataset": "c", "target": "muscles"},
    "splits": {"known_val": SPLIT, "new_val": SPLIT | {"draws": DRAWS}},
    "mean_val": 0.5,
    "mean_test": None,
}
PREDICTIONS = {
    "scores": np.zeros((2, 20), np.float32),
    "labels": np.zeros((2, 20), np.uint8),
    "clips": np.array(["a", "b"]),
    "split": np.array("new_val"),
    "columns": np.array([str(i) for i in range(20)]),
}
FACTS = {"fault": "", "frames": 9, "seconds": 1.0, "width": 5, "height": 4, "rate": 9.0, "variable": False}
FACTS |= {
    "codec": "h264",
    "rotation": 0,
    "mirrored": False,
    "pixel_aspect": 1.0,
    "hdr": False,
    "size": 5,
    "content": "ab",
    "fingerprint": "",
}
CONFIG = {
    "MODEL": {"MODEL_NAME": "MViT", "NUM_CLASSES": 20},
    "MVIT": {"DEPTH": 2, "DIM_MUL": [[1, 2.0]], "HEAD_MUL": [[1, 2.0]], "POOL_Q_STRIDE": [[0, 1, 1, 1], [1, 1, 2, 2]]},
    "DATA": {"MEAN": [0.4, 0.4, 0.4], "MODALITY": "rgb"},
    "TEST": {"SPLITS": ["known_val"], "ENABLE": True},
    "SOLVER": {"BASE_LR": 1e-4, "BETAS": [0.9, 0.9]},
    "TRAIN": {"CHECKPOINT_ALLOW": []},
    "AUG": {"AA_TYPE": "rand-m7-n4-mstd0.5-inc1"},
    "_BASE_": [],
}
TABLE = {
    "title": "A",
    "source": "B",
    "datasets": ["MuscleSynth"],
    "opts": {"TRANSM3E.NUM_MCTS": 20},
    "rows": [
        {"label": "a", "config": "b", "opts": {"INIT.OPTS": {"K": 1}}, "paper": {"MuscleMap136": [1, 2, 3, 4, 5, 6.5]}},
        {"label": "c", "config": "d"},
    ],
}
GRID = {"title": "A", "config": "c", "grid": {"A.B": [1, 2], "INIT.OPTS": {"C.D": [1e-4, 3]}}}
ROWS = [
    ["path", "split", "activity", "muscles", "skeleton"],
    ["a.mp4", "train", "squat", "3;chest", "a.json"],
    ["b.mp4", "val", "x", "none", ""],
]
EXERCISES = [{"id": "A_b", "name": "A b", "primaryMuscles": ["chest"], "secondaryMuscles": []}]
TENSORS = {
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
}
SAFE = {"__metadata__": {"cfg": "RNG_SEED: 3\n"}, **TENSORS}
DEEP = (nested(70, list), nested(200, list), nested(200, dict))
ARRAYS = (*WRONG[:40], *WRONG_ARRAYS)
