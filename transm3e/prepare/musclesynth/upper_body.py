"""Primitives of the arms and shoulders; what the columns are, and the sources: primitives.py."""

from __future__ import annotations

from transm3e.prepare.musclesynth.primitives import primitive

UPPER_BODY = (
    # Elbow and wrist
    primitive(
        "curl",
        "biceps forearms",
        "arms",
        "NSCA; NEUMANN ch. 6; EXRX",
        {
            "stand seat lunge kneel": "shoulder_flex 2>12, shoulder_abd 8, elbow 8>138",
            "incline": "shoulder_flex -38>-28, shoulder_abd 8, elbow 8>130",
            "seat": "lean 14, hip_flex 102, shoulder_flex 50, shoulder_abd 4, elbow 14>132",  # on a preacher's bench
            "bent": "shoulder_flex 58, shoulder_abd 4, elbow 8>125",
            "bench supine": "shoulder_flex 4, shoulder_abd 8, elbow 8>130; shoulder_flex 92, shoulder_abd 4, elbow 8>125",
            "stand": "shoulder_abd 86, shoulder_twist 84, elbow 10>132",
        },
        loads="dumbbells dumbbells bar",
    ),
    primitive(
        "concentration_curl",
        "biceps forearms",
        "arms trunk",
        "NSCA; EXRX",
        {
            "seat": "lean 30, spine_flex 22, hip_flex 118, hip_abd 26, l_shoulder_flex 56, l_elbow 8>130,"
            "r_shoulder_flex 46, r_shoulder_abd 24, r_shoulder_twist -40, r_elbow 50"
        },
        loads="dumbbells",
    ),
    primitive(
        "triceps_extension",
        "triceps",
        "arms",
        "NSCA; NEUMANN ch. 6",
        {
            "stand seat kneel lunge": "shoulder_flex 168, shoulder_abd 6, elbow 132>10",
            "bench supine": "shoulder_flex 96, shoulder_abd 6, elbow 120>6",
            "incline": "shoulder_flex 125, shoulder_abd 6, elbow 125>8",
        },
        loads="dumbbells bar",
    ),
    primitive(
        "triceps_kickback",
        "triceps",
        "arms",
        "NSCA; EXRX",
        {"bent": "shoulder_flex -6, shoulder_abd 6, elbow 95>6"},
        loads="dumbbells",
    ),
    primitive(
        "triceps_pushdown",
        "triceps",
        "arms",
        "NSCA; EXRX",
        {"stand kneel": "shoulder_flex 8, shoulder_abd 6, elbow 118>10, lean 6"},
        loads="bar",
    ),
    primitive(
        "wrist_curl",
        "forearms wrists",
        "arms",
        "NSCA; NEUMANN ch. 7",
        {
            "stand lunge": "shoulder_flex 10, shoulder_abd 10, elbow 85, wrist -70>75; shoulder_flex -18, elbow 8, wrist -40>60",
            "seat": "lean 28, spine_flex 16, hip_flex 116, shoulder_flex 46, shoulder_abd 4, elbow 48, wrist -70>75",
            "kneel": "lean 40, hip_flex 10, shoulder_flex 80, elbow 40, wrist -70>75",
        },
        loads="dumbbells bar",
    ),
    # Push
    primitive(
        "overhead_press",
        "shoulder triceps",
        "arms",
        "NSCA; EXRX",
        {
            "stand seat kneel lunge": "shoulder_abd 58>166, shoulder_twist 85, elbow 138>10;"
            "shoulder_flex 45>170, shoulder_abd 22>8, elbow 142>8",
            "incline": "shoulder_abd 55>150, shoulder_twist 80, elbow 130>12",
        },
        loads="dumbbells bar",
    ),
    primitive(
        "bench_press",
        "chest shoulder triceps",
        "arms",
        "NSCA; ACSM; EXRX",
        {
            "bench supine": "shoulder_flex -10>88, shoulder_abd 66>12, elbow 98>6; shoulder_flex -18>88, shoulder_abd 24>8, elbow 108>6",
            "incline": "shoulder_flex -4>112, shoulder_abd 66>12, elbow 105>6",
            "seat stand": "shoulder_flex 4>86, shoulder_abd 62>8, elbow 105>8",
        },
        loads="dumbbells bar",
    ),
    primitive(
        "chest_fly",
        "chest shoulder",
        "arms",
        "NSCA; EXRX",
        {
            "bench supine": "shoulder_flex 88, shoulder_abd 84>4, shoulder_twist -60, elbow 22>14",
            "incline": "shoulder_flex 105, shoulder_abd 84>4, shoulder_twist -60, elbow 22>14",
            "seat": "shoulder_flex 88, shoulder_abd 88>6, shoulder_twist -60, elbow 20; shoulder_flex 88, shoulder_abd 86>6, elbow 88",
            "stand lunge": "shoulder_flex 70>52, shoulder_abd 84>-6, shoulder_twist -60, elbow 22>14, lean 10",
        },
        loads="dumbbells",
    ),
    primitive(
        "push_up",
        "chest shoulder triceps",
        "arms trunk",
        "NSCA; ACSM",
        {
            "plank": "lean 89>77",
        },
    ),
    primitive(
        "dip",
        "chest shoulder triceps",
        "arms trunk",
        "NSCA; EXRX",
        {
            "dip": "shoulder_flex -58>-2, shoulder_abd 22>8, elbow 102>6, lean 26>6, hip_flex 20>5",
            "bench_dip": "shoulder_flex -66>-42, shoulder_abd 12>6, elbow 98>8",
        },
    ),
    # Pull
    primitive(
        "pull_up",
        "latissimus upper_back biceps shoulder",
        "arms",
        "NSCA; EXRX",
        {
            "hang": "shoulder_abd 164>44, shoulder_twist 85>75, elbow 6>132, lean 0>-10; shoulder_abd 150>40,"
            "shoulder_twist 85>75, elbow 6>132, lean 0>-16, knee 80, hip_flex 12, ankle -30; shoulder_abd 8>14,"
            "shoulder_flex 170>30, elbow 6>130, lean 0>-12, knee 60, ankle -30"
        },
    ),
    primitive(
        "chin_up",
        "latissimus upper_back biceps forearms",
        "arms",
        "EXRX; NEUMANN ch. 6",
        {
            "hang": "shoulder_abd 8>14, shoulder_flex 170>22, elbow 6>138, lean 0>-8; shoulder_abd 8>14, shoulder_flex 170>22,"
            "elbow 6>138, lean 0>-12, knee 75, ankle -30"
        },
    ),
    primitive(
        "pulldown",
        "latissimus upper_back biceps shoulder",
        "arms",
        "NSCA; EXRX",
        {
            "seat kneel": "shoulder_abd 160>36, shoulder_twist 85>70, elbow 8>128, lean -4>-14;"
            "shoulder_flex 158>12, shoulder_abd 8>16, elbow 8>128, lean 0>-14"
        },
        loads="bar",
    ),
    primitive(
        "row",
        "latissimus upper_back biceps shoulder",
        "arms",
        "NSCA; EXRX",
        {
            "seat stand floor_seat": "shoulder_flex 82>-38, shoulder_abd 4>16, elbow 6>112",
            "bent": "shoulder_flex 66>-34, shoulder_abd 6>20, elbow 6>102",
            "incline": "shoulder_flex 88>-20, shoulder_abd 6>24, elbow 6>100",
        },
        loads="dumbbells bar",
    ),
    primitive(
        "one_arm_row",
        "latissimus upper_back biceps shoulder",
        "arms trunk",
        "NSCA; EXRX",
        {
            "bent": "l_shoulder_flex 64>-38, l_shoulder_abd 6>16, l_elbow 6>108, r_shoulder_flex 58, r_elbow 14, spine_twist 0>12",
            "lunge": "lean 48, l_hip_flex 80, l_knee 40, r_hip_flex 20, r_knee 20, r_shoulder_flex 50>-40, r_shoulder_abd 6>16,"
            "r_elbow 6>108, l_shoulder_flex 40, l_elbow 40",
        },
        loads="dumbbells",
    ),
    primitive(
        "inverted_row",
        "latissimus upper_back biceps",
        "arms trunk legs",
        "EXRX",
        {"inverted": "lean -76>-59, shoulder_flex 84>-28, shoulder_abd 12>32, elbow 6>104"},
    ),
    primitive(
        "straight_arm_pulldown",
        "latissimus shoulder",
        "arms",
        "EXRX; NEUMANN ch. 5",
        {
            "stand": "shoulder_flex 128>4, shoulder_abd 6, elbow 8, lean 18>10",
            "kneel": "shoulder_flex 150>12, elbow 8, lean 10",
        },
        loads="bar",
    ),
    primitive(
        "pullover",
        "latissimus chest triceps shoulder",
        "arms",
        "NSCA; EXRX",
        {"bench supine": "shoulder_flex 172>86, shoulder_abd 4, elbow 24>10"},
        loads="dumbbells bar",
    ),
    # Shoulder
    primitive(
        "lateral_raise",
        "shoulder",
        "arms",
        "NSCA; NEUMANN ch. 5",
        {
            "stand seat kneel lunge": "shoulder_abd 6>92, elbow 10>16; shoulder_flex 4>18, shoulder_abd 6>150, elbow 10",
            "side": "l_shoulder_flex 8, l_shoulder_abd 2>80, l_elbow 10",
        },
        loads="dumbbells",
    ),
    primitive(
        "front_raise",
        "shoulder",
        "arms",
        "NSCA; NEUMANN ch. 5",
        {
            "stand seat lunge": "shoulder_flex 4>94, shoulder_abd 6, elbow 8",
            "incline": "shoulder_flex -30>80, shoulder_abd 6, elbow 8",
        },
        loads="dumbbells bar",
    ),
    primitive(
        "reverse_fly",
        "shoulder upper_back",
        "arms",
        "NSCA; EXRX",
        {
            "bent": "shoulder_flex 74>84, shoulder_abd 6>86, elbow 16",
            "seat": "lean 46, spine_flex 22, hip_flex 132, shoulder_flex 70>84, shoulder_abd 4>84, elbow 14;"
            "shoulder_flex 88, shoulder_abd 6>90, elbow 10",
            "stand": "shoulder_flex 86, shoulder_abd 6>90, elbow 8; shoulder_flex 86>80, shoulder_abd 6>80, shoulder_twist -40,elbow 8>110",
        },
        loads="dumbbells",
    ),
    primitive(
        "shrug",
        "upper_back",
        "arms",
        "NSCA; NEUMANN ch. 5",
        {
            "stand seat": "shrug 0>30, shoulder_flex 4, shoulder_abd 8, elbow 4",
            "bent": "shrug 0>28, shoulder_flex 60, elbow 4",
        },
        loads="dumbbells bar",
    ),
    primitive(
        "upright_row",
        "shoulder upper_back biceps",
        "arms",
        "NSCA; EXRX",
        {"stand": "shoulder_flex 12>22, shoulder_abd 4>78, shoulder_twist -70>-84, elbow 8>122, shrug 0>10"},
        loads="dumbbells bar bar",
    ),
    primitive(
        "shoulder_rotation",
        "shoulder",
        "arms",
        "NEUMANN ch. 5; EXRX",
        {
            "stand": "l_shoulder_flex 4, l_shoulder_abd 6, l_elbow 90, l_shoulder_twist -50>50; "
            "shoulder_abd 88, elbow 90, shoulder_twist -10>85",
            "side": "l_shoulder_flex 4, l_shoulder_abd 4, l_elbow 90, l_shoulder_twist -50>45",
            "seat": "shoulder_abd 85, elbow 90, shoulder_twist -10>85",
        },
        loads="none dumbbells",
    ),
    # Stretches
    primitive(
        "chest_stretch",
        "chest shoulder",
        "arms",
        "ACSM",
        {
            "stand kneel": "shoulder_flex 20>-50, shoulder_abd 12, elbow 10; shoulder_flex 60>80, shoulder_abd 60>98, elbow 20;"
            "shoulder_abd 60>95, shoulder_twist 80>95, elbow 90"
        },
    ),
    primitive(
        "shoulder_stretch",
        "shoulder",
        "arms",
        "ACSM",
        {
            "stand seat": "l_shoulder_flex 60>88, l_shoulder_abd 0>-38, l_elbow 8, r_shoulder_flex 30>62, r_shoulder_twist -50,"
            "r_shoulder_abd 6, r_elbow 60>115"
        },
    ),
    primitive(
        "triceps_stretch",
        "triceps shoulder latissimus",
        "arms",
        "ACSM",
        {
            "stand seat": "l_shoulder_flex 120>172, l_elbow 60>138, r_shoulder_abd 60>155, r_shoulder_twist 60, r_elbow 60>115"
        },
    ),
    primitive(
        "lat_stretch",
        "latissimus",
        "arms trunk",
        "ACSM",
        {
            "stand": "shoulder_flex 165, shoulder_abd 6, elbow 12, spine_side 0>34; lean 20>80, hip_flex 20>84, shoulder_flex 120>165, elbow 6",
            "fours": "lean 84>72, hip_flex 84>106, knee 90>124, spine_flex 0>24",
        },
    ),
)
