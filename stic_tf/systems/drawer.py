"""What a drawer is: one way of drawing of a system, under one set of settings."""

from typing import Optional

from stic_tf import drawing as drawing_lib


class Drawer:
  """How a system draws under one set of settings; in a graph of the caller's.

  Attributes:
    can_record: whether a drawing can be given with frames.
    tile_grid: tiles a side of one that draws in strokes, else 0.
    most_classes: how many classes it can mix.
  """

  can_record = True
  tile_grid = 0
  most_classes: Optional[int] = None

  def draw(self, request: drawing_lib.Request) -> drawing_lib.Drawing:
    """Draws what is asked for; nothing is checked."""
    raise NotImplementedError

  def network_evaluations(self, num_steps: int) -> int:
    """Forward and backward passes of the network that a drawing of `num_steps` takes."""
    raise NotImplementedError
