import pytest
import torch

from transm3e.config import get_cfg
from transm3e.data.modalities import MODALITIES, ModalityInput, build_modalities, rgb_difference
from transm3e.errors import UserError


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
    assert all(value.dtype == torch.float32 and value.shape[1] == MODALITIES[name] for name, value in found.items())
    assert batch["rgb"].dtype == torch.uint8
    torch.testing.assert_close(batch["rgb"], clips()["rgb"])


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
