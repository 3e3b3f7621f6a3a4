"""Primitives of the hips and legs, and of the whole body; what the columns are, and the sources: primitives.py."""

from __future__ import annotations

from transm3e.prepare.musclesynth.primitives import primitive

# NSCA, "back squat": gluteus maximus, hamstrings, quadriceps; the soleus helps (EXRX).
_SQUAT = "quadriceps gluteus hamstring calves"
_PULL = f"{_SQUAT} lower_back upper_back forearms shoulder"
_RACK = "shoulder_flex 64, shoulder_abd 16, elbow 142"

LOWER_BODY = (
    primitive(
        "squat",
        _SQUAT,
        "trunk legs",
        "NSCA; ACSM",
        {
            "stand": "lean 40>2, hip_flex 112>2, hip_abd 14>8, knee 110>4, ankle 34>2; lean 22>2, hip_flex 78>2, hip_abd 12>8, knee 82>4,"
            "ankle 24>2; lean 12>0, hip_flex 76>2, hip_abd 34>16, hip_twist 25, knee 84>4, ankle 20>2"
        },
    ),
    primitive(
        "split_squat",
        _SQUAT,
        "trunk legs",
        "NSCA; EXRX",
        {
            "lunge": "l_hip_flex 84>30, l_knee 92>16, r_hip_flex -10>-32, r_knee 84>20, l_ankle 8>-2, r_ankle -10>-30, lean 6>0"
        },
    ),
    primitive(
        "lunge",
        _SQUAT,
        "trunk legs",
        "NSCA; EXRX",
        {"lunge": "l_hip_flex 2>88, l_knee 4>92, r_hip_flex 2>-10, r_knee 4>82, r_ankle 2>-10, lean 0>8"},
    ),
    primitive(
        "side_lunge",
        f"{_SQUAT} inner_thigh",
        "trunk legs",
        "EXRX",
        {
            "stand": "lean 2>34, l_hip_flex 2>98, l_hip_abd 4>26, l_knee 4>96, l_ankle 0>30, r_hip_flex 2>34, r_hip_abd 4>46, r_knee 4"
        },
    ),
    primitive(
        "step_up",
        _SQUAT,
        "trunk legs",
        "NSCA; EXRX",
        {
            "step": "lean 16>0, l_hip_flex 98>3, l_knee 92>4, l_ankle 8>0, r_hip_flex 10>4, r_knee 24>4, r_ankle 10>0;"
            "lean 16>0, l_hip_flex 98>3, l_knee 92>4, l_ankle 8>0, r_hip_flex 10>80, r_knee 24>88, r_ankle 10"
        },
    ),
    primitive(
        "pistol_squat",
        _SQUAT,
        "trunk legs",
        "EXRX",
        {"stand": "lean 36>0, l_hip_flex 116>3, l_knee 112>4, l_ankle 34>2, r_hip_flex 118>34, r_knee 6"},
    ),
    primitive("wall_sit", _SQUAT, "trunk legs", "EXRX", {"wall": "lean 0"}),
    primitive(
        "leg_press",
        _SQUAT,
        "trunk legs",
        "NSCA; EXRX",
        {"machine": "hip_flex 112>66, knee 100>8, ankle 8; hip_flex 92>48, knee 98>8"},
    ),
    primitive(
        "leg_extension",
        "quadriceps",
        "legs",
        "NSCA; NEUMANN ch. 13",
        {"seat": "knee 92>6; lean -14, hip_flex 74, knee 92>6"},
    ),
    primitive(
        "leg_curl",
        "hamstring",
        "legs",
        "NSCA; NEUMANN ch. 13",
        {
            "prone": "knee 4>118",
            "stand": "knee 6>118, hip_flex 2>-8",
            "seat": "knee 8>96",
            "bridge": "lean -90, knee 28>96, hip_flex 0",
        },
        one_sided="stand",
    ),
    primitive(
        "nordic_curl",
        "hamstring gluteus calves",
        "trunk legs",
        "EXRX",
        {"kneel": "lean 52>2, knee 38>88, hip_flex 2; lean 72>2, hip_flex 6, knee 24>88"},
    ),
    primitive(
        "calf_raise",
        "calves",
        "feet",
        "NSCA; NEUMANN ch. 14",
        {
            "stand": "ankle 8>-48",
            "seat": "ankle 4>-42, hip_flex 88>104, knee 88>104",
            "machine": "hip_flex 62, knee 6, ankle 20>-40",
        },
    ),
    primitive(
        "ankle_dorsiflexion",
        "feet_ankles",
        "feet",
        "NEUMANN ch. 14; EXRX",
        {"stand": "ankle -2>38, lean 0>-4", "seat": "ankle -8>42", "supine floor_seat": "ankle -46>34"},
    ),
    # NEUMANN ch. 12: tensor fasciae latae (iliotibial tract) and the glutei abduct the hip.
    primitive(
        "hip_abduction",
        "outer_thigh gluteus",
        "legs",
        "NEUMANN ch. 12; EXRX",
        {
            "stand": "hip_abd 2>48",
            "side": "l_hip_flex 0, l_hip_abd 0>46, l_knee 4, r_hip_flex 10, r_knee 20; hip_flex 45, knee 80, l_hip_abd 0>44",
            "seat": "hip_abd 2>40",
            "fours": "l_hip_abd 2>66",
            "plank": "hip_abd 2>34",
        },
        one_sided="stand",
    ),
    primitive(
        "hip_adduction",
        "inner_thigh",
        "legs",
        "NEUMANN ch. 12; EXRX",
        {
            "stand": "hip_abd 10>-32, hip_flex 4>26",
            "seat": "hip_abd 44>2",
            "supine": "hip_flex 86, knee 6, hip_abd 48>2; hip_abd 44>2",
            "side": "r_hip_abd 0>26, r_knee 4, l_hip_flex 70, l_knee 80",
        },
        one_sided="stand",
    ),
    primitive(
        "hip_extension",
        "gluteus hamstring",
        "legs",
        "NEUMANN ch. 12; EXRX",
        {
            "fours": "l_hip_flex 92>-14, l_knee 88; l_hip_flex 92>-12, l_knee 92>6",
            "stand": "l_hip_flex 6>-40, l_knee 8, lean 4>16",
            "prone": "hip_flex 2>-24, knee 6",
        },
    ),
    primitive(
        "hip_flexion",
        "quadriceps lower_abdominis",
        "legs",
        "NEUMANN ch. 12",
        {"stand": "hip_flex 0>102, knee 4>100; hip_flex -10>70, knee 4"},
        one_sided="stand",
    ),
    primitive(
        "hip_bridge",
        "gluteus hamstring",
        "trunk legs",
        "NEUMANN ch. 12; EXRX",
        {"supine": "lean -90>-120", "bridge": "lean -62>-92"},
        planted="legs",
    ),
    # NSCA, "good morning" and "stiff-leg deadlift": gluteus maximus, hamstrings, erector spinae.
    primitive(
        "hip_hinge",
        "gluteus hamstring lower_back",
        "trunk legs",
        "NSCA; NEUMANN ch. 12",
        {"stand": "lean 76>0, hip_flex 82>2, knee 14>4, ankle 8>2", "seat": "lean 62>2, hip_flex 146>90, hip_abd 20"},
    ),
    primitive(
        "romanian_deadlift",
        "gluteus hamstring lower_back",
        "arms trunk legs",
        "NSCA; EXRX",
        {
            "stand": "lean 72>0, spine_flex 8>0, hip_flex 82>2, knee 18>4, ankle 8>2, shoulder_flex 70>4, shoulder_abd 6, elbow 4; lean 76>0, "
            "spine_flex 10>0, l_hip_flex 78>2, l_knee 10, r_hip_flex 4>0, r_knee 10, shoulder_flex 74>4, elbow 4"
        },
        loads="dumbbells bar",
    ),
    primitive(
        "deadlift",
        "quadriceps gluteus hamstring lower_back upper_back forearms",
        "arms trunk legs",
        "NSCA; EXRX",
        {
            "stand": "lean 58>0, hip_flex 108>2, knee 72>4, ankle 20>2, shoulder_flex 58>4, shoulder_abd 6, elbow 3; lean 44>0, hip_flex 92>2,"
            "hip_abd 34>20, hip_twist 20, knee 76>4, ankle 20>2, shoulder_flex 44>4, elbow 3"
        },
        loads="bar bar dumbbells",
    ),
    # The whole body
    primitive(
        "clean",
        _PULL,
        "arms trunk legs",
        "NSCA",
        {
            "stand": f"lean 56>2, hip_flex 106>14, knee 74>16, ankle 20>4, {_RACK.replace('flex 64', 'flex 56>64').replace('elbow 142', 'elbow 3>142')};"
            "lean 30>2, hip_flex 50>40, knee 30>52, ankle 10>20, shoulder_flex 30>64, shoulder_abd 12, elbow 4>142"
        },
        loads="bar",
    ),
    primitive(
        "snatch",
        f"{_PULL} triceps",
        "arms trunk legs",
        "NSCA",
        {
            "stand": "lean 56>4, hip_flex 108>20, knee 76>24, ankle 20>6, shoulder_flex 56>168, shoulder_abd 24, elbow 4;"
            "lean 30>16, hip_flex 50>96, knee 34>100, ankle 10>30, shoulder_flex 30>170, shoulder_abd 26, elbow 4"
        },
        loads="bar dumbbells",
    ),
    primitive(
        "push_press",
        "shoulder triceps quadriceps gluteus calves",
        "arms trunk legs",
        "NSCA",
        {
            "stand": "hip_flex 26>2, knee 40>4, ankle 18>0, shoulder_flex 58>170, shoulder_abd 16, elbow 142>6;"
            "shoulder_flex 58>170, shoulder_abd 16, elbow 142>6, l_hip_flex 4>44, l_knee 8>52, r_hip_flex 4>-26, r_knee 8>24, r_ankle 0>-28"
        },
        loads="bar dumbbells",
    ),
    primitive(
        "thruster",
        "quadriceps gluteus hamstring shoulder triceps",
        "arms trunk legs",
        "NSCA; EXRX",
        {
            "stand": "lean 26>0, hip_flex 100>2, hip_abd 12>6, knee 108>4, ankle 32>2, shoulder_flex 70>170, shoulder_abd 14, elbow 140>6"
        },
        loads="bar dumbbells",
    ),
    primitive(
        "swing",
        "hamstring gluteus shoulder lower_back",
        "arms trunk legs",
        "NSCA; EXRX",
        {
            "stand": "lean 58>-2, hip_flex 74>2, hip_abd 12, knee 34>4, ankle 10>2, shoulder_flex 34>88, shoulder_abd -2, elbow 6"
        },
        loads="dumbbells",
    ),
    primitive(
        "squat_jump",
        _SQUAT,
        "arms trunk legs",
        "NSCA; ACSM",
        {
            "stand": "lean 40>0, hip_flex 100>2, knee 98>6, ankle 28>-40, shoulder_flex -30>150, elbow 20;"
            "lean 30>20, hip_flex 60>100, knee 60>110, ankle 20>-20, shoulder_flex -20>80, elbow 30"
        },
    ),
    primitive(
        "jumping_jack",
        "shoulder calves quadriceps gluteus outer_thigh",
        "arms trunk legs",
        "ACSM",
        {"stand": "shoulder_abd 8>160, elbow 10, hip_abd 2>30, ankle 0>-16"},
    ),
    primitive(
        "running",
        _SQUAT,
        "arms trunk legs",
        "ACSM; NEUMANN ch. 15",
        {
            "stand": "lean 8, l_hip_flex 58>-18, l_knee 78>24, r_hip_flex -18>58, r_knee 24>78, l_shoulder_flex -40>40, r_shoulder_flex 40>-40,"
            "elbow 85, ankle -14, spine_twist -8>8; lean 40, l_hip_flex 94>20, l_knee 90>20, r_hip_flex 20>94, r_knee 20>90,shoulder_flex 110,"
            "elbow 10, ankle -14"
        },
    ),
    primitive(
        "loaded_walk",
        "forearms upper_back quadriceps gluteus calves lower_back",
        "arms trunk legs",
        "EXRX",
        {
            "stand": "l_hip_flex 26>-18, l_knee 10>16, r_hip_flex -18>26, r_knee 16>10, shoulder_abd 10, elbow 3, ankle -4"
        },
        loads="dumbbells",
    ),
    # Stretches
    primitive(
        "hamstring_stretch",
        "hamstring",
        "trunk legs",
        "ACSM",
        {
            "stand": "lean 10>88, spine_flex 0>36, hip_flex 10>92, knee 4; lean 4>40, spine_flex 0>20, l_hip_flex 40>84, l_knee 4, r_hip_flex 4>50, r_knee 20",
            "floor_seat": "lean -8>30, spine_flex 0>44, hip_flex 82>120, knee 4, shoulder_flex 30>105",
            "supine": "l_hip_flex 30>92, l_knee 4, r_hip_flex 4, r_knee 4",
        },
    ),
    primitive(
        "quadriceps_stretch",
        "quadriceps",
        "trunk legs",
        "ACSM",
        {
            "stand": "l_hip_flex 0>-14, l_knee 60>132, l_ankle -30",
            "side": "l_hip_flex 0>-22, l_knee 60>130, r_hip_flex 20",
            "half_kneel": "lean 0>-4, l_hip_flex 84>104, l_knee 88>96, r_hip_flex 0>-26, r_knee 88>66",
            "prone": "l_knee 40>130",
        },
    ),
    primitive(
        "calf_stretch",
        "calves hamstring",
        "trunk legs",
        "ACSM",
        {
            "lunge": "lean 8>22, l_hip_flex 44>62, l_knee 34>50, r_hip_flex -16>-14, r_knee 3, r_ankle 8>26, shoulder_flex 60>84, elbow 20",
            "floor_seat": "lean -6>22, spine_flex 0>34, hip_flex 84>112, knee 4, ankle -10>24, shoulder_flex 30>100",
        },
    ),
    primitive(
        "groin_stretch",
        "inner_thigh hamstring",
        "trunk legs",
        "ACSM",
        {
            "floor_seat": "lean -6>16, spine_flex 0>20, hip_flex 84>96, hip_abd 50, hip_twist 60, knee 120;"
            "lean -6>24, spine_flex 0>30, hip_flex 84>110, hip_abd 42, knee 5",
            "stand": "hip_abd 12>40, lean 0>24, hip_flex 0>30, knee 4; l_hip_flex 8>70, l_hip_abd 20>40, l_knee 8>80, r_hip_abd 20>48, r_knee 4, lean 4>20",
        },
    ),
    primitive(
        "gluteus_stretch",
        "gluteus outer_thigh",
        "trunk legs",
        "ACSM",
        {
            "supine": "l_hip_flex 60>122, l_knee 90>125, l_hip_abd 0>-16, r_hip_flex 4, r_knee 6; "
            "l_hip_flex 70>96, l_hip_abd 38, l_hip_twist 70, l_knee 95, r_hip_flex 60>102, r_knee 92",
            "floor_seat": "l_hip_flex 100>118, l_knee 100>118, l_hip_abd -10>-26, spine_twist 0>44, knee 6, l_knee 110",
        },
    ),
)
