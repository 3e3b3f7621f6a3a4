"""One clip of MuscleSynth: a subject, a motion, a viewpoint and a room, all from one random generator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from transm3e.data.musclesynth.activities import Activity
from transm3e.data.musclesynth.body import Body, sample_body
from transm3e.data.musclesynth.camera import sample_camera
from transm3e.data.musclesynth.figure import build_figure
from transm3e.data.musclesynth.keypoints import Detector, detect
from transm3e.data.musclesynth.motion import SEAT_HEIGHT, TRUNK_DEPTH, animate
from transm3e.data.musclesynth.primitives import POSTURES
from transm3e.data.musclesynth.render import ClipRenderer
from transm3e.data.musclesynth.scene import sample_scene

WIDTH, HEIGHT, FPS, FRAMES = 160, 128, 20, 40


@dataclass(frozen=True)
class SynthClip:
    """A clip ready to be written.

    Attributes:
        frames: iterable of FRAMES arrays, (HEIGHT, WIDTH, 3) uint8 RGB; can be walked again.
        keypoints: ideal joints and their visibility.
        skeleton: AlphaPose entries, one per frame.
        crf: x264 quality.
    """

    frames: ClipRenderer
    keypoints: Detector
    skeleton: list[dict[str, Any]]
    crf: int


def make_clip(activity: Activity, key: Iterable[int]) -> SynthClip:
    """The clip of an activity that belongs to `key` (for example seed and clip number); same key, same clip."""
    rng = np.random.default_rng(list(key))
    body, scene = sample_body(rng), sample_scene(rng)
    points, load = animate(activity, body, rng, FRAMES, FPS)
    posture = POSTURES[activity.posture]
    camera = sample_camera(np.stack(list(points.values()), axis=1), posture, rng, WIDTH, HEIGHT)
    parts = build_figure(points, body, scene.look, load)
    frames = ClipRenderer(scene, camera, parts, _props(posture.name, body), (WIDTH, HEIGHT), FPS, rng)
    seen = detect(points, parts, scene, camera, frames.shake, (WIDTH, HEIGHT))
    return SynthClip(frames, seen, seen.results(rng), scene.crf)


def _props(posture: str, body: Body) -> list[np.ndarray]:
    # A seat under the sitting figure, a mat under the lying one.
    if posture == "stand":
        return []
    if posture == "seat":
        top = (SEAT_HEIGHT * body.legs - TRUNK_DEPTH * body.girth) * body.stature
        corners = [(x, y, z) for x in (-0.24, 0.24) for y in (0, top) for z in (-0.2, 0.22)]
        return [np.array(corners)]
    centre, half = {"supine": (-0.1, 0.95), "prone": (0.0, 1.0), "plank": (-0.05, 1.0)}[posture]
    return [np.array([(x, 0, centre + z) for x in (-0.42, 0.42) for z in (-half, half)])]
