#!/bin/sh
# The last layer of an image: programs that its tier calls, a place for what must survive, and nothing to install with.
#   finish.sh UID GID DIRECTORY [DEBIAN_PACKAGE...]
# `make extras` runs it too, with an apt that only simulates.
set -eu
uid=$1 gid=$2 directory=$3
shift 3

if [ $# -gt 0 ]; then
  apt-get update --quiet
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "$@"
  rm -rf "${APT_LISTS:-/var/lib/apt/lists}"/*
fi
python -m pip uninstall --quiet --yes --root-user-action=ignore pip
install -d -o "$uid" -g "$gid" -m 0750 "$directory"
