#!/usr/bin/env bash
# Makes .venv hold exactly what a requirements file names, and this project: tools/set_up.sh requirements.txt
# Returns at once where that was done before. A set-up that was interrupted, by whatever means, is started again from
# nothing: .venv/UNFINISHED lies there from before the first file until after the last package.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=$1
python=.venv/bin/python
unfinished=.venv/UNFINISHED

# Two make commands in one checkout take turns. The lock is on a file that is always there.
if command -v flock >/dev/null; then
  exec 9<requirements.txt
  flock -n 9 || { echo "Waiting for another set-up of this folder."; flock 9; }
fi

# The path is part of it: a checkout that was moved needs its own location installed again.
fingerprint() {
  case "$1" in
    requirements.txt) { pwd; cat requirements.txt; } | cksum ;;
    *) { pwd; cat requirements.txt "$1"; } | cksum ;;
  esac
}

version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# An interpreter that was asked for is checked even where .venv is complete.
chosen=""
if [ -n "${PYTHON:-}" ]; then
  chosen=$(bash tools/find_python.sh)
fi

if [ -e .venv ] || [ -L .venv ]; then
  held=$(version_of "$python" || true)
  anew=""
  if [ -e "$unfinished" ]; then
    anew="the last set-up did not finish"
  else
    case "$held" in
      3.9 | 3.10 | 3.11) ;;
      "") anew="its Python does not run" ;;
      *) anew="it holds Python $held" ;;
    esac
    if [ -z "$anew" ] && [ -n "$chosen" ] && [ "$(version_of "$chosen")" != "$held" ]; then
      anew="it holds Python $held, not the one asked for"
    fi
  fi
  if [ -z "$anew" ] && [ "$(cat ".venv/$requirements.installed" 2>/dev/null)" = "$(fingerprint "$requirements")" ]; then
    exit 0
  fi
  if [ -n "$anew" ]; then
    chosen=${chosen:-$(bash tools/find_python.sh)}
    echo "Making .venv anew: $anew."
    # First what makes it look complete, as the rest takes a while and may be interrupted too.
    [ -L .venv ] || rm -f .venv/*.installed "$python"
    rm -rf .venv
  fi
fi

if [ ! -e .venv ]; then
  chosen=${chosen:-$(bash tools/find_python.sh)}
  mkdir .venv
  : >"$unfinished"
  uv=uv
  if [ "${chosen#uv-by }" != "$chosen" ]; then
    uv=.uv/bin/uv
    if [ ! -x "$uv" ]; then
      echo "Python 3.9 to 3.11 is not here: fetching uv from PyPI into .uv, to provide a 3.11."
      rm -rf .uv
      if ! "${chosen#uv-by }" -m venv .uv || ! .uv/bin/python -m pip --disable-pip-version-check install --quiet uv; then
        rm -rf .uv .venv
        echo "error: uv could not be fetched from PyPI; install Python 3.9, 3.10 or 3.11, or uv, and try again" >&2
        exit 2
      fi
    fi
    chosen=uv
  fi
  if [ "$chosen" = uv ]; then
    echo "Setting up .venv with the Python 3.11 of uv (about two minutes)."
    if ! "$uv" venv --quiet --python 3.11 --seed --allow-existing .venv 2>/dev/null; then
      rm -rf .venv
      echo "error: uv could not provide Python 3.11; install Python 3.9, 3.10 or 3.11, and try again" >&2
      exit 2
    fi
  else
    echo "Setting up .venv with $chosen (about two minutes)."
    "$chosen" -m venv .venv
  fi
else
  echo "Bringing .venv up to $requirements."
  : >"$unfinished"
fi

rm -f .venv/*.installed
# Without --no-compile a fifth of the time goes into byte code of modules that nobody imports.
pip=("$python" -m pip --disable-pip-version-check install --quiet --no-compile)
"${pip[@]}" --requirement "$requirements"
# --no-build-isolation: setuptools is among the requirements, so this step needs no network.
"${pip[@]}" --no-deps --no-build-isolation --editable .

# The test requirements contain the others.
fingerprint requirements.txt >.venv/requirements.txt.installed
fingerprint "$requirements" >".venv/$requirements.installed"
rm "$unfinished"
