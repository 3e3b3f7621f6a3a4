"""PROTOCOL: the paper's text or the authors' code; every point changes what is computed, and a key set wins over it."""

from pathlib import Path

import pytest
import torch

from transm3e.config import get_cfg, load_cfg
from transm3e.config.load import cfg_from_text
from transm3e.config.node import all_keys
from transm3e.config.schema import KEYS
from transm3e.data import build_dataset
from transm3e.data.modalities import build_modalities
from transm3e.distill import build_distiller
from transm3e.engine.optim import Schedule
from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.models.registry import count_parameters
from transm3e.runs.plan import plan

POINTS = {name: each for name, each in KEYS.items() if each.authors}
PROTOCOLS = ("paper", "authors_code")
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "MuscleMap136"


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(text="NUM_GPUS: 0", *opts):
        Path("a.yaml").write_text(text)
        return load_cfg("a.yaml", opts)

    return load


@pytest.fixture
def both(load):
    """The defaults of the paper and of the authors' code."""
    return load(), load("NUM_GPUS: 0", "PROTOCOL", "authors_code", "SOLVER.MAX_EPOCH", 10)


def column(protocol):
    return {name: each.default if protocol == "paper" else each.authors.value for name, each in POINTS.items()}


def chosen(cfg):
    return {key: value for key, value in all_keys(cfg).items() if key in POINTS}


def test_the_papers_column_is_the_defaults_and_every_point_differs():
    assert chosen(get_cfg()) == column("paper")
    assert all(each.default != each.authors.value and each.authors.source for each in POINTS.values())


def test_a_protocol_sets_its_column_and_nothing_else(both):
    paper, code = (all_keys(cfg) for cfg in both)
    assert chosen(both[1]) == column("authors_code")
    assert {key for key in paper if paper[key] != code[key]} == {"PROTOCOL", *POINTS}


def test_the_last_setting_of_the_protocol_wins(load):
    Path("base.yaml").write_text("PROTOCOL: authors_code")
    assert load("_BASE_: base.yaml").MCTF.QKV_BIAS is False
    assert load("{_BASE_: base.yaml, PROTOCOL: paper}").MCTF.QKV_BIAS is True
    assert load("{_BASE_: base.yaml, PROTOCOL: paper}", "PROTOCOL=authors_code").MCTF.QKV_BIAS is False
    assert load("_BASE_: base.yaml", "PROTOCOL", "authors_code", "PROTOCOL", "paper").MCTF.QKV_BIAS is True


@pytest.mark.parametrize(
    "opts", [[], ["PROTOCOL", "authors_code", "MCTF.SCALE", 0.5], ["MCTF.SCALE", 0.5, "PROTOCOL=authors_code"]]
)
@pytest.mark.parametrize("base", ["MCTF: {SCALE: 0.5}", "{MCTF: {SCALE: 0.5}, PROTOCOL: paper}"])
def test_a_key_set_anywhere_wins_over_the_protocol_in_any_order(load, base, opts):
    Path("base.yaml").write_text(base)
    cfg = load("{PROTOCOL: authors_code, _BASE_: base.yaml}", *opts)
    assert (cfg.MCTF.SCALE, cfg.MCTF.QKV_BIAS) == (0.5, False)


def test_a_key_set_to_the_papers_value_stays(load):
    assert load("MCTF: {SCALE: 0.8}", "PROTOCOL", "authors_code").MCTF.SCALE == 0.8


@pytest.mark.parametrize("name", ["author_code", "", 3])
def test_another_protocol_is_refused_where_it_stands(load, name):
    with pytest.raises(UserError, match=r"^command line: PROTOCOL is .*; allowed: paper, authors_code, pyslowfast$"):
        load("PROTOCOL: paper", "PROTOCOL", name)
    with pytest.raises(UserError, match=r"^a\.yaml: PROTOCOL is "):
        load(f"PROTOCOL: '{name}'")


def test_a_checkpoints_text_loads_as_it_was(both):
    for cfg in both:
        assert cfg_from_text(cfg.dump(), "a checkpoint") == cfg
    assert chosen(cfg_from_text("PROTOCOL: authors_code", "a checkpoint")) == column("authors_code")


def test_the_run_is_named_after_the_keys_and_not_after_the_protocol(load):
    load()
    explicit = [word for key, value in column("authors_code").items() for word in (key, value)]
    [paper], [code] = plan(["a.yaml"]), plan(["a.yaml"], ["PROTOCOL", "authors_code"])
    [by_hand] = plan(["a.yaml"], explicit)
    assert paper.id != code.id == by_hand.id


def test_the_runs_a_config_starts_from_take_the_protocol_over(load, tmp_path):
    runs = plan([str(CONFIGS / "transm3e_s.yaml")], ["PROTOCOL", "authors_code", "RUNS_DIR", tmp_path])
    assert [run.name for run in runs] == ["mcts_rgb_s", "mcts_rgb_diff_s", "transm3e_s"]
    assert all(chosen(run.cfg) == column("authors_code") for run in runs)


@pytest.mark.parametrize(("theirs", "ours"), [PROTOCOLS, PROTOCOLS[::-1]])
def test_a_start_keeps_the_protocol_of_its_own_files_and_else_takes_it_over(load, theirs, ours):
    Path("base.yaml").write_text(f"PROTOCOL: {theirs}")
    Path("first.yaml").write_text("RNG_SEED: 0")
    Path("unset.yaml").write_text("{INIT: {STUDENT_FROM: first.yaml}, SOLVER: {MAX_EPOCH: 40}}")
    Path("set.yaml").write_text("_BASE_: [unset.yaml, base.yaml]")
    for start, expected in (("set", theirs), ("unset", ours)):
        load(f"{{INIT: {{STUDENT_FROM: {start}.yaml}}, PROTOCOL: {ours}, SOLVER: {{MAX_EPOCH: 41}}}}")
        runs = plan(["a.yaml"])
        # Down to the start of the start.
        assert [(run.name, run.cfg.PROTOCOL) for run in runs] == [("first", expected), (start, expected), ("a", ours)]
        assert all(chosen(run.cfg) == column(run.cfg.PROTOCOL) for run in runs)


def test_options_for_the_starts_win_over_their_files_and_the_parent(load):
    Path("own.yaml").write_text("PROTOCOL: authors_code")
    load("INIT: {STUDENT_FROM: own.yaml, OPTS: [PROTOCOL, paper]}")
    assert [run.cfg.PROTOCOL for run in plan(["a.yaml"], ["PROTOCOL", "authors_code"])] == ["paper", "authors_code"]


@pytest.mark.parametrize("set_five", ["TEST: {NUM_ENSEMBLE_VIEWS: 5}", "NUM_GPUS: 0"])
def test_the_authors_code_scores_one_view_whatever_a_file_says(load, noise_data, caplog, set_five):
    cfg = load(set_five, "PROTOCOL", "authors_code", "SOLVER.MAX_EPOCH", 40)
    assert len(_dataset(cfg, noise_data, "new_test")) == 2
    assert ["NUM_ENSEMBLE_VIEWS 5" in text for text in caplog.messages] == ([True] if "TEST" in set_five else [])


@pytest.mark.parametrize(("name", "parameters"), [("transm3e_s", 44_376_116), ("transm3e_b", 61_031_636)])
def test_parameters_of_the_authors_code_and_of_the_papers_biases(name, parameters):
    counts = []
    for protocol in ("authors_code", "paper"):
        with torch.device("meta"):
            counts.append(count_parameters(build_model(load_cfg(CONFIGS / f"{name}.yaml", ["PROTOCOL", protocol]))))
    assert counts == [parameters, parameters + 6 * 768]


@pytest.mark.parametrize("name", ["SCALE", "AUTHORS_VIEW"])
def test_a_point_of_mctf_changes_what_the_same_weights_compute(student_cfg, name):
    models = []
    for value in (column(protocol)[f"MCTF.{name}"] for protocol in PROTOCOLS):
        student_cfg.MCTF[name] = value
        models.append(build_model(student_cfg).double().eval())
    one, two = models
    for parameter in one.fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    two.load_state_dict(one.state_dict())
    clip = {"rgb": torch.rand(2, 3, 4, 32, 32, dtype=torch.float64)}
    assert (one(clip).logits - two(clip).logits).abs().max() > 1e-6


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_receivers_of_the_authors_code_are_all_equal_at_first(student_cfg, protocol):
    student_cfg.TRANSM3E.RECEIVER_INIT = column(protocol)["TRANSM3E.RECEIVER_INIT"]
    out = build_model(student_cfg).double().eval()({"rgb": torch.rand(2, 3, 4, 32, 32, dtype=torch.float64)})
    spread = (out.receivers[-1] - out.receivers[-1][:, :1]).abs().max()
    assert (spread < 1e-12) == (protocol == "authors_code")


def test_the_rate_of_the_authors_file_ends_at_a_third(both):
    paper, code = (Schedule.from_cfg(cfg, 1) for cfg in both)
    assert (paper.rate(1), paper.rate(10)) == pytest.approx((1e-4, 1e-6))
    assert max(code.rate(step / 10) for step in range(101)) == code.rate(10) == pytest.approx(3.4e-5)


def test_rgb_is_normalised_or_not_and_the_difference_never(both):
    clips = {"rgb": torch.randint(0, 256, (2, 3, 4, 8, 8), dtype=torch.uint8)}
    paper, code = (build_modalities(cfg, ["rgb", "rgb_diff"])(clips) for cfg in both)
    assert torch.equal(code["rgb"], clips["rgb"] / 255)
    assert torch.allclose(paper["rgb"], (code["rgb"] - 0.45) / 0.225, atol=1e-6)
    assert torch.equal(paper["rgb_diff"], code["rgb_diff"])


def test_the_authors_code_only_crops_and_flips(both, noise_data):
    paper, code = (_dataset(cfg, noise_data, "train").augmentation for cfg in both)
    assert (paper.flip, paper.area) == (code.flip, code.area) == (True, (0.08, 1.0))
    assert paper.color_jitter > 0 < paper.erase_prob
    assert (code.color_jitter, code.erase_prob) == (0.0, 0.0)


def test_the_authors_code_crops_one_window_twice(both):
    paper, code = ([cfg.AUG.SAMPLE_DISTANCE, cfg.DATA.FRAME_INDICES] for cfg in both)
    assert (paper, code) == ([-1, "stride"], [0, "linspace"])  # their effect: tests/data


def test_the_authors_code_tests_one_view_from_the_start(both, noise_data):
    paper, code = (_dataset(cfg, noise_data, "new_test") for cfg in both)
    assert (len(paper[0].views), len(code[0].views)) == (5, 1)
    assert torch.equal(paper[0].clips["rgb"][:1], first := code[0].clips["rgb"]), (
        "the first spread view begins at frame 0"
    )
    centred = _dataset(both[0], noise_data, "new_test", single_view=True)[0].clips["rgb"]
    assert not torch.equal(centred, first)
    # Validation in training is the same in both.
    assert torch.equal(_dataset(both[1], noise_data, "new_test", single_view=True)[0].clips["rgb"], centred)


def test_the_distillation_of_24_blocks_is_divided_by_16(both):
    assert [build_distiller(cfg).divisor for cfg in both] == [both[0].MVIT.DEPTH, 16]


def _dataset(cfg, data, split, single_view=False):
    small = cfg.clone()
    small.defrost()
    small.DATA.PATH_TO_DATA_DIR, small.DATA.NUM_FRAMES, small.DATA.SAMPLING_RATE = str(data), 2, 2
    small.DATA.TRAIN_CROP_SIZE = small.DATA.TEST_CROP_SIZE = 32
    small.DATA.TEST_SCALE = 0  # its effect: tests/data
    return build_dataset(small, split, single_view=single_view)
