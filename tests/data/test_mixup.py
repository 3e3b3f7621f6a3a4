import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.data.geometry import Box
from transm3e.data.mixup import Mix, Mixing, draw_mix, mix
from transm3e.errors import UserError


def batch(videos: int = 3, samples: int = 2, side: int = 6) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    count = videos * samples
    clips = {
        name: torch.randint(0, 256, (count, channels, 2, side, side), generator=generator, dtype=torch.uint8)
        for name, channels in (("rgb", 3), ("flow", 2))
    }
    labels = torch.randint(0, 2, (videos, 20), generator=generator).float().repeat_interleave(samples, 0)
    return clips, labels


def test_mixup_is_the_formula_in_float64_sample_by_sample() -> None:
    clips, labels = batch()
    mixed, targets = mix(clips, labels, Mix(lam=0.7), samples=2)
    for row, partner in enumerate([4, 5, 2, 3, 0, 1]):
        for name, clip in clips.items():
            exact = 0.7 * clip[row].double() + 0.3 * clip[partner].double()
            assert (mixed[name][row].double() - exact).abs().max() <= 0.5001
            assert mixed[name].dtype == torch.uint8
        torch.testing.assert_close(targets[row], 0.7 * labels[row] + 0.3 * labels[partner])


def test_cutmix_takes_the_box_from_the_partner() -> None:
    clips, labels = batch(2, 1)
    box = Box(1, 2, 3, 4)
    before = clips["rgb"].clone()
    mixed, targets = mix(clips, labels, Mix(1 - 12 / 36, box), samples=1)
    expected = before.clone()
    expected[..., 1:4, 2:6] = before.flip(0)[..., 1:4, 2:6]
    assert torch.equal(mixed["rgb"], expected)
    assert torch.equal(clips["rgb"], before)
    torch.testing.assert_close(targets, labels * 24 / 36 + labels.flip(0) * 12 / 36)


def test_smoothing_moves_each_label_towards_a_half() -> None:
    clips, labels = batch()
    same, targets = mix(clips, labels, Mix(label_smoothing=0.1), samples=2)
    assert torch.equal(same["rgb"], clips["rgb"])
    torch.testing.assert_close(targets, torch.where(labels == 1, 0.95, 0.05))


def test_a_video_is_its_own_partner_in_the_middle_and_alone() -> None:
    clips, labels = batch(1, 2)
    mixed, targets = mix(clips, labels, Mix(lam=0.3), samples=2)
    assert torch.equal(mixed["rgb"], clips["rgb"])
    torch.testing.assert_close(targets, labels)


def test_skeletons_cannot_be_mixed() -> None:
    clips, labels = batch()
    with pytest.raises(UserError, match=r"MIXUP\.ENABLE"):
        mix({**clips, "skeleton": clips["rgb"]}, labels, Mix(lam=0.5), samples=2)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(1, 50))
def test_a_drawn_box_lies_inside_and_lam_is_the_rest(seed: int, height: int, width: int) -> None:
    drawn = draw_mix(np.random.default_rng(seed), Mixing(alpha=0.0), height, width)
    assert drawn == draw_mix(np.random.default_rng(seed), Mixing(alpha=0.0), height, width)
    box = drawn.box
    assert box is not None
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width
    assert drawn.lam == pytest.approx(1 - box.height * box.width / (height * width))
    assert drawn.label_smoothing == 0.1


def test_frequencies_of_mixup_and_cutmix() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_mix(rng, Mixing(0.8, 1.0, prob=0.8, switch_prob=0.25), 32, 32) for _ in range(3000)]
    boxes = np.mean([one.box is not None for one in drawn])
    plain = np.mean([one.lam == 1 and one.box is None for one in drawn])
    assert boxes == pytest.approx(0.2, abs=0.03)
    assert plain == pytest.approx(0.2, abs=0.03)
    lams = [one.lam for one in drawn if one.box is None and one.lam < 1]
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)).
    assert np.mean(lams) == pytest.approx(0.5, abs=0.03)
    assert np.var(lams) == pytest.approx(1 / (4 * 2.6), abs=0.01)
    assert all(draw_mix(rng, Mixing(cutmix_alpha=0.0), 32, 32).box is None for _ in range(20))
    assert draw_mix(rng, Mixing(0.0, 0.0), 32, 32) == Mix(label_smoothing=0.1)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("ALPHA", {"alpha": -1}),
        ("CUTMIX_ALPHA", {"cutmix_alpha": -0.1}),
        ("PROB", {"prob": 1.1}),
        ("SWITCH_PROB", {"switch_prob": -0.1}),
        ("LABEL_SMOOTH_VALUE", {"label_smoothing": 1.0}),
    ],
)
def test_wrong_values_name_their_key(key: str, change: dict[str, float]) -> None:
    with pytest.raises(UserError, match=rf"MIXUP\.{key} is .*; it must"):
        Mixing(**change)
