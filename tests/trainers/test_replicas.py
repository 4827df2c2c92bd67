"""Two logical CPUs: the same drawings as on one. That they train the same is in tests/systems/test_fit.py."""

import numpy as np


def _draw(main, run_dir, out, *flags):
  outcome = main("--mode=sample", f"--run_dir={run_dir}", f"--out={out}", *flags)
  assert outcome.code == 0, outcome.stderr
  with np.load(out) as arrays:
    return dict(arrays)


def test_one_and_two_replicas_draw_the_same(main, trained_run, tmp_path):
  # Seven do not split over two: the last batch is filled up, which must not show.
  one, two = (_draw(main, trained_run, tmp_path / f"{count}.npz", "--num_images=7", f"--num_replicas={count}")
              for count in (1, 2))
  for name in one:
    np.testing.assert_array_equal(one[name], two[name])
