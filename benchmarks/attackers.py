"""Clients that no server wishes for, until they are killed: benchmarks/rest.py and benchmarks/soak.py start them.

    python benchmarks/attackers.py --rest=localhost:8501 --slow=200 --silent=200 --greedy=1

Slow ones send a byte of a request's head or body now and then, silent ones nothing, greedy ones bodies of 60 MB, broken
ones bytes that are no request, leaving ones ask and go. Whoever is shown the door comes again.
"""

import argparse
import asyncio
import os
import random

_HEAD = b"POST /v1/models/%s:predict HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
_GREEDY_BYTES = 60_000_000
_CHUNK = (b"0.25," * 13_000) + b"\n"


async def _slow(writer, reader, head: bytes, number: int) -> None:
  writer.write(head + (b"Content-Length: 1000\r\n\r\n" if number % 2 else b"X: "))
  while not reader.at_eof():
    writer.write(b" ")
    await writer.drain()
    await asyncio.sleep(1.0)


async def _silent(writer, reader, head: bytes, number: int) -> None:
  await reader.read()


async def _greedy(writer, reader, head: bytes, number: int) -> None:
  writer.write(head + b"Content-Length: %d\r\n\r\n" % _GREEDY_BYTES + b'{"instances": [')
  for _ in range(_GREEDY_BYTES // len(_CHUNK)):
    writer.write(_CHUNK)
    await writer.drain()
  await reader.read(1000)


async def _broken(writer, reader, head: bytes, number: int) -> None:
  writer.write(random.choice([os.urandom(200), head + b"Content-Length: 5\r\n\r\n{{{{{", head[:-2] + b"\x00\r\n\r\n"]))
  await reader.read(1000)
  await asyncio.sleep(0.2)


async def _leaving(writer, reader, head: bytes, number: int) -> None:
  writer.write(head + b"Content-Length: 20\r\n\r\n" + b'{"instances": [1.0]}')
  await writer.drain()
  await asyncio.sleep(0.01)


async def _again(attack, host: str, port: int, head: bytes, number: int, pause: float) -> None:
  while True:
    try:
      reader, writer = await asyncio.open_connection(host, port)
      try:
        await attack(writer, reader, head, number)
      finally:
        writer.transport.abort()
    except OSError:
      await asyncio.sleep(0.2)
    await asyncio.sleep(pause)


async def _attack(arguments) -> None:
  host, _, port = arguments.rest.rpartition(":")
  kinds = {"slow": _slow, "silent": _silent, "greedy": _greedy, "broken": _broken, "leaving": _leaving}
  head = _HEAD % arguments.model_name.encode()
  await asyncio.gather(*(_again(kinds[name], host, int(port), head, number, arguments.pause) for name in kinds
                         for number in range(getattr(arguments, name))))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rest", required=True, help="HOST:PORT; your own server, on this machine")
  parser.add_argument("--model_name", default="stic")
  for name in ("slow", "silent", "greedy", "broken", "leaving"):
    parser.add_argument(f"--{name}", type=int, default=0, help="how many")
  parser.add_argument("--pause", type=float, default=0.05, help="seconds until one comes again")
  asyncio.run(_attack(parser.parse_args()))


if __name__ == "__main__":
  main()
