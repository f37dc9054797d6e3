"""A client that knows nothing of Holter: python -m support.reflection_client ADDRESS.

It asks the server's reflection for its services and messages, reads samples and classifications,
and prints what it got as one JSON object. None of Holter's code is imported.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def _events(channel: grpc.Channel, pool: Any, service: str, method: str, wanted: str) -> list[Any]:
    """The events of a stream from `earliest`, up to the first of the wanted kind."""
    descriptor = pool.FindServiceByName(service).FindMethodByName(method)
    request = message_factory.GetMessageClass(descriptor.input_type)()
    request.start.earliest.SetInParent()
    response = message_factory.GetMessageClass(descriptor.output_type)
    call = channel.unary_stream(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )
    stream = call(request, timeout=60)
    events = []
    for event in stream:
        events.append(event)
        if event.WhichOneof("event") == wanted:
            break
    stream.cancel()
    return events


def main() -> None:
    """Read one block of samples and one classification."""
    with grpc.insecure_channel(sys.argv[1]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        services = sorted(database.get_services())
        samples = _events(channel, pool, "holter.v1.SampleService", "StreamSamples", "sample_block")
        classes = _events(
            channel,
            pool,
            "holter.v1.ClassificationService",
            "StreamClassifications",
            "classification",
        )
    block = samples[-1].sample_block
    classification = classes[-1].classification
    assert not [name for name in sys.modules if name.partition(".")[0].startswith("holter")]
    found = {
        "services": services,
        "counts": list(block.counts),
        "first_sequence": block.first_sequence,
        "label": classification.label,
        "last_sequence": classification.last_sequence,
        "model_sha256": classification.model_sha256,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
