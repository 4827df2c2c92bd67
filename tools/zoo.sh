#!/usr/bin/env bash
# Trains models of the zoo anew: tools/zoo.sh [NAME…], all without a name. What is in zoo/ stays; the new ones come to
# runs/zoo/published/NAME. DATA_DIR is where TFDS has MNIST and CIFAR-10. DRY=1 only says what would be run.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A about=(
  [digits_score]="Digits of 8×8 pixels, drawn in 8 evaluations of the network: the model to play with."
  [digits_attentive]="Digits of 8×8 pixels, drawn stroke by stroke where attention looks."
  [mnist_score]="Handwritten digits of 28×28 pixels, drawn in 10 evaluations of the network. Strongly guided: what it draws is more typical than what people write."
  [cifar10_score]="Photographs of 32×32 pixels in ten classes, drawn in 16 evaluations of the network. Strongly guided: what it draws is more typical than photographs are."
  [cifar10]="Photographs of 32×32 pixels in ten classes, drawn by a walk of 150 GRMALA steps and one jump. Strongly guided: contrast is harder than in photographs, and cats are the worst."
  [mnist]="Handwritten digits of 28×28 pixels, drawn by a walk of 1000 GRMALA steps and one jump."
  [mnist_attentive]="Handwritten digits of 28×28 pixels, drawn in 2000 strokes where attention looks."
)
declare -A drawn_with=([digits_score]=--num_steps=8)
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(digits_score digits_attentive mnist_score mnist mnist_attentive cifar10 cifar10_score)

run() {
  printf '%q ' "$@"
  echo
  [ -n "${DRY:-}" ] || "$@"
}

for name in "${names[@]}"; do
  if [ -z "${about[$name]:-}" ]; then
    echo "error: $name is no model of the zoo, which has: ${!about[*]}" >&2
    exit 2
  fi
  if [ -e "runs/zoo/published/$name" ]; then
    echo "runs/zoo/published/$name is there already"
    continue
  fi
  data=(${DATA_DIR:+"--data_dir=$DATA_DIR"})
  run .venv/bin/python trainers/main.py "--flagfile=trainers/flagfiles/$name.flags" "--run_dir=runs/zoo/$name" "${data[@]}"
  run .venv/bin/python trainers/publish.py "--run_dir=runs/zoo/$name" "--zoo_dir=runs/zoo/published/$name" \
    "--about=${about[$name]}" ${drawn_with[$name]:-} "${data[@]}"
done
