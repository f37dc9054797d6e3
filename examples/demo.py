"""The whole job with no hardware: convert a SavedModel, deploy it, watch it classify live ECGs.

    python examples/demo.py models/ecg-rhythm/saved_model

One simulated device for each rhythm runs as a process of its own, as `holterd` on a Raspberry Pi
would; their clocks run SPEED times as fast as real time, so that a window of 10 s takes half a
second. `make demo` runs this.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import holter_host
from holter_host.conversion import convert

SPEED = 20
WINDOWS = 6
# What the simulated rhythms are in the AAMI classes of the model; only counted, never acted upon.
RHYTHMS = {"sinus": "N", "bigeminy": "V", "atrial": "S"}


@contextlib.asynccontextmanager
async def simulated_device(rhythm: str, data_dir: Path) -> AsyncIterator[str]:
    """Run holterd with a simulated ECG; yields its address."""
    holterd = shutil.which("holterd", path=str(Path(sys.executable).parent)) or "holterd"
    command = [holterd, "--simulate", rhythm, "--speed", str(SPEED), "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        str(data_dir),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        first_line = (await process.stdout.readline()).decode()
        if not first_line.startswith("listening "):
            sys.exit("holterd did not start; what it said is above")
        yield first_line.split()[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def classify(rhythm: str, address: str, model: Path) -> int:
    """Deploy the model and print its next windows; how many are of the simulated class."""
    agreed = 0
    async with holter_host.connect(address) as device:
        deployed = await device.deploy(model)
        start = holter_host.LogPosition(
            session_id=deployed.session_id, sequence=deployed.swap_sequence
        )
        count = 0
        async for event in device.classifications(start=start):
            if not isinstance(event, holter_host.Classification):
                continue
            shown = "  ".join(f"{score.label} {score.value:.2f}" for score in event.scores)
            verdict = event.label or event.unclassifiable_reason.name
            print(f"   {rhythm:<9} {event.last_sequence + 1:>8} {verdict:>6}   {shown}", flush=True)
            agreed += verdict == RHYTHMS[rhythm]
            count += 1
            if count == WINDOWS:
                break
    return agreed


async def demonstrate(saved_model: Path, folder: Path) -> None:
    """Convert, deploy, classify, count."""
    print("Holter demo. Nothing here is a medical device, and no hardware is needed.\n")
    print(f"1. holter convert {saved_model}   (TensorFlow takes a while to start)", flush=True)
    model = folder / "model.tflite"
    bundle = await asyncio.to_thread(
        convert, saved_model, model, progress=lambda step: print(f"   {step}", flush=True)
    )
    print(f"   {len(bundle.data) / 1000:.0f} kB, named {bundle.sha256[:12]}…\n")

    print(f"2. holterd --simulate …   (a device's clock runs {SPEED} times as fast as real time)")
    async with contextlib.AsyncExitStack() as stack:
        addresses = {}
        for rhythm in RHYTHMS:
            device = simulated_device(rhythm, folder / rhythm)
            addresses[rhythm] = await stack.enter_async_context(device)
            print(f"   {rhythm:<9} {addresses[rhythm]}", flush=True)

        print("\n3. holter deploy, then holter watch: a class for each window of 10 s")
        print(f"   {'rhythm':<9} {'frame':>8} {'class':>6}   scores")
        agreed = 0
        for rhythm, address in addresses.items():
            agreed += await classify(rhythm, address, model)
    meant = ", ".join(f"{rhythm} {label}" for rhythm, label in RHYTHMS.items())
    print(
        f"\n{agreed} of {WINDOWS * len(RHYTHMS)} windows agree with what was simulated ({meant})."
    )


def main() -> None:
    """Run the demo on the SavedModel that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/demo.py SAVED_MODEL")
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(demonstrate(Path(sys.argv[1]), Path(folder)))
        except holter_host.HolterError as error:
            sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
