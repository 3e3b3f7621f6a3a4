import cv2
import numpy as np
import pytest

from transm3e.data.annotations import SPLITS, Clip, table_from_clips
from transm3e.errors import UserError
from transm3e.prepare.check import Checked, Finding, VideoFacts, label_statistics
from transm3e.prepare.check.figures import FIGURES, draw_dataset, long_tail
from transm3e.prepare.check.finding import DUPLICATE
from transm3e.prepare.check.report import make_report_folder, report_text, write_dataset_report


def table(activities):
    rng = np.random.default_rng(0)
    clips = []
    for number in range(activities):
        muscles = tuple(np.flatnonzero(rng.random(20) < 0.2).tolist())
        name = f"activity $_{number} with | a very long name that goes on and on"
        split = SPLITS[2 + 2 * (number % 2)] if number % 7 == 6 else "train"
        clips += [Clip(f"{number}/{i}.mp4", split, name, muscles) for i in range(1 + int(rng.pareto(1) * 3))]
    return table_from_clips(clips)


@pytest.mark.parametrize("activities", [1, 136])
def test_all_figures_are_drawn_for_any_number_of_activities(tmp_path, activities):
    draw_dataset(table(activities), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == set(FIGURES)
    for name in FIGURES:
        image = cv2.imread(str(tmp_path / name))
        assert min(image.shape[:2]) > 200
        assert max(image.shape[:2]) < 4000
        # Known activities are blue (BGR b2 72 00), whatever else is drawn.
        assert (np.abs(image.astype(int) - (0xB2, 0x72, 0x00)).max(axis=2) < 8).sum() > 100


def test_very_many_activities_are_drawn_as_a_curve(tmp_path):
    long_tail(label_statistics(table(200)), tmp_path / "tail.png")
    assert cv2.imread(str(tmp_path / "tail.png")).shape[0] < 800


def test_a_table_without_any_muscle_is_drawn_too(tmp_path):
    draw_dataset(table_from_clips([Clip("a.mp4", "new_val", "rest", ())]), tmp_path)
    assert (tmp_path / "regions.png").stat().st_size > 1000


def checked(problems=40):
    clips = table(3)
    found = [Finding("known_val", f"{i}*.mp4", "duplicate of a_b_c|d.mp4", DUPLICATE) for i in range(problems)]
    video = VideoFacts(frames=20, seconds=2, width=64, height=128, rate=5, codec="h264", size=10**6)
    return Checked(clips, [video] * len(clips), found, [Finding("", "", "labels differ")], "all")


def test_the_report_has_problems_first_and_says_what_it_leaves_out():
    text = report_text("My | data", checked())
    assert text.index("**40 problems**") < text.index("### Duplicates (40)") < text.index("## Notes")
    assert "- known_val, `24*.mp4`: duplicate of a\\_b\\_c\\|d.mp4" in text
    assert "- and 15 more, see [problems.csv](problems.csv)" in text
    assert "25*.mp4" not in text
    assert f"| portrait (higher than wide) | {len(table(3))} |" in text
    for name in FIGURES:
        assert f"]({name})" in text
    for line in text.splitlines():  # names with | keep a table's columns
        if line.startswith("| `activity"):
            assert line.replace("\\|", "").count("|") == 5


def test_nothing_foreign_is_written_over(tmp_path, monkeypatch):
    monkeypatch.setattr("transm3e.prepare.check.report.draw_dataset", lambda table, folder: None)
    out = tmp_path / "report"
    assert write_dataset_report(out, "a", checked()).read_text().startswith("<!-- made by")
    assert write_dataset_report(out, "a", checked(0)).read_text().count("**No problem**") == 1
    (out / "report.md").write_text("# Mine\n")
    with pytest.raises(UserError, match="left as it is"):
        make_report_folder(out)
    (tmp_path / "other.txt").touch()
    with pytest.raises(UserError, match="holds other files"):
        make_report_folder(tmp_path)
