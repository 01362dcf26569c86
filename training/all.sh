#!/bin/bash
# Makes everything in models/ and benchmarks/leave_one_out from ../shared/data and simulation.
# About three hours on two CPU cores; an interrupted run continues from its checkpoints.
set -euo pipefail
cd "$(dirname "$0")"
export PYTHONPATH=../src
PYTHON=${PYTHON:-python3}
DEVICE=${DEVICE:-cpu}
mkdir -p runs

train() { # network, name of the run, options
    local network=$1 run=$2
    shift 2
    [ -e "runs/$run.json" ] || "$PYTHON" train_flownet.py "$network" --out "runs/$run.pt" --device "$DEVICE" \
        --threads "${THREADS:-0}" "$@" \
        >> "runs/$run.log" 2>&1
}

# Begun with the network of this commit: DeepSpot, simulation and the Data Science Bowl.
[ -e runs/puncta_start.safetensors ] || git show 558e980:models/puncta.safetensors > runs/puncta_start.safetensors
puncta_steps=3300
grep -qs "\"steps_done\": $puncta_steps" runs/puncta.json ||
    "$PYTHON" train_puncta.py --data ../../shared/data --out runs/puncta.pt --steps $puncta_steps \
        --init runs/puncta_start.safetensors --device "$DEVICE" >> runs/puncta.log 2>&1
# No macrophage at first, so that each of the three fields can be left out of the short second part.
train cells cells_base --steps 3000 --crop 144 --simulated 300 --leave-out bbbc020
second="--steps 500 --crop 144 --simulated 300 --init runs/cells_base.pt --rate 8e-4 --average 0.99 --macrophages 24"
# At a somewhat larger working scale, which keeps thin processes apart.
third="--steps 700 --crop 160 --batch 6 --simulated 100 --rate 6e-4 --average 0.99 --macrophages 24 --diameter 36"
for field in 104 106 121; do
    train cells "cells_without_$field" $second --leave-out "bbbc020_$field"
    train cells "cells36_without_$field" $third --init "runs/cells_without_$field.pt" --leave-out "bbbc020_$field"
    "$PYTHON" export.py cells "runs/cells36_without_$field.pt" --folder "../benchmarks/leave_one_out/$field" \
        --note "trained without BBBC020 field $field; for the benchmark only"
done
train cells cells $third --init runs/cells_without_104.pt
"$PYTHON" export.py cells runs/cells.pt --called cells-fast \
    --note "the figures are those of networks trained without the field they were tested on"
"$PYTHON" import_generalist.py ../../shared/reference/cellpose_generalist_cpnet.pt
train nuclei nuclei --steps 2500 --crop 144 --simulated 150
"$PYTHON" export.py nuclei runs/nuclei.pt
"$PYTHON" export.py puncta runs/puncta.pt
# Last: its fields are segmented by the network made above.
"$PYTHON" train_phenotype.py
