"""The loading job of the benchmark, and the loaders that do it: ours, and plain pipelines of well-known parts.

A plain pipeline is a decoder, torchvision.transforms.v2 on whole frames, and torch's DataLoader, in its best plain form:
- the same frames of the same files as ours: 16 with a stride of 4 from the same random starts, two views of an open file;
- one core: one thread for torch and for the decoder;
- all pixels stay uint8 from the decoder to the batch, as in ours; the variant "+float" normalises floats in the loader, as
  users often do;
- RandAugment of four operations on the whole frames, then a crop of 8 to 100 % of the frame, antialiased, to 224x224,
  flip, colour jitter 0.4, one box erased in a quarter of the clips (black: the cheapest), all of them once per clip.
  torchvision's RandAugment always does all four; "+half" does each half of the time, as the paper's recipe;
- "+crop-first" moves the crop before RandAugment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2

from transm3e.benchmark.loader.files import Film
from transm3e.benchmark.loader.stopwatch import AUGMENT, COLLATE, CROP, DECODE, NORMALISE, OPEN, Frames
from transm3e.data.annotations import Clip, table_from_clips
from transm3e.data.backends import open_source
from transm3e.data.dataset import ClipDataset
from transm3e.data.decode import Video
from transm3e.data.draws import ClipShape, TrainDraw
from transm3e.data.loader import ClipLoader
from transm3e.data.randaugment import parse_policy
from transm3e.data.sampling import clip_rng, epoch_order
from transm3e.data.transforms import Augmentation, apply_to_clip, apply_to_frame
from transm3e.data.types import BatchBuilder
from transm3e.errors import UserError
from transm3e.registry import Registry

OURS = "transm3e"
# The paper's: 16 frames, stride 4, 224x224 (section 4).
SHAPE = ClipShape(16, 4, 224)
AUGMENTATION = Augmentation(color_jitter=0.4, erase_prob=0.25, rand_augment=parse_policy("rand-m7-n4-mstd0.5-inc1"))
# Videos per batch, and clips of each video per epoch, at different times; batches are full for any number of files.
BATCH_SIZE, PASSES = 2, 2
VARIANTS = ("half", "float", "crop-first")
MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
JITTER, ERASE_PROB, NUM_OPS, OP_PROB = 0.4, 0.25, 4, 0.5
MAGNITUDE, MAGNITUDES = 7, 11  # 7 of 0 to 10


@dataclass(frozen=True)
class LoadingJob:
    """What is loaded.

    Attributes:
        films: the videos; row r of an epoch is a time span of film r % len(films).
        views: augmented clips per video.
        shape, augmentation: of the clips.
        seed: of the drawn frames, the same for every loader.
    """

    films: tuple[Film, ...]
    views: int = 2
    shape: ClipShape = SHAPE
    augmentation: Augmentation = AUGMENTATION
    seed: int = 0

    @property
    def rows(self) -> list[Film]:
        """The videos of an epoch; their number is a multiple of BATCH_SIZE."""
        return list(self.films) * PASSES

    @property
    def clips(self) -> int:
        """Clips of an epoch."""
        return len(self.rows) * self.views

    def draws(self, epoch: int, row: int) -> Iterator[tuple[np.ndarray, np.random.Generator]]:
        """For each view the frame numbers, (T,) int64, and the generator that drew them."""
        for view in range(self.views):
            rng = clip_rng(self.seed, epoch, row, view)
            draw = TrainDraw(rng, self.shape, self.augmentation)
            yield draw.frames(self.rows[row].num_frames), rng


class EpochLoader(Protocol):
    """Batches of one epoch after the other."""

    def epoch(self, epoch: int) -> Iterable[Any]:
        """The batches; `rows` has a number for each clip, `failed` are those that could not be read."""

    def close(self) -> None:
        """End its processes."""


class Ours:
    """The loader that training uses, with its defaults.

    Attributes:
        calls, reads: what a Stopwatch watches.
    """

    name = OURS
    calls: ClassVar[dict[Callable, str]] = {
        **{open_source: OPEN, apply_to_frame: CROP, apply_to_clip: AUGMENT},
        **{BatchBuilder.add: COLLATE, BatchBuilder.build: COLLATE},
    }

    def __init__(self, job: LoadingJob) -> None:
        root = os.path.commonpath([film.path.absolute().parent for film in job.films])
        table = table_from_clips([Clip(os.path.relpath(film.path, root), "train", "", ()) for film in job.rows])
        self.reads: dict[Callable[..., Frames], int] = {Video.read: job.shape.stride}
        self.dataset = ClipDataset(
            table, root, job.shape, augmentation=job.augmentation, samples=job.views, seed=job.seed
        )

    def loader(self, workers: int) -> EpochLoader:
        """The loader with `workers` processes; 0 = in this process."""
        return ClipLoader(self.dataset, BATCH_SIZE, num_workers=workers)

    def seek_seconds(self, epoch: int) -> float:
        """Seconds of seeking that a Stopwatch cannot separate from decoding: none, as frames come one by one."""
        return 0.0


class Plain(Dataset):
    """A plain pipeline: item (epoch, row) -> {"clips": (views, 3, T, H, W), "rows": (views,)}. See Ours.

    Args:
        job: what to load.
        name: as for check_plain.
    """

    reads: ClassVar[dict[Callable[..., Frames], int]] = {}

    def __init__(self, job: LoadingJob, name: str) -> None:
        decoder, *variants = name.split("+")
        self.job, self.name, self.rows, self.variants = job, name, job.rows, variants
        self.reader = READERS[decoder]
        self.operations = v2.RandAugment(NUM_OPS, MAGNITUDE, MAGNITUDES)
        if "half" in variants:
            once = v2.RandomApply([v2.RandAugment(1, MAGNITUDE, MAGNITUDES)], OP_PROB)
            self.operations = v2.Compose([once] * NUM_OPS)
        self.cropping = v2.Compose(
            [v2.RandomResizedCrop(job.shape.size, scale=(0.08, 1.0), antialias=True), v2.RandomHorizontalFlip()]
        )
        self.colours = v2.Compose([v2.ColorJitter(JITTER, JITTER, JITTER), v2.RandomErasing(ERASE_PROB)])
        self.to_float = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        draws = list(self.job.draws(*key))
        reader = self.open(key[1])
        clips = self.frames(reader, [indices for indices, _ in draws])
        reader.close()
        views = [self.view(clip, int(rng.integers(2**63))) for clip, (_, rng) in zip(clips, draws, strict=True)]
        return {"clips": torch.stack(views).transpose(1, 2), "rows": torch.full((len(views),), key[1])}

    def view(self, clip: Tensor, seed: int) -> Tensor:
        """(T, 3, H, W) uint8 -> the augmented clip (T, 3, S, S)."""
        torch.manual_seed(seed)
        if "crop-first" in self.variants:
            clip = self.augment(self.operations, self.crop(clip))
        else:
            clip = self.crop(self.augment(self.operations, clip))
        clip = self.augment(self.colours, clip)
        return self.normalise(clip) if "float" in self.variants else clip

    # The stages, as a Stopwatch watches them.

    def open(self, row: int) -> Reader:
        return self.reader(self.rows[row])

    def frames(self, reader: Reader, windows: Sequence[np.ndarray]) -> list[Tensor]:
        return reader.frames(windows)

    def crop(self, clip: Tensor) -> Tensor:
        return self.cropping(clip)

    def augment(self, transform: v2.Transform, clip: Tensor) -> Tensor:
        return transform(clip)

    def normalise(self, clip: Tensor) -> Tensor:
        return self.to_float(clip)

    @property
    def calls(self) -> dict[Callable, str]:
        """See Ours."""
        one = Plain
        stages: dict[Callable, str] = {one.open: OPEN, one.frames: DECODE, one.crop: CROP, one.augment: AUGMENT}
        return {**stages, one.normalise: NORMALISE, collate: COLLATE}

    def loader(self, workers: int) -> EpochLoader:
        """See Ours."""
        return _PlainLoader(self, workers)

    def seek_seconds(self, epoch: int) -> float:
        """See Ours: decoding the first frame of each clip only."""
        total = 0.0
        for row in range(len(self)):
            reader = self.open(row)
            firsts = [indices[:1] for indices, _ in self.job.draws(epoch, row)]
            begin = time.perf_counter()
            reader.frames(firsts)
            total += time.perf_counter() - begin
            reader.close()
        return total


def collate(items: list[dict[str, Tensor]]) -> SimpleNamespace:
    """torch's default_collate, then videos and views become one dimension: clips (B, 3, T, H, W), rows (B,)."""
    batch = default_collate(items)
    return SimpleNamespace(clips=batch["clips"].flatten(0, 1), rows=batch["rows"].flatten(), failed=())


class _PlainLoader:
    """torch's DataLoader with persistent workers, and rows in the same order as in our loader's epochs."""

    def __init__(self, dataset: Plain, workers: int) -> None:
        self._size, self._seed, self._epoch = len(dataset), dataset.job.seed, 0
        self._loader = DataLoader(
            dataset, batch_sampler=self, collate_fn=collate, num_workers=workers, persistent_workers=workers > 0
        )

    def __len__(self) -> int:
        return self._size // BATCH_SIZE

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self._seed, self._epoch, self._size).tolist()
        for begin in range(0, self._size, BATCH_SIZE):
            yield [(self._epoch, row) for row in order[begin : begin + BATCH_SIZE]]

    def epoch(self, epoch: int) -> Iterable[SimpleNamespace]:
        self._epoch = epoch
        return self._loader

    def close(self) -> None:
        """End its processes: torch does so when the last reference is gone."""
        del self._loader


class Reader(Protocol):
    """An open video file, decoded by another library as its documentation recommends."""

    module: ClassVar[str]

    def __init__(self, film: Film) -> None: ...

    def frames(self, windows: Sequence[np.ndarray]) -> list[Tensor]:
        """For each window, (T,) evenly spaced rising frame numbers, the frames, (T, 3, H, W) uint8 RGB.

        They are contiguous: torchvision takes up to 1.5 times as long for clips in the decoders' own layout.
        """

    def close(self) -> None:
        """Close the file."""


READERS: Registry[type[Reader]] = Registry("--against")


def check_plain(name: str) -> None:
    """Check that a pipeline exists and its decoder is installed; name: DECODER[+VARIANT ...].

    Raises:
        UserError: unknown decoder or variant, or a decoder that cannot be imported.
    """
    decoder, *variants = name.split("+")
    try:
        import_module(READERS[decoder].module)
    except (ImportError, RuntimeError, OSError) as error:  # torchcodec without FFmpeg raises a RuntimeError
        reason = str(error).splitlines()[0]
        raise UserError(f"--against {decoder} cannot be imported ({reason}); install it, or leave it out") from error
    unknown = [form for form in variants if form not in VARIANTS]
    if unknown:
        raise UserError(f"--against {name}: unknown variant {unknown[0]!r}; allowed after +: {', '.join(VARIANTS)}")


@READERS.register("pytorchvideo")
class EncodedVideoReader:
    """pytorchvideo's EncodedVideo (PyAV): get_clip() decodes a span, of which evenly spaced frames are kept.

    It reads the whole file into memory, decodes all frames of the span to RGB and returns floats; the kept frames are
    converted back to uint8, which some operations of torchvision's RandAugment need.
    """

    module: ClassVar[str] = "pytorchvideo.data.encoded_video"

    def __init__(self, film: Film) -> None:
        self._film = film
        self._video = import_module(self.module).EncodedVideo.from_path(str(film.path), decode_audio=False)

    def frames(self, windows: Sequence[np.ndarray]) -> list[Tensor]:
        return [self._window(window) for window in windows]

    def close(self) -> None:
        self._video.close()

    def _window(self, window: np.ndarray) -> Tensor:
        # Half a frame around the span, so that rounded time stamps neither lose nor add a frame.
        halves = 2 * self._film.rate
        begin, end = (int(2 * window[0]) - 1) / halves, (int(2 * window[-1]) + 1) / halves
        clip = self._video.get_clip(max(begin, Fraction(0)), end)["video"]
        if clip is None:
            raise UserError(f"{self._film.path}: pytorchvideo cannot decode it; remove it, or use --against none")
        kept = torch.linspace(0, clip.shape[1] - 1, len(window)).long()
        return clip[:, kept].to(torch.uint8).transpose(0, 1).contiguous()


@READERS.register("torchcodec")
class TorchcodecReader:
    """torchcodec's VideoDecoder with its defaults, on one thread; both views in one call."""

    module: ClassVar[str] = "torchcodec.decoders"

    def __init__(self, film: Film) -> None:
        self._decoder = import_module(self.module).VideoDecoder(str(film.path), num_ffmpeg_threads=1)

    def frames(self, windows: Sequence[np.ndarray]) -> list[Tensor]:
        frames = self._decoder.get_frames_at(indices=np.concatenate(windows).tolist()).data
        return list(frames.contiguous().split([len(window) for window in windows]))

    def close(self) -> None:
        """The decoder closes with its last reference."""
        self._decoder = None
