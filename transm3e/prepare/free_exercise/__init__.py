"""Free Exercise DB (github.com/yuhonas/free-exercise-db) as a data set of short clips.

    from transm3e.prepare.free_exercise.prepare import prepare

    clips, skipped = prepare("free-exercise-db", "data/FreeExercise", muscle_map, family_rules)

Each exercise has a photo of its start and one of its end, one primary and any number of secondary muscles. Reading order:
source (exercises, muscle map, photos) -> clips (two photos become a video) -> families (which exercises are variants of one
movement) -> splits (which clip goes where) -> prepare (all of it). Skeletons instead of videos: landmarks -> poses, and
logistic, a baseline of theirs.
"""
