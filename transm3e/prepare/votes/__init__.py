"""Annotation by majority vote: the muscles of an activity are those that enough sources name.

    from transm3e.prepare.votes.run import run_vote

    result = run_vote(["sources/"], vocabulary="muscle_vocabulary.csv", activities="activities.csv")

The paper's label-noise suppression (section D.1): of N sources that name muscles for an activity, a region is set
when at least int(N/2) of them name it; here, by default, of three sources two have to. Order of reading: tables (CSV
files), sources (who names which muscles), vocabulary (words become regions), matching (which of a source's exercises
are the activity), vote (ballots, threshold), agreement, run (all of it); write and report put it into files.
"""
