"""Pairs of student and teacher clips: the cases of section C.8 and table 14.

A video gives two augmented clips v1, v2 with differences d1, d2. (student, teacher) pairs:
case 1: (v1, d1), (v2, d2); case 2: (v1, d2), (v2, d1); case 3: (v1, d2), (v2, 0); case 4: (v1, 0), (v2, 0).
"""

from __future__ import annotations

from fvcore.common.config import CfgNode

from transm3e.errors import UserError

# For each case, the teacher's clip of student clips 1 and 2, counted from 0; ZERO is a clip of zeros.
ZERO = -1
CASES = {1: (0, 1), 2: (1, 0), 3: (1, ZERO), 4: (ZERO, ZERO)}
# Cases whose first pair can be used alone.
CASES_OF_ONE = (1, 4)


def check_pairs(cfg: CfgNode) -> None:
    """Check that a video gives as many clips as its case pairs.

    Raises:
        UserError: names the key, its value, what is allowed and what to change.
    """
    case, samples = cfg.DISTILL.PAIR_CASE, cfg.AUG.NUM_SAMPLE
    if case not in CASES_OF_ONE and samples != 2:
        raise UserError(
            f"DISTILL.PAIR_CASE {case} pairs two clips of a video; set AUG.NUM_SAMPLE to 2 (it is {samples}) or PAIR_CASE "
            f"to {' or '.join(map(str, CASES_OF_ONE))}"
        )
    if samples not in (1, 2):
        raise UserError(
            f"AUG.NUM_SAMPLE is {samples}, but TASK distill pairs 1 or 2 clips of a video; set it to one of them"
        )


def teacher_clip_of(num_clips: int, samples: int, case: int) -> tuple[int, ...]:
    """The row of the teacher's batch that each row of the student's learns from, ZERO for the clip of zeros.

    Args:
        num_clips: rows of the batch; the clips of one video are adjacent.
        samples: clips of a video: 2, or 1 with CASES_OF_ONE.
        case: a key of CASES.

    Returns:
        num_clips row numbers.
    """
    assert samples in (1, 2), f"{samples} clips of a video; table 14 pairs 1 or 2"
    assert samples == 2 or case in CASES_OF_ONE, f"case {case} pairs two clips of a video, this batch has one"
    assert num_clips % samples == 0, "a batch holds whole videos"
    partners = CASES[case][:samples]
    return tuple(
        ZERO if partner == ZERO else first + partner for first in range(0, num_clips, samples) for partner in partners
    )
