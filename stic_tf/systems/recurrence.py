"""What becomes of a system's own drawings: fakes of the pass before, and of all past passes."""

import functools

import numpy as np
import tensorflow as tf

from stic_tf import drawing as drawing_lib
from stic_tf import replicas
from stic_tf import seed_pairs
from stic_tf.datasets import pixel_range
from stic_tf.mcmc import metropolis
from stic_tf.systems import drawer as drawer_lib
from stic_tf.training import randomness as randomness_lib

_DRAWN_AT_ONCE = 96
_ADAPTATION_GAIN = 2.0


class Recurrent:
  """The part of a System that makes fakes of its drawings."""

  @property
  def fakes_from(self) -> str:
    """What draws the fakes: "previous_pass", "current", "canvas" or "none"."""
    source = self.config.training.fakes_from
    return self.fake_sources[0] if source == "auto" else source

  @property
  def moves_chains(self) -> bool:
    """Whether an update moves chains, rather than read what the pass before has drawn."""
    return self.fakes_from in ("current", "canvas")

  def fake_drawer(self) -> drawer_lib.Drawer:
    """How the fakes of the next pass are drawn, where they come from this one."""
    return self.drawer(self.config)

  def rendered_chains(self) -> tf.Tensor:
    """After a pass: its chains as images that the pool keeps, float32 [N, H, W, C]."""
    return self.chains.images

  def keep_fakes(self, number: int) -> None:
    """After pass `number`: draws those of the next one, where they come from this one; and the pool keeps some."""
    if not self.moves_chains:
      self._draw_chains()
    rng = np.random.default_rng([self.seed, int(self.attempt.numpy()), number + 1])
    self.pool.add(self.chains, self.rendered_chains(), number, rng)

  def with_past(self, images: tf.Tensor, class_weights: tf.Tensor, randomness: randomness_lib.Randomness):
    """Puts fakes of past passes, as rendered, in the place of the first of a batch.

    Returns:
      a replica's images [B, …], weights [B, K], and which of them are of a past pass, bool [B].
    """
    count = self.config.training.batch_size
    past = int(round(self.config.training.past_fraction * count))
    if not past:
      return images, class_weights, tf.zeros([tf.shape(images)[0]], tf.bool)
    rows = randomness_lib.replica_rows(randomness.below(randomness_lib.PAST, count, self.pool.count))
    replaced = tf.logical_and(randomness_lib.replica_rows(tf.range(count)) < past, self.pool.count > 0)
    return (metropolis.choose(replaced, tf.gather(self.pool.images, rows), images),
            metropolis.choose(replaced, self.pool.class_weights(rows, self.num_classes), class_weights), replaced)

  # Made once, and only where they are needed.
  @functools.cached_property
  def _fake_drawer(self) -> drawer_lib.Drawer:
    return self.fake_drawer()

  @functools.cached_property
  def _draw_batch(self):
    return replicas.compiled(self.distribute_strategy, self._draw_replica)

  def _draw_chains(self) -> None:
    """Draws a fake for each chain, from blank canvases, by the averaged network."""
    count, strategy, sampler = self.chains.capacity, self.distribute_strategy, self.config.sampler
    moment = self.updates_done.numpy(), self.attempt.numpy()
    at_once, acceptance = _DRAWN_AT_ONCE * self.num_replicas, []
    for start in range(0, count, at_once):
      rows = np.arange(start, start + at_once) % count
      seeds = seed_pairs.of_rows(seed_pairs.FAKES, self.seed, rows, *moment)
      weights = self.chains.class_weights(tf.constant(rows, tf.int32), self.num_classes).numpy()
      drawn = replicas.join(strategy, self._draw_batch(
          replicas.split(strategy, {"class_weights": weights, "seeds": seeds}, everywhere=True),
          tf.identity(self.step_size)), everywhere=True)
      kept = min(at_once, count - start)
      self.chains.put(tf.range(start, start + kept), drawn["images"][:kept])
      acceptance.append(drawn["acceptance_rate"][:kept])
    self.network_evaluations.assign_add(count * self._fake_drawer.network_evaluations(sampler.num_steps))
    if self.kernel_is_exact and self._fake_drawer.has_accept_test:
      # Declared adaptation between passes; h is fixed within each drawing, or adapts in its burn-in.
      self.adapt_step_size(tf.constant(np.concatenate(acceptance).mean()), _ADAPTATION_GAIN)

  def _draw_replica(self, chains, step_size):
    """The fakes of a replica's chains: images float32 [B, H, W, C] in [-1, 1] and acceptance [B]."""
    sampler = self.config.sampler
    drawing = self._fake_drawer.draw(drawing_lib.normalise(
        chains["class_weights"], chains["seeds"], sampler.num_steps, sampler.temperature, step_size))
    return {"images": pixel_range.from_uint8(drawing.images), "acceptance_rate": drawing.acceptance_rate}
