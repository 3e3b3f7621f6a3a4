"""Rows of the table, and the sizes that the parts run at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from transm3e.benchmark.candidate import Entry
from transm3e.engine.precision import fastest_dtype
from transm3e.errors import is_out_of_memory

SAID = 200  # characters of an error


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: was measured.
        value: the measurement.
        beside: what it is to be compared with: a bound, a count, a reference.
        ok: whether it is as it must be; None where nothing says what it must be.
    """

    what: str
    value: str
    beside: str = ""
    ok: bool | None = None


def failed(what: str, error: Exception) -> Row:
    """What an error says, in a row; a size that does not fit is none."""
    if is_out_of_memory(error):
        return Row(what, "does not fit", "")
    lines = [line for line in str(error).strip().splitlines() if line] or [""]
    said = " ".join(lines[: 1 + lines[0].endswith(":")])  # "backend='inductor' raised:" and then what
    return Row(what, "", f"{type(error).__name__}: {said[:SAID]}", False)


@dataclass(frozen=True)
class Scale:
    """Sizes and device of all parts.

    Attributes:
        root: the checkout, with configs/ and tools/.
        device: "cuda" or "cpu".
        opts: KEY VALUE words that make the paper's models small; () for their own size.
        batch_size: clips of a training step.
        reference: of REFERENCES, beside the paper's models.
        repeats, warmup: timed and untimed rounds.
        parity: blocks, frames and crop of the MViT that is compared with torchvision's.
        epochs: of both stages on MuscleSynth.
    """

    root: Path
    device: str
    opts: tuple[str, ...]
    batch_size: int
    reference: str
    repeats: int
    warmup: int
    parity: tuple[int, int, int]
    epochs: int

    @property
    def where(self) -> torch.device:
        return torch.device(self.device)

    @property
    def precision(self) -> str:
        """The fast one, a name of DTYPES."""
        if self.device == "cpu":
            return "float32"
        return "bf16" if fastest_dtype(self.where) == torch.bfloat16 else "fp16"

    @property
    def paper(self) -> tuple[Entry, ...]:
        """MViTv2-S, and TransM3E-S with its teacher."""
        files = {name: str(self.root / f"configs/MuscleMap136/{name}.yaml") for name in ("mvitv2_s", "transm3e_s")}
        return tuple(Entry(name, file, file, self.opts) for name, file in files.items())


def full(root: Path) -> Scale:
    """On one GPU of 16 GB or more."""
    return Scale(root, "cuda", (), 8, "torchvision:mvit_v2_s", 7, 3, (16, 16, 224), 2)


# Three blocks of 16 channels, and clips of 4 frames of 32 x 32.
TINY = (
    "DATA.NUM_FRAMES 4 DATA.TRAIN_CROP_SIZE 32 DATA.TEST_CROP_SIZE 32 MVIT.EMBED_DIM 16 MVIT.DEPTH 3 MVIT.DIM_MUL "
    "[[1,2.0],[2,2.0]] MVIT.HEAD_MUL [[1,2.0],[2,2.0]] MVIT.POOL_Q_STRIDE [[0,1,1,1],[1,1,2,2],[2,1,2,2]]"
)


def tiny(root: Path) -> Scale:
    """On any CPU, to see that all parts run."""
    words = TINY.split()
    return Scale(root, "cpu", (*words, "INIT.OPTS", str(words)), 2, "torchvision:mc3_18", 1, 0, (4, 4, 32), 1)
