# The README's commands. Everything happens in .venv; delete it to start over.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The build of torch: cu126 has the kernels of a V100, cpu takes 4 GB less, empty is PyPI's. To change it, make clean first.
TORCH ?=
TORCH_INDEX := $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/$(TORCH))
# Test processes share no files; each takes a core and up to 2 GB.
TEST_PROCESSES ?= 2
INSTALLED := $(VENV)/.installed
# make phone: the model with its included weights, how videos are read, and where scores and figures are written.
PHONE_CFG ?= configs/FreeExercise/posenet.yaml
PHONE_OPTS ?= TRAIN.ENABLE False TEST.CHECKPOINT_FILE_PATH datasets/annotations/free_exercise_posenet.pyth \
	DATA.TARGET_FPS 5 TEST.NUM_ENSEMBLE_VIEWS 10
PHONE_OUT ?= runs/phone
# Passed on as typed: a name may contain spaces, quotes or a $$.
export PHONE_VIDEO := $(value VIDEO)

.PHONY: demo phone phone-video test test-tables test-faults test-versions install check lint types clean

# Train and evaluate TransM3E end to end on MuscleSynth, print the table, and show the scores on a clip of a new activity.
demo: $(INSTALLED)
	$(BIN)/python datasets/prepare_musclesynth.py --size small
	$(BIN)/python tools/run_net.py --cfg configs/MuscleSynth/random.yaml configs/MuscleSynth/all_ones.yaml configs/MuscleSynth/transm3e_rgb_motion.yaml
	$(BIN)/python tools/run_net.py --cfg configs/MuscleSynth/transm3e_rgb_motion.yaml TEST.ENABLE False DEMO.ENABLE True \
		DEMO.INPUT_VIDEO "$$(ls data/MuscleSynth/small/clips/new_test/*.mp4 | head -n 1)" DEMO.OUTPUT_FILE runs/demo.mp4 \
		DEMO.WINDOW 1 DEMO.STRIDE 0.25

# Which muscles do the videos train? VIDEO=FILE-or-FOLDER; writes scores.csv and a figure per video, and for a file its
# overlay video.
phone: phone-video $(INSTALLED)
	$(BIN)/python datasets/get_pose_models.py
	out="$(PHONE_OUT)/$$(basename "$$PHONE_VIDEO")"; set --; \
	if [ -f "$$PHONE_VIDEO" ]; then set -- DEMO.OVERLAYS "$$out"; fi; \
	$(BIN)/python tools/run_net.py --cfg $(PHONE_CFG) $(PHONE_OPTS) TEST.ENABLE False DEMO.ENABLE True \
		DEMO.INPUT_VIDEO "$$PHONE_VIDEO" DEMO.OUTPUT_FILE "$$out/scores.csv" DEMO.PICTURES "$$out" "$$@"

# Checked before anything is installed or downloaded.
phone-video:
	@test -n "$$PHONE_VIDEO" || { echo "error: which video? make phone VIDEO=FILE-or-FOLDER" >&2; exit 2; }
	@test -e "$$PHONE_VIDEO" || { echo "error: VIDEO=$$PHONE_VIDEO: no such file or folder" >&2; exit 2; }

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# Trains every row of every table for at least a step and evaluates it.
test-tables: $(INSTALLED)
	rm -rf runs/test-tables
	$(BIN)/python datasets/prepare_musclesynth.py --size tiny
	$(BIN)/python datasets/extract_flow.py data/MuscleSynth/tiny --update-table
	$(BIN)/python tools/make_table.py configs/tables/*.yaml --on MuscleSynth --scale tiny --jobs $(TEST_PROCESSES) \
		--opts RUNS_DIR runs/test-tables

# The long form of make test's kills, bad inputs, cut network and damaged files: tests/faults/README.md.
test-faults: $(INSTALLED)
	$(BIN)/python -m tests.faults.inputs
	$(BIN)/python -m tests.faults.disk
	$(BIN)/python -m tests.data.test_odd_videos
	$(BIN)/python -m tests.faults.kills --processes 1 --kills 25
	$(BIN)/python -m tests.faults.kills --processes 2 --kills 25
	$(BIN)/python -m pytest tests/faults tests/tools/test_two_processes.py
	TRANSM3E_FUZZ=250 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) tests/security

# With the oldest torch and newer ones, in environments of their own; prints the README's table of versions.
test-versions:
	tools/test_versions.sh

install: $(INSTALLED)

check: lint types test

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch and the rest into $(VENV): about 6 GB (4 GB less with TORCH=cpu), minutes on a fast network"
	$(BIN)/python -m pip install --quiet $(TORCH_INDEX) -c constraints.txt -e '.[dev,pose]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
