"""One clip of MuscleSynth: a subject, a motion, a viewpoint and a room, all from one random generator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from transm3e.data.skeleton.sequence import Skeleton
from transm3e.prepare.musclesynth.activities import Activity
from transm3e.prepare.musclesynth.body import sample_body
from transm3e.prepare.musclesynth.camera import sample_camera
from transm3e.prepare.musclesynth.figure import build_figure
from transm3e.prepare.musclesynth.keypoints import DetectedJoints, detect
from transm3e.prepare.musclesynth.motion import animate
from transm3e.prepare.musclesynth.postures import POSTURES
from transm3e.prepare.musclesynth.render import ClipRenderer, shake
from transm3e.prepare.musclesynth.scene import sample_scene

WIDTH, HEIGHT, FPS, FRAMES = 160, 128, 20, 40


@dataclass(frozen=True)
class SynthClip:
    """A clip ready to be written.

    Attributes:
        frames: iterable of FRAMES arrays, (HEIGHT, WIDTH, 3) uint8 RGB; can be walked again. None: joints only.
        keypoints: ideal joints and their visibility.
        skeleton: what a detector would find.
        crf: x264 quality.
    """

    frames: ClipRenderer | None
    keypoints: DetectedJoints
    skeleton: Skeleton
    crf: int


def make_clip(activity: Activity, key: Iterable[int], draw: bool = True) -> SynthClip:
    """The clip of an activity that belongs to `key` (for example seed and clip number); same key, same clip."""
    rng = np.random.default_rng(list(key))
    body, scene = sample_body(rng), sample_scene(rng)
    done = animate(activity, body, rng, FRAMES, FPS)
    posture = POSTURES[activity.posture]
    camera = sample_camera(np.stack(list(done.points.values()), axis=1), posture, rng, WIDTH, HEIGHT)
    parts = build_figure(done.points, body, scene.look, done.load)
    shaken = shake(scene.shake, np.arange(FRAMES) / FPS, rng)
    seen = detect(done.points, parts, scene, camera, shaken, (WIDTH, HEIGHT))
    skeleton = seen.skeleton(rng)
    frames = ClipRenderer(scene, camera, parts, done.props, (WIDTH, HEIGHT), shaken, rng, FPS) if draw else None
    return SynthClip(frames, seen, skeleton, scene.crf)
