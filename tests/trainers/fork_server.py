"""Runs `trainers/main.py` many times without importing TensorFlow each time.

    python fork_server.py trainers/main.py

The server imports what main.py will need, but runs none of it, and then forks a child for each line of JSON that it
reads: {"flags": […], "stdout": FILE, "stderr": FILE, "largest_file": BYTES or null}. It answers with two lines: the
child's process id, and its exit code once it has ended (negative: the signal that killed it). A child is a process like
any other: it can be killed, and its TensorFlow is untouched.
"""

import json
import os
import resource
import runpy
import signal
import sys
import warnings


def _become_main(main: str, request: dict) -> None:
  """The child's life."""
  sys.stdout.flush()
  for name, descriptor in (("stdout", 1), ("stderr", 2)):
    os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
  if request["largest_file"] is not None:
    # A file that would grow further fails to be written, as on a full disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"], resource.RLIM_INFINITY))
  sys.stdin = open(os.devnull, encoding="utf-8")
  sys.argv = [main, *request["flags"]]
  runpy.run_path(main, run_name="__main__")


def serve(main: str) -> None:
  """Answers requests until standard input ends."""
  sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(main))))
  warnings.filterwarnings("ignore", category=UserWarning)
  import trainers.evaluate
  import trainers.sample
  import trainers.train  # noqa: F401

  for line in sys.stdin:
    child = os.fork()
    if not child:
      code = 1
      try:
        _become_main(main, json.loads(line))
        code = 0
      except SystemExit as ending:
        code = ending.code or 0
      except BaseException:
        sys.excepthook(*sys.exc_info())
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(code if isinstance(code, int) else 1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
  serve(sys.argv[1])
