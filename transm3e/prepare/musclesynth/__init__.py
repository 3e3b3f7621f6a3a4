"""MuscleSynth: short synthetic videos of an articulated 3D figure that exercises, with muscle labels.

    from transm3e.prepare.musclesynth.generate import generate

    table = generate("data/MuscleSynth/tiny", size="tiny")

An activity is one to three motion primitives in one posture; its muscles are the union of what its primitives
train. New activities are exercises and combinations that never occur in train, while each of their muscles does.

Order of reading: body (skeleton) -> postures, supports -> primitives (rows of the table), upper_body, trunk, lower_body
(the table), vocabulary -> activities -> motion (angles over time) -> camera, scene (what varies from clip to clip) ->
render -> keypoints -> clip (all of it for one clip) -> plan (which clip goes where) -> generate. agreement compares
the labels with public tables.
"""
