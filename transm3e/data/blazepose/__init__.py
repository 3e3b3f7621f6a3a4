"""BlazePose (Bazarevsky et al., CVPRW 2020): 33 landmarks of one person, by two small networks on the CPU.

    from transm3e.data.blazepose.pose import BlazePose

    pose = BlazePose().detect(frame)  # or follow(frames) for a video

One network finds persons in the whole frame, as two points each: the middle of the hips, and one that says how large and
how turned the body is. The other sees the square that these two span, and gives the landmarks. In a video the landmarks
of a frame say where to look in the next. Order of reading: models (the files, from the wheel of mediapipe) -> networks ->
persons (the first's output) -> region (the square) -> landmarks (the second's output) -> pose -> smooth. Written after
the paper and the published description of the graphs; constants are theirs.
"""
