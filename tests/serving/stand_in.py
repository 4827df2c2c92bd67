"""A model with the signatures of an export, whose chain is a few lines: rows depend on their own inputs only."""

import numpy as np
import tensorflow as tf

NUM_CLASSES, IMAGE_SHAPE = 10, (8, 8, 1)
OWN_STEPS, MOST_STEPS = 6, 50
_SIZE = 64


def _spec(shape, dtype, name):
  return tf.TensorSpec([None, *shape], dtype, name)


_ROWS = [_spec([NUM_CLASSES], tf.float32, "class_weights"), _spec([2], tf.int64, "seed"),
         _spec([], tf.int32, "num_steps"), _spec([], tf.float32, "temperature")]
_IMAGES = _spec(IMAGE_SHAPE, tf.uint8, "images")
# As an export states them in the defaults of `settings`.
SETTINGS = {"num_steps": np.int32([OWN_STEPS]), "temperature": np.float32([1.0]), "max_steps": np.int32([MOST_STEPS]),
             "temperature_range": np.float32([0.01, 100.0]),
             "class_names": np.array([str(label) for label in range(NUM_CLASSES)])}


class StandIn(tf.Module):
  """`serving_default`, `classify`, `synthesize`, `refine` and `settings`."""

  def __init__(self):
    super().__init__()
    random = np.random.default_rng(0)
    self.mix = tf.Variable((random.standard_normal([_SIZE, _SIZE]) / 8).astype(np.float32))
    self.start = tf.Variable(random.standard_normal([NUM_CLASSES, _SIZE]).astype(np.float32))

  def signatures(self):
    """For tf.saved_model.save."""
    own_steps, own_temperature = tf.constant([OWN_STEPS]), tf.constant([1.0])
    values = {name: tf.constant(value) for name, value in SETTINGS.items()}

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def classify(images):
      return self.answer(images)

    @tf.function(input_signature=_ROWS, autograph=False)
    def synthesize(class_weights, seed, num_steps=own_steps, temperature=own_temperature):
      return self.draw(class_weights, seed, num_steps, temperature)

    @tf.function(input_signature=[_IMAGES, *_ROWS], autograph=False)
    def refine(images, class_weights, seed, num_steps=own_steps, temperature=own_temperature):
      return self.draw(class_weights, seed, num_steps, temperature, images)

    @tf.function(input_signature=[_spec([], value.dtype, name) for name, value in values.items()], autograph=False)
    def settings(num_steps=values["num_steps"], temperature=values["temperature"], max_steps=values["max_steps"],
                 temperature_range=values["temperature_range"], class_names=values["class_names"]):
      return {"num_steps": num_steps, "temperature": temperature, "max_steps": max_steps,
              "temperature_range": temperature_range, "class_names": class_names}

    return {"serving_default": classify, "classify": classify, "synthesize": synthesize, "refine": refine,
            "settings": settings}

  def answer(self, images):
    """uint8 [B, 8, 8, 1] -> what `classify` gives."""
    pixels = tf.cast(tf.reshape(images, [-1, 1, _SIZE]), tf.float32) / 127.5 - 1.0
    logits = tf.reduce_sum(pixels * self.start, axis=2)  # no product of matrices: see draw
    return {"probabilities": tf.nn.softmax(logits), "label": tf.argmax(logits, 1, tf.int32),
            "energy": -tf.reduce_logsumexp(logits, axis=1)}

  def draw(self, class_weights, seed, num_steps, temperature, images=None):
    """The outputs of `synthesize` for B rows, or on from images of `refine`."""
    count = tf.shape(seed)[0]
    num_steps, temperature = tf.broadcast_to(num_steps, [count]), tf.broadcast_to(temperature, [count])
    # Sums over an axis, not products of matrices: those of one row and of sixteen add up in another order.
    pull = tf.reduce_sum(class_weights[:, :, tf.newaxis] * self.start, axis=1)
    state = tf.cast(seed[:, 1:] % 7 + 10 * (seed[:, :1] % 5), tf.float32) / 50.0 + tf.zeros([1, _SIZE])
    if images is not None:
      state = 0.1 * state + tf.cast(tf.reshape(images, [-1, _SIZE]), tf.float32) / 127.5 - 1.0

    def step(number, state):
      mixed = tf.reduce_sum(state[:, :, tf.newaxis] * self.mix, axis=1)
      moved = tf.tanh(0.8 * state + 0.1 * mixed + 0.1 * temperature[:, tf.newaxis] * pull)
      return number + 1, tf.where((number < num_steps)[:, tf.newaxis], moved, state)

    _, state = tf.while_loop(lambda number, _: number < tf.reduce_max(num_steps), step, [tf.constant(0), state])
    images = tf.reshape(tf.cast(tf.round(127.5 * (state + 1.0)), tf.uint8), [-1, *IMAGE_SHAPE])
    return {"images": images, "probabilities": self.answer(images)["probabilities"],
            "log_density": tf.reduce_sum(state, axis=1), "acceptance_rate": 0.5 + 0.0 * temperature}


def save(folder: str) -> str:
  """Saves a version to `folder`, which it returns."""
  model = StandIn()
  tf.saved_model.save(model, folder, signatures=model.signatures())
  return folder
