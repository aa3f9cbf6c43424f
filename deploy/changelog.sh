#!/usr/bin/env bash
# What CHANGELOG.md says of a version: deploy/changelog.sh 1.2.3. A version that is not there, or not that of pyproject.toml, is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ $# == 1 ]] || { echo "$0: expected a version, such as 1.2.3" >&2; exit 2; }
packaged=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
[[ $packaged == "$1" ]] || { echo "$0: expected version $1 in pyproject.toml, found $packaged" >&2; exit 1; }
notes=$(awk -v wanted="## $1" '/^## /{ inside = $0 == wanted || index($0, wanted " ") == 1; next } inside' CHANGELOG.md)
[[ -n ${notes//[[:space:]]/} ]] || { echo "$0: expected a heading '## $1 (DATE)' with text below it in CHANGELOG.md" >&2; exit 1; }
printf '%s\n' "$notes"
