"""From frames to one person's landmarks: found in the whole frame, followed from frame to frame."""

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

# The second network's own answer to whether a person is in its square.
MIN_PRESENCE = 0.5
# Of the two networks' answers multiplied, in a turned frame: below it half of the bodies are chairs and plants.
SURE_TURNED = 0.6
# Of a detection's points.
HIPS, BODY = 2, 3
# Of where to look next: lowest cutoff in Hz, and Hz more for a side of the square per second; seconds between frames, as
# of most videos.
REGION, FRAME_TIME = (0.01, 10.0), 1 / 30
# Beyond the frame the second network sees its edge go on, the first black.
BORDER = cv2.BORDER_REPLICATE


class FoundPerson(NamedTuple):
    """A square with somebody in it, and how sure the first network is of that, MIN_SCORE to 1."""

    region: Region
    score: float


class Pose(NamedTuple):
    """One person in one frame.

    Attributes:
        joints: (33, 3) float64 x, y in pixels, the first of which has its centre at 0, and visibility x presence in
            [0, 1]; in the order of the layout blazepose33. Joints that are not seen are guessed, and score low.
        world: (33, 3) float64 metres from the middle of the hips: x to the right, y down, z away from the camera.
        region: where to look in the next frame.
        presence: how sure the second network is that somebody is there, MIN_PRESENCE to 1.
    """

    joints: np.ndarray
    world: np.ndarray
    region: Region
    presence: float


class BlazePose:
    """Finds the landmarks of one person; threads that share it have networks of their own.

    Raises:
        UserError: LiteRT or the networks are not there.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._anchors = persons.anchors()
        self._networks()

    def detect(self, frame: np.ndarray) -> Pose | None:
        """(H, W, 3) uint8 RGB -> the person in front (see `find`), or None where nobody is found.

        Where nobody is, the frame is looked at turned by quarters, too, and whom both networks are surest of is taken: the
        first misses some who lie or hang.
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
        """Frames of a video -> the person of the frame before in each, looked for anew once it is lost.

        Where to look is smoothed, as the landmarks tremble with the square that they are sought in.
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
        """The persons in a frame, the one in front first: the largest, each counted the smaller the further its
        hips are from the frame's middle, down to nothing at a diagonal's length.

        Args:
            quarters: turns that the frame is seen by.
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
        """The landmarks of the person in a square of the frame, or None where the network sees none."""
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
