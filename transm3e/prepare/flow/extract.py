"""Extract the flow of every clip of a table in several processes; files that are up to date are kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from transm3e.data.annotations import read_clip_table, table_file
from transm3e.data.clip_names import table_with_column, target_names
from transm3e.data.flow.coding import DEFAULT_BOUND, flow_frames
from transm3e.data.flow.files import MADE_BY, open_flow, read_flow_mark
from transm3e.errors import UserError
from transm3e.files import atomic_write_text
from transm3e.prepare.flow.estimate import DisFlow, RaftFlow
from transm3e.prepare.flow.write import write_flow_npz, write_flow_video
from transm3e.prepare.jobs import ALL, FAILED, FileJob, Outcome, Shard, is_up_to_date, make_files
from transm3e.prepare.resize_stream import Scaler, frame_stream

METHODS = ("dis", "raft")
WRITERS = {"video": write_flow_video, "npz": write_flow_npz}
SUFFIXES = {"video": ".mp4", "npz": ".npz"}
FOLDER = "flow"


@dataclass(frozen=True)
class FlowSettings:
    """How flow is made.

    Attributes:
        method: "dis" or "raft".
        preset: of DIS, "fast" or "medium".
        bound: in pixels of the stored frame; larger motion is clipped.
        short_side: of the frames that are compared and stored, pixels, even; they are never enlarged.
        format: "video" or "npz".
        weights: file for RAFT, "" for DIS.
        timeout: seconds one clip may take.

    Raises:
        UserError: a value that is not allowed.
    """

    method: str = "dis"
    preset: str = "medium"
    bound: float = DEFAULT_BOUND
    short_side: int = 256
    format: str = "video"
    weights: str = ""
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        Scaler(self.short_side)
        for name, allowed in (("method", METHODS), ("format", tuple(WRITERS))):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} {getattr(self, name)!r}: allowed are {', '.join(allowed)}")
        if self.bound <= 0 or self.timeout <= 0:
            raise UserError(f"bound {self.bound:g}, timeout {self.timeout:g}: both must be above 0")
        if (self.method == "raft") != bool(self.weights):
            raise UserError("--weights FILE is needed for method raft, and for no other")

    @property
    def mark(self) -> dict[str, Any]:
        """How a flow file was made, as recorded in it; RAFT's weights by their file name."""
        settings = {name: value for name, value in asdict(self).items() if name not in ("timeout", "weights", "preset")}
        return {"made_by": MADE_BY, **settings, "model": Path(self.weights).name or self.preset}


def build_estimator(settings: FlowSettings) -> DisFlow | RaftFlow:
    """The estimator of a clip's flow: RAFT is built once per process; DIS, which keeps state, once per clip."""
    return DisFlow(settings.preset) if settings.method == "dis" else _raft(settings.weights)


@lru_cache(maxsize=1)
def _raft(weights: str) -> RaftFlow:
    return RaftFlow(weights)


def extract_file(source: Path, target: Path, settings: FlowSettings) -> bool:
    """Write the flow of one clip unless the file is up to date; returns whether it did.

    Raises:
        DecodeError: the clip cannot be read, or `target` is a file that this function did not make.
        UserError: `target` cannot be written, or RAFT's weights are wrong.
    """
    if is_up_to_date(target, source, settings.mark, read_flow_mark(target), _count):
        return False
    estimate, scaler = build_estimator(settings), Scaler(settings.short_side)
    with frame_stream(source, settings.timeout) as stream:
        images = (scaler.array(frame, estimate.pixel_format) for frame in stream.frames)
        flow = flow_frames(images, estimate, settings.bound)
        mark = {**settings.mark, "frames": stream.num_frames}
        WRITERS[settings.format](target, flow, stream.rate, mark)
    return True


def extract_table(
    path: str | Path,
    settings: FlowSettings,
    workers: int,
    prefix: str | Path | None = None,
    update: bool = False,
    shard: Shard = ALL,
) -> list[Outcome]:
    """extract_file of every clip of a table, into the folder flow/ beside the clips; see make_files.

    Args:
        path: the clip table, or the folder of its clips.csv.
        prefix: folder that the table's paths are relative to; None = the table's folder.
        update: write the new files into the table's column `flow`; clips that failed keep their cells.
        shard: only its clips; the table is then unchanged.

    Raises:
        UserError: the table or a setting is wrong, or see make_files.
    """
    build_estimator(settings)
    table = read_clip_table(path)
    root = Path(prefix or table_file(path).parent)
    names = {p: f"{FOLDER}/{name}" for p, name in target_names(table.paths.tolist(), SUFFIXES[settings.format]).items()}
    jobs = [FileJob(clip, root / clip, root / name) for clip, name in names.items()]
    outcomes = make_files(partial(extract_file, settings=settings), jobs, workers, "flow", shard)
    if update and shard.is_all:
        there = {each.name: names[each.name] for each in outcomes if each.status != FAILED}
        atomic_write_text(table_file(path), table_with_column(path, "flow", there))
    return outcomes


def _count(path: Path) -> int:
    flow = open_flow(path)
    flow.close()
    return flow.num_frames
