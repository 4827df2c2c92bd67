"""The server's one error: a gRPC code and a message, worded as tensorflow_model_server words it."""

import grpc

_MOST_CHARACTERS = 1024
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class StatusError(Exception):
  """An answer other than OK."""

  def __init__(self, code: grpc.StatusCode, message: str):
    super().__init__(message)
    self.code = code
    self.message = message

  @property
  def details(self) -> str:
    """The message as it goes out: at most 1024 bytes, and whether it was cut."""
    encoded = self.message.encode()
    if len(encoded) <= _MOST_CHARACTERS:
      return self.message
    return encoded[:_MOST_CHARACTERS].decode(errors="ignore") + "...TRUNCATED"


def invalid(message: str) -> StatusError:
  return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
  return StatusError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
  return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)


def timed_out() -> StatusError:
  """What the runtime says when a run outlasts its deadline."""
  return StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Timed out waiting for notification")


def from_runtime(error) -> StatusError:
  """The StatusError of a tf.errors.OpError; the numbers of TensorFlow's codes and of gRPC's are the same."""
  return StatusError(_CODES.get(error.error_code, grpc.StatusCode.UNKNOWN), error.message)
