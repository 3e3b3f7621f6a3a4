"""MuscleMap136, Muscle-UCF90 and Muscle-HMDB41: from the authors' lists, or from videos and labels, to a clip table."""
