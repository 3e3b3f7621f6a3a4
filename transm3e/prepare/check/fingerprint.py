"""A fingerprint of a video's content, nearly invariant to re-encoding, resizing and changes of the frame rate.

SAMPLES evenly spaced frames become grey images of SIDE x SIDE pixels. Each image minus their mean shows what moves at that
moment, without the scene that all clips of one recording share; its low DCT coefficients, thresholded at their median, are
63 bits (a perceptual hash). Hashes of whole frames would not suffice: clips of one recording are as near each other
(26 of 504 bits) as those of copies (12 to 74). Two videos are near-duplicates where few of these bits differ, and few of the 63 bits of
the mean image. Bits of movement that differ, of 1008 (504 would be chance), measured on 38 films of people:

| copies | median | largest | found |
|---|---|---|---|
| short side 128, strong compression (CRF 35) | 62 | 166 | all |
| square / brighter / every second frame only | 30 / 40 / 58 | 88 / 110 / 178 | all |
| 6 % of width and height cut away | 72 | 172 | all |
| 12 % of width and height cut away | 134 | 312 | 82 % |
| the first 5 % / 15 % of the frames missing | 114 / 252 | 268 / 376 | 89 % / 18 % |

| films that are no copies of each other | smallest |
|---|---|
| one scene filmed once, a second person added by hand (four cameras; three of them are reported) | 134 |
| one person in one place, nearly the same gesture (signs for "no" and "yes") | 190 |
| the next nearest: one person in one place, other gestures | 300 |

So MAX_MOVED finds copies, if little was cut away, and does not take clips of one recording for each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import cv2
import numpy as np

SAMPLES = 16
SIDE = 32
LOW = 8  # DCT coefficients kept along each axis
BITS = LOW * LOW - 1  # of one image: without the mean brightness
MOVED_BITS = SAMPLES * BITS
HEX_DIGITS = 2 * -(-(BITS + MOVED_BITS) // 8)
# Bits that may differ between near-duplicates: of the movement, of the mean image, and of a mean image without movement.
MAX_MOVED, MAX_SCENE, MAX_STILL = 184, 20, 3
# Standard deviations in grey levels: below STILL only noise and compression move, below FLAT the image shows nothing.
STILL, FLAT = 1.0, 3.0


def sampled(frames: int) -> list[int]:
    """The rising numbers of the SAMPLES frames that are used; short videos repeat some."""
    return [int((i + 0.5) * frames / SAMPLES) for i in range(SAMPLES)]


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 grey -> (SIDE, SIDE) float32, whatever the proportions."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def fingerprint(thumbnails: Sequence[np.ndarray]) -> str:
    """Thumbnails of the sampled frames -> hex of 1 + SAMPLES perceptual hashes: mean image, then movement.

    Returns:
        "" where all images are nearly of one colour, since such videos resemble each other without being copies.
        Without movement the bits of movement are all 0.
    """
    images = np.stack(thumbnails)
    mean = images.mean(axis=0)
    moved = images - mean
    if images.std() < FLAT:
        return ""
    movement = np.zeros(MOVED_BITS, bool) if moved.std() < STILL else np.concatenate([_hash(one) for one in moved])
    return np.packbits(np.concatenate([_hash(mean), movement])).tobytes().hex()


def is_fingerprint(text: str) -> bool:
    """Whether a text is a fingerprint."""
    return not text or re.fullmatch(rf"[0-9a-f]{{{HEX_DIGITS}}}", text) is not None


def unpack(prints: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Fingerprints -> (N, 63) bits of the mean images and (N, 1008) bits of the movement, as uint8 of 0 and 1."""
    packed = np.stack([np.frombuffer(bytes.fromhex(one), np.uint8) for one in prints])
    bits = np.unpackbits(packed, axis=1, count=BITS + MOVED_BITS)
    return bits[:, :BITS], bits[:, BITS:]


def _hash(image: np.ndarray) -> np.ndarray:
    low = cv2.dct(image)[:LOW, :LOW].ravel()[1:]
    return low > np.median(low)
