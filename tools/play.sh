#!/usr/bin/env bash
# Exports what there is to play with, unless that was done since it last changed, and serves it with the playground:
# tools/play.sh [RUN_DIR] [--export] [--SERVER_FLAG…]. That is every model of zoo/, or the run of RUN_DIR where there is
# no zoo. The server starts with one that draws in few steps, before it is warm; the others join it as they are exported.
# --export leaves it at all exports.
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
exporting=() gently=""

# Ends with 1 where one of the exports did.
finish_exports() {
  local failed=""
  for process in ${exporting[@]+"${exporting[@]}"}; do
    wait "$process" || failed=1
  done
  exporting=()
  [ -z "$failed" ]
}

# Exports some runs, two at a time: an export keeps about one core busy.
export_runs() {
  for run in "$@"; do
    name=$(basename "$run")
    stamp=$base/$name.exported
    if [ ! -e "$stamp" ] || [ ! -d "$base/$name" ] || [ -n "$(find -L "$run" export stic_tf -newer "$stamp" -type f -not -name '*.pyc' -print -quit)" ]; then
      echo "Exporting $name."
      touch "$stamp.tmp"
      rm -rf "$base/$name"/export.*.tmp  # of one that was ended
      ($gently .venv/bin/python export/main.py --run_dir="$run" --export_dir="$base/$name" >/dev/null && mv "$stamp.tmp" "$stamp") &
      exporting+=($!)
      if [ ${#exporting[@]} -ge 2 ]; then
        finish_exports
      fi
    fi
  done
  finish_exports
}

# Makes the server serve some runs, which are exported.
list_runs() {
  local models="" run
  for run in "$@"; do
    models+="  config { name: \"$(basename "$run")\" base_path: \"$base/$(basename "$run")\" model_platform: \"tensorflow\" }"$'\n'
  done
  printf 'model_config_list {\n%s}\n' "$models" >"$config.tmp"
  mv "$config.tmp" "$config"
}

# Those of few steps first.
few=() many=()
for run in "${runs[@]}"; do
  if grep -Eq '"num_steps": [0-9]{3,}' "$run/settings.json" 2>/dev/null; then many+=("$run"); else few+=("$run"); fi
done
runs=(${few[@]+"${few[@]}"} ${many[@]+"${many[@]}"})

if [ -n "$export_alone" ]; then
  export_runs "${runs[@]}"
  list_runs "${runs[@]}"
  exit 0
fi

served=("${runs[0]}")
export_runs "${served[@]}"
list_runs "${served[@]}"
set -m  # in a process group of its own
(
  gently="nice -n 19"  # the server comes first
  for run in "${runs[@]:1}"; do
    if export_runs "$run"; then
      served+=("$run")
      list_runs "${served[@]}"
    fi
  done
) &
exporter=$!
# What is being exported ends with the server, which takes this process's number; neither is of its process group.
(
  while kill -0 $$ && kill -0 "$exporter"; do sleep 2; done
  kill -- "-$exporter"
) >/dev/null 2>&1 &
set +m

echo "The playground will be at http://127.0.0.1:8501/ as soon as the server says that it runs."
# A thread a drawing: a second one gains nothing on networks of this size, and the browser wants a processor too.
exec .venv/bin/python serving/server.py --model_config_file="$config" --model_config_file_poll_wait_seconds=2 --open_early \
  --rest_api_timeout_in_ms=180000 --port=8500 --rest_port=8501 --playground --tensorflow_intra_op_parallelism=1 \
  --tensorflow_inter_op_parallelism=-1 ${server_flags[@]+"${server_flags[@]}"}
