from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from transm3e.data.annotations import SPLITS, Clip, table_from_clips
from transm3e.data.decode import count_frames, decode_frames
from transm3e.data.encode import write_video
from transm3e.prepare.check import VideoFacts, inspect_video
from transm3e.prepare.check.duplicates import duplicate_findings
from transm3e.prepare.check.fingerprint import (
    BITS,
    MAX_MOVED,
    MAX_SCENE,
    MOVED_BITS,
    SAMPLES,
    fingerprint,
    sampled,
    thumbnail,
    unpack,
)

REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "clips"


def film(seed, frames=SAMPLES):
    """Soft shapes that drift, as thumbnails."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 255, (4, 4), np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    start, step = rng.integers(8, 24, 2), rng.integers(1, 3, 2)
    images = []
    for t in range(frames):
        image = scene.copy()
        x, y = (start + step * t) % 52
        image[y : y + 12, x : x + 12] = 250
        images.append(image)
    return [thumbnail(image) for image in images]


def distances(one, other):
    (scenes, moved) = unpack([one, other])
    return int((moved[0] != moved[1]).sum()), int((scenes[0] != scenes[1]).sum())


def test_fingerprints_forgive_brightness_and_noise_but_not_another_film():
    rng = np.random.default_rng(1)
    original = fingerprint(film(0))
    darker = fingerprint([0.7 * image + 12 for image in film(0)])
    noisy = fingerprint([image + rng.normal(0, 1.5, image.shape).astype(np.float32) for image in film(0)])
    assert distances(original, darker) == (0, 0)
    assert max(distances(original, noisy)) < MAX_MOVED / 2
    assert distances(original, fingerprint(film(5)))[0] > MAX_MOVED
    assert len(bytes.fromhex(original)) == -(-(BITS + MOVED_BITS) // 8)


def test_images_of_one_colour_have_no_fingerprint_and_still_ones_no_movement():
    assert fingerprint([np.full((32, 32), 7, np.float32)] * SAMPLES) == ""
    assert not unpack([fingerprint([film(0)[0]] * SAMPLES)])[1].any()


def test_sampled_frames_lie_within_the_video_and_spread_over_it():
    for frames in [1, 3, 16, 17, 1000]:
        numbers = sampled(frames)
        assert len(numbers) == SAMPLES
        assert numbers == sorted(numbers)
        assert 0 <= numbers[0] <= frames // SAMPLES
        assert frames - 1 - frames // SAMPLES <= numbers[-1] <= frames - 1


def from_bits(bits):
    return np.packbits(bits).tobytes().hex()


def test_pairs_are_those_of_all_comparisons(monkeypatch):
    monkeypatch.setattr("transm3e.prepare.check.duplicates.BLOCK", 7)
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 2, (40, BITS + MOVED_BITS), np.uint8)
    copies = originals[rng.integers(0, 40, 40)].copy()
    for copy in copies:
        copy[rng.choice(len(copy), rng.integers(0, 400), replace=False)] ^= 1
    bits = np.concatenate([originals, copies])
    splits = rng.choice(SPLITS, 80)
    table = table_from_clips([Clip(f"{i}.mp4", str(split), "a", ()) for i, split in enumerate(splits)])
    videos = [VideoFacts(fingerprint=from_bits(one), content=str(i)) for i, one in enumerate(bits)]
    problems, notes = duplicate_findings(table, videos)
    leaks, within = set(), set()
    for i in range(80):
        for j in range(80):
            moved, scene = (bits[i, BITS:] != bits[j, BITS:]).sum(), (bits[i, :BITS] != bits[j, :BITS]).sum()
            if i != j and moved <= MAX_MOVED and scene <= MAX_SCENE:
                if splits[j] == "train" and splits[i] != "train":
                    leaks.add(f"{i}.mp4")
                elif j < i and (splits[i] == "train") == (splits[j] == "train"):
                    within.add(f"{i}.mp4")
    assert leaks
    assert within
    assert [{finding.path for finding in found} for found in (problems, notes)] == [leaks, within]


def test_a_clip_is_named_once_with_its_nearest_and_broken_ones_are_left_out():
    same = VideoFacts(content="same")
    splits = ["train", "train", "known_test", "new_test", "train"]
    table = table_from_clips([Clip(f"{i}.mp4", split, "a", ()) for i, split in enumerate(splits)])
    problems, notes = duplicate_findings(table, [same, same, same, same, replace(same, fault="empty")])
    assert [str(problem) for problem in problems] == [
        "known_test: 2.mp4: duplicate: the same bytes as 0.mp4 in train and of 1 more",
        "new_test: 3.mp4: duplicate: the same bytes as 0.mp4 in train and of 1 more",
    ]
    assert [note.path for note in notes] == ["1.mp4", "3.mp4"]


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/clips is absent")
def test_real_copies_are_found_and_clips_of_one_recording_are_not(tmp_path):
    """Two signs by one person in one place, and one of them again: smaller, cropped, at another frame rate."""
    first, second = REAL / "intel_asl_again.mkv", REAL / "intel_asl_help.mkv"
    frames = decode_frames(first, range(0, count_frames(first), 2))
    smaller = [cv2.resize(image[8:-8, 10:-10], (212, 160), interpolation=cv2.INTER_AREA) for image in frames]
    write_video(tmp_path / "copy.mp4", smaller, 15, crf=32)
    videos = [inspect_video(file, "all") for file in (first, second, tmp_path / "copy.mp4")]
    clips = [Clip(str(i), split, "a", ()) for i, split in enumerate(("train", "new_test", "known_val"))]
    problems, notes = duplicate_findings(table_from_clips(clips), videos)
    assert [problem.path for problem in problems] == ["2"]
    assert "near-duplicate" in problems[0].reason
    assert notes == []
