"""Facts about the paper's three benchmarks (sections 3 and D.2) and their source data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from transm3e.data.annotations import SPLITS


@dataclass(frozen=True)
class Benchmark:
    """One benchmark of the paper.

    Attributes:
        name: of its folder below data/ and configs/.
        source: the data set that its videos are from.
        counts: split -> clips in the paper, in SPLITS' order.
        activities: known and new ones in the paper.
        group: regular expression for file names whose first group names the source video, with `{activity}` for the
            activity; "" where file names do not identify it.
        files: prefix of the names of its class list and draft labels; "" without such files.
        unpack: command that unpacks the official archives into class folders; "" without archives.
        notes: sentences about inconsistent numbers.
    """

    name: str
    source: str
    counts: Mapping[str, int]
    activities: int
    group: str = ""
    files: str = ""
    unpack: str = ""
    notes: tuple[str, ...] = ()

    def group_of(self, stem: str, activity: str) -> str:
        """The source video of a clip, from its file name without suffix; "" where the name does not identify it."""
        pattern = self.group.replace("{activity}", re.escape(activity))
        found = re.fullmatch(pattern, stem, re.IGNORECASE) if pattern else None
        return found[1] if found else ""


def _counts(*clips: int) -> dict[str, int]:
    return dict(zip(SPLITS, clips, strict=True))


MUSCLEMAP136 = Benchmark("MuscleMap136", "MuscleMap136", _counts(8837, 1473, 1611, 1474, 1612), 136)
MUSCLEUCF90 = Benchmark(
    name="MuscleUCF90",
    source="UCF101",
    counts=_counts(7151, 509, 1192, 509, 1192),
    activities=90,
    # v_ApplyEyeMakeup_g01_c02.avi: clip 2 of group (video) 1.
    group=r"v_{activity}_(g\d+)_c\d+",
    files="ucf101",
    unpack="unrar x UCF101.rar",
    notes=(
        "The paper's nine new activities hold 1290 clips in UCF101; the paper counts 1192 + 1192 = 2384.",
        "The 90 smallest classes of UCF101 hold 11530 clips, more than the paper's 10553: clips were left out "
        "within classes. Which 90 classes and which clips were kept is not published.",
    ),
)
MUSCLEHMDB41 = Benchmark(
    name="MuscleHMDB41",
    source="HMDB51",
    counts=_counts(3311, 422, 552, 423, 552),
    activities=41,
    # <video>_<class>_<visible parts>_<camera motion>_np<persons>_<view>_<quality>_<clip>.avi
    group=r"(.+)_{activity}_[a-z]_[a-z]+_np\d+_[a-z]+_[a-z]+_\d+",
    files="hmdb51",
    unpack="unrar x hmdb51_org.rar rars/ && mkdir videos && cd videos && for f in ../rars/*.rar; do unrar x $f; done",
    notes=(
        "The paper's split sizes sum to 5260; its text says 5259 samples.",
        "The paper's six new activities hold 845 clips in HMDB51; the paper counts 552 + 552 = 1104.",
        "The paper gives HMDB51 6849 clips; the official archive holds 6766. "
        "Which 41 classes and which clips were kept is not published.",
    ),
)
