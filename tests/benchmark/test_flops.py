"""Multiply-adds against counts by hand and against what torchvision documents."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.video import MViT_V2_S_Weights

from transm3e.benchmark.candidate import build_candidate, build_entries
from transm3e.benchmark.flops import candidate_work, count_work

CPU = torch.device("cpu")


class LinearAndAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.heads = heads

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return F.gelu(F.scaled_dot_product_attention(q, k, v))


class Attention(nn.Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)


def test_linear_and_attention_by_hand():
    work = count_work(LinearAndAttention(8, 2), (torch.randn(3, 5, 8),))
    assert work.by_operator == {"linear": 3 * 5 * 8 * 24, "scaled_dot_product_attention": 2 * (3 * 2 * 5 * 5 * 4)}
    assert work.macs == sum(work.by_operator.values())
    assert work.uncounted["gelu"] == 1


@settings(max_examples=15, deadline=None)
@given(*[st.integers(1, 6)] * 6)
def test_attention_counts_both_products(batch, heads, queries, keys, width, value_width):
    shapes = [(queries, width), (keys, width), (keys, value_width)]
    work = count_work(Attention(), tuple(torch.randn(batch, heads, *shape) for shape in shapes))
    score = sum(1 for _ in range(batch * heads) for _ in range(queries) for _ in range(keys))
    assert work.macs == score * width + score * value_width


def test_batched_product_with_a_sum():
    class Sum(nn.Module):
        def forward(self, a, b, c):
            return torch.baddbmm(a, b, c)

    inputs = torch.randn(2, 3, 5), torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    assert count_work(Sum(), inputs).macs == 2 * 3 * 4 * 5


def test_mvit_v2_s_as_torchvision_documents(tmp_path):
    config = tmp_path / "mvit.yaml"
    config.write_text("MODEL: {MODEL_NAME: MViT}\n")
    entries, _ = build_entries([str(config)], None, [])
    assert entries[1].source == "torchvision:mvit_v2_s"
    work = candidate_work(build_candidate(entries[1], CPU), CPU)
    assert work.macs / 1e9 == pytest.approx(MViT_V2_S_Weights.KINETICS400_V1.meta["_ops"], rel=0.01)


def test_a_teacher_is_no_work_in_inference(student_file):
    (entry,), _ = build_entries([str(student_file)], None, [])
    with_teacher, alone = (build_candidate(entry, CPU, with_teacher=on) for on in (True, False))
    assert candidate_work(with_teacher, CPU) == candidate_work(alone, CPU)
