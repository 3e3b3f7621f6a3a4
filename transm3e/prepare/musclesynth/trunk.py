"""Primitives of the trunk and neck; what the columns are, and the sources: primitives.py."""

from __future__ import annotations

from transm3e.prepare.musclesynth.primitives import primitive

_ABS = "upper_abdominis lower_abdominis"

TRUNK = (
    # NEUMANN ch. 10: the rectus abdominis, which is one muscle, flexes the trunk from above and from below.
    primitive(
        "crunch",
        _ABS,
        "trunk",
        "NSCA; NEUMANN ch. 10",
        {
            "supine bench": "spine_flex 0>58, neck_flex 0>16",
            "seat": "lean 0>16, spine_flex 0>50, hip_flex 88>104",
            "kneel": "lean 12>52, hip_flex 12>52, spine_flex 0>62",
        },
    ),
    primitive(
        "sit_up",
        f"{_ABS} obliques",
        "trunk",
        "ACSM; EXRX",
        {
            "supine": "lean -90>-24, spine_flex 4>42, hip_flex 50>108; lean -90>-20, spine_flex 4>36, hip_flex 4>70, knee 6"
        },
    ),
    primitive(
        "leg_raise",
        _ABS,
        "legs",
        "NEUMANN chs. 10 and 12; EXRX",
        {
            "supine bench": "hip_flex 4>86, knee 6; hip_flex 24>112, knee 80>100; lean -90>-116, hip_flex 88>96, knee 40",
            "hang": "hip_flex 2>88, knee 8; hip_flex 4>104, knee 12>108",
            "dip": "hip_flex 2>104, knee 12>108; hip_flex 4>88, knee 8",
        },
    ),
    primitive(
        "jackknife",
        _ABS,
        "arms trunk legs",
        "EXRX",
        {
            "supine": "lean -90>-48, spine_flex 0>36, hip_flex 2>82, knee 4, shoulder_flex 170>96, elbow 5",
            "floor_seat": "lean -38>-22, spine_flex 0>30, hip_flex 50>110, knee 20>120",
            "bench": "lean -62>-34, spine_flex 0>26, hip_flex 24>104, knee 14>118, shoulder_flex -40, elbow 40",
        },
    ),
    primitive(
        "bicycle_crunch",
        f"{_ABS} obliques",
        "arms trunk legs",
        "EXRX; ACSM",
        {
            "supine": "spine_flex 34, neck_flex 10, shoulder_abd 122, shoulder_twist 78, elbow 138, spine_twist -34>34,"
            "l_hip_flex 20>98, l_knee 20>110, r_hip_flex 98>20, r_knee 110>20; spine_flex 6>40, spine_twist 0>36,"
            "shoulder_abd 122, shoulder_twist 78, elbow 138"
        },
    ),
    primitive(
        "flutter_kick",
        f"{_ABS} quadriceps",
        "legs",
        "NEUMANN ch. 12; EXRX",
        {"supine bench": "l_hip_flex 6>40, r_hip_flex 40>6, knee 5, ankle -35"},
    ),
    primitive(
        "mountain_climber",
        f"{_ABS} shoulder quadriceps hamstring",
        "legs",
        "ACSM; EXRX",
        {"plank": "hip_flex 2>128, knee 4>138, ankle 2>-65"},
        one_sided="plank",
    ),
    primitive(
        "plank_hold",
        f"{_ABS} obliques shoulder",
        "arms trunk legs",
        "ACSM; EXRX",
        {"forearms": "lean 83", "plank": "lean 77"},
    ),
    primitive(
        "side_plank_hold",
        f"{_ABS} obliques shoulder",
        "arms trunk legs",
        "ACSM; EXRX",
        {"side_plank": "roll 77; l_shoulder_abd 86, l_elbow 6"},
    ),
    primitive(
        "rollout",
        f"{_ABS} shoulder lower_back",
        "arms trunk legs",
        "EXRX",
        {"kneel": "lean 70>80, hip_flex 70>30, knee 90>40, shoulder_flex 72>136, shoulder_abd 4, elbow 4"},
    ),
    # NEUMANN ch. 10: the external and internal obliques rotate and bend the trunk, with the rectus abdominis.
    primitive(
        "trunk_rotation",
        "obliques upper_abdominis",
        "trunk",
        "NEUMANN ch. 10; EXRX",
        {"stand seat": "spine_twist -58>58", "kneel": "spine_twist -50>50"},
    ),
    primitive(
        "russian_twist",
        f"{_ABS} obliques",
        "arms trunk legs",
        "NEUMANN ch. 10; EXRX",
        {
            "floor_seat": "lean -32, spine_flex 20, hip_flex 84, knee 74, spine_twist -52>52, shoulder_flex 52, elbow 50,"
            "shoulder_twist -40, shoulder_abd 4"
        },
        loads="none dumbbells",
    ),
    primitive(
        "side_bend",
        f"{_ABS} obliques",
        "trunk",
        "NEUMANN ch. 10; EXRX",
        {"stand seat": "spine_side -26>32"},
    ),
    primitive(
        "wood_chop",
        f"{_ABS} obliques shoulder",
        "arms trunk",
        "EXRX",
        {
            "stand kneel": "spine_twist -46>46, spine_flex -4>26, l_shoulder_flex 138>48, l_shoulder_abd -10>-24, r_shoulder_flex 138>48,"
            "r_shoulder_abd -24>10, elbow 12"
        },
        loads="none bar",
    ),
    primitive(
        "back_extension",
        "lower_back gluteus hamstring",
        "trunk",
        "NSCA; NEUMANN ch. 10",
        {
            "prone": "spine_flex 4>-58; spine_flex 2>-46, hip_flex 2>-24",
            "roman": "lean 118>45, hip_flex 73>0; lean 118>40, hip_flex 73>-5, shoulder_flex 10, shoulder_abd 50, elbow 110,shoulder_twist -50",
        },
    ),
    primitive(
        "back_stretch",
        "lower_back latissimus",
        "trunk",
        "ACSM",
        {
            "fours": "spine_flex -14>46, neck_flex -20>40",
            "supine": "lean -90>-104, spine_flex 0>40, hip_flex 60>132, knee 100>135",
            "seat": "lean 0>48, spine_flex 10>62, hip_flex 88>132",
        },
    ),
    # NEUMANN ch. 10: sternocleidomastoid and the deep cervical flexors; the splenii extend.
    primitive(
        "neck_flexion",
        "neck_and_head",
        "neck",
        "NEUMANN ch. 10; EXRX",
        {
            "stand seat": "neck_flex -38>50",
            "supine bench": "neck_flex -10>50",
            "fours": "neck_flex 36>-44",
            "prone": "neck_flex -12>-48",
        },
    ),
)
