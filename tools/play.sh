#!/usr/bin/env bash
# Exports what there is to play with, unless that was done since it last changed, and serves it with the playground:
# tools/play.sh [RUN_DIR] [--export] [--SERVER_FLAG…]. That is every model of zoo/, or the run of RUN_DIR where there is
# no zoo. --export leaves it at that.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob

run_dir=runs/digits export_alone="" server_flags=()
for argument in "$@"; do
  case $argument in
    --export) export_alone=1 ;;
    --*) server_flags+=("$argument") ;;
    *) run_dir=$argument ;;
  esac
done

base=$PWD/models/playground
runs=(zoo/*/)
if [ ${#runs[@]} -eq 0 ]; then
  if [ ! -e "$run_dir/flags.txt" ]; then
    echo "Nothing to play with: $run_dir is no run folder. \`make demo\` trains one, RUN_DIR=… names another." >&2
    exit 2
  fi
  runs=("$run_dir/")
fi

mkdir -p "$base"
config=$base/models.config
models="" exporting=()

# Ends with 1 where one of the exports did.
finish_exports() {
  for process in ${exporting[@]+"${exporting[@]}"}; do
    wait "$process" || exit 1
  done
  exporting=()
}

for run in "${runs[@]}"; do
  name=$(basename "$run")
  stamp=$base/$name.exported
  if [ ! -e "$stamp" ] || [ ! -d "$base/$name" ] || [ -n "$(find -L "$run" export stic_tf -newer "$stamp" -type f -not -name '*.pyc' -print -quit)" ]; then
    echo "Exporting $name."
    touch "$stamp.tmp"
    (.venv/bin/python export/main.py --run_dir="$run" --export_dir="$base/$name" >/dev/null && mv "$stamp.tmp" "$stamp") &
    exporting+=($!)
    # An export keeps about one core busy.
    if [ ${#exporting[@]} -ge 2 ]; then
      finish_exports
    fi
  fi
  models+="  config { name: \"$name\" base_path: \"$base/$name\" model_platform: \"tensorflow\" }"$'\n'
done
finish_exports
printf 'model_config_list {\n%s}\n' "$models" >"$config"

[ -z "$export_alone" ] || exit 0

echo "The playground will be at http://127.0.0.1:8501/ as soon as the server says that it runs."
exec .venv/bin/python serving/server.py --model_config_file="$config" --port=8500 --rest_port=8501 --playground \
  ${server_flags[@]+"${server_flags[@]}"}
