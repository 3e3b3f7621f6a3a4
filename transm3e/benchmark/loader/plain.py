"""A plain pipeline of well-known parts: a decoder, torchvision.transforms.v2 on the whole frames, torch's DataLoader.

It is given its best plain form, and what is drawn is as in ours:
- the same frames of the same files: 16 with a stride of 4 from the same random starts, two views of an open file;
- one core: one thread for torch and for the decoder;
- all pixels stay uint8 from the decoder to the batch, as ours do; what users often add, floats normalised in the
  loader, is the form "+float";
- RandAugment of four operations on the whole frames, then a crop of 8 to 100 % of the frame, antialiased, to 224x224,
  flip, colour jitter 0.4, one box erased in a quarter of the clips (black: the cheapest), all of them once per clip.
  torchvision's RandAugment always does all four; "+half" does each half of the time, as the paper's recipe;
- "+crop-first" moves the crop before RandAugment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2

from transm3e.benchmark.loader.readers import READERS, Reader
from transm3e.benchmark.loader.stopwatch import AUGMENT, COLLATE, CROP, DECODE, NORMALISE, OPEN, Watched
from transm3e.benchmark.loader.task import BATCH_SIZE, EpochLoader, Task
from transm3e.data.sampling import epoch_order
from transm3e.errors import UserError

FORMS = ("half", "float", "crop-first")
MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
JITTER, ERASE_PROB, NUM_OPS, OP_PROB = 0.4, 0.25, 4, 0.5
# Magnitude 7 of 0 to 10.
MAGNITUDE, MAGNITUDES = 7, 11


@dataclass
class PlainBatch:
    """Clips of one step.

    Attributes:
        clips: (B, 3, T, H, W) uint8 or float32.
        rows: (B,) of the epoch.
        failed: always empty; what cannot be read is an error.
    """

    clips: Tensor
    rows: Tensor
    failed: tuple = ()

    def __len__(self) -> int:
        return len(self.clips)


def check_plain(name: str) -> None:
    """Whether there is such a pipeline, and its decoder is installed; name: DECODER[+FORM ...].

    Raises:
        UserError: unknown decoder or form, or a decoder that cannot be imported.
    """
    decoder, *forms = name.split("+")
    READERS[decoder].check()
    unknown = [form for form in forms if form not in FORMS]
    if unknown:
        raise UserError(f"--against {name}: unknown form {unknown[0]!r}; allowed after +: {', '.join(FORMS)}")


class PlainDataset(Dataset):
    """Item (epoch, row) -> {"clips": (views, 3, T, H, W), "rows": (views,)}.

    Args:
        task: the job.
        name: as for check_plain.
    """

    def __init__(self, task: Task, name: str) -> None:
        decoder, *forms = name.split("+")
        self.task, self.rows, self.reader, self.forms = task, task.rows, READERS[decoder], forms
        self.operations = _rand_augment("half" in forms)
        self.cropping = v2.Compose(
            [v2.RandomResizedCrop(task.shape.size, scale=(0.08, 1.0), antialias=True), v2.RandomHorizontalFlip()]
        )
        self.colours = v2.Compose([v2.ColorJitter(JITTER, JITTER, JITTER), v2.RandomErasing(ERASE_PROB)])
        self.to_float = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        draws = list(self.task.draws(*key))
        reader = self.open(key[1])
        clips = self.frames(reader, [indices for indices, _ in draws])
        reader.close()
        views = [self.view(clip, int(rng.integers(2**63))) for clip, (_, rng) in zip(clips, draws, strict=True)]
        return {"clips": torch.stack(views).transpose(1, 2), "rows": torch.full((len(views),), key[1])}

    def open(self, row: int) -> Reader:
        return self.reader(self.rows[row])

    def frames(self, reader: Reader, windows: Sequence) -> list[Tensor]:
        """See Reader.frames."""
        return reader.frames(windows)

    def view(self, clip: Tensor, seed: int) -> Tensor:
        """(T, 3, H, W) uint8 -> the augmented clip (T, 3, S, S)."""
        torch.manual_seed(seed)
        if "crop-first" in self.forms:
            clip = self.augment(self.operations, self.crop(clip))
        else:
            clip = self.crop(self.augment(self.operations, clip))
        clip = self.augment(self.colours, clip)
        return self.normalise(clip) if "float" in self.forms else clip

    def crop(self, clip: Tensor) -> Tensor:
        return self.cropping(clip)

    def augment(self, transform: v2.Transform, clip: Tensor) -> Tensor:
        return transform(clip)

    def normalise(self, clip: Tensor) -> Tensor:
        return self.to_float(clip)


def collate(items: list[dict[str, Tensor]]) -> PlainBatch:
    """torch's own, then videos and views become one dimension."""
    batch = default_collate(items)
    return PlainBatch(batch["clips"].flatten(0, 1), batch["rows"].flatten())


class Plain:
    """The plain pipeline as a contestant. See Pipeline.

    Args:
        task: the job.
        name: as for check_plain.
    """

    def __init__(self, task: Task, name: str) -> None:
        self.task, self.name, self.dataset = task, name, PlainDataset(task, name)

    def loader(self, workers: int) -> EpochLoader:
        """See Pipeline."""
        return _Loader(self.dataset, self.task.seed, workers)

    def watched(self) -> Watched:
        """See Pipeline."""
        one = PlainDataset
        stages: dict[Callable, str] = {
            one.open: OPEN,
            one.frames: DECODE,
            one.crop: CROP,
            one.augment: AUGMENT,
            one.normalise: NORMALISE,
        }
        return Watched({**stages, collate: COLLATE})

    def approach(self, epoch: int) -> float | None:
        """See Pipeline: decoding the first frame of each clip only."""
        total = 0.0
        for row in range(len(self.dataset)):
            reader = self.dataset.open(row)
            firsts = [indices[:1] for indices, _ in self.task.draws(epoch, row)]
            begin = time.perf_counter()
            reader.frames(firsts)
            total += time.perf_counter() - begin
            reader.close()
        return total


class _Loader:
    """torch's DataLoader, its processes kept from epoch to epoch."""

    def __init__(self, dataset: PlainDataset, seed: int, workers: int) -> None:
        self._batches = _Batches(len(dataset), seed)
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._batches,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def epoch(self, epoch: int) -> Iterable[PlainBatch]:
        self._batches.epoch = epoch
        return self._loader

    def close(self) -> None:
        """End its processes, which torch does with the last reference."""
        del self._loader


class _Batches:
    """Batch sampler: rows in the order of our loader's epochs."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def __len__(self) -> int:
        return self.size // BATCH_SIZE

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.seed, self.epoch, self.size).tolist()
        for begin in range(0, self.size, BATCH_SIZE):
            yield [(self.epoch, row) for row in order[begin : begin + BATCH_SIZE]]


def _rand_augment(half: bool) -> v2.Transform:
    if not half:
        return v2.RandAugment(NUM_OPS, MAGNITUDE, MAGNITUDES)
    once = v2.RandomApply([v2.RandAugment(1, MAGNITUDE, MAGNITUDES)], OP_PROB)
    return v2.Compose([once] * NUM_OPS)
