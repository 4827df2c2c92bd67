"""Which recurrence trains which model. An explicit dictionary: a new system is a new entry."""

from typing import Mapping

from stic_tf.self_analysis import recurrence as recurrence_lib
from stic_tf.self_analysis import score_recurrence


def _stic(configs, *rest):
  return recurrence_lib.Recurrence(configs["model"], configs["sampler"], configs["recurrence"], *rest)


def _score(configs, *rest):
  return score_recurrence.ScoreRecurrence(configs["model"], configs["sampler"], configs["recurrence"], *rest,
                                          score=configs["score"])


_RECURRENCES = {"stic": _stic, "attentive": _stic, "score": _score}


def make_recurrence(configs: Mapping[str, object], image_shape, num_classes, statistics, seed,
                    strategy) -> recurrence_lib.Recurrence:
  """The training of a configuration.

  Args:
    configs: `model`, `sampler`, `recurrence` and `score` configurations.
    image_shape, num_classes, statistics, seed, strategy: as for Recurrence.
  """
  return _RECURRENCES[configs["model"].model](configs, image_shape, num_classes, statistics, seed, strategy)
