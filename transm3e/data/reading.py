"""From the files of one video to clips: all modalities by the same draws, each frame cropped as soon as it is decoded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from transm3e.data.backends import PYAV, open_source
from transm3e.data.decode import DEFAULT_TIMEOUT, DecodeError, FrameSource
from transm3e.data.draws import ClipShape, Draw
from transm3e.data.flow import FlowSource, open_flow
from transm3e.data.flow import check_frames as check_flow_frames
from transm3e.data.geometry import resize, short_side
from transm3e.data.sampling import at_rate
from transm3e.data.skeleton import Skeleton, fit_video, read_skeleton
from transm3e.data.skeleton import check_frames as check_skeleton_frames
from transm3e.data.skeleton.clip import skeleton_clip
from transm3e.data.transforms import ViewParams, apply_flow, apply_to_clip, apply_to_frame
from transm3e.data.types import ClipSpec
from transm3e.errors import UserError
from transm3e.joints import COORDINATES, LAYOUTS
from transm3e.modalities import JOINTS, STORED, columns_of, how_to_make

# A video may last at most so many times its number of frames x their median distance.
LONGEST_PAUSES = 20
# The window of all frames.
WHOLE = (0.0, float("inf"))
ASSUMED_FPS = 25.0  # of folders of images, which have no time stamps
# Frames of one video after resampling: six days at 30 frames per second.
MAX_SHOWN = 1 << 24


@dataclass(frozen=True)
class Decoding:
    """How videos are read.

    Attributes:
        backend: see backends.open_source.
        timeout: seconds per file.
        target_fps: frames per second to which a video is resampled before frames are numbered; 0 = its own.
        short_size: short side in pixels to which frames are resized as they are decoded, where RGB is all that is read;
            0 = their own.
        resizing: how, a name of geometry.RESIZINGS.
    """

    backend: str = PYAV
    timeout: float = DEFAULT_TIMEOUT
    target_fps: float = 0.0
    short_size: int = 0
    resizing: str = "mipmap"


@dataclass(frozen=True)
class Persons:
    """Which part of a skeleton is read: the number of persons, the layout and the coordinates of their joints (keys of
    transm3e.joints.LAYOUTS and COORDINATES)."""

    count: int = 2
    layout: str = "coco17"
    coordinates: str = "image"


class ClipReader:
    """Reads clips of videos.

    Args:
        root: folder that the files are relative to.
        shape: of the clips.
        modalities: of STORED, at least one; only their files are read, and the video for its time stamps and frame size.
        decoding, persons: how.

    Attributes:
        in_memory: path -> frames that are there instead of a file.
    """

    def __init__(
        self, root: str | Path, shape: ClipShape, modalities: Sequence[str], decoding: Decoding, persons: Persons
    ) -> None:
        assert modalities, "no modality requested"
        assert set(modalities) <= set(STORED), f"{modalities}: only {list(STORED)} are stored"
        self.root, self.shape, self.modalities = str(root), shape, tuple(modalities)
        self.decoding, self.persons = decoding, persons
        self.in_memory: Mapping[str, FrameSource] = {}

    @property
    def specs(self) -> dict[str, ClipSpec]:
        """Modality -> ClipSpec."""
        frames, size = self.shape.length, self.shape.size
        channels = COORDINATES[self.persons.coordinates]
        joints = (channels, frames, len(LAYOUTS[self.persons.layout].names), self.persons.count)
        return {
            name: ClipSpec(joints, torch.float32, channels_last=False)
            if STORED[name].kind == JOINTS
            else ClipSpec((STORED[name].channels, frames, size, size))
            for name in self.modalities
        }

    @property
    def columns(self) -> list[str]:
        """The clip table's columns whose files are read for every clip."""
        return columns_of(self.modalities, bool(self.decoding.target_fps))

    @property
    def seconds(self) -> float:
        """Time limit of one video with all its files and augmentation; above the sum of the files' own limits, which give
        a clearer error."""
        return 1 + 1.5 * self.decoding.timeout * (len(self.modalities) + ("rgb" not in self.modalities))

    def read(
        self,
        files: Mapping[str, str],
        draws: Sequence[Draw],
        out: Mapping[str, np.ndarray],
        window: tuple[float, float] = WHOLE,
    ) -> None:
        """Read S draws from a video into `out`, in one pass over each file.

        Args:
            files: columns of the clip table -> files of the video, relative to the data root; "" = no file.
            out: modality -> (S, *ClipSpec.shape), written to.
            window: first second and end of the part of the video that is read as if it were all of it.

        Raises:
            DecodeError: a file is missing, cannot be read, or does not match the others.
        """
        with ExitStack() as stack:
            video = flow = skeleton = None
            if "skeleton" in out:
                skeleton = read_skeleton(self._path(files, "skeleton"))
            if self._needs_video(skeleton) or window != WHOLE:
                where = self._path(files, "rgb")
                video = self.in_memory.get(where) or open_source(where, self.decoding.backend, self.decoding.timeout)
                stack.enter_context(closing(video))
            if "flow" in out:
                flow = stack.enter_context(closing(open_flow(self._path(files, "flow"), self.decoding.timeout)))
            count = next(part.num_frames for part in (video, flow, skeleton) if part is not None)
            if flow is not None:
                check_flow_frames(flow.num_frames, count, flow.path)
            if skeleton is not None:
                check_skeleton_frames(skeleton, count, files["skeleton"])
            shown = within(self._shown(video, count), None if video is None else video.seconds, window)
            indices = [shown[draw.frames(len(shown))] for draw in draws]
            views = Views(draws)
            if "rgb" in out and video is not None:
                self._read_rgb(video, indices, views, out["rgb"])
            if flow is not None:
                self._read_flow(flow, indices, views, out["flow"])
            if skeleton is not None:
                try:
                    self._read_skeleton(self._in_pixels(skeleton, video, views, files), indices, views, out["skeleton"])
                except UserError as error:  # its joints cannot be converted to SKELETON.LAYOUT
                    raise DecodeError(files["skeleton"], str(error)) from error

    def _needs_video(self, skeleton: Skeleton | None) -> bool:
        """Whether the video is read: for pixels, for time stamps, or for the frame size if the skeleton lacks it."""
        if "rgb" in self.modalities or self.decoding.target_fps:
            return True
        if skeleton is None:
            return False
        return not (skeleton.height and skeleton.width)

    def _path(self, files: Mapping[str, str], source: str) -> str:
        column = STORED[source].column
        if not files.get(column):
            raise DecodeError("", f"the clip table names no {column} for this clip; make it{how_to_make(column)}")
        return os.path.join(self.root, files[column])

    def _shown(self, video: FrameSource | None, count: int) -> np.ndarray:
        """The sequence of frame numbers, resampled to DATA.TARGET_FPS if there are time stamps."""
        if video is None or not self.decoding.target_fps or video.seconds is None:
            return np.arange(count)
        seconds = video.seconds
        length, step = seconds[-1] - seconds[0], float(np.median(np.diff(seconds))) if count > 1 else 0.0
        if length > LONGEST_PAUSES * count * step or length * self.decoding.target_fps > MAX_SHOWN:
            raise DecodeError(
                video.path,
                f"its time stamps jump: {count} frames, mostly {step:.3g} s apart, last {length:.3g} s; re-encode it, or "
                "set DATA.TARGET_FPS 0",
            )
        return at_rate(seconds, self.decoding.target_fps)

    def _read_rgb(self, video: FrameSource, indices: list[np.ndarray], views: Views, out: np.ndarray) -> None:
        clips = out.transpose(0, 2, 3, 4, 1)  # (S, T, H, W, C), the layout in memory
        for number, decoded in video.read(set(np.concatenate(indices).tolist())):
            image = self._resized(decoded)
            for clip, frames, params in zip(clips, indices, views.of(*image.shape[:2]), strict=True):
                wanted = np.flatnonzero(frames == number)
                if len(wanted):
                    clip[wanted] = apply_to_frame(image, params, self.shape.size)
        for clip, params in zip(clips, views.of(*views.size), strict=True):
            clip[:] = apply_to_clip(clip, params)

    def _resized(self, image: np.ndarray) -> np.ndarray:
        """A decoded frame at DATA.DECODING_SHORT_SIZE; joints and flow belong to frames as they are stored."""
        if not self.decoding.short_size or self.modalities != ("rgb",):
            return image
        height, width = short_side(image.shape[0], image.shape[1], self.decoding.short_size)
        return image if image.shape[:2] == (height, width) else resize(image, (height, width), self.decoding.resizing)

    def _read_flow(self, flow: FlowSource, indices: list[np.ndarray], views: Views, out: np.ndarray) -> None:
        last = flow.num_frames - 1
        fields = flow.frames(np.minimum(np.concatenate(indices), last))
        height, width = fields.shape[1:3]
        for clip, part, params in zip(out, np.split(fields, len(indices)), views.of(height, width), strict=True):
            rescaled = params.rescaled(views.size, (height, width))
            clip[:] = apply_flow(part, rescaled, self.shape.size).transpose(3, 0, 1, 2)

    def _in_pixels(
        self, skeleton: Skeleton, video: FrameSource | None, views: Views, files: Mapping[str, str]
    ) -> Skeleton:
        """The skeleton in pixels of frames of a known size."""
        sized = bool(skeleton.height and skeleton.width)
        # Joints without a frame size are measured in the video's, whatever size views are drawn for: flow is stored smaller.
        size = views.size if sized or "rgb" in self.modalities else (0, 0)
        if not all(size) and not sized:
            assert video is not None, "opened because of _needs_video"
            height, width = video.frames([0]).shape[1:3]
            size = (height, width)
        return fit_video(skeleton, size, files["skeleton"]) if all(size) else skeleton

    def _read_skeleton(self, skeleton: Skeleton, indices: list[np.ndarray], views: Views, out: np.ndarray) -> None:
        size = views.size if all(views.size) else (skeleton.height or 0, skeleton.width or 0)
        for clip, frames, params in zip(out, indices, views.of(*size), strict=True):
            clip[:] = skeleton_clip(
                *(skeleton, frames, params, self.shape.size, views.size),
                *(self.persons.count, self.persons.layout, self.persons.coordinates),
            )


def clock(count: int, seconds: np.ndarray | None) -> np.ndarray:
    """(count,) float64 seconds of the frames from the first one on; at ASSUMED_FPS without time stamps."""
    return np.arange(count) / ASSUMED_FPS if seconds is None else seconds - seconds[0]


def within(shown: np.ndarray, seconds: np.ndarray | None, window: tuple[float, float]) -> np.ndarray:
    """Those of a sequence of frame numbers that are displayed in a window; the one nearest to its start if none is."""
    if window == WHOLE:
        return shown
    times = clock(int(shown[-1]) + 1 if seconds is None else len(seconds), seconds)[shown]
    inside = shown[(times >= window[0] - 1e-6) & (times < window[1] - 1e-6)]
    return inside if len(inside) else shown[[int(np.abs(times - window[0]).argmin())]]


class Views:
    """Crop and augmentation of each draw, drawn once for all modalities, for the frame size of the one read first.

    Attributes:
        size: (height, width) that they were drawn for; (0, 0) before.
    """

    def __init__(self, draws: Sequence[Draw]) -> None:
        self._draws = draws
        self._params: list[ViewParams] = []
        self.size = (0, 0)

    def of(self, height: int, width: int) -> list[ViewParams]:
        """The parameters of each draw; only the first call's size matters."""
        if not self._params:
            self.size = (height, width)
            self._params = [draw.params(height, width) for draw in self._draws]
        return self._params
