"""Rows become runs: each once, those they start from too; a row that cannot be planned stops nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.each import assert_each
from transm3e.errors import UserError
from transm3e.runs.plan import plan
from transm3e.tables.command import build_plan
from transm3e.tables.listing import forward_macs, gpu_hours, listing

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def planned(number, *, on=None, scale="full", seeds=(0,), rows=None, opts=()):
    return build_plan([CONFIGS / "tables" / f"table{number:02d}.yaml"], on, scale, seeds, rows, 0, opts)


def test_the_24_rows_of_table_4_share_two_stage_1_runs(tmp_path):
    made = planned(4, on=["MuscleSynth"], opts=["RUNS_DIR", str(tmp_path)])
    assert not made.problems
    rows = [job for job in made.jobs.values() if job.is_row]
    firsts = [job for job in made.jobs.values() if not job.is_row]
    assert (len(rows), len(firsts), len(made.missing())) == (24, 2, 26)
    assert [job.run.cfg.DATA.MODALITY for job in firsts] == ["rgb", "rgb_diff"]
    assert {job.needs for job in rows} == {tuple(job.key for job in firsts)}
    said = [(job.run.cfg.DISTILL.METHOD, job.run.cfg.DISTILL.POSITION, job.run.cfg.DISTILL.AXIS) for job in rows]
    assert len(set(said)) == 24
    assert "24 rows: 26 runs, not 72, as runs are shared: 24 of rows, 2 that others start from" in listing(made, 20.0)


def test_a_start_is_asked_for_by_words_that_give_the_very_run(tmp_path):
    made = planned(13, on=["MuscleSynth"], scale="tiny", rows=["RGB DIFF"], opts=["RUNS_DIR", str(tmp_path)])
    [row] = [job for job in made.jobs.values() if job.is_row]
    cfg = row.run.cfg
    assert (cfg.DATA.MODALITY, cfg.DISTILL.MODALITY, cfg.DATA.NUM_FRAMES) == ("rgb_diff", "flow", 4)
    assert [job.run.name for job in made.jobs.values()] == ["mcts_rgb_diff", "mcts_flow", "transm3e"]
    for job in made.jobs.values():
        alone = plan([str(job.config)], job.words)[-1]
        assert (alone.id, alone.folder) == (job.run.id, job.run.folder)
        assert job.run.cfg.SOLVER.MAX_EPOCH == 1
        assert job.run.cfg.DATA.PATH_TO_DATA_DIR == "data/MuscleSynth/tiny"


def test_small_is_the_demos_size_on_the_papers_data():
    made = planned(3, scale="small", rows=["+ MCTs + MCTKD + MCTF"])
    demo = plan([str(CONFIGS / "MuscleSynth" / "transm3e.yaml")])[-1]
    cfg, first = list(made.jobs.values())[-1].run.cfg, next(iter(made.jobs.values())).run.cfg
    assert cfg.MVIT == first.MVIT == demo.cfg.MVIT
    assert cfg.SOLVER == demo.cfg.SOLVER
    assert first.SOLVER == demo.starts[0].cfg.SOLVER
    assert (cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE) == (8, 64)
    assert (cfg.TRAIN.DATASET, cfg.DATA.PATH_TO_DATA_DIR) == ("MuscleMap136", "data/MuscleMap136")
    assert first.TRAIN.CHECKPOINT_FILE_PATH == ""


def test_data_sets_that_are_not_there_do_not_share_runs_but_seeds_and_rows_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = planned(2, rows=["Random"], seeds=(0, 1))
    assert [table.dataset for table in made.tables] == ["MuscleMap136", "MuscleUCF90", "MuscleHMDB41"]
    assert len(made.jobs) == 6
    assert "no data" in listing(made, 20.0)


def test_a_row_that_cannot_be_planned_is_said_and_the_others_are_planned(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (tmp_path / "MuscleSynth").mkdir()
    (tmp_path / "MuscleSynth" / "a.yaml").write_text("MODEL: {MODEL_NAME: Random}\nTRAIN: {ENABLE: False}\n")
    rows = ["{label: good, config: a}", "{label: typo, config: a, opts: {MODEL.NAME: x}}", "{label: none, config: b}"]
    (folder / "t.yaml").write_text("title: T\nsource: S\nrows:\n" + "".join(f"  - {row}\n" for row in rows))
    made = build_plan([folder / "t.yaml"], ["MuscleSynth"], "full", [0], None, 0, [])
    assert [bool(row.problem) for row in made.tables[0].rows] == [False, True, True]
    text = listing(made, 20.0)
    assert "cannot be run: typo: command line: unknown key MODEL.NAME" in text
    assert "cannot be run: none: no config" in text
    assert "3 rows, 2 cannot be run: 1 runs" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"on": ["UCF"]}, "no configs of the data set 'UCF' in .*; there are: FreeExercise, .*; for your own data"),
        ({"rows": ["MCTX"]}, "--rows 'MCTX': no row's label begins with it; there are: Sum, Concatenation"),
        ({"seeds": [1, 1]}, "--seeds 1 1 must be different whole numbers from 0"),
        ({"seeds": [-1]}, "--seeds -1 must be different whole numbers"),
        ({"opts": ["FOO", "1"]}, "--opts: unknown key FOO"),
        ({"opts": ["SOLVER.MAX_EPOCH", "many"]}, "--opts: SOLVER.MAX_EPOCH"),
        ({"opts": ["SOLVER.MAX_EPOCH", "-1"]}, "no row can be run: .*SOLVER.MAX_EPOCH"),
        ({"opts": ["TRAIN.AUTO_RESUME", "False"]}, "--opts TRAIN.AUTO_RESUME cannot be the same"),
        ({"opts": ["OUTPUT_DIR", "x"]}, "--opts OUTPUT_DIR cannot be the same for all runs of a table"),
        ({"opts": ["RNG_SEED", "3"]}, "use --seeds"),
    ],
)
def test_wrong_options(words, message):
    with pytest.raises(UserError, match=message):
        planned(5, **words)


def table_of(tmp_path, text):
    (tmp_path / "tables").mkdir(exist_ok=True)
    file = tmp_path / "tables" / "own.yaml"
    file.write_text("title: T\ndatasets: [MuscleSynth]\n" + text)
    return file


def test_rows_that_are_one_training_scored_in_two_ways_do_not_share_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    file = table_of(tmp_path, "config: har_lookup\ngrid: {LOOKUP.MUSCLES: [predicted, expected]}\n")
    made = build_plan([file], None, "full", [0], None, 0, ["RUNS_DIR", str(tmp_path)])
    first, second = made.tables[0].rows
    assert made.jobs[first.key].run.cfg.LOOKUP.MUSCLES == "predicted"
    assert second.key is None
    assert "only scored otherwise" in second.problem
    assert "RUNS_DIR" in second.problem


def test_a_run_that_others_start_from_is_scored_as_its_row_asks(tmp_path):
    files = [CONFIGS / "tables" / f"table{number:02d}.yaml" for number in (2, 3)]
    words = ["RUNS_DIR", str(tmp_path), "TEST.NUM_ENSEMBLE_VIEWS", 1]
    made = build_plan(files, ["MuscleSynth"], "full", [0], ["TransM3E-Small", "+ MCTs"], 0, words)
    # As the start of TransM3E it was planned first, with words that say nothing of views.
    [row] = [row for table in made.tables for row in table.rows if row.row.label == "+ MCTs"]
    job = made.jobs[row.key]
    assert job.run.cfg.TEST.NUM_ENSEMBLE_VIEWS == 1
    alone = plan([str(job.config)], job.words)[-1]
    assert (alone.id, alone.eval_id) == (job.run.id, job.run.eval_id)


def test_a_label_in_full_means_that_row_alone():
    assert [row.row.label for row in planned(3, rows=["+ MCTs"]).tables[0].rows] == ["+ MCTs"]
    assert len(planned(3, rows=["+ MCTs +"]).tables[0].rows) == 2


def test_tables_of_one_name_are_refused_and_one_named_twice_is_one(tmp_path):
    own = table_of(tmp_path, "rows: [{label: a, config: random}]\n")
    other = tmp_path / "own.yaml"
    other.write_text(own.read_text())
    with pytest.raises(UserError, match="two tables are called own"):
        build_plan([own, other], None, "full", [0], None, 0, [])
    assert len(planned(3, on=["MuscleSynth", "MuscleSynth"]).tables) == 1


def test_a_start_that_is_no_name_is_reported(tmp_path):
    file = table_of(tmp_path, "rows: [{label: a, config: transm3e_s, opts: {INIT.TEACHER_FROM: [1]}}]\n")
    with pytest.raises(UserError, match=r"a: INIT.TEACHER_FROM is \[1\]; it must be the name of a config"):
        build_plan([file], None, "full", [0], None, 0, [])


def test_every_shipped_sweep_is_planned_and_its_rows_are_different_runs(tmp_path):
    def rule(file):
        made = build_plan([file], None, "full", [0], None, 0, ["RUNS_DIR", str(tmp_path)])
        assert not made.problems
        assert len({row.key for row in made.tables[0].rows}) == len(made.tables[0].rows) > 1

    assert_each(rule, {file.stem: file for file in (CONFIGS / "sweeps").glob("*.yaml")})


def test_a_table_is_made_on_a_folder_of_ones_own_configs(tmp_path, monkeypatch):
    configs = tmp_path / "configs" / "Mine"
    configs.mkdir(parents=True)
    (configs / "mcts_rgb_s.yaml").write_text("MODEL: {MODEL_NAME: TransM3E}\nTRAIN: {DATASET: Mine}\n")
    (tmp_path / "elsewhere").mkdir()
    table = tmp_path / "elsewhere" / "t.yaml"
    table.write_text("title: T\nconfig: mcts_rgb_s\ngrid: {TRANSM3E.NUM_MCTS: [8, 16]}\n")
    monkeypatch.chdir(tmp_path)
    made = build_plan([table], ["Mine"], "full", [0], None, 0, [])
    assert [job.run.cfg.TRANSM3E.NUM_MCTS for job in made.jobs.values()] == [8, 16]
    assert {job.run.cfg.TRAIN.DATASET for job in made.jobs.values()} == {"Mine"}


def test_the_estimate_follows_from_multiply_adds_clips_and_epochs(noise_data, tiny_cfg, tmp_path):
    words = ["DATA.PATH_TO_DATA_DIR", str(noise_data), "RUNS_DIR", str(tmp_path), "TRAIN.EVAL_PERIOD", 0]
    config = [str(CONFIGS / "MuscleSynth" / "transm3e.yaml")]
    run = plan(config, words)[-1]
    student, teacher = forward_macs(run.cfg), forward_macs(run.starts[1].cfg)
    # 16 training clips, two samples of each, 8 epochs; 8 clips are scored in two views.
    macs = 16 * 2 * 8 * (3 * student + teacher) + 8 * 2 * student
    assert gpu_hours(run, 1.0) == pytest.approx(2 * macs / 1e12 / 3600)
    assert teacher < student
    assert gpu_hours(plan(config, [*words, "DATA.PATH_TO_DATA_DIR", "nowhere"])[-1]) is None


def test_the_multiply_adds_of_mvitv2_s_are_the_published_ones():
    # 64.5 G with 16 frames of 224x224 in torchvision, which attends with a bias instead of longer heads.
    cfg = plan([str(CONFIGS / "MuscleMap136" / "mvitv2_s.yaml")])[-1].cfg
    assert 64.5e9 < forward_macs(cfg) < 1.1 * 64.5e9
