"""The rows of the paper's table 2: how many parameters each has here, as published, and in the paper.

The published counts are those of the projects' own models, built with 20 classes. Where the paper's value differs, the note
says so; no model is changed to match it.
"""

from __future__ import annotations

from dataclasses import dataclass

CONFIGS = "configs/MuscleMap136"


@dataclass(frozen=True)
class PublishedRow:
    """One row of table 2.

    Attributes:
        label: as in the paper.
        config: stem of its file in CONFIGS.
        expected: parameters of the config's model, 20 classes.
        paper: the paper's #PM, millions.
        variant: the published model.
        published: parameters of that model with 20 classes; None without a published model.
        published_opts: settings (KEY, VALUE, ...) that turn the config into the published model; () = it is the same.
        note: why the values differ.
    """

    label: str
    config: str
    expected: int
    paper: float
    variant: str
    published: int | None = None
    published_opts: tuple[str, ...] = ()
    note: str = ""

    @property
    def path(self) -> str:
        return f"{CONFIGS}/{self.config}.yaml"


NO_VARIANT = "no published variant has the paper's figure"
ROWS = (
    PublishedRow("Random", "random", 0, 0.0, "no weights"),
    PublishedRow("All Ones", "all_ones", 0, 0.0, "no weights"),
    PublishedRow(
        "ST-GCN",
        "stgcn",
        2_635_268,
        2.6,
        "the authors' code, COCO-17, uniform partition",
        2_635_268,
        note="with the spatial partition 3,078,424",
    ),
    PublishedRow("CTR-GCN", "ctrgcn", 1_426_216, 1.4, "the authors' code, COCO-17, two persons", 1_426_216),
    PublishedRow(
        "HD-GCN",
        "hdgcn",
        1_289_448,
        0.8,
        "the authors' code, NTU-25, two persons",
        1_649_700,
        ("SKELETON.LAYOUT", "ntu25"),
        f"COCO-17 has fewer joints and levels; {NO_VARIANT}",
    ),
    PublishedRow("C2D (R50)", "c2d_r50", 23_549_012, 23.5, "pytorchvideo, PySlowFast C2D_8x8_R50", 23_549_012),
    PublishedRow(
        "I3D (R50)", "i3d_r50", 27_264_852, 20.4, "pytorchvideo, PySlowFast I3D_8x8_R50", 27_264_852, note=NO_VARIANT
    ),
    PublishedRow(
        "Slow (R50)",
        "slow_r50",
        31_675_476,
        24.3,
        "pytorchvideo, PySlowFast SLOW_8x8_R50",
        31_675_476,
        note=f"{NO_VARIANT}; 24.3M is C2D with 400 classes",
    ),
    PublishedRow(
        "SlowFast (R50)",
        "slowfast_r50",
        33_690_588,
        25.3,
        "pytorchvideo, PySlowFast SLOWFAST_8x8_R50",
        33_690_588,
        note=f"{NO_VARIANT}; SLOWFAST_4x16_R50, with a fusion kernel of 5, has 33,604,316",
    ),
    PublishedRow(
        "MViTv2-S", "mvitv2_s", 34_245_524, 34.2, "torchvision mvit_v2_s, PySlowFast MVITv2_S_16x4", 34_245_524
    ),
    PublishedRow(
        "MViTv2-B",
        "mvitv2_b",
        50_901_044,
        51.2,
        "PySlowFast MVITv2_B_32x3",
        50_937_908,
        ("DATA.NUM_FRAMES", "32"),
        "16 frames, as in the paper, take fewer relative positions than 32; 51.2M is the count with 400 classes",
    ),
    PublishedRow(
        "VideoSwin-S",
        "videoswin_s",
        49_524_458,
        50.0,
        "torchvision swin3d_s",
        49_524_458,
        note="near the paper's; 49.8M with 400 classes",
    ),
    PublishedRow(
        "VideoSwin-B",
        "videoswin_b",
        87_659_484,
        88.0,
        "torchvision swin3d_b",
        87_659_484,
        note="88.0M is the count with 400 classes",
    ),
    PublishedRow(
        "TransM3E-Small",
        "transm3e_s",
        44_380_724,
        44.4,
        "the authors' code, student on RGB",
        44_376_116,
        ("MCTF.QKV_BIAS", "False"),
        "the authors' MCTF has no biases of q, k and v, 4,608 fewer; with the teacher 78.6M",
    ),
    PublishedRow(
        "TransM3E-Base",
        "transm3e_b",
        61_036_244,
        60.7,
        "the authors' code, student on RGB",
        61_031_636,
        ("MCTF.QKV_BIAS", "False"),
        "the authors' MCTF has no biases of q, k and v, 4,608 fewer; 0.5% above the paper's; with the teacher 111.9M",
    ),
)
