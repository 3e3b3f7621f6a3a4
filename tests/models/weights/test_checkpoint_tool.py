"""tools/checkpoint.py: look into a file, convert it, and one line for a mistake."""

import importlib.util
from pathlib import Path

import pytest
import torch

from transm3e.config import load_cfg
from transm3e.models import build_model
from transm3e.models.weights import load_weights, read_checkpoint
from transm3e.models.weights.tables import checkpoint_table, group_of


@pytest.fixture(scope="module")
def tool():
    file = Path(__file__).parents[3] / "tools" / "checkpoint.py"
    spec = importlib.util.spec_from_file_location("checkpoint_tool", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(tmp_path, tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME = "MViT"
    path = tmp_path / "mvit.yaml"
    path.write_text(tiny_cfg.dump())
    return str(path)


@pytest.fixture
def file(tmp_path, config):
    """A PySlowFast checkpoint of 400 classes from two GPUs."""
    torch.manual_seed(5)
    state = build_model(load_cfg(config, ("RNG_SEED", 9))).state_dict()
    state = {f"module.{k.removeprefix('backbone.').replace('head.', 'head.projection.')}": v for k, v in state.items()}
    state["module.head.projection.weight"] = torch.rand(400, 128)
    state["module.head.projection.bias"] = torch.rand(400)
    path = tmp_path / "theirs.pyth"
    torch.save({"model_state": state, "epoch": 199, "cfg": "A: 1\nB: 2\n", "optimizer_state": {}}, path)
    return path


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("backbone.blocks.3.attn.qkv.weight", "backbone.blocks.3"),
        ("s2.pathway0_res0.branch2.a.weight", "s2.pathway0_res0"),
        ("fusion.inputs.q_m.weight", "fusion.inputs"),
        ("head.weight", "head"),
        ("cls_token", "cls_token"),
    ],
)
def test_groups(name, group):
    assert group_of(name) == group


def test_inspect_prints_a_line_per_group(tool, file, capsys):
    assert tool.main(["inspect", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    count = len(read_checkpoint(file)["model_state"])
    assert lines[0].startswith(f"{file}: source pyslowfast, {count} tensors, ")
    assert lines[0].endswith("; module. (DDP) removed from the names; epoch 199; a config of 2 lines")
    groups = {line.split()[0] for line in lines[2:]}
    assert groups == {"cls_token", "patch_embed.proj", "blocks.0", "blocks.1", "blocks.2", "norm", "head.projection"}
    assert len(lines) == 2 + len(groups)
    assert lines[-1].split() == ["head.projection", "2", "51,600", "weight", "400x128"]
    assert sum(int(line.split()[1]) for line in lines[2:]) == count


def test_inspect_all_prints_every_tensor(tool, file, capsys):
    tool.main(["inspect", str(file), "--all"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(read_checkpoint(file)["model_state"])
    assert any(line.split() == ["cls_token", "1x1x16", "float32"] for line in lines)


def test_inspect_against_a_config(tool, file, config, capsys):
    tool.main(
        [
            "inspect",
            str(file),
            "--against",
            config,
            "TRANSM3E.NUM_MCTS",
            "3",
            "MODEL.MODEL_NAME",
            "TransM3E",
            "--allow",
            "head.",
        ]
    )
    out = capsys.readouterr().out
    assert "reshaped  mcts" in out
    assert "(1, 1, 16) -> (1, 3, 16), one class token added to each token's random initialisation" in out
    assert "missing   head" in out


@pytest.mark.parametrize("suffix", [".pyth", ".safetensors"])
def test_convert_writes_our_names(tool, file, config, tmp_path, capsys, suffix):
    out = tmp_path / f"ours{suffix}"
    assert tool.main(["convert", str(file), str(out), "--cfg", config, "RNG_SEED", "3", "--allow", "head."]) == 0
    assert "names of pyslowfast" in capsys.readouterr().out
    model = build_model(load_cfg(config))
    report = load_weights(model, out)
    assert (report.source, report.missing) == ("transm3e", ())
    theirs = read_checkpoint(file)["model_state"]
    assert torch.equal(model.backbone.norm.weight, theirs["module.norm.weight"])
    assert torch.equal(model.cls_token, theirs["module.cls_token"])
    assert "RNG_SEED: 3" in read_checkpoint(out)["cfg"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["mvit.yaml", "theirs.pyth", out.name])


def mistake(tool, capsys, *words):
    with pytest.raises(SystemExit) as caught:
        tool.main([str(word) for word in words])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_mistakes_are_one_line(tool, file, config, tmp_path, capsys):
    out = tmp_path / "out.pyth"
    convert = ("convert", file, out, "--cfg", config)
    assert "2 of another shape (head.weight, head.bias)" in mistake(tool, capsys, *convert)
    assert "no checkpoint at" in mistake(tool, capsys, "inspect", tmp_path / "gone.pyth")
    assert "suffix '.bin'" in mistake(
        tool, capsys, "convert", file, tmp_path / "a.bin", *convert[3:], "--allow", "head."
    )
    assert "'timmm'" in mistake(tool, capsys, *convert, "--source", "timmm")
    assert "did you mean timm?" in mistake(tool, capsys, "inspect", file, "--source", "timmm")
    assert not out.exists()
    out.write_text("mine")
    assert "add --force" in mistake(tool, capsys, *convert, "--allow", "head.")
    assert out.read_text() == "mine"
    assert tool.main([str(word) for word in (*convert, "--allow", "head.", "--force")]) == 0
    assert read_checkpoint(out)["model_state"].keys() == build_model(load_cfg(config)).state_dict().keys()


@pytest.mark.parametrize(
    ("out", "message"),
    [("gone/a.pyth", "no folder"), ("a.bin", "suffix '.bin'"), ("a", "suffix ''"), ("folder.pyth", "is a folder")],
)
def test_where_to_write_is_checked_before_anything_is_loaded(tool, config, tmp_path, capsys, monkeypatch, out, message):
    (tmp_path / "folder.pyth").mkdir()
    monkeypatch.setattr(tool, "build", lambda words: pytest.fail("a model was built"))
    words = ("convert", tmp_path / "none.pyth", tmp_path / out, "--cfg", config, "--force")
    assert message in mistake(tool, capsys, *words)
    assert not (tmp_path / "gone").exists()


def test_an_unknown_source_is_said(tmp_path):
    torch.save({"encoder.weight": torch.ones(2)}, tmp_path / "a.pt")
    assert "source not known by its names, 1 tensors, 2 values" in checkpoint_table(tmp_path / "a.pt")
