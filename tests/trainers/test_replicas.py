"""Two logical CPUs: the same drawings as on one, and a training that takes the same steps."""

import os

import numpy as np

from tests import tiny_run


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


def test_one_and_two_replicas_train_the_same(train, main, tmp_path):
  """A batch's gradient is the mean of its halves', so both runs agree to rounding as long as no chain decides anew."""
  for count in (1, 2):
    outcome = train(tmp_path / str(count), f"--num_replicas={count}", "--num_passes=2", "--updates_per_pass=2")
    assert outcome.code == 0, outcome.stderr
    assert f"--num_replicas={count}" in (tmp_path / str(count) / "flags.txt").read_text().split()
  name = os.path.join("checkpoints", "pass_0002.npz")
  with np.load(tmp_path / "1" / name) as one, np.load(tmp_path / "2" / name) as two:
    entries = [entry for entry in one.files if entry.startswith(("network/", "average/", "chains/", "pool/"))]
    assert len(entries) > 10
    for entry in entries:
      np.testing.assert_allclose(two[entry], one[entry], atol=1e-4)
  for ours, theirs in zip(tiny_run.metrics(tmp_path / "1"), tiny_run.metrics(tmp_path / "2")):
    for key in ("loss_classification", "loss_mixup", "loss_generative", "energy_bound", "training_acceptance_rate"):
      assert abs(ours[key] - theirs[key]) < 1e-4
  drawn = _draw(main, tmp_path / "2", tmp_path / "x.npz", "--num_images=4", "--num_replicas=2")
  assert drawn["images"].shape == (4, 8, 8, 1)
