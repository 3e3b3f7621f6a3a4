"""From frames to one person's landmarks: detected in the whole frame, then tracked from frame to frame."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from transm3e.data.blazepose import landmarks, persons
from transm3e.data.blazepose.landmarks import CENTRE, JOINTS, SCALE
from transm3e.data.blazepose.networks import FLAG, HEAT, MARKS, WORLD, Network, load_networks
from transm3e.data.blazepose.one_euro import OneEuro
from transm3e.data.blazepose.region import Region, around, rotation, whole

# Least presence score of the landmark network for a person in its square.
MIN_PRESENCE = 0.5
# Least product of both networks' scores in a rotated frame: below it half of the bodies are chairs and plants.
SURE_TURNED = 0.6
# Indices of a detection's points.
HIPS, BODY = 2, 3
# Smoothing of the square for the next frame: lowest cutoff in Hz, and its increase per side of the square per second; and
# the seconds between frames that are assumed.
REGION, FRAME_TIME = (0.01, 10.0), 1 / 30
# Outside the frame, the landmark network sees replicated edge pixels, the detection network black.
BORDER = cv2.BORDER_REPLICATE


class FoundPerson(NamedTuple):
    """A square around a person, and the detection score, MIN_SCORE to 1."""

    region: Region
    score: float


class Pose(NamedTuple):
    """One person in one frame.

    Attributes:
        joints: (33, 3) float64 x, y in pixels (the first pixel's centre is 0), and visibility x presence in [0, 1]; in the
            order of the layout blazepose33. Hidden joints are guessed and have low scores.
        world: (33, 3) float64 metres from the middle of the hips: x to the right, y down, z away from the camera.
        region: the square for the next frame.
        presence: the landmark network's score that a person is present, MIN_PRESENCE to 1.
    """

    joints: np.ndarray
    world: np.ndarray
    region: Region
    presence: float


class BlazePose:
    """Finds the landmarks of one person; may be shared by threads, each of which gets its own networks.

    Raises:
        UserError: LiteRT or the networks are missing.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._anchors = persons.anchors()
        self._networks()

    def detect(self, frame: np.ndarray) -> Pose | None:
        """(H, W, 3) uint8 RGB -> the person in front (see `find`), or None if nobody is found.

        If nobody is found upright, the frame is also searched rotated by quarter turns, and the person with the highest
        product of scores is taken: the detection network misses some people who lie or hang.
        """
        upright = (self.look(frame, person.region) for person in self.find(frame))
        pose = next((pose for pose in upright if pose is not None), None)
        if pose is not None:
            return pose
        people = (person for quarters in (1, 2, 3) for person in self.find(frame, quarters))
        looked = ((person.score, self.look(frame, person.region)) for person in people)
        rated = [(score * pose.presence, pose) for score, pose in looked if pose is not None]
        best, found = max(rated, key=lambda each: each[0], default=(0.0, None))
        return found if best >= SURE_TURNED else None

    def follow(self, frames: Iterable[np.ndarray]) -> Iterator[Pose | None]:
        """Track a person through the frames of a video; once lost, a person is detected again.

        The square is smoothed, because jitter of the square causes jitter of the landmarks.
        """
        region: Region | None = None
        calm = OneEuro(*REGION)
        for frame in frames:
            pose = self.look(frame, region) if region is not None else None
            if pose is None:
                calm, pose = OneEuro(*REGION), self.detect(frame)
            region = None if pose is None else around(*calm(pose.region.points, FRAME_TIME, pose.region.side))
            yield pose

    def find(self, frame: np.ndarray, quarters: int = 0) -> list[FoundPerson]:
        """The persons in a frame, the one in front first: sorted by size times a weight that falls linearly with the
        distance of the hips from the frame's centre, to 0 at the length of the diagonal.

        Args:
            quarters: quarter turns by which the frame is rotated first.
        """
        height, width = frame.shape[:2]
        around_all = whole(height, width)._replace(angle=quarters * math.pi / 2)
        image = around_all.cut(frame, persons.INPUT).astype(np.float32) / np.float32(127.5) - 1
        out = self._networks()[0](image)
        raw, logits = out[len(self._anchors) * 12], out[len(self._anchors)]
        points, scores = persons.merge(*persons.decode(raw, logits[:, 0], self._anchors))
        regions = (around(each[HIPS], each[BODY]) for each in around_all.to_frame(points))
        people = [FoundPerson(region, score) for region, score in zip(regions, scores.tolist(), strict=True)]

        def weight(person: FoundPerson) -> float:
            away = math.hypot(person.region.x - width / 2, person.region.y - height / 2)
            return person.region.side * (1 - away / math.hypot(width, height))

        return sorted((person for person in people if person.region.side > 1), key=weight, reverse=True)

    def look(self, frame: np.ndarray, region: Region) -> Pose | None:
        """The landmarks of the person in a square of the frame, or None if the network finds nobody."""
        image = region.cut(frame, landmarks.INPUT, BORDER).astype(np.float32) / np.float32(255)
        out = self._networks()[1](image)
        presence = out[FLAG].item()
        if not presence >= MIN_PRESENCE:
            return None
        marks = landmarks.read_marks(out[MARKS], out[HEAT], out[WORLD])
        xy = region.to_frame(marks.xy)
        world = marks.world.copy()
        world[:, :2] = world[:, :2] @ rotation(region.angle).T
        joints = np.column_stack([xy[:JOINTS] - 0.5, marks.score[:JOINTS]])
        return Pose(joints, world, around(xy[CENTRE], xy[SCALE]), presence)

    def _networks(self) -> tuple[Network, Network]:
        if not hasattr(self._local, "networks"):
            self._local.networks = load_networks()
        return self._local.networks
