"""MuscleSynth: short synthetic videos of an articulated 3D figure that exercises, with muscle labels.

    from transm3e.data.musclesynth.generate import generate

    table = generate("data/MuscleSynth/tiny", size="tiny")

An activity combines one to three motion primitives (primitives.py) in one posture; its muscles are the
union of what its primitives train. New activities are combinations that never occur in train, although
each of their primitives does, so new_val and new_test measure compositional generalisation.

Order of reading: body (skeleton) -> primitives -> activities -> motion (angles over time) -> camera,
scene (what varies from clip to clip) -> render -> keypoints -> clip (all of it for one clip) -> plan
(which clip goes where) -> generate.
"""
