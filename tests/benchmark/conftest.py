"""Small configs as files, which is how a benchmark takes them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def tiny_file(tmp_path, tiny_cfg) -> Path:
    """TransM3E stage 1."""
    return write(tiny_cfg, tmp_path / "tiny.yaml")


@pytest.fixture
def student_file(tmp_path, tiny_cfg, student_cfg) -> Path:
    """Stage 2 with a teacher on RGB difference, named as a config that was never run."""
    tiny_cfg.DATA.MODALITY = "rgb_diff"
    write(tiny_cfg, tmp_path / "teacher.yaml")
    student_cfg.INIT.TEACHER_FROM = "teacher.yaml"
    return write(student_cfg, tmp_path / "student.yaml")


def write(cfg, path: Path) -> Path:
    path.write_text(cfg.dump(), encoding="utf-8")
    return path
