"""Which runs a command line means: their ids, order, folders and what they hand down."""

import os
from pathlib import Path

import pytest

from transm3e.config import get_cfg
from transm3e.config.node import all_keys, names_key
from transm3e.config.schema import keys_with
from transm3e.errors import UserError
from transm3e.prepare.musclesynth.generate import MANIFEST_NAME
from transm3e.runs import data_identity
from transm3e.runs.data_identity import MANIFEST, data_name
from transm3e.runs.plan import plan

STAGE_2 = """
TASK: distill
INIT: {STUDENT_FROM: rgb.yaml, TEACHER_FROM: diff.yaml}
TRANSM3E: {RECEIVERS: True, FUSION: mctf}
AUG: {NUM_SAMPLE: 2}
"""
# A second legal value for the keys whose default plus one or negation is none.
OTHER = {
    "SKELETON.COORDINATES": ["SKELETON.COORDINATES", "world"],
    "SOLVER.STEPS": ["SOLVER.STEPS", [0], "SOLVER.LRS", [1]],
    "SOLVER.LRS": ["SOLVER.STEPS", [0], "SOLVER.LRS", [0.5]],
    "TASK": ["TASK", "distill", "INIT.TEACHER_FROM", "t.pyth", "TRANSM3E.RECEIVERS", True, "AUG.NUM_SAMPLE", 2],
    "BN.NORM_TYPE": ["BN.NORM_TYPE", "sync_batchnorm"],
    "NUM_SHARDS": ["NUM_SHARDS", 2],
    "TRAIN.ACCUM_STEPS": ["TRAIN.ACCUM_STEPS", 2],
    "TRAIN.AMP_DTYPE": ["TRAIN.AMP_DTYPE", "fp16"],
    "TRAIN.CHECKPOINT_SOURCE": ["TRAIN.CHECKPOINT_SOURCE", "timm"],
    "TRAIN.CHECKPOINT_ALLOW": ["TRAIN.CHECKPOINT_ALLOW", ["head."]],
    "TEST.CHECKPOINT_SOURCE": ["TEST.CHECKPOINT_SOURCE", "authors"],
    "TEST.VIEWS_FROM": ["TEST.VIEWS_FROM", "start"],
    "TRANSM3E.RECEIVERS": ["TRANSM3E.RECEIVERS", True, "TRANSM3E.FUSION", "mctf"],
    "TRANSM3E.FUSION": ["TRANSM3E.FUSION", "mctf", "TRANSM3E.RECEIVERS", True],
    "TRANSM3E.READOUT": ["TRANSM3E.READOUT", "class_tokens"],
    "TRANSM3E.RECEIVER_INIT": ["TRANSM3E.RECEIVER_INIT", "zeros"],
    "DATA.MODALITY": ["DATA.MODALITY", "rgb_diff"],
    "DISTILL.MODALITY": ["DISTILL.MODALITY", "rgb"],
    "TWO_BRANCH.MODALITY": ["TWO_BRANCH.MODALITY", "flow"],
    "TWO_BRANCH.FUSION": ["TWO_BRANCH.FUSION", "mixed"],
    "DISTILL.AXIS": ["DISTILL.AXIS", "full"],
    "DISTILL.REDUCTION": ["DISTILL.REDUCTION", "batchmean"],
    "DISTILL.PAIR_CASE": ["DISTILL.PAIR_CASE", 1],
    "TEST.MIXED_PRECISION": ["TEST.MIXED_PRECISION", "off"],
    "LOG.BACKENDS": ["LOG.BACKENDS", ["csv"]],
    "MODEL.FREEZE": ["MODEL.FREEZE", ["not head"]],
    "MODEL.POS_WEIGHT": ["MODEL.POS_WEIGHT", ["balanced"], "MODEL.LOSS_FUNC", "bce_logits"],
    "MVIT.INIT": ["MVIT.INIT", "pyslowfast"],
    "RESNET.TRANS_FUNC": ["RESNET.TRANS_FUNC", "x3d_transform"],
    "SOLVER.OPTIMIZING_METHOD": ["SOLVER.OPTIMIZING_METHOD", "sgd"],
    "SOLVER.LR_POLICY": ["SOLVER.LR_POLICY", "constant"],
    "DATA.NUM_FRAMES": ["DATA.NUM_FRAMES", 8],
    "DATA.TRAIN_CROP_SIZE": ["DATA.TRAIN_CROP_SIZE", 256, "DATA.TEST_CROP_SIZE", 256],
    "DATA.TEST_CROP_SIZE": ["DATA.TRAIN_CROP_SIZE", 192, "DATA.TEST_CROP_SIZE", 192],
    "MVIT.PATCH_STRIDE": ["MVIT.PATCH_STRIDE", [4, 4, 4]],
    "MVIT.POOL_Q_STRIDE": ["MVIT.POOL_Q_STRIDE", [[1, 1, 2, 2]]],
    "MCTF.MAPS": ["MCTF.MAPS", ["m_mm", "r_rr"]],
    "MVIT.POOL_KVQ_KERNEL": ["MVIT.POOL_KVQ_KERNEL", [5, 5, 5]],
    "SOLVER.BETAS": ["SOLVER.BETAS", [0.8, 0.9]],
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": ["DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.5, 0.75]],
    "SHARD_ID": ["SHARD_ID", 1],
    "AUG.AA_TYPE": ["AUG.AA_TYPE", ""],
    "AUG.INTERPOLATION": ["AUG.INTERPOLATION", "bicubic"],
    "AUG.ORDER": ["AUG.ORDER", "augment_first"],
    "AUG.RE_MODE": ["AUG.RE_MODE", "const"],
    "AUG.SAMPLE_DISTANCE": ["AUG.SAMPLE_DISTANCE", 0],
    "DATA.DECODING_BACKEND": ["DATA.DECODING_BACKEND", "opencv"],
    "DATA.FRAME_INDICES": ["DATA.FRAME_INDICES", "linspace"],
    "DATA.RESIZE": ["DATA.RESIZE", "area"],
    "DATA.TEST_SCALE": ["DATA.TEST_SCALE", 256],
    "AUG.RE_NOISE": ["AUG.RE_NOISE", "normal"],
    "MODEL.HEAD_ACT": ["MODEL.HEAD_ACT", "sigmoid"],
    "DATA.ENSEMBLE_METHOD": ["DATA.ENSEMBLE_METHOD", "max"],
    "RESNET.NUM_BLOCK_TEMP_KERNEL": ["RESNET.NUM_BLOCK_TEMP_KERNEL", [[3], [4], [6], [3]]],
    "DISTILL.METHOD": ["DISTILL.METHOD", "kd"],
    "DISTILL.POSITION": ["DISTILL.POSITION", "final"],
    "DATA.TARGET": ["DATA.TARGET", "activity"],
    "MODEL.MODEL_NAME": ["MODEL.MODEL_NAME", "MViT"],
    "MODEL.LOSS_FUNC": ["MODEL.LOSS_FUNC", "asl"],
    "LOOKUP.MUSCLES": ["LOOKUP.MUSCLES", "expected"],
    "DATA.SHORT_CLIPS": ["DATA.SHORT_CLIPS", "loop"],
    "SKELETON.LAYOUT": ["SKELETON.LAYOUT", "halpe26"],
    "SKELETON.NORMALIZE": ["SKELETON.NORMALIZE", "body"],
    "STGCN.PARTITION": ["STGCN.PARTITION", "spatial"],
    "STGCN.TEMPORAL_KERNEL": ["STGCN.TEMPORAL_KERNEL", 5],
    "TEST.SPLITS": ["TEST.SPLITS", ["new_val"]],
    "TEST.WHICH_CHECKPOINT": ["TEST.WHICH_CHECKPOINT", "best"],
    "TEST.NUM_SPATIAL_CROPS": ["TEST.NUM_SPATIAL_CROPS", 3],
    "DEMO.ENABLE": ["DEMO.ENABLE", True, "DEMO.INPUT_VIDEO", "a.mp4"],
    "INIT.OPTS": ["INIT.OPTS", ["RNG_SEED", 5]],
}
KEYS = sorted(all_keys(get_cfg()))
# Written out here and not taken from the module: a key that is wrongly left out of the id must fail a test.
PROCESSES = ("DIST_BACKEND", "DIST_TIMEOUT", "DETERMINISTIC")
MACHINE = ("CPU_THREADS", "NUM_GPUS", "SHARD_ID", *PROCESSES, "DATA_LOADER.", "DATA.DECODE_TIMEOUT")
PLACES = ("OUTPUT_DIR", "RUNS_DIR", "DATA.PATH_PREFIX", "DATA.PATH_TO_DATA_DIR")
LOGS = ("LOG.BACKENDS", "TENSORBOARD.MODEL_VIS", "TRAIN.DETECT_ANOMALY", "LOG_PERIOD", "LOG_MODEL_INFO", "TENSORBOARD.")
WHEN = ("AUTO_RESUME", "DATASET", "ENABLE", "CHECKPOINT_PERIOD", "CHECKPOINT_STEPS", "KEEP_CHECKPOINTS", "MOST_SKIPPED")
MEMORY = ("MODEL.ACT_CHECKPOINT", "TRAIN.FSDP")
LATER = (
    "TEST.",
    "DATA.ENSEMBLE_METHOD",
    "DATA.USE_OFFSET_SAMPLING",
    "LOOKUP.",
    "DEMO.",
    "INIT.OPTS",
    *(f"TRAIN.{name}" for name in WHEN),
)
BY_CONTENT = ("INIT.STUDENT_FROM", "INIT.TEACHER_FROM", "TRAIN.CHECKPOINT_FILE_PATH")
MATTERS_NOT = [key for key in KEYS if names_key((*MACHINE, *MEMORY, *PLACES, *LOGS, *LATER), key)]
# PROTOCOL matters by the keys whose defaults it chooses: tests/config/test_protocol.py.
# IMPORTS by what is named: tests/test_extending.py.
MATTERS = [key for key in KEYS if key not in (*MATTERS_NOT, *BY_CONTENT, "PROTOCOL", "IMPORTS")]


def changed(key):
    """Options that set `key` to something legal besides its default."""
    if key in OTHER:
        return OTHER[key]
    default = all_keys(get_cfg())[key]
    if isinstance(default, bool):
        return [key, not default]
    if isinstance(default, int):
        return [key, 2 * default or 1]
    if isinstance(default, float):
        return [key, default / 2 or 0.5]
    if isinstance(default, str):
        return [key, default + "x"]
    return [key, [[row[0], *(2 * n for n in row[1:])] if isinstance(row, list) else row + 1 for row in default]]


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A folder with plain.yaml, rgb.yaml, diff.yaml and the stage-2 config; runs go below it."""
    monkeypatch.chdir(tmp_path)
    Path("plain.yaml").write_text("NUM_GPUS: 1\n")
    Path("rgb.yaml").write_text("SOLVER: {MAX_EPOCH: 2}\n")
    Path("diff.yaml").write_text("_BASE_: rgb.yaml\nDATA: {MODALITY: rgb_diff}\n")
    Path("stage2.yaml").write_text(STAGE_2)
    return tmp_path


def run_id(path, *opts):
    return plan([path], opts)[-1].id


@pytest.mark.parametrize("key", MATTERS_NOT)
def test_the_id_does_not_depend_on(key, configs):
    several = ["NUM_SHARDS", 2] if key == "SHARD_ID" else []
    assert run_id("plain.yaml", *changed(key), *several) == run_id("plain.yaml", *several)


def test_the_id_depends_on_the_global_batch_not_on_the_hosts(configs):
    one, two = ["TRAIN.BATCH_SIZE", 8], ["TRAIN.BATCH_SIZE", 4, "NUM_SHARDS", 2]
    assert run_id("plain.yaml", *one) == run_id("plain.yaml", *two)
    # Here the number of hosts changes the learning rate.
    scaled = ["SOLVER.BASE_LR_SCALE_NUM_SHARDS", True]
    assert run_id("plain.yaml", *one, *scaled) != run_id("plain.yaml", *two, *scaled)


@pytest.mark.parametrize("key", MATTERS)
def test_the_id_depends_on(key, configs):
    assert run_id("plain.yaml", *changed(key)) != run_id("plain.yaml")


def test_the_id_is_of_what_is_set_not_of_how(configs):
    Path("same.yaml").write_text("_BASE_: plain.yaml\nSOLVER: {BASE_LR: '1e-4'}\nRNG_SEED: 0\n")
    assert run_id("same.yaml") == run_id("plain.yaml")


def test_the_order_of_activities_counts_where_they_are_trained_on(configs):
    Path("clips.csv").write_text("path,split,activity\na.mp4,train,run\n")
    words = ["DATA.PATH_TO_DATA_DIR", str(configs)]
    activities = [*words, "MODEL.LOSS_FUNC", "cross_entropy"]
    before = run_id("plain.yaml", *words), run_id("plain.yaml", *activities)
    Path("activities.txt").write_text("run\n")
    after = run_id("plain.yaml", *words), run_id("plain.yaml", *activities)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_the_evaluation_has_an_id_of_its_own(configs):
    [plain], [views] = plan(["plain.yaml"]), plan(["plain.yaml"], ["TEST.NUM_ENSEMBLE_VIEWS", 1])
    assert plain.id == views.id
    assert plain.eval_id != views.eval_id
    assert plain.eval_id == plan(["plain.yaml"], ["LOG_PERIOD", 3])[0].eval_id


@pytest.mark.parametrize("key", [key for key in KEYS if key.startswith("TEST.")])
def test_the_evaluations_id_depends_on_what_changes_results(key, configs):
    [plain], [other] = plan(["plain.yaml"]), plan(["plain.yaml"], changed(key))
    assert (plain.eval_id == other.eval_id) == (key in ("TEST.BATCH_SIZE", "TEST.DATASET", "TEST.ENABLE"))


def test_a_scored_checkpoint_counts_by_content(configs):
    def eval_id(name):
        return plan(["plain.yaml"], ["TEST.CHECKPOINT_FILE_PATH", name])[0].eval_id

    Path("w.pyth").write_bytes(b"one")
    Path("copy.pyth").write_bytes(b"one")
    one = eval_id("w.pyth")
    assert eval_id("copy.pyth") == one
    Path("w.pyth").write_bytes(b"two")
    assert eval_id("w.pyth") != one


def test_stage_1_comes_first_and_is_shared(configs):
    Path("mean.yaml").write_text("_BASE_: stage2.yaml\nDISTILL: {AXIS: full}\n")
    runs = plan(["stage2.yaml", "mean.yaml"])
    assert [run.name for run in runs] == ["rgb", "diff", "stage2", "mean"]
    assert [run.asked for run in runs] == [False, False, True, True]
    rgb, diff, stage2, mean = runs
    assert stage2.cfg.INIT.STUDENT_FROM == mean.cfg.INIT.STUDENT_FROM
    assert Path(stage2.cfg.INIT.STUDENT_FROM) == rgb.final_checkpoint
    assert Path(stage2.cfg.INIT.TEACHER_FROM) == diff.final_checkpoint
    assert rgb.final_checkpoint.name == "checkpoint_epoch_00002.pyth"
    assert rgb.folder == Path("runs") / f"rgb-{rgb.id}"
    assert len({run.folder for run in runs}) == 4
    assert all(run.cfg.is_frozen() for run in runs)


def test_a_stage_1_run_named_as_well_is_one_run(configs):
    runs = plan(["stage2.yaml", "rgb.yaml", "rgb.yaml"])
    assert [(run.name, run.asked) for run in runs] == [("rgb", True), ("diff", False), ("stage2", True)]


def test_seed_devices_and_data_are_handed_down(configs):
    opts = ["RNG_SEED", 7, "NUM_GPUS", 0, "DATA.PATH_TO_DATA_DIR", "1_000", "SOLVER.MAX_EPOCH", 9, "LOG_PERIOD", 3]
    rgb, diff, stage2 = plan(["stage2.yaml"], opts)
    for start in (rgb, diff):
        assert (start.cfg.RNG_SEED, start.cfg.NUM_GPUS, start.cfg.DATA.PATH_TO_DATA_DIR) == (7, 0, "1_000")
        assert (start.cfg.SOLVER.MAX_EPOCH, start.cfg.LOG_PERIOD) == (2, 10)
    assert stage2.cfg.SOLVER.MAX_EPOCH == 9
    handed = set(keys_with(inherited=True))
    assert {"RNG_SEED", "NUM_GPUS", "DATA.PATH_TO_DATA_DIR", "RUNS_DIR", "NUM_SHARDS"} <= handed
    assert {"TRAIN.CHECKPOINT_STEPS", "DIST_BACKEND", "DATA.DECODE_TIMEOUT", "TENSORBOARD.ENABLE"} <= handed
    assert {"MODEL.ACT_CHECKPOINT", "TRAIN.COMPILE", "TRAIN.FSDP", "TRAIN.MIXED_PRECISION"} <= handed


def test_init_opts_reach_the_starts_and_change_the_id(configs):
    runs = plan(["stage2.yaml"], ["INIT.OPTS", ["SOLVER.MAX_EPOCH", 4]])
    assert [run.cfg.SOLVER.MAX_EPOCH for run in runs] == [4, 4, 10]
    assert runs[-1].id != run_id("stage2.yaml")


def test_a_change_in_stage_1_changes_stage_2(configs):
    before = run_id("stage2.yaml")
    Path("diff.yaml").write_text("_BASE_: rgb.yaml\nDATA: {MODALITY: rgb_diff}\nSOLVER: {BASE_LR: 0.5}\n")
    assert run_id("stage2.yaml") != before


def test_starting_weights_from_a_file_count_by_content(configs):
    opts = ["TRAIN.CHECKPOINT_FILE_PATH", "w.pyth"]
    Path("w.pyth").write_bytes(b"one")
    one = run_id("plain.yaml", *opts)
    Path("copy.pyth").write_bytes(b"one")
    assert run_id("plain.yaml", "TRAIN.CHECKPOINT_FILE_PATH", "copy.pyth") == one
    Path("w.pyth").write_bytes(b"two")
    assert run_id("plain.yaml", *opts) != one
    assert run_id("plain.yaml", "INIT.STUDENT_FROM", "copy.pyth") != run_id("plain.yaml")


@pytest.mark.parametrize("second", ["a.yaml", "sub/../a.yaml", "../{folder}/a.yaml"])
def test_configs_that_start_from_each_other_are_refused(second, configs):
    Path("sub").mkdir()
    Path("a.yaml").write_text("INIT: {STUDENT_FROM: b.yaml}\n")
    Path("b.yaml").write_text(f"INIT: {{STUDENT_FROM: {second.format(folder=configs.name)}}}\n")
    with pytest.raises(UserError, match=r"starts from itself through a\.yaml -> b\.yaml; change INIT"):
        plan(["a.yaml"])


def test_a_start_that_is_missing_is_named(configs):
    Path("a.yaml").write_text("INIT: {STUDENT_FROM: gone.yaml}\n")
    with pytest.raises(UserError, match=r"cannot read the config gone\.yaml"):
        plan(["a.yaml"])


def test_two_runs_in_one_folder_are_refused(configs):
    with pytest.raises(UserError, match="plain and rgb would both write to out"):
        plan(["plain.yaml", "rgb.yaml"], ["OUTPUT_DIR", "out"])
    with pytest.raises(UserError, match="would both write"):
        plan(["plain.yaml", "rgb.yaml"], ["OUTPUT_DIR", "runs/../out"])
    assert len(plan(["plain.yaml", "plain.yaml"], ["OUTPUT_DIR", "out"])) == 1


def test_starts_are_not_planned_when_nothing_is_left_to_train(configs):
    runs = plan(["stage2.yaml"])
    assert len(runs) == 3
    done = runs[-1].final_checkpoint
    done.parent.mkdir(parents=True)
    done.touch()
    assert [run.name for run in plan(["stage2.yaml"])] == ["stage2"]
    done.unlink()
    assert [run.name for run in plan(["stage2.yaml"], ["TRAIN.ENABLE", False])] == ["stage2"]


def test_the_last_checkpoint_is_named_after_the_last_epoch(configs):
    [run] = plan(["plain.yaml"], ["SOLVER.MAX_EPOCH", 7, "OUTPUT_DIR", "run"])
    assert run.final_checkpoint == Path("run/checkpoints/checkpoint_epoch_00007.pyth")


TABLE = """path,split,activity,muscles,flow
v/a.mp4,train,run,calves;gluteus,a.npy
v/b.mp4,val,run,calves,b.npy
v/c.mp4,new_test,row,biceps,c.npy
"""


def make_data(root, table=TABLE, sizes="123"):
    """A table and files of so many bytes."""
    root = Path(root)
    (root / "v").mkdir(parents=True)
    (root / "clips.csv").write_text(table)
    for name, size in zip("abc", sizes, strict=True):
        (root / f"v/{name}.mp4").write_bytes(b"." * int(size))
        (root / f"{name}.npy").write_bytes(b"." * int(size))
    return root


def ids(root, *opts):
    """(id, eval id) of a run on a folder of data."""
    [run] = plan(["plain.yaml"], ["DATA.PATH_TO_DATA_DIR", str(root), *opts])
    return run.id, run.eval_id


def test_a_run_is_of_its_data_wherever_they_lie(configs):
    one = make_data("one")
    before = ids(one)
    os.utime(one / "v/a.mp4", (0, 0))
    assert ids(one) == ids("one/clips.csv") == ids(one.absolute()) == before
    one.rename("moved")
    assert ids("moved") == before
    make_data(
        "copy",
        TABLE.replace("v/a", "./v//a").replace("calves;gluteus", "gluteus; calves").replace(",val", ",known_val"),
    )
    assert ids("copy") == before


FLOW = ("DATA.MODALITY", "flow", "DATA.TARGET_FPS", 0.0)
ACTIVITY = ("MODEL.LOSS_FUNC", "cross_entropy")


@pytest.mark.parametrize(
    ("table", "opts", "trained", "scored"),
    [
        (("calves;gluteus", "calves"), (), True, True),
        (("calves;gluteus", "calves"), ACTIVITY, False, False),
        (("train,run", "train,jump"), (), False, False),
        (("train,run", "train,jump"), ACTIVITY, True, True),
        ((",calves,b", ",chest,b"), (), True, True),  # of validation, which chooses the best checkpoint
        ((",calves,b", ",chest,b"), ("TRAIN.EVAL_PERIOD", 0), False, True),
        (("biceps", "chest"), (), False, True),
        (("biceps", "chest"), ("TEST.SPLITS", ["known_val"]), False, False),
        (("c.npy\n", "c.npy\nv/d.mp4,test,run,chest,d.npy\n"), (), False, True),
        (("a.npy", "b.npy"), (), False, False),
        (("a.npy", "b.npy"), FLOW, True, True),
        (("v/a.mp4", "v/b.mp4"), (), True, True),
        ((",flow\n", ",flow,note\n"), (), False, False),
        # A clip's number is drawn with.
        (("v/a.mp4", "v/z.mp4,new_test,row,chest,\nv/a.mp4"), (), True, True),
    ],
)
def test_a_run_is_of_the_cells_it_reads(table, opts, trained, scored, configs):
    one, other = make_data("one"), make_data("other", TABLE.replace(*table))
    before, after = ids(one, *opts), ids(other, *opts)
    assert (before[0] != after[0], before[1] != after[1]) == (trained, scored)


def test_a_new_column_is_not_other_data(configs):
    bare = "".join(",".join(line.split(",")[:4]) + "\n" for line in TABLE.splitlines())
    assert ids(make_data("one")) == ids(make_data("bare", bare))


@pytest.mark.parametrize(
    ("sizes", "opts", "trained", "scored"),
    [
        ("923", (), True, True),
        ("193", (), True, True),
        ("129", (), False, True),
        ("923", (*FLOW, "TRAIN.EVAL_PERIOD", 0), True, True),
    ],
)
def test_other_files_under_one_table_are_other_data(sizes, opts, trained, scored, configs):
    one, other = make_data("one"), make_data("other", sizes=sizes)
    before = ids(one, *opts)
    assert ids(one, "DATA.PATH_PREFIX", str(one.absolute()), *opts) == before
    after = ids(one, "DATA.PATH_PREFIX", str(other), *opts)
    assert (before[0] != after[0], before[1] != after[1]) == (trained, scored)
    # Videos that are not read do not count.
    (one / "v/a.mp4").write_bytes(b"." * 50)
    assert (ids(one, *opts) == before) == ("flow" in opts)


def test_missing_files_and_folders_of_pictures_have_an_identity(configs):
    one = make_data("one")
    whole = ids(one)
    (one / "v/a.mp4").unlink()
    seen = [whole, ids(one)]
    for names, size in (("01", 1), ("012", 1), ("013", 1), ("013", 2)):
        (one / "v/a.mp4").mkdir(exist_ok=True)
        for file in (one / "v/a.mp4").iterdir():
            file.unlink()
        for name in names:
            (one / f"v/a.mp4/{name}.jpg").write_bytes(b"." * size)
        seen.append(ids(one))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("content", [b"table", b"\xff", b"path,split\n\x00,train\n", b"path,split\n/etc,train\n", b""])
def test_a_table_that_is_none_still_has_an_identity(content, configs):
    Path("data").mkdir()
    Path("data/clips.csv").write_bytes(content)
    assert ids("data") == ids("data")
    assert (ids("data") == ids("nowhere")) == (not content)


def test_data_are_looked_up_once_for_all_runs_of_a_command(configs, monkeypatch):
    looked = []
    size = data_identity._size
    monkeypatch.setattr(data_identity, "_size", lambda root, cell: looked.append(cell) or size(root, cell))
    make_data("one")
    plan(["stage2.yaml", "plain.yaml"], ["DATA.PATH_TO_DATA_DIR", "one"])
    assert sorted(looked) == ["v/a.mp4", "v/b.mp4", "v/c.mp4"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/Mine", "Mine"),
        ("data/Mine/", "Mine"),
        ("data/Mine/clips.csv", "Mine"),
        ("data/Mine/fold1.csv", "Mine-fold1"),
        ("data/MuscleSynth/tiny", "MuscleSynth-tiny"),
        ("/scratch/a/Mine", "Mine"),
        ("/data", "data"),
        ("x/../Mine", "Mine"),
        ("", ""),
    ],
)
def test_data_are_called_as_their_folder(path, name):
    assert data_name(path) == name


def test_a_runs_folder_carries_the_data_sets_name_and_is_found_under_another(configs):
    [run] = plan(["plain.yaml"], ["DATA.PATH_TO_DATA_DIR", str(make_data("data/Mine"))])
    assert run.folder == Path("runs") / f"plain-Mine-{run.id}"
    assert run.cfg.TRAIN.DATASET == "Mine"
    run.folder.mkdir(parents=True)
    Path("data/Mine").rename("data/Yours")
    [again] = plan(["plain.yaml"], ["DATA.PATH_TO_DATA_DIR", "data/Yours"])
    assert again.folder == run.folder
    rgb, _, _ = plan(["stage2.yaml"], ["TRAIN.DATASET", "../a b"])
    assert rgb.folder == Path("runs") / f"rgb-a_b-{rgb.id}"


def test_a_generated_data_sets_manifest_counts_by_content(configs):
    Path("data").mkdir()
    Path("data/clips.csv").write_text("table\n")
    seen = [run_id("plain.yaml", "DATA.PATH_TO_DATA_DIR", "data")]
    for text in ("one", "two", "one"):
        (Path("data") / MANIFEST).write_text(text)
        seen.append(run_id("plain.yaml", "DATA.PATH_TO_DATA_DIR", "data/clips.csv"))
    assert len(set(seen)) == 3
    assert seen[1] == seen[3]
    assert MANIFEST == MANIFEST_NAME


@pytest.mark.parametrize("text", ["TEST: {NUM_ENSEMBLE_VIEWS: 1}", "DEMO: {OUTPUT_FILE: b.csv}", "OUTPUT_DIR: out"])
def test_one_training_asked_for_with_other_settings_is_refused(text, configs):
    Path("views.yaml").write_text(f"_BASE_: plain.yaml\n{text}\n")
    with pytest.raises(
        UserError, match=r"^plain and views are the same training .*; run them one after the other$"
    ) as caught:
        plan(["plain.yaml", "views.yaml"])
    assert text.split(": {")[-1].split(":")[0] in str(caught.value)


def test_one_training_asked_for_twice_under_two_names_is_one_run(configs):
    Path("same.yaml").write_text("_BASE_: plain.yaml\n")
    assert [run.name for run in plan(["plain.yaml", "same.yaml", "plain.yaml"])] == ["plain"]


def test_a_start_that_is_asked_for_keeps_its_place_and_the_asked_settings(configs):
    for paths in (["stage2.yaml", "rgb.yaml"], ["rgb.yaml", "stage2.yaml"]):
        runs = plan(paths, ["TEST.NUM_ENSEMBLE_VIEWS", 1])
        assert [run.name for run in runs] == ["rgb", "diff", "stage2"]
        assert [run.asked for run in runs] == [True, False, True]
        assert [run.cfg.TEST.NUM_ENSEMBLE_VIEWS for run in runs] == [1, 5, 1]


@pytest.mark.parametrize("paths", [["copy.yaml", "stage2.yaml"], ["stage2.yaml", "copy.yaml"]])
def test_a_start_is_run_where_it_is_looked_for(paths, configs):
    Path("copy.yaml").write_text("_BASE_: rgb.yaml\n")
    runs = plan(paths)
    assert {"copy", "rgb", "diff", "stage2"} == {run.name for run in runs}
    stage2 = next(run for run in runs if run.name == "stage2")
    assert Path(stage2.cfg.INIT.STUDENT_FROM) in [run.final_checkpoint for run in runs]


@pytest.mark.parametrize(
    ("file", "text", "parts"),
    [
        ("rgb", "MVIT: {EMBED_DIM: 192}", ["MVIT.EMBED_DIM is 96 here", "192"]),
        ("rgb", "MVIT: {MLP_RATIO: 2.0}", ["MVIT.MLP_RATIO is 4.0 here", "2.0"]),
        ("rgb", "DATA: {MODALITY: rgb_diff}", ["DATA.MODALITY is rgb here", "rgb_diff"]),
        ("rgb", "DATA: {NUM_FRAMES: 8}", ["DATA.NUM_FRAMES is 16 here", "8"]),
        ("rgb", "TRANSM3E: {NUM_MCTS: 5}", ["TRANSM3E.NUM_MCTS is 20 here", "5"]),
        ("rgb", "MODEL: {NUM_CLASSES: 5}", ["MODEL.NUM_CLASSES is 20 here", "5"]),
        ("rgb", "MODEL: {MODEL_NAME: MViT}", ["MODEL.MODEL_NAME is TransM3E here", "MViT"]),
        ("diff", "DATA: {MODALITY: rgb}", ["DISTILL.MODALITY is rgb_diff here", "DATA.MODALITY is rgb in"]),
        ("diff", "{DATA: {MODALITY: rgb_diff}, MVIT: {DEPTH: 17}}", ["MVIT.DEPTH is 16 here", "17"]),
        ("diff", "{DATA: {MODALITY: rgb_diff}, MODEL: {MODEL_NAME: MViT}}", ["MODEL.MODEL_NAME is TransM3E", "MViT"]),
    ],
)
def test_a_start_that_does_not_fit_is_refused(file, text, parts, configs):
    Path(f"{file}.yaml").write_text(text)
    if file == "rgb":
        Path("diff.yaml").write_text("DATA: {MODALITY: rgb_diff}")
    with pytest.raises(UserError) as caught:
        plan(["stage2.yaml"])
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in [*parts, f"{file}.yaml", "INIT.OPTS"]), message


def test_a_start_may_be_regularised_otherwise(configs):
    Path("rgb.yaml").write_text("MVIT: {DROPPATH_RATE: 0.4, DROPOUT_RATE: 0.1}\n")
    assert len(plan(["stage2.yaml"])) == 3


def test_starts_whose_clips_are_read_otherwise_are_warned_of(configs, caplog):
    plan(["stage2.yaml"])
    assert "read differently" not in caplog.text
    plan(["stage2.yaml"], ["DATA.TARGET_FPS", 15.0])
    warnings = [record.getMessage() for record in caplog.records if "read differently" in record.getMessage()]
    assert len(warnings) == 2
    assert all("DATA.TARGET_FPS 15.0 here, 30.0 there (INIT.OPTS" in warning for warning in warnings)


def test_a_baseline_starts_from_its_like_only(configs):
    Path("i3d.yaml").write_text("MODEL: {MODEL_NAME: ResNet, ARCH: i3d}\n")
    Path("c2d.yaml").write_text("MODEL: {MODEL_NAME: ResNet, ARCH: c2d}\nINIT: {STUDENT_FROM: i3d.yaml}\n")
    with pytest.raises(UserError, match=r"MODEL\.ARCH is c2d here, but i3d in the starting weights"):
        plan(["c2d.yaml"])
    assert len(plan(["c2d.yaml"], ["MODEL.ARCH", "i3d", "MVIT.EMBED_DIM", 48, "RNG_SEED", 3])) == 2
    with pytest.raises(UserError, match=r"RESNET\.DEPTH is 101 here, but 50"):
        plan(["c2d.yaml"], ["MODEL.ARCH", "i3d", "RESNET.DEPTH", 101])
