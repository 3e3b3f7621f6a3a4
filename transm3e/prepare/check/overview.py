"""What the videos of a data set are like: codecs, sizes, lengths, and how many are out of the ordinary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from transm3e.prepare.check.video import VideoFacts

ODD: dict[str, Callable[[VideoFacts], bool]] = {
    "fewer than 10 frames/s": lambda facts: 0 < facts.rate < 10,
    "more than 100 frames/s": lambda facts: facts.rate > 100,
    "variable frame rate": lambda facts: facts.variable,
    "short side below 128 pixels": lambda facts: 0 < min(facts.width, facts.height) < 128,
    "portrait (higher than wide)": lambda facts: facts.height > facts.width,
    "turned by rotation metadata": lambda facts: facts.rotation != 0,
    "mirrored by metadata": lambda facts: facts.mirrored,
    "pixels that are not square, read as if they were": lambda facts: abs(facts.pixel_aspect - 1) > 0.01,
    "HDR (PQ or HLG), read without tone mapping": lambda facts: facts.hdr,
}
QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}


def oddities(videos: Sequence[VideoFacts]) -> dict[str, int]:
    """How many videos are out of the ordinary, by what."""
    return {name: sum(map(is_odd, videos)) for name, is_odd in ODD.items()}


def codecs(videos: Sequence[VideoFacts]) -> dict[str, int]:
    """How many videos have which codec, the most frequent first."""
    return dict(Counter(facts.codec for facts in videos if facts.codec).most_common())


def quantities(videos: Sequence[VideoFacts]) -> dict[str, list[float]]:
    """Quantiles (as QUANTILES) of frames, seconds, frame rates, short sides and sizes of the videos that could be read."""
    good = [facts for facts in videos if facts.codec]
    values = {
        "frames": [facts.frames for facts in good],
        "seconds": [facts.seconds for facts in good if facts.seconds],
        "frames/s": [facts.rate for facts in good if facts.rate],
        "short side in pixels": [min(facts.width, facts.height) for facts in good],
        "megabytes": [facts.size / 1e6 for facts in good],
    }
    shares = list(QUANTILES.values())
    return {name: np.quantile(np.array(some, float), shares).tolist() for name, some in values.items() if some}
