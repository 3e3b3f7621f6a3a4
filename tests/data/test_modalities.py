from dataclasses import fields

import pytest
import torch

from transm3e.config import get_cfg
from transm3e.data.annotations import FILE_COLUMNS, Clip
from transm3e.data.mixup import Mix, mix
from transm3e.data.modalities import ModalityInput, build_modalities, rgb_difference
from transm3e.errors import UserError
from transm3e.modalities import JOINTS, MODALITIES, STORED, Modality, function_of


def clips(b: int = 2, t: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"rgb": torch.randint(0, 256, (b, 3, t, 6, 7), dtype=torch.uint8, generator=generator)}


def test_the_difference_is_the_papers() -> None:
    rgb = clips()["rgb"].double() / 255
    change = rgb_difference(rgb)
    assert change.shape == rgb.shape
    assert not change[:, :, 0].any()
    for t in range(1, 5):
        torch.testing.assert_close(change[:, :, t], (rgb[:, :, t] - rgb[:, :, t - 1]).abs())
    assert not rgb_difference(rgb[:, :, :1]).any()


def test_the_difference_passes_gradients() -> None:
    rgb = torch.rand(1, 3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rgb_difference, rgb)


def test_rgb_is_normalised_and_the_difference_is_not() -> None:
    batch = clips()
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    found = ModalityInput(("rgb_diff", "rgb"), mean, std)(batch)
    pixels = batch["rgb"].double() / 255
    for c in range(3):
        torch.testing.assert_close(found["rgb"][:, c], ((pixels[:, c] - mean[c]) / std[c]).float())
    torch.testing.assert_close(found["rgb_diff"], rgb_difference(pixels).float())
    assert list(found) == ["rgb_diff", "rgb"]
    assert all(
        value.dtype == torch.float32 and value.shape[1] == MODALITIES[name].channels for name, value in found.items()
    )
    assert batch["rgb"].dtype == torch.uint8
    torch.testing.assert_close(batch["rgb"], clips()["rgb"])


def test_channels_are_reversed_after_they_are_normalised() -> None:
    batch, numbers = clips(), ([0.1, 0.2, 0.3], [0.5, 0.25, 2.0])
    plain, bgr = (ModalityInput(("rgb",), *numbers, reverse=reverse)(batch)["rgb"] for reverse in (False, True))
    assert torch.equal(bgr, plain[:, [2, 1, 0]])


STD = [0.5, 0.25, 2.0]


def motion_of(rgb: torch.Tensor) -> torch.Tensor:
    return ModalityInput(("rgb_motion",), [0.1, 0.2, 0.3], STD)({"rgb": rgb})["rgb_motion"]


def test_motion_is_what_differs_from_the_clips_mean() -> None:
    rgb = clips()["rgb"]
    pixels = rgb.double() / 255
    expected = torch.zeros_like(pixels)
    for t in range(5):
        for c in range(3):
            expected[:, c, t] = (pixels[:, c, t] - sum(pixels[:, c, s] for s in range(5)) / 5) / STD[c]
    found = motion_of(rgb)
    torch.testing.assert_close(found, expected.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(rgb, clips()["rgb"])


@pytest.mark.parametrize("t", [1, 3, 7, 16])
def test_static_pixels_have_no_motion(t: int) -> None:
    still = clips(t=1)["rgb"].expand(-1, -1, t, -1, -1)
    assert not motion_of(still).any()


def test_motion_does_not_know_how_bright_a_pixel_is() -> None:
    rgb = clips()["rgb"] // 2
    brighter = rgb + torch.randint(0, 128, (2, 3, 1, 6, 7), dtype=torch.uint8)
    torch.testing.assert_close(motion_of(brighter), motion_of(rgb), rtol=0, atol=1e-5)


def test_motion_of_mixed_clips_is_the_mixed_motion() -> None:
    motion = motion_of(clips()["rgb"])
    blended, _ = mix(clips(), torch.zeros(2, 20), Mix(0.25), samples=1)
    # Mixed pixels are whole numbers again.
    expected = 0.25 * motion + 0.75 * motion.flip(0)
    torch.testing.assert_close(motion_of(blended["rgb"]), expected, rtol=0, atol=1 / 255 / min(STD))


@pytest.mark.parametrize("name", MODALITIES)
def test_every_modality_of_the_table_can_be_computed_and_drawn(name: str) -> None:
    modality = MODALITIES[name]
    stored = STORED[modality.source]
    clip = torch.rand(2, 3, 5, 17, 2) if stored.kind == JOINTS else torch.zeros(2, stored.channels, 5, 6, 7).byte()
    found = ModalityInput((name,), [0] * 3, [1] * 3)({modality.source: clip})[name]
    assert found.dtype == torch.float32
    assert found.shape == (2, modality.channels or 3, *clip.shape[2:])
    assert callable(function_of(modality.draw))


def test_a_modality_has_the_channels_of_its_source_unless_it_says_others() -> None:
    assert Modality("flow", "a:b").channels == STORED["flow"].channels == 2
    assert Modality("flow", "a:b", channels=1).channels == 1
    with pytest.raises(UserError, match="computed from 'rbg'; allowed: rgb, flow, skeleton"):
        Modality("rbg", "a:b")


def test_what_is_stored_is_a_modality_and_a_field_of_clips() -> None:
    assert set(STORED) <= set(MODALITIES)
    assert all(MODALITIES[name].source == name for name in STORED)
    assert set(FILE_COLUMNS) <= {field.name for field in fields(Clip)}


def test_only_what_is_asked_for() -> None:
    assert set(ModalityInput(("rgb_diff",), [0] * 3, [1] * 3)(clips())) == {"rgb_diff"}


def test_an_empty_batch() -> None:
    found = ModalityInput(("rgb", "rgb_diff"), [0] * 3, [1] * 3)(clips(b=0))
    assert found["rgb_diff"].shape == (0, 3, 5, 6, 7)


def test_the_config_gives_mean_and_std_and_nothing_to_save() -> None:
    made = build_modalities(get_cfg(), ("rgb",))
    grey = {"rgb": torch.full((1, 3, 1, 1, 1), 255, dtype=torch.uint8)}
    torch.testing.assert_close(made(grey)["rgb"].flatten(), torch.full((3,), (1 - 0.45) / 0.225))
    assert not made.state_dict()


def test_unknown_modalities() -> None:
    with pytest.raises(UserError, match="unknown modality 'flow_x'; allowed: rgb, rgb_diff"):
        build_modalities(get_cfg(), ("rgb", "flow_x"))
    with pytest.raises(UserError):
        build_modalities(get_cfg(), ())
