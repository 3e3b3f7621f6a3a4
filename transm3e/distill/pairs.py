"""Which teacher clip a student clip learns from: the cases of section C.8 and table 14.

A video gives two augmented clips v1, v2 with differences d1, d2. (student, teacher) pairs:
case 1: (v1, d1), (v2, d2); case 2: (v1, d2), (v2, d1); case 3: (v1, d2), (v2, 0); case 4: (v1, 0), (v2, 0).
"""

from __future__ import annotations

# For each case, the teacher's clip of student clips 1 and 2, counted from 0; ZERO is a clip of zeros.
ZERO = -1
CASES = {1: (0, 1), 2: (1, 0), 3: (1, ZERO), 4: (ZERO, ZERO)}


def teacher_clip_of(num_clips: int, samples: int, case: int) -> tuple[int, ...]:
    """The row of the teacher's batch that each row of the student's learns from, ZERO for the clip of zeros.

    Args:
        num_clips: rows of the batch, video-major: the clips of one video stand together.
        samples: clips of a video: 2; with 1 only cases 1 and 4 make sense, and their first pair is used.
        case: a key of CASES.

    Returns:
        num_clips row numbers.
    """
    assert samples in (1, 2), f"{samples} clips of a video; table 14 pairs 1 or 2"
    assert samples == 2 or case in (1, 4), f"case {case} pairs two clips of a video, this batch has one"
    assert num_clips % samples == 0, "a batch holds whole videos"
    partners = CASES[case][:samples]
    return tuple(
        ZERO if partner == ZERO else first + partner for first in range(0, num_clips, samples) for partner in partners
    )
