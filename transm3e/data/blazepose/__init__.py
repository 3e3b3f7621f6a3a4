"""BlazePose (Bazarevsky et al., CVPRW 2020): 33 landmarks of one person, by two small networks on the CPU.

    from transm3e.data.blazepose.pose import BlazePose

    pose = BlazePose().detect(frame)  # or follow(frames) for a video

The detection network finds persons in the whole frame, as two points each: the middle of the hips, and one that gives size
and rotation of the body. The landmark network gets the square that these span and returns the landmarks. In a video, the
landmarks of a frame give the square of the next one. Start reading at models (the files, from the wheel of mediapipe), then
networks, persons (detections), region (the square), landmarks, pose, smooth. Implemented after the paper and the published
description of MediaPipe's graphs, with their constants.
"""
