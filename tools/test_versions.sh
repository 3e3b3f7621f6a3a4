#!/bin/sh
# make test-versions: the parts that touch torch, with each version of torch and each Python that is there; prints a table.
# An environment takes up to 7 GB, in a temporary folder that is deleted; SETS and PYTHONS choose fewer. COMPILER=inductor
# compiles as users do: more than 20 minutes on 2 cores.
cd "$(dirname "$0")/.." || exit 1
newest() { sed -n "s/^$1==//p" constraints.txt; }
: "${SETS:=2.4.1,0.19.1 2.6.0,0.21.0 2.10.0,0.25.0 $(newest torch),$(newest torchvision)}"
: "${PYTHONS:=python3.10 python3.11 python3.12 python3.13}" "${COMPILER:=aot_eager}" "${TEST_PROCESSES:=2}"
PARTS="tests/layers tests/models tests/distill tests/metrics tests/parity tests/benchmark/test_counts.py tests/test_every_model.py
tests/engine/test_train.py tests/engine/test_optim.py tests/engine/test_precision.py tests/engine/test_resume.py
tests/tasks/test_build.py tests/tasks/test_distill.py tests/test_old_runs.py"
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT && trap 'exit 130' INT TERM
failed=0
tests() { # name, files...: sets $result to the numbers in pytest's last line
	name=$1 && shift
	"$folder/env/bin/python" -m pytest --numprocesses "$TEST_PROCESSES" --tb=short --show-capture=no -p no:cacheprovider "$@" >"$folder/log" 2>&1
	result=$(grep -E ' in [0-9.]+s' "$folder/log" | tail -n 1 | grep -oE '[0-9]+ (passed|failed|skipped|errors?)' | paste -sd, | sed 's/,/, /g')
	case $result in *failed*|*error*|"") failed=1; echo "$set, $python, $name:" >&2; tail -n 40 "$folder/log" >&2; : "${result:=crashed}" ;; esac
}
table="| Python | torch | torchvision | tests | COMPILE ($COMPILER) | FSDP on CPUs |
|---|---|---|---|---|---|"
for python in $PYTHONS; do
	"$python" -c "" 2>/dev/null || continue # also where a manager of versions has a command for each
	for set in $SETS; do
		torch=${set%,*} vision=${set#*,} row="| ${python#python} | ${set%,*} | ${set#*,} |"
		rm -rf "$folder/env"
		grep -vE '^(torch|torchvision)==' constraints.txt >"$folder/constraints"
		if ! "$python" -m venv "$folder/env" || ! "$folder/env/bin/python" -m pip install --quiet --no-cache-dir \
			-c "$folder/constraints" "torch==$torch" "torchvision==$vision" -e '.[dev,pose]' >&2; then
			failed=1 table="$table
$row cannot be installed | | |"
			continue
		fi
		tests parts $PARTS && parts=$result
		TRANSM3E_COMPILER=$COMPILER tests COMPILE tests/tasks/test_compile.py && compile=$result
		tests FSDP tests/engine/processes/test_sharding.py && table="$table
$row $parts | $compile | $result |"
	done
done
echo "$table"
exit $failed
