"""What becomes of a system's own drawings: fakes of the pass before, and of all past passes."""

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

  def fake_drawer(self) -> drawer_lib.Drawer:
    """How the fakes of the next pass are drawn, where they come from this one."""
    return self.drawer(self.config)

  def rendered_chains(self) -> tf.Tensor:
    """After a pass: its chains as images that the pool keeps, float32 [N, H, W, C]."""
    return self.chains.images

  def keep_fakes(self, number: int) -> None:
    """After pass `number`: draws those of the next one, where they come from this one; and the pool keeps some."""
    if self.fakes_from == "previous_pass":
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

  def _draw_chains(self) -> None:
    """Draws a fake for each chain, from blank canvases, by the averaged network."""
    drawer = self.fake_drawer()
    if self._draw_batch is None:
      self._draw_batch = replicas.compiled(self.distribute_strategy, lambda rows, step_size: _draw(
          drawer, rows, self.config.sampler, step_size))
    count, strategy, sampler = self.chains.capacity, self.distribute_strategy, self.config.sampler
    moment = self.updates_done.numpy(), self.attempt.numpy()
    at_once, acceptance = _DRAWN_AT_ONCE * self.num_replicas, []
    for start in range(0, count, at_once):
      rows = np.arange(start, start + at_once) % count
      seeds = np.stack([np.full(at_once, self.seed, np.int64),
                        seed_pairs.second_word(seed_pairs.FAKES, rows, *moment)], axis=1)
      weights = self.chains.class_weights(tf.constant(rows, tf.int32), self.num_classes).numpy()
      drawn = replicas.join(strategy, self._draw_batch(
          replicas.split(strategy, {"class_weights": weights, "seeds": seeds}, everywhere=True),
          tf.identity(self.step_size)), everywhere=True)
      kept = min(at_once, count - start)
      self.chains.put(tf.range(start, start + kept), drawn["images"][:kept])
      acceptance.append(drawn["acceptance_rate"][:kept])
    self.network_evaluations.assign_add(count * drawer.network_evaluations(sampler.num_steps))
    if self.kernel_is_exact and drawer.has_accept_test:
      # Declared adaptation between passes; h is fixed within each drawing, or adapts in its burn-in.
      self.adapt_step_size(tf.constant(np.concatenate(acceptance).mean()), _ADAPTATION_GAIN)


def _draw(drawer: drawer_lib.Drawer, rows, sampler, step_size):
  """The fakes of some chains, a replica's: images float32 [B, H, W, C] in [-1, 1] and acceptance [B]."""
  drawing = drawer.draw(drawing_lib.normalise(rows["class_weights"], rows["seeds"], sampler.num_steps,
                                              sampler.temperature, step_size))
  return {"images": pixel_range.from_uint8(drawing.images), "acceptance_rate": drawing.acceptance_rate}
