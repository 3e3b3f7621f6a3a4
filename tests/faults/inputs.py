"""What users and broken files hand to the command lines, and what must be said of it: one line, and status 2.

A row more is an entry more. tests/faults/test_inputs.py goes through all of them; `python -m tests.faults.inputs` prints
them with what each tool says, as a table in Markdown.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.clips import make_noise_data
from tests.run_net import REPO
from transm3e.cli import USER_MISTAKE

RGB = ("--cfg", "configs/MuscleSynth/mcts_rgb.yaml")
STAGE_2 = ("--cfg", "configs/MuscleSynth/transm3e.yaml")
JOINTS = ("--cfg", "configs/MuscleSynth/stgcn.yaml")
QUICK = (
    *("SOLVER.MAX_EPOCH", 1, "DATA_LOADER.NUM_WORKERS", 0, "DATA.NUM_FRAMES", 2, "DATA.SAMPLING_RATE", 2),
    *("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "MVIT.EMBED_DIM", 8, "TENSORBOARD.ENABLE", False),
)
# In RUNS_DIR and data; {here} is a folder of the entry's own.
RUN = ("RUNS_DIR", "{here}/runs", "DATA.PATH_TO_DATA_DIR", "{here}/data", *QUICK)
HEAD = "path,split,activity,muscles\n"


@dataclass(frozen=True)
class BadInput:
    """One wrong thing.

    Attributes:
        what: in a few words.
        words: of the command line; "{here}" stands for the folder.
        says: parts of the one line.
        prepare: called with the folder, which holds data/ of 24 small clips.
        tool: the script.
    """

    what: str
    words: Sequence[object]
    says: Sequence[str]
    prepare: Callable[[Path], object] = lambda here: None
    tool: str = "tools/run_net.py"


def text(name: str, content: str) -> Callable[[Path], object]:
    """Prepare by writing a text file."""
    return lambda here: (here / name).write_text(content, encoding="utf-8")


def _linked(file: Path) -> Path:
    link = file.with_name("link")
    os.link(file, link)
    return link


def row(line: str) -> Callable[[Path], object]:
    """Prepare by a clip table of this line alone."""
    return text("data/clips.csv", f"{HEAD}{line}\n")


def config(content: str) -> Callable[[Path], object]:
    """Prepare a config."""
    return text("own.yaml", content)


def checkpoint(content: bytes | object) -> Callable[[Path], object]:
    """Prepare the file w.pyth of these bytes, or of what torch saves."""

    def write(here: Path) -> None:
        if isinstance(content, bytes):
            (here / "w.pyth").write_bytes(content)
        else:
            torch.save(content, here / "w.pyth")

    return write


class Trap:
    """What a hostile pickle asks for: a call when it is read."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


OWN = ("--cfg", "{here}/own.yaml", *RUN)
SCORE = (*RGB, *RUN, "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", "{here}/w.pyth")
TABLE = ("{here}/own.yaml", "--dry-run")
MAKE_TABLE = "tools/make_table.py"
CHECK = "datasets/check_dataset.py"
BAD_INPUTS = (
    BadInput(
        "a misspelt key", (*RGB, "SOLVER.BASE_RL", 1), ("unknown key SOLVER.BASE_RL", "did you mean SOLVER.BASE_LR")
    ),
    BadInput("a value of the wrong type", (*RGB, "SOLVER.MAX_EPOCH", "ten"), ("SOLVER.MAX_EPOCH", "ten")),
    BadInput("a value out of range", (*RGB, *RUN, "TRAIN.BATCH_SIZE", 0), ("TRAIN.BATCH_SIZE",)),
    BadInput("a key without a value", (*RGB, "RNG_SEED"), ("'RNG_SEED' has no value", "KEY VALUE or KEY=VALUE")),
    BadInput("no such config", ("--cfg", "{here}/none.yaml"), ("cannot read the config", "none.yaml")),
    BadInput("a config that is no YAML", OWN, ("own.yaml", "not a YAML file"), config("TRAIN: [")),
    BadInput(
        "a config that names Python objects", OWN, ("not a YAML file",), config("A: !!python/object/apply:os.getcwd []")
    ),
    BadInput("a key twice in a config", OWN, ("own.yaml", "RNG_SEED"), config("RNG_SEED: 1\nRNG_SEED: 2\n")),
    BadInput("configs that inherit in a circle", OWN, ("is circular",), config("_BASE_: own.yaml\n")),
    BadInput("a base that is not there", OWN, ("none.yaml",), config("_BASE_: none.yaml\n")),
    BadInput(
        "PySlowFast's setting of another network",
        (*RGB, "MVIT.SEPARATE_QKV", True),
        ("MVIT.SEPARATE_QKV", "implemented"),
    ),
    BadInput(
        "settings that contradict each other",
        (*STAGE_2, "AUG.NUM_SAMPLE", 1),
        ("DISTILL.PAIR_CASE 3", "AUG.NUM_SAMPLE"),
    ),
    BadInput(
        "a teacher that does not fit",
        (*STAGE_2, "DATA.NUM_FRAMES", 4),
        ("DATA.NUM_FRAMES is 4 here, but 8", "INIT.OPTS"),
    ),
    BadInput(
        "more GPUs than there are",
        (*RGB, *RUN, "NUM_GPUS", 64, "TRAIN.BATCH_SIZE", 64, "TEST.BATCH_SIZE", 64),
        ("NUM_GPUS is 64, but torch sees",),
    ),
    BadInput("several hosts without an address", (*RGB, *RUN, "NUM_SHARDS", 2), ("--init_method tcp://HOST:PORT",)),
    BadInput(
        "no clip table", (*RGB, "DATA.PATH_TO_DATA_DIR", "{here}/nowhere"), ("no clip table", "nowhere/clips.csv")
    ),
    BadInput("an empty clip table", (*RGB, *RUN), ("clips.csv", "no clips"), text("data/clips.csv", HEAD)),
    BadInput(
        "a clip table that is no text",
        (*RGB, *RUN),
        ("clips.csv",),
        lambda here: (here / "data/clips.csv").write_bytes(b"\xff\x00\xfe" * 99),
    ),
    BadInput(
        "a clip table without a column",
        (*RGB, *RUN),
        ("clips.csv", "split"),
        text("data/clips.csv", "path,activity\na,b\n"),
    ),
    BadInput("an unknown muscle", (*RGB, *RUN), ("clips.csv:2", "unknown muscle 'bicep'"), row("0.mp4,train,a,bicep")),
    BadInput(
        "an unknown split", (*RGB, *RUN), ("clips.csv:2", "unknown split 'training'"), row("0.mp4,training,a,biceps")
    ),
    BadInput(
        "a muscle number out of range", (*RGB, *RUN), ("muscle label 20 is outside 0..19",), row("0.mp4,train,a,20")
    ),
    BadInput("a path out of the data folder", (*RGB, *RUN), ("clips.csv:2",), row("../../etc/passwd,train,a,3")),
    BadInput(
        "a video that is not there",
        (*RGB, *RUN),
        ("3.mp4", "DATA.PATH_PREFIX"),
        lambda here: (here / "data/3.mp4").unlink(),
    ),
    BadInput(
        "a training video in a test split, under another name",
        (*RGB, *RUN),
        (
            "a leak, files of train are evaluated on under another name (1 in",
            "'18.mp4' in known_test is '3.mp4' in train",
        ),
        lambda here: os.replace(_linked(here / "data/3.mp4"), here / "data/18.mp4"),
    ),
    BadInput(
        "a test video that cannot be decoded",
        (*RGB, *RUN),
        ("17.mp4: cannot be decoded", "missing_clips.csv", "TEST.ALLOW_MISSING"),
        lambda here: (here / "data/17.mp4").write_bytes(b"no video"),
    ),
    BadInput(
        "joints that the table does not name",
        (*JOINTS, "RUNS_DIR", "{here}/runs", "DATA.PATH_TO_DATA_DIR", "{here}/data"),
        ("skeleton",),
    ),
    BadInput("flow that the table does not name", ("--cfg", "configs/MuscleSynth/mcts_flow.yaml", *RUN), ("flow",)),
    BadInput(
        "evaluation without weights",
        (*RGB, *RUN, "TRAIN.ENABLE", False),
        ("no trained weights at", "TEST.CHECKPOINT_FILE_PATH"),
    ),
    BadInput("no such checkpoint", SCORE, ("w.pyth",)),
    BadInput("a checkpoint that is none", SCORE, ("w.pyth",), checkpoint(b"PK\x03\x04 no weights")),
    BadInput("a checkpoint that runs code when it is read", SCORE, ("w.pyth",), checkpoint({"model_state": Trap()})),
    BadInput(
        "a checkpoint of another model",
        SCORE,
        ("w.pyth",),
        checkpoint({"model_state": {"fc.weight": torch.zeros(2, 2)}, "cfg": ""}),
    ),
    BadInput(
        "weights that are not finite",
        (*RGB, *RUN, "TRAIN.CHECKPOINT_FILE_PATH", "{here}/w.pyth"),
        ("w.pyth",),
        checkpoint({"model_state": {"head.weight": torch.full((20, 8), float("nan"))}}),
    ),
    BadInput(
        "an output folder that is a file", (*RGB, *RUN, "OUTPUT_DIR", "{here}/data/clips.csv/run"), ("clips.csv/run",)
    ),
    BadInput(
        "videos to score that are not there",
        (*RGB, *RUN, "TEST.ENABLE", False, "DEMO.ENABLE", True, "DEMO.INPUT_VIDEO", "{here}/none"),
        ("none",),
    ),
    BadInput("a table that is no YAML", TABLE, ("own.yaml", "not a YAML file"), config("rows: ["), MAKE_TABLE),
    BadInput("a table with an unknown key", TABLE, ("unknown key 'row'",), config("title: T\nrow: []"), MAKE_TABLE),
    BadInput(
        "a table of a config that is not there",
        TABLE,
        ("no row can be run", "none.yaml"),
        config("title: T\nrows: [{label: a, config: none}]"),
        MAKE_TABLE,
    ),
    BadInput(
        "a misspelt key for all rows",
        ("configs/tables/table03.yaml", "--dry-run", "--opts", "FOO", 1),
        ("--opts: unknown key FOO",),
        tool=MAKE_TABLE,
    ),
    BadInput(
        "a misspelt option of SLURM",
        ("configs/tables/table03.yaml", "--slurm", "partitoin=gpu"),
        ("nearest: partition",),
        tool=MAKE_TABLE,
    ),
    BadInput(
        "an ensemble of runs that are not there",
        ("{here}/a", "{here}/b", "--out", "{here}/c"),
        ("a",),
        tool="tools/ensemble.py",
    ),
    BadInput(
        "a checkpoint to inspect that is none",
        ("inspect", "{here}/w.pyth"),
        ("w.pyth",),
        checkpoint(b"nothing"),
        "tools/checkpoint.py",
    ),
    BadInput("a data set to check that is not there", ("{here}/nowhere",), ("nowhere",), tool=CHECK),
)


def call(bad: BadInput, here: Path) -> tuple[int, str]:
    """Exit status and standard error of the tool, run in this process."""
    words = [str(word).replace("{here}", str(here)) for word in bad.words]
    spec = importlib.util.spec_from_file_location(Path(bad.tool).stem, REPO / bad.tool)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    before, argv = os.getcwd(), sys.argv
    said = io.StringIO()
    sys.modules[spec.name] = module
    try:
        os.chdir(REPO)
        sys.argv = [bad.tool, *words]
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            spec.loader.exec_module(module)
            status = module.main()
    except SystemExit as end:
        status = end.code
    finally:
        os.chdir(before)
        sys.argv = argv
        del sys.modules[spec.name]
    return status, said.getvalue()


def one_line(err: str) -> str:
    """The message of a tool; more or fewer than one is an error."""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err, err
    return lines[0].removeprefix("error: ")


def main() -> int:
    """Print the table."""
    print("| given | the tool says |\n|---|---|")
    wrong = 0
    for bad in BAD_INPUTS:
        with tempfile.TemporaryDirectory() as place:
            here = Path(place)
            make_noise_data(here / "data")
            bad.prepare(here)
            status, err = call(bad, here)
        said = one_line(err)
        wrong += status != USER_MISTAKE or not all(part in said for part in bad.says)
        shown = re.sub(re.escape(place) + "/?", "", said).replace("|", "\\|")
        print(f"| {bad.what} | {shown} |", flush=True)
    shutil.rmtree(REPO / "trapped", ignore_errors=True)
    print(f"\n{len(BAD_INPUTS)} inputs, {wrong} of them not answered as they should be", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
