#!/usr/bin/env bash
# Prints the interpreter to make the virtual environment with: $PYTHON where it is set, else the first of python3.11,
# python3.10, python3.9 and python3 on PATH that really runs, is 3.9 to 3.11 and can make virtual environments.
# Prints "uv" where there is none but uv is installed, and "uv-by PYTHON" where there is a later Python that can fetch uv.
# Otherwise one line on stderr and exit code 2.
set -u

needs="this project needs Python 3.9, 3.10 or 3.11"

fail() {
  echo "error: $*" >&2
  exit 2
}

# A name on PATH is not yet an interpreter: a pyenv shim of a version that is not active exists, and fails when run.
version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null
}

is_supported() {
  case "$1" in
    3.9 | 3.10 | 3.11) return 0 ;;
    *) return 1 ;;
  esac
}

# Debian ships python3 without ensurepip, and `python3 -m venv` then stops half-way.
can_make_environments() {
  "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null
}

# The interpreter itself, behind a shim or an active virtual environment (which may be the one about to be replaced).
base_interpreter() {
  "$1" -c '
import os, sys
base = os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2])
print(base if os.path.exists(base) else sys.executable)' </dev/null
}

if [ -n "${PYTHON:-}" ]; then
  version=$(version_of "$PYTHON") || fail "PYTHON=$PYTHON does not run; $needs"
  is_supported "$version" || fail "PYTHON=$PYTHON is Python $version; $needs"
  can_make_environments "$PYTHON" ||
    fail "PYTHON=$PYTHON cannot make virtual environments (on Debian: apt-get install python$version-venv)"
  base_interpreter "$PYTHON"
  exit
fi

passed_over="" later=""
for name in python3.11 python3.10 python3.9 python3 python3.13 python3.12; do
  while read -r candidate; do
    version=$(version_of "$candidate") || continue
    if ! is_supported "$version"; then
      passed_over="$passed_over, $candidate is $version"
      case "$version" in 3.1[2-9]) can_make_environments "$candidate" && later=${later:-$candidate} ;; esac
    elif ! can_make_environments "$candidate"; then
      passed_over="$passed_over, $candidate lacks the venv module (on Debian: apt-get install python$version-venv)"
    else
      base_interpreter "$candidate"
      exit
    fi
  done < <(type -ap "$name")
done

if command -v uv >/dev/null; then
  echo uv
  exit
fi
if [ -n "$later" ]; then
  echo "uv-by $later"
  exit
fi
fail "$needs, or uv to provide one, on PATH or as PYTHON=/path/to/python3.11${passed_over:+ (found: ${passed_over#, })}"
