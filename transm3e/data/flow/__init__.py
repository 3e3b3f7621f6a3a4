"""Optical flow of clips: how it is stored, read, and made.

    from transm3e.data.flow import open_flow

    with closing(open_flow("flow/squat_0001.mp4")) as flow:
        clip = flow.frames([0, 4, 8])  # (3, H, W, 2) uint8, 128 = no motion

Order of reading: coding (pixels of motion <-> uint8) -> files (three kinds of files) -> write -> estimate (DIS, RAFT)
-> extract (all clips of a table).
"""

from transm3e.data.flow.files import FlowSource, check_frames, open_flow

__all__ = ["FlowSource", "check_frames", "open_flow"]
