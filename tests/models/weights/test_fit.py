"""Tables, kernels and tokens brought to the model's shapes, against formulas in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.models.weights.fit import fit
from transm3e.models.weights.rename import under_prefix
from transm3e.models.weights.source import Converted

TABLE, KERNEL = "blocks.0.attn.rel_pos_h", "blocks.0.attn.pool_k.weight"


def fitted(name, tensor, like, **converted):
    state, changed = fit(Converted({name: tensor}, **converted), {name: like})
    return state[name], changed


def empty(*shape):
    return torch.empty(shape, dtype=torch.float64)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_tables_are_interpolated_linearly_between_row_centres(length, wanted, channels):
    table = torch.randn(length, channels, dtype=torch.float64)
    result, changed = fitted(TABLE, table, empty(wanted, channels))
    centres = (np.arange(wanted) + 0.5) * length / wanted - 0.5
    expected = np.stack([np.interp(centres, np.arange(length), column) for column in table.numpy().T], axis=1)
    assert np.allclose(result.numpy(), expected, rtol=0, atol=1e-12)
    assert bool(changed) == (length != wanted)


def test_a_half_precision_table_is_interpolated_in_the_models_type():
    result, _ = fitted(TABLE, torch.tensor([[0.0], [1.0]], dtype=torch.float16), torch.empty(4, 1))
    assert result.dtype == torch.float32
    assert result.flatten().tolist() == [0.0, 0.25, 0.75, 1.0]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([1, 3, 5]), st.booleans())
def test_an_inflated_kernel_sums_to_the_image_kernel(length, with_time):
    kernel = torch.randn(6, 1, 3, 3, dtype=torch.float64)
    given_kernel = kernel[:, :, None] if with_time else kernel
    result, _ = fitted(KERNEL, given_kernel, empty(6, 1, length, 3, 3), image=True)
    assert torch.allclose(result.sum(2), kernel, rtol=0, atol=1e-14)
    assert torch.equal(result[:, :, 0], result[:, :, -1])


@pytest.mark.parametrize(
    ("shape", "wanted", "image"),
    [
        ((6, 1, 3, 3), (6, 1, 3, 3, 3), False),
        ((6, 1, 3, 3), (6, 1, 3, 5, 5), True),
        ((6, 2, 3, 3), (6, 1, 3, 3, 3), True),
        ((6, 1, 2, 3, 3), (6, 1, 3, 3, 3), True),
        ((6,), (6, 1, 3, 3, 3), True),
    ],
)
def test_kernels_that_do_not_fit_stay_as_they_are(shape, wanted, image):
    kernel = torch.rand(shape)
    result, changed = fitted(KERNEL, kernel, torch.empty(wanted), image=image)
    assert result is kernel
    assert changed == {}


@pytest.mark.parametrize("shape", [(7, 4), (7,), (7, 3, 1)])
def test_tables_of_another_width_stay_as_they_are(shape):
    table = torch.rand(shape)
    assert fitted(TABLE, table, torch.empty(5, 3))[0] is table


@settings(deadline=None)
@given(st.lists(st.sampled_from(["net", "a", "0"]), max_size=3))
def test_any_prefix_is_found(parts):
    prefix = "".join(f"{part}." for part in parts)
    names = ("stem.conv.weight", "stem.norm.bias", "proj.weight")
    own = {prefix + name: torch.zeros(1) for name in names}
    assert set(under_prefix(dict.fromkeys(names, torch.ones(1)), own)) == set(own)
