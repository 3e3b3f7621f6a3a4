"""The command from tables to files, the annotations that ship with the project, and the real sources where present."""

import csv
import importlib.util
from pathlib import Path

import pytest

from transm3e.data.annotations import MUSCLES, parse_muscles
from transm3e.errors import UserError
from transm3e.prepare.votes.output import own_files
from transm3e.prepare.votes.tables import NEAR, SAME, read_vocabulary
from transm3e.prepare.votes.vote import VoteRules, run_vote

REPOSITORY = Path(__file__).resolve().parents[3]
ANNOTATIONS = REPOSITORY / "datasets" / "annotations"
VOCABULARY, MATCH = ANNOTATIONS / "muscle_vocabulary.csv", ANNOTATIONS / "vote_activities.csv"
REAL = REPOSITORY / ".." / "shared" / "data" / "sources"
OUTPUTS = {".made.json", "votes.csv", "labels.csv", "matches.csv", "report.md", "votes.png"}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("vote_muscles", REPOSITORY / "datasets" / "vote_muscles.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path):
    """Three sources on push ups, one on planks, none on rowing."""
    tables = tmp_path / "sources"
    tables.mkdir()
    for name, muscles in {"a": "chest; triceps", "b": "Pectoralis major; shoulders", "c": "chest; legs | <b>"}.items():
        (tables / f"{name}.csv").write_text(f"activity,muscles\nPush-Ups,{muscles}\n", encoding="utf-8")
    (tables / "d.csv").write_text("source,activity,muscles\nd,plank,hip flexors\n", encoding="utf-8")
    (tmp_path / "activities.csv").write_text("activity\npush up\nplank\nrowing\n", encoding="utf-8")
    return ["--sources", str(tables), "--activities", str(tmp_path / "activities.csv"), "--out", str(tmp_path / "out")]


def read(path):
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_from_tables_to_files_and_again(script, arguments, tmp_path, capsys):
    arguments += ["--unknown", "skip", "--threshold", "majority"]
    assert script.main(arguments) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == OUTPUTS
    assert read(out / "labels.csv") == [{"activity": "push up", "muscles": "chest"}]
    push_up, plank, rowing = read(out / "votes.csv")
    assert [push_up[name] for name in ("sources", "threshold", "chest", "triceps", "regions")] == [
        "3",
        "2",
        "3",
        "1",
        "chest",
    ]
    assert push_up["borderline"] == "shoulder;triceps"
    assert (plank["sources"], plank["no_label"]) == ("1", "no region has 1 of 1 votes")
    assert (rowing["sources"], rowing["kappa"], rowing["no_label"]) == ("0", "", "too few sources name muscles: 0")
    assert [row["regions"] for row in read(out / "matches.csv")] == ["chest;triceps", "chest;shoulder", "chest", "none"]
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| push up | 3 | 2 | chest 3 | shoulder 1, triceps 1 |" in report
    assert "legs \\| &lt;b> (1)" in report
    printed = capsys.readouterr().out
    assert "no label for rowing: too few sources name muscles: 0" in printed
    assert "Unknown words, and how often: legs | <b> (1)" in printed
    first = (out / "votes.png").read_bytes()
    assert script.main(arguments) == 0
    assert (out / "votes.png").read_bytes() == first


def test_what_others_wrote_is_kept_and_mistakes_end_with_status_2(script, arguments, tmp_path, capsys):
    def fails(*more):
        with pytest.raises(SystemExit) as stopped:
            script.main([*arguments, *more])
        assert stopped.value.code == 2
        return capsys.readouterr().err

    assert "unknown word(s) for muscles: 'legs | <b>'" in fails()
    assert not (tmp_path / "out").exists()
    assert "is a folder of sources" in fails("--out", str(tmp_path / "sources"))
    assert "min_sources 0" in fails("--min-sources", "0")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.csv").write_text("mine")
    assert "labels.csv not made here" in fails("--unknown", "skip")
    assert (tmp_path / "out" / "labels.csv").read_text() == "mine"
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_near_variants_and_sources_count_as_asked(arguments, tmp_path):
    tables, activities = Path(arguments[1]), arguments[3]
    (tables / "c.csv").unlink()
    match = tmp_path / "match.csv"
    match.write_text("activity,source,exercise,match\npush up,a,Push-Ups,same\npush up,b,Push-Ups,near\nplank,x,y,\n")

    def sources(same_as=None, **options):
        result = run_vote([tables], VOCABULARY, activities, match, same_as, VoteRules(**options))
        return set(result.votes[0].ballots), result.absent

    assert sources() == ({"a"}, ["x"])
    assert sources(near=True) == ({"a", "b"}, ["x"])
    assert sources(near=True, exclude=["a"]) == ({"b"}, ["x"])
    copies = tmp_path / "same.csv"
    copies.write_text("source,same_as\nb,a\n")
    assert sources(near=True, same_as=copies) == ({"a"}, ["x"])


def make(folder, text):
    with own_files(folder, ["a", "b"]) as staging:
        (staging / "a").write_text(text)
        if text == "stop":
            raise KeyboardInterrupt
        (staging / "b").write_text(text)


def texts(folder):
    return [(folder / name).read_text() for name in "ab"]


def test_a_stop_on_the_way_changes_nothing_and_a_stop_in_the_exchange_can_be_repeated(tmp_path, monkeypatch):
    make(tmp_path, "one")
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "stop")
    assert texts(tmp_path) == ["one", "one"]
    replace = Path.replace

    def stop_at_b(self, target):
        if self.name == "b":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_b)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "two")
    monkeypatch.setattr(Path, "replace", replace)
    assert texts(tmp_path) == ["two", "one"]
    make(tmp_path, "three")
    assert texts(tmp_path) == ["three", "three"]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", ".made.json"}
    (tmp_path / ".made.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="needs a list of digests"):
        make(tmp_path, "four")


def test_the_shipped_vocabulary_follows_the_papers_anatomy():
    words = read_vocabulary(VOCABULARY)
    regions = read(REPOSITORY / "datasets" / "muscle_regions.csv")
    assert [row["region"] for row in regions] == list(MUSCLES)
    for row in regions:
        for muscle in row["muscles"].split(";"):
            assert words.named([muscle]) == {int(row["index"])}, muscle
    proposals = read(VOCABULARY)
    assert all(row["regions"] == "unspecific" or parse_muscles(row["regions"], "") is not None for row in proposals)


def test_the_shipped_match_table_lists_the_papers_new_activities_once():
    rows = read(MATCH)
    activities = list(dict.fromkeys(row["activity"] for row in rows))
    assert activities[:3] == ["push ups", "squats", "crunches"]
    assert len(activities) == 23
    assert {row["match"] for row in rows} == {SAME, NEAR}
    assert len({(row["activity"], row["source"], row["exercise"]) for row in rows}) == len(rows)


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/sources is absent")
def test_the_real_sources_give_the_expected_anatomy():
    result = run_vote([REAL], VOCABULARY, MATCH, MATCH, ANNOTATIONS / "vote_same_sources.csv")
    votes = {vote.activity: vote for vote in result.votes}
    expected = {
        "push ups": {"chest", "triceps", "shoulder"},
        "squats": {"quadriceps", "gluteus"},
        "crunches": {"upper_abdominis", "lower_abdominis"},
        "calf raise hold": {"calves"},
        "running": {"quadriceps", "hamstring", "calves", "gluteus"},
        "triceps dip hold": {"triceps"},
    }
    for activity, regions in expected.items():
        assert regions <= {MUSCLES[index] for index in votes[activity].regions}, activity
    assert (result.absent, dict(result.unknown)) == ([], {})
    assert [name for name, vote in votes.items() if not vote.regions] == ["modified scissors", "circle push ups"]
    # Two copies of Wikipedia and two addresses of one site have one vote each.
    assert (len(votes["calf raise hold"].ballots), len(votes["running"].ballots)) == (5, 8)
    assert sum(len(vote.ballots) >= 4 for vote in list(votes.values())[3:]) == 14
