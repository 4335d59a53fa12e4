#!/bin/sh
# What the images' builds run, a layer each, from the repository's root. `make extras` runs the same, so CI proves it.
#   install.sh packages TIER   the tier's pinned packages, with hashes, in an environment without pip
#   install.sh drumtower       Drumtower itself, built here without asking an index, and a check of the whole
set -eu
python=${PYTHON:-python}
build=${BUILD:-/build}
target=${TARGET:-/opt/drumtower}

case $1 in
packages)
  "$python" -m venv "$build"
  "$build/bin/pip" install --quiet --require-hashes --no-deps --only-binary=:all: -r docker/build.txt
  # The tier's own environment has no pip, so nothing can be added to it later.
  "$python" -m venv --without-pip "$target"
  "$build/bin/pip" --python "$target" install --quiet --require-hashes --no-deps --only-binary=:all: -r "requirements/$2.txt"
  ;;
drumtower)
  "$build/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$build/wheels" .
  "$build/bin/pip" --python "$target" install --quiet --no-deps --no-index --find-links "$build/wheels" drumtower
  "$build/bin/pip" --python "$target" check
  ;;
*)
  echo "install.sh: expected packages TIER or drumtower, got $*" >&2
  exit 2
  ;;
esac
