"""Rows of the relative-position tables, their interpolation, and the terms of queries and codes of keys."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.layers.relative_position import Positions, key_codes, row_numbers, table_length

lengths = st.integers(1, 5)
DOUBLE = torch.float64


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_rows_are_the_distances(stride):
    for queries in range(1, 39):
        pooled = -(-queries // stride)
        # Keys coarser than queries, and the other way round.
        for n_q, n_k in ((queries, pooled), (pooled, queries)):
            # Row 0 is the farthest key after the query.
            step_q, step_k = max(Fraction(n_k, n_q), Fraction(1)), max(Fraction(n_q, n_k), Fraction(1))
            exact = [[int(i * step_q - (j - n_k + 1) * step_k) for j in range(n_k)] for i in range(n_q)]
            assert row_numbers(n_q, n_k).tolist() == exact, (n_q, n_k)
            assert 0 <= min(map(min, exact)) <= max(map(max, exact)) < table_length(n_q, n_k)


def test_a_table_of_another_length_is_interpolated():
    """A ramp stays one: a query at position i finds at key j what i - j is on it."""
    ramp = torch.linspace(-3, 3, 7, dtype=DOUBLE)[:, None]
    one = torch.zeros(1, 1, dtype=DOUBLE)
    found, _ = Positions((1, 1, 6), (1, 1, 6), 0, 1, 1, DOUBLE).queries(
        torch.ones(1, 6, 1, 1, dtype=DOUBLE), (one, one, ramp)
    )
    terms = found[0, :, 0, 3:]
    assert terms.shape == (6, 6)
    assert torch.equal(terms.diagonal(), terms[0, 0].expand(6))
    assert (terms[1:, 0] > terms[:-1, 0]).all()
    assert terms.abs().max() <= 3


@given(st.tuples(lengths, lengths, lengths), st.tuples(lengths, lengths, lengths), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_terms_times_codes_is_the_sum_of_the_three_biases(q_size, k_size, batch, heads):
    torch.manual_seed(0)
    n_q = torch.Size(q_size).numel()
    q = torch.randn(batch, n_q, heads, 6, dtype=DOUBLE)
    tables = [torch.randn(table_length(a, b), 6, dtype=DOUBLE) for a, b in zip(q_size, k_size, strict=True)]
    positions = Positions(q_size, k_size, 2, 6, 8, DOUBLE)
    found, same = positions.queries(q, tables, 3.0)
    assert found.shape[-1] % 8 == 0
    assert torch.equal(found[..., :6], q)
    assert torch.equal(same, q)
    bias = found[..., 6:] @ positions.codes.T
    assert not bias[..., :2].any()  # class tokens have no position
    queries, keys = (torch.cartesian_prod(*(torch.arange(n) for n in size)) for size in (q_size, k_size))
    expected = 0
    for axis in range(3):
        numbers = row_numbers(q_size[axis], k_size[axis])
        chosen = tables[axis][numbers[queries[:, None, axis], keys[None, :, axis]]]
        expected = expected + 3 * torch.einsum("bqhc,qnc->bqhn", q, chosen)
    assert torch.allclose(bias[..., 2:], expected, rtol=0, atol=1e-12)


def test_terms_pass_gradients_to_queries_and_interpolated_tables():
    torch.manual_seed(0)
    positions = Positions((2, 3, 4), (2, 2, 2), 1, 3, 4, DOUBLE)
    q = torch.randn(2, 24, 2, 3, dtype=DOUBLE, requires_grad=True)
    tables = [torch.randn(n, 3, dtype=DOUBLE, requires_grad=True) for n in (3, 7, 7)]
    assert torch.autograd.gradcheck(lambda q, *tables: positions.queries(q, tables), (q, *tables))


def test_codes_name_each_keys_time_row_and_column():
    codes = key_codes((2, 3, 4))
    assert codes.shape == (24, 9)
    # Key 17 of a grid of 2 x 3 x 4 stands at time 1, row 1, column 1.
    assert codes[17].nonzero().flatten().tolist() == [1, 2 + 1, 5 + 1]
    assert (codes.sum(1) == 3).all()
