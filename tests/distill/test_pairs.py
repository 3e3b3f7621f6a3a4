"""The four cases of table 14."""

from __future__ import annotations

import pytest

from transm3e.distill.pairs import ZERO, teacher_clip_of


@pytest.mark.parametrize(
    ("case", "partners"),
    [(1, [0, 1, 2, 3]), (2, [1, 0, 3, 2]), (3, [1, ZERO, 3, ZERO]), (4, [ZERO] * 4)],
)
def test_two_clips_of_two_videos(case, partners):
    assert teacher_clip_of(4, 2, case) == tuple(partners)


def test_one_clip_of_a_video_learns_from_itself_or_from_zeros():
    assert teacher_clip_of(3, 1, 1) == (0, 1, 2)
    assert teacher_clip_of(3, 1, 4) == (ZERO,) * 3


@pytest.mark.parametrize(("clips", "samples", "case"), [(3, 2, 1), (2, 1, 3), (3, 3, 1)])
def test_what_makes_no_pairs_is_an_error(clips, samples, case):
    with pytest.raises(AssertionError):
        teacher_clip_of(clips, samples, case)
