#!/usr/bin/env bash
# Builds the serving image of a bento or an artifact's folder, holds it against its size budget, runs it and asks it.
#   container/build.sh trec:latest | runs/trec-int8 [--budget-mb 300] [--bentoml] [--out FILE.json]
# Where no docker or podman answers, the base is made by base-image.sh and buildah builds (both need root).
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m benchmarks.image "$@"
