#!/usr/bin/env bash
# Pins every dependency with its hashes. Run after changing pyproject.toml; needs `uv` on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
# One version of a package for every Python: what the tests prove on one holds on the others.
lock() { # name, source, options...
  local name=$1; shift
  uv pip compile "$@" --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet \
    --output-file "requirements/$name.txt"
}
lock dev pyproject.toml --extra dev
# A tier's list is a part of the same resolution, so every machine of a district runs the same versions.
for tier in edge gateway cloud all; do
  lock "$tier" pyproject.toml --extra "$tier" --constraint requirements/dev.txt
done
# Beside torch.txt, which is raised by hand: the environment that trains sees .venv's packages, so they have to be the same.
lock training requirements/training.in --constraint requirements/dev.txt
