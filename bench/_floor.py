"""The floors: the least that anyone would write by hand on bare grpc.aio, as a server of its own.

    python bench/_floor.py replay MESSAGES       sends messages as fast as it can
    python bench/_floor.py pace MESSAGES         sends the first of them at a rate
    python bench/_floor.py file FILE             sends a file in messages of one size
    python bench/_floor.py raw FILE              the same, without protobuf
    python bench/_floor.py classify MODEL        classifies at the pace of a grid
    python bench/_floor.py take                  takes any bytes in one call, and answers with none

It prints its address first. MESSAGES is a pickled list of protobuf messages, which are serialised
as they are sent, as in any server; those of `raw` and `classify` are raw bytes. A request is a JSON
object.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

METHOD = "/floor.Floor/Stream"
UNARY_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

Stream = Callable[[bytes, Any], Coroutine[Any, Any, None]]
Serializer = Callable[[Any], bytes]


def replay(path: Path) -> tuple[Stream, Serializer]:
    """Send every message; the request says nothing."""
    messages = pickle.loads(path.read_bytes())

    async def stream(request: bytes, context: Any) -> None:
        for message in messages:
            await context.write(message)

    return stream, type(messages[0]).SerializeToString


def pace(path: Path) -> tuple[Stream, Serializer]:
    """Send the first message at each multiple of period_seconds, which the request has.

    So all streams send at once, as they do where one sampler feeds them.
    """
    message = pickle.loads(path.read_bytes())[0]

    async def stream(request: bytes, context: Any) -> None:
        loop = asyncio.get_running_loop()
        period = json.loads(request)["period_seconds"]
        due = loop.time() // period * period
        while True:
            due += period
            await asyncio.sleep(max(0.0, due - loop.time()))
            await context.write(message)

    return stream, type(message).SerializeToString


def file(path: Path) -> tuple[Stream, Serializer]:
    """Send the bytes of a file in messages of message_bytes, which the request has."""
    return _chunks(path, lambda data: BytesValue(value=data)), BytesValue.SerializeToString


def raw(path: Path) -> tuple[Stream, Serializer]:
    """The same without protobuf, which nobody's service does: what gRPC alone costs."""
    return _chunks(path, bytes), bytes


def _chunks(path: Path, message: Callable[[bytes], Any]) -> Stream:
    async def stream(request: bytes, context: Any) -> None:
        size = json.loads(request)["message_bytes"]
        with path.open("rb", buffering=0) as source:
            while data := source.read(size):
                await context.write(message(data))

    return stream


def classify(path: Path) -> tuple[Stream, Serializer]:
    """Wake up at each flush of a grid, run the model on each window that ended, tell its time.

    The request has start_ns and rate_hz (the grid), flush, window and hop (frames), and count. A
    message is the grid time of a window's last frame (CLOCK_MONOTONIC, ns, 8 bytes), then the
    scores. All is done in the event loop's thread: no pipe, no log, no second process.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
    runner = interpreter.get_signature_runner()
    name, detail = next(iter(runner.get_input_details().items()))
    values = np.random.default_rng(0).normal(size=detail["shape"]).astype(np.float32)

    async def stream(request: bytes, context: Any) -> None:
        grid = json.loads(request)
        period_ns = 1e9 / grid["rate_hz"]
        end, flushed, sent = grid["window"], 0, 0
        while sent < grid["count"]:
            flushed += grid["flush"]
            due_ns = grid["start_ns"] + round((flushed - 1) * period_ns)
            await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            while end <= flushed and sent < grid["count"]:
                interpreter.reset_all_variables()
                (scores,) = runner(**{name: values}).values()
                last_ns = grid["start_ns"] + round((end - 1) * period_ns)
                await context.write(last_ns.to_bytes(8, "little") + scores.tobytes())
                end, sent = end + grid["hop"], sent + 1

    return stream, bytes


async def take(request: bytes, context: Any) -> bytes:
    """Take a message and answer with nothing."""
    return b""


async def serve(handler: grpc.RpcMethodHandler[Any, Any]) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *UNARY_OPTIONS])
    _, service, method = METHOD.split("/")
    handlers = {method: handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def handler(kind: str, *arguments: str) -> grpc.RpcMethodHandler[Any, Any]:
    """What the words of the command line mean."""
    if kind == "take":
        return grpc.unary_unary_rpc_method_handler(take)
    make = {"replay": replay, "pace": pace, "file": file, "raw": raw, "classify": classify}[kind]
    stream, serializer = make(Path(*arguments))
    return grpc.unary_stream_rpc_method_handler(stream, response_serializer=serializer)


if __name__ == "__main__":
    asyncio.run(serve(handler(*sys.argv[1:])))
