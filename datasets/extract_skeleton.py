"""Make the skeletons of every clip: `python datasets/extract_skeleton.py data/Mine --from alphapose_output --update-table`.

--from takes a folder of files, one per video or per frame, by AlphaPose, OpenPose, MMPose, Ultralytics, MediaPipe or
NTU's Kinect, or npz, or one PYSKL/MMAction2 pickle of many videos (datasets/README.md lists them);
--detector blazepose runs BlazePose (once: pip install -e '.[pose]', python datasets/get_pose_models.py), --detector
keypointrcnn --weights FILE.pth torchvision's Keypoint R-CNN. Writes OUT/<clip>.npz; files up to date are kept. Exit status 0:
every clip has joints; 2: some have none (named in OUT/without_skeleton.csv), or a mistake in the call.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.data.skeleton.units import UNITS
from transm3e.prepare.jobs import add_job_options
from transm3e.prepare.skeleton.job import DETECTORS, parse_size, run
from transm3e.tables.cluster.shards import submit_if_asked


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", metavar="ROOT_OR_CSV", type=Path, help="clip table, or the folder of its clips.csv")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--from", dest="source", metavar="OUTPUT", type=Path, help="a detector's files or pickle")
    how.add_argument("--detector", choices=tuple(DETECTORS), help="run this one")
    parser.add_argument("--out", type=Path, help="folder of the results; default: ROOT/skeletons")
    parser.add_argument("--prefix", type=Path, help="folder the clips are relative to (DATA.PATH_PREFIX)")
    parser.add_argument("--update-table", action="store_true", help="fill the table's column skeleton; keeps a .bak")
    add_job_options(parser, workers=1)
    files = parser.add_argument_group("with --from")
    files.add_argument(
        "--detector-size", type=parse_size, help="WIDTHxHEIGHT of the frames it saw; overrides the files"
    )
    files.add_argument("--units", choices=UNITS, default="", help="of x and y: pixels, 0 to 1, -1 to 1 over the frame")
    files.add_argument("--score-scale", type=float, default=1.0, help="highest joint score; default: %(default)s")
    files.add_argument("--open-end", action="store_true", help="frames after a file's last detection show nobody")
    network = parser.add_argument_group("with --detector keypointrcnn")
    network.add_argument(
        "--weights", metavar="FILE", help="or URL; state dict of torchvision's keypointrcnn_resnet50_fpn"
    )
    network.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N; default: %(default)s")
    network.add_argument("--batch-size", type=int, default=4, help="frames at a time; default: %(default)s")
    network.add_argument("--min-score", type=float, default=0.5, help="of a person; default: %(default)s")
    network.add_argument("--max-persons", type=int, default=8, help="of a frame; default: %(default)s")
    parser.add_argument_group("with --detector blazepose").add_argument(
        "--smooth", action="store_true", help="one-euro filter over each joint's track"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the extraction and return the exit status; a user's mistake ends the program with status 2."""
    args = parse_args(arguments)
    with exit_with_message():
        submit_if_asked(__file__, args, arguments)
        summary, without = run(**{name: value for name, value in vars(args).items() if name not in ("slurm", "jobs")})
    for clip, reason in without[:20]:
        print(f"{clip}: {reason}")
    print(summary)
    return USER_MISTAKE if without else 0


if __name__ == "__main__":
    sys.exit(main())
