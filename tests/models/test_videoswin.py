"""VideoSwin: its size, what the config sets, recomputed blocks, small windows, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from transm3e.errors import UserError
from transm3e.models import build_model, count_parameters
from transm3e.models.videoswin import VideoSwin

SIZE_B = {"embed_dim": 128, "num_heads": (4, 8, 16, 32)}
TINY = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "window_size": (2, 4, 4)}


@pytest.mark.parametrize(("sizes", "number"), [({}, 49_524_458), (SIZE_B, 87_659_484)])
def test_number_of_parameters(sizes, number):
    with torch.device("meta"):
        assert count_parameters(VideoSwin("rgb", 20, **sizes)) == number


def test_sizes_channels_and_rates_come_from_the_config(tiny_cfg):
    cfg = tiny_cfg
    cfg.MODEL.MODEL_NAME, cfg.MODEL.NUM_CLASSES, cfg.MODEL.DROPOUT_RATE, cfg.DATA.MODALITY = "VideoSwin", 7, 0.4, "flow"
    cfg.VIDEOSWIN.PATCH_SIZE, cfg.VIDEOSWIN.WINDOW_SIZE, cfg.VIDEOSWIN.MLP_RATIO = [1, 2, 4], [2, 3, 5], 2.0
    cfg.VIDEOSWIN.EMBED_DIM, cfg.VIDEOSWIN.DEPTHS, cfg.VIDEOSWIN.NUM_HEADS = 12, [2, 3], [2, 3]
    cfg.VIDEOSWIN.DROPOUT_RATE, cfg.VIDEOSWIN.ATTENTION_DROPOUT_RATE, cfg.VIDEOSWIN.DROPPATH_RATE = 0.1, 0.2, 0.3
    model = build_model(cfg)
    assert model.net.patch_embed.proj.weight.shape == (12, 2, 1, 2, 4)
    blocks = [block for stage in model.net.features[::2] for block in stage]
    assert [block.attn.num_heads for block in blocks] == [2, 2, 3, 3, 3]
    assert [block.stochastic_depth.p for block in blocks] == pytest.approx([0, 0.075, 0.15, 0.225, 0.3])
    assert [block.attn.shift_size for block in blocks] == [[0, 0, 0], [1, 1, 2], [0, 0, 0], [1, 1, 2], [0, 0, 0]]
    assert {(b.attn.dropout, b.attn.attention_dropout, b.mlp[2].p) for b in blocks} == {(0.1, 0.2, 0.1)}
    assert blocks[4].mlp[0].weight.shape == (48, 24)
    assert (model.net.pos_drop.p, model.dropout.p, model.net.head.weight.shape) == (0.1, 0.4, (7, 24))
    assert model({"flow": torch.rand(2, 2, 4, 32, 32)}).logits.shape == (2, 7)


def test_blocks_computed_again_give_the_same_bits():
    torch.manual_seed(0)
    model = VideoSwin("rgb", 20, **TINY, dropout=0.2, attention_dropout=0.2, drop_path=0.5, head_dropout=0.2)
    clips, results = {"rgb": torch.rand(4, 3, 8, 32, 32)}, []
    for again in (False, True):
        model.act_checkpoint = again
        model.zero_grad()
        torch.manual_seed(1)
        logits = model(clips).logits
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(kept, again) for kept, again in zip(*results, strict=True))


def offsets(window, used):
    """Rows of the table that tell the first two frames, rows and columns apart in a window of `used` patches."""
    attention = VideoSwin("rgb", 20, **{**TINY, "window_size": window}).net.features[0][0].attn
    rows = torch.arange(len(attention.relative_position_bias_table), dtype=torch.float32)
    attention.relative_position_bias_table.data[:] = rows[:, None]
    bias = attention.get_relative_position_bias(list(used)).detach()[0, 0].reshape(*used, *used)
    centre = bias[0, 0, 0, 0, 0, 0]
    return [float(bias[place][0, 0, 0] - centre) for place in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]


def test_positions_of_a_clip_smaller_than_a_window_are_right_in_time_only():
    # Strides of the table: 7 x 7 relative positions per frame, 7 per row.
    assert offsets((4, 4, 4), (4, 4, 4)) == [49, 7, 1]
    assert offsets((4, 4, 4), (2, 4, 4)) == [49, 7, 1]
    # The 16 patches of 4 frames of 2x2 are read as the large window's first frame: 4 on is a row, 2 on two columns.
    assert offsets((4, 4, 4), (4, 2, 2)) == [7, 2, 1]


def test_one_block_alone_is_refused():
    with pytest.raises(UserError, match=r"VIDEOSWIN\.DEPTHS is \[1\]; it must name two blocks"):
        VideoSwin("rgb", 20, depths=(1,), num_heads=(3,))


def test_it_fits_eight_clips():
    torch.manual_seed(0)
    model = VideoSwin("rgb", 20, **{**TINY, "embed_dim": 24}, drop_path=0.0)
    clips, labels, losses = torch.randn(8, 3, 4, 32, 32), torch.arange(8) % 2, []
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(25):
        losses.append(cross_entropy(model({"rgb": clips}).logits[:, :2], labels))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[0] > 0.5
    assert losses[-1] < 0.05
