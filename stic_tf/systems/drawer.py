"""What a drawer is: one way of drawing of a system, under one set of settings."""

from typing import Optional, Tuple

from stic_tf import drawing as drawing_lib
from stic_tf.mcmc import random as random_lib


def with_own_numbers(request: drawing_lib.Request) -> drawing_lib.Request:
  """A request, on a canvas by other random numbers than the same seeds have on a blank one.

  What a seed drew may be drawn on by that seed: by the same noise it would be pushed further along its own way.
  """
  if request.canvas is None:
    return request
  return request._replace(seeds=random_lib.other_seeds(request.seeds, random_lib.REFINE_STREAM))


class Drawer:
  """How a system draws under one set of settings; in a graph of the caller's.

  Attributes:
    can_record: whether a drawing can be given with frames.
    has_accept_test: whether its acceptance says anything of h.
    tile_grid: tiles a side of one that draws in strokes, else 0.
    most_classes: how many classes it can mix.
    guidance: γ of its own, where a request may have another; else None.
    walks: whether it draws by a reversible chain that stays with one density: `trace` can say how well that mixes.
    corrects: whether it moves by a chain at each of several noise levels: `trace_levels` says how.
    canvas_noise: (least, its own, most) noise in which it drowns a canvas, where a request may choose; else None.
  """

  can_record = True
  has_accept_test = True
  tile_grid = 0
  most_classes: Optional[int] = None
  guidance: Optional[float] = None
  walks = False
  corrects = False
  canvas_noise: Optional[Tuple[float, float, float]] = None

  def draw(self, request: drawing_lib.Request) -> drawing_lib.Drawing:
    """Draws what is asked for; nothing is checked."""
    raise NotImplementedError

  def trace(self, request: drawing_lib.Request, num_steps: int):
    """log π of the chains of a request, all of `num_steps` steps, after every step past burn-in: float32 [n, B].

    Only where it `walks`.
    """
    raise NotImplementedError

  def trace_levels(self, request: drawing_lib.Request, num_steps: int):
    """σ, mean acceptance and h at each level, of all images of a request: float32 [n, 3, B]. Only where it `corrects`.
    """
    raise NotImplementedError

  def network_evaluations(self, num_steps: int) -> int:
    """Forward and backward passes of the network that a drawing of `num_steps` takes."""
    raise NotImplementedError
