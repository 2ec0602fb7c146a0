#!/usr/bin/env bash
# All that needs a CUDA device, in one call of less than 10 minutes: kernel tests against the reference, each kernel's share
# of the memory's bandwidth, whole-loop ratios, training. Prints one table a part; JSON and tables go into FOLDER.
#
#     scripts/gpu_check.sh [FOLDER]
#
# Never run so far: no GPU was at hand.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly OUT=${1:-gpu-check} PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
failed=()

part() {
    local name=$1 seconds=$2
    shift 2
    printf '\n== %s\n' "$name"
    timeout "$seconds" "$@" >"$OUT/$name.txt" 2>"$OUT/$name.log" || failed+=("$name")
    cat "$OUT/$name.txt"
}

"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "gpu_check: there is no CUDA device" >&2; exit 1; }
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv

part tests 120 "$PYTHON" -m pytest -q -n0 -m gpu tests/kernels/test_on_gpu.py
part kernels 120 "$PYTHON" scripts/bench_kernels.py --device cuda --json "$OUT/kernels.json"
part attacks-resnet18 120 "$PYTHON" scripts/bench_attacks.py --device cuda --steps 10 --images 128 --json "$OUT/attacks-resnet18.json"
part attacks-small 60 "$PYTHON" scripts/bench_attacks.py --device cuda --network cnn_small --steps 40 --images 256 --json "$OUT/attacks-small.json"
part training 120 "$PYTHON" -m harden.train +attack=pgd compute.device=cuda compute.graph=true baseline=false schedule.epochs=5 \
    tracking.uri=none output="$OUT/run" overwrite=true

if ((${#failed[@]})); then
    printf '\ngpu_check: these failed, see their .log in %s: %s\n' "$OUT" "${failed[*]}" >&2
    exit 1
fi
printf '\ngpu_check: all of it went through; figures are in %s\n' "$OUT"
