"""Optical flow of clips: its coding and its files.

    from transm3e.data.flow import open_flow

    with closing(open_flow("flow/squat_0001.mp4")) as flow:
        clip = flow.frames([0, 4, 8])  # (3, H, W, 2) uint8, 128 = no motion

Start reading at coding (pixels of motion <-> uint8), then files (three kinds of files). transm3e.prepare.flow writes them.
"""

from transm3e.data.flow.files import FlowSource, check_frames, open_flow

__all__ = ["FlowSource", "check_frames", "open_flow"]
