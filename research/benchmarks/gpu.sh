#!/usr/bin/env bash
# Runs research/benchmarks/gpu.py for at most 8 minutes; says what the machine lacks.
#
#   research/benchmarks/gpu.sh [--json FILE]
#   research/benchmarks/gpu.sh --device cpu --quick
#
# PYTHON names the interpreter of an environment with a CUDA build of torch and the packages of
# keyframe-asr[train]; default: .venv/bin/python. Nothing is fetched.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
fail() { echo "gpu.sh: $1" >&2; exit 1; }

command -v "$python" >/dev/null ||
    fail "$python: no such interpreter; make .venv (make install), or set PYTHON"
# one thread: several spin on a machine that is busy, and the GPU does the work
export PYTHONPATH="$root/src:$root" HF_HUB_OFFLINE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
missing=$("$python" -c 'import keyframe_asr.training.run' 2>&1 | tail -1) || true
[ -z "$missing" ] || fail "$missing; install keyframe-asr[train] into the environment of $python"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader >&2 2>/dev/null || true
exec timeout 480 "$python" -m research.benchmarks.gpu "$@"
