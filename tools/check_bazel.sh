#!/usr/bin/env bash
# One line and exit code 2 unless bazel and the rules that .bazelrc names are here.
set -u
packages="bazel-bootstrap bazel-rules-java bazel-rules-proto bazel-skylib bazel-platforms"
missing=""
command -v bazel >/dev/null || missing="bazel"
for folder in $(sed -n 's/^build --override_repository=[^=]*=//p' "$(dirname "$0")/../.bazelrc"); do
  [ -d "$folder" ] || missing="${missing:+$missing, }$folder"
done
if [ -n "$missing" ]; then
  echo "error: make bazel-test needs Debian's bazel; not found: $missing (apt-get install $packages)" >&2
  exit 2
fi
