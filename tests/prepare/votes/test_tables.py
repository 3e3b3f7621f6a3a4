"""What goes in: sources, vocabulary, names and match tables, and what each says about bad input."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.prepare.votes.tables import (
    match_by_name,
    match_by_table,
    name_key,
    read_activities,
    read_same_sources,
    read_sources,
    read_vocabulary,
    refuse_unknown,
    source_name,
)

FULL = """source,exercise,primary_muscles,secondary_muscles,ref
https://www.site.org/squats,Squats,quads; glutes,calves,1
Base (only new entries),Bodyweight Squat,quads,,2
Base (only new entries),"Squat, Jump",Quads;  quads,,3
"""
SIMPLE = "activity,muscles\nsquat,legs; glutes\n"


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def entries(tmp_path):
    write(tmp_path / "in", "full.csv", FULL)
    write(tmp_path / "in", "simple.csv", "\ufeff" + SIMPLE)
    write(tmp_path / "in", "coverage.csv", "activity,count\nsquat,3\n")
    found, left_out = read_sources([tmp_path / "in"])
    assert [path.name for path in left_out] == ["coverage.csv"]
    return found


def test_both_kinds_of_tables(entries):
    assert [(e.source, e.exercise) for e in entries] == [
        ("site.org", "Squats"),
        ("Base", "Bodyweight Squat"),
        ("Base", "Squat, Jump"),
        ("simple", "squat"),
    ]
    assert entries[0].words("primary") == ("quads", "glutes")
    assert entries[0].words("all") == ("quads", "glutes", "calves")
    assert entries[2].where.endswith("full.csv:4")


def test_a_site_is_one_source_and_remarks_are_no_part_of_a_name():
    pages = ["https://fit.info/a-b?x=1", "http://www.FIT.info/b", "fit.info (a remark)"]
    assert {source_name(page) for page in pages} == {"fit.info"}


def test_broken_tables_of_sources(tmp_path):
    for name, text, says in [
        ("none.csv", "activity,count\na,1\n", "not a table of sources"),
        ("void.csv", "source,exercise,primary_muscles\n,Squat,quads\n", "void.csv:2: empty source"),
        ("long.csv", "activity,muscles\na,b,c\n", "long.csv:2: 3 cells, but the header has 2"),
        ("open.csv", 'activity,muscles\na,"b\n', "cannot be read"),
    ]:
        with pytest.raises(UserError, match=says):
            read_sources([write(tmp_path, name, text)])


def test_missing_binary_and_empty_input(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.csv", tmp_path / "binary.csv"):
        with pytest.raises(UserError, match="cannot be read as a UTF-8 CSV file"):
            read_sources([path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no exercise in"):
        read_sources([tmp_path / "empty"])


@pytest.mark.usefixtures("entries")
def test_sources_to_leave_out_must_exist(tmp_path):
    assert {e.source for e in read_sources([tmp_path / "in"], ["Base"])[0]} == {"site.org", "simple"}
    with pytest.raises(UserError, match=r"cannot exclude Bass: .*there are Base, simple, site\.org"):
        read_sources([tmp_path / "in"], ["Bass"])


def test_copies(tmp_path):
    table = write(tmp_path, "same.csv", "source,same_as\nhttps://a.org/page,b.org\n")
    assert read_same_sources(table) == {"a.org": "b.org"}
    for text in ("a,b\nb,c\n", "a,a\n"):
        with pytest.raises(UserError, match="copies a copy"):
            read_same_sources(write(tmp_path, "same.csv", "source,same_as\n" + text))
    with pytest.raises(UserError, match=r"same.csv:3: needs one source"):
        read_same_sources(write(tmp_path, "same.csv", "source,same_as\na,b\na,c\n"))


def test_vocabulary_tells_regions_from_none_and_unspecific(tmp_path):
    text = "term,regions,note\nQuads,quadriceps,\nabs,upper abdominis; 10,\nhip  flexors,none,\nlegs,unspecific,\n"
    words = read_vocabulary(write(tmp_path, "words.csv", "# a proposal\n" + text))
    assert words.named(["QUADS", "Hip Flexors", "legs"]) == {MUSCLES.index("quadriceps")}
    assert words.named(["abs"]) == {9, 10}
    assert words.named(["hip flexors"]) == frozenset()
    assert words.named(["legs"]) is None
    assert words.unknown(["quad", "Quad", "abs"]) == {"quad": 2}
    with pytest.raises(UserError, match=r"'quad' \(like 'quads'\), 'zzz' \(like none\); add them to .*words.csv"):
        refuse_unknown(words.unknown(["quad", "zzz"]), words, tmp_path / "words.csv")


def test_broken_vocabularies(tmp_path):
    for text, says in [
        ("abs,belly\n", "words.csv:2: unknown muscle 'belly'"),
        ("abs,\n", "words.csv:2: empty term or regions"),
        ("abs,9\nABS,10\n", "words.csv:3: 'abs' has other regions in an earlier row"),
    ]:
        with pytest.raises(UserError, match=says):
            read_vocabulary(write(tmp_path, "words.csv", "term,regions\n" + text))


def test_names_match_but_for_case_signs_and_plural_and_nothing_vaguer(entries):
    matches = match_by_name(["Squats", "jump squat"], entries)
    assert [(m.activity, m.row.source, m.how) for m in matches] == [
        ("Squats", "site.org", "name"),
        ("Squats", "simple", "name"),
    ]
    assert len({name_key(name) for name in ("Push-Ups", "pushup", "Push Up", "push_ups", "PUSHUPS")}) == 1
    assert name_key("Crunches") == name_key("crunch") != name_key("reverse crunch")
    assert name_key("bench press") != name_key("bench pres")


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_a_name_matches_itself_in_other_letters(name):
    assert name_key(f"  {name}. ") == name_key(name)


def test_match_table(tmp_path, entries):
    rows = 'squats,https://site.org,squats,\nSQUATS,Base,bodyweight  squat,same\nsquats,Base,"Squat, Jump",near\n'
    table = write(
        tmp_path,
        "match.csv",
        "activity,source,exercise,match\n" + rows + "squats,gone.org,x,\nother,Base,Bodyweight Squat,\n",
    )
    matches, absent = match_by_table(table, ["squats"], entries)
    assert [(m.activity, m.row.exercise, m.how) for m in matches] == [
        ("squats", "Squats", "same"),
        ("squats", "Bodyweight Squat", "same"),
        ("squats", "Squat, Jump", "near"),
    ]
    assert absent == ["gone.org"]
    assert read_activities(table) == ["squats", "other"]


def test_broken_match_tables(tmp_path, entries):
    for row, says in [
        ("squats,Base,Squat Jump,", "match.csv:2: Base has no 'Squat Jump', it has 'Squat, Jump'"),
        ("squats,Base,,", "match.csv:2: needs activity, source, exercise"),
        ("squats,Base,Bodyweight Squat,maybe", "match.csv:2: needs activity, source, exercise, and match"),
    ]:
        with pytest.raises(UserError, match=says):
            match_by_table(
                write(tmp_path, "match.csv", f"activity,source,exercise,match\n{row}\n"), ["squats"], entries
            )


def test_activities_must_be_named(tmp_path):
    with pytest.raises(UserError, match=r"a.csv:3: no activity"):
        read_activities(write(tmp_path, "a.csv", "activity,n\nsquat,1\n,2\n"))
    with pytest.raises(UserError, match=r"column\(s\) activity missing"):
        read_activities(write(tmp_path, "a.csv", "name\nsquat\n"))
