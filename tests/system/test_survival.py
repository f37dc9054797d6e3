"""What is left when a client, the sampler, the server or the link dies while a record plays.

A real record plays on a chip behind /dev/i2c-1, and an unmodified smbus2 reads it. Whatever is
killed: what a reader has, joined over all its streams, is what the chip converted at each tick,
but for gaps that are named and exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import holter_host
from conftest import ROOT
from holter_device.testing import Read, played
from holter_host import Device, Gap, GapCause
from support.daemon import holterd
from support.follower import Follower
from support.i2c import record_volts, virtual_i2c
from support.ledger import Ledger, WindowLedger
from support.link import Death, DyingLink, network
from support.played import RATE_HZ, PlayingPi, Run
from support.recorder import joined
from support.tflite_models import averaging_model

# The sampler hands its frames on when it has 25 ms of them.
FLUSH = 9


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, of which no event tells."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def _read_until(run: Run, ledger: Ledger, sequence: int) -> None:
    """Go on reading where the ledger ends, until the run's session has come to `sequence`."""
    start = ledger.position if ledger.parts else "earliest"
    async for event in run.device.samples(start):
        ledger.add(event)
        part = ledger.parts.get(run.session.session_id)
        if part is not None and part.next_sequence >= sequence:
            break


async def test_a_killed_client_goes_on_where_its_file_ends(tmp_path: Path, mitdb: Path) -> None:
    """A client that records is killed again and again; its file is the record, without a hole."""
    file = tmp_path / "recording"
    with PlayingPi.with_record(tmp_path, mitdb / "208", 31) as pi:
        async with pi.run() as run:
            released = 0
            for kill_at in (FLUSH, 997, 4444, 30 * RATE_HZ):
                # The next client finds a backlog, then the live edge.
                run.clock.release(max(0, kill_at + 5 * FLUSH - released))
                released = max(released, kill_at + 5 * FLUSH)
                await _record_until(pi.listen, file, kill_at)
        part = joined(file).parts[1]
        run.assert_played(part)
    assert part.gaps == []
    assert part.first_sequence == 0
    assert part.next_sequence > 7000


async def _record_until(address: str, file: Path, sequence: int) -> None:
    """Run the recorder until it has this many frames, then kill it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.recorder", address, str(file)),
        cwd=ROOT / "tests",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    while int(await process.stdout.readline()) < sequence:
        pass
    process.kill()
    while await process.stdout.read(1 << 16):
        pass
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]


async def test_a_killed_sampler_is_one_exact_gap(tmp_path: Path, mitdb: Path) -> None:
    """The gap begins where the dead one had handed on, and ends with the tick that it is then.

    It is one frame at least, and here, where the clock stands still, less than a flush. The frames
    before and after are those of one grid, and of the record.
    """
    ledger = Ledger()
    kills: list[int] = []
    with PlayingPi.with_record(tmp_path, mitdb / "208", 31) as pi:
        async with pi.run() as run:
            asked = 1
            for tick_count in (1000, 800, 908, 1293):
                run.clock.release(tick_count)
                asked += tick_count
                await _asked(run, asked)
                kills.append(round((pi.now_ns() - _tick_ns(run, 0)) * RATE_HZ / 1e9) + 1)
                await _kill_sampler(run)
                # Lets go of the tick that the dead one waited for: nobody reads it in time.
                run.clock.release(1)
                asked += 1
                await _asked(run, asked)
            run.clock.release()
            await _read_until(run, ledger, 20 * RATE_HZ)
            quality = (await run.device.status()).quality
        part = ledger.parts[1]
        run.assert_played(part)
    assert {gap.cause for gap in part.gaps} == {GapCause.SAMPLER_RESTARTED}
    for gap, killed in zip(part.gaps, kills, strict=True):
        assert killed - FLUSH < gap.first_sequence <= killed
        assert gap.next_sequence == max(killed, gap.first_sequence + 1)
    assert quality.sampler_restart_count == len(kills)
    assert quality.missing_count == part.missing_count


def _tick_ns(run: Run, sequence: int) -> int:
    return run.session.monotonic_nanos(sequence)


async def _asked(run: Run, tick_count: int) -> None:
    """Wait until the samplers have asked for so many ticks: the newest one waits for the last."""
    await _until(lambda: run.clock.asked_count == tick_count)


async def _kill_sampler(run: Run) -> None:
    before = run.daemon.children()["sampler"]
    os.kill(before, signal.SIGKILL)
    await _until(lambda: run.daemon.children().get("sampler", before) != before)


async def test_a_killed_server_loses_what_it_had_not_written(tmp_path: Path, mitdb: Path) -> None:
    """With nothing written a reader that had it all keeps it, and goes on with the next session.

    The hole in between is told to the nanosecond, as both sessions share a boot.
    """
    ledger = Ledger()
    with PlayingPi.with_record(tmp_path, mitdb / "208", 70) as pi:
        async with pi.run("--commit-interval", "3600") as first:
            first.clock.release(1800)
            await _read_until(first, ledger, 1800)
            status = await first.device.status()
            assert status.recording.durable_sequence == 0
            await first.daemon.stop(signal.SIGKILL)
        async with pi.run("--commit-interval", "3600") as second:
            second.clock.release(1800)
            await _read_until(second, ledger, 900)
        first.assert_played(ledger.parts[1])
        second.assert_played(ledger.parts[2])
    assert ledger.parts[1].next_sequence == 1800
    started = ledger.parts[2].started
    assert (started.previous_session_id, started.previous_next_sequence) == (1, 0)
    hole = second.session.start_monotonic_nanos - first.session.start_monotonic_nanos
    assert (started.hole_nanos, started.hole_uncertainty_nanos) == (hole, 0)
    assert ledger.parts[1].gaps == ledger.parts[2].gaps == []


async def test_a_killed_server_keeps_what_it_called_durable(tmp_path: Path, mitdb: Path) -> None:
    """What GetDevice calls durable is there after kill -9, whenever that comes.

    What is lost is younger: at most what came after. Who was there live and who comes later have
    the same bytes, those that the chip converted.
    """
    live, runs = Ledger(), []
    with PlayingPi.with_record(tmp_path, mitdb / "208", 5 * 60) as pi:
        for younger in (0, 9, 360, 1000):
            async with pi.run("--commit-interval", "0.2") as run:
                run.clock.release(1800)
                durable = await _durable(run.device, 1800)
                run.clock.release(younger)
                await _read_until(run, live, 1800 + younger // FLUSH * FLUSH)
                await run.daemon.stop(signal.SIGKILL)
                runs.append((run, durable, 1800 + younger))
        async with pi.run() as last:
            last.clock.release(360)
            later = Ledger()
            await _read_until(last, later, 360)
            await _read_until(last, live, 360)
        for number, (run, durable, sampled) in enumerate(runs, 1):
            kept = later.parts[number + 1].started.previous_next_sequence
            assert durable <= kept <= sampled
            assert later.parts[number].next_sequence == kept <= live.parts[number].next_sequence
            run.assert_played(live.parts[number])
            assert live.parts[number].bytes(0, kept) == later.parts[number].bytes(0, kept)
    assert all(part.gaps == [] for part in [*live.parts.values(), *later.parts.values()])


async def _durable(device: Device, sequence: int) -> int:
    """Wait until the frames below `sequence` survive a power cut."""
    while (found := (await device.status()).recording.durable_sequence) < sequence:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return found


async def test_a_hung_sampler_is_started_again(tmp_path: Path, mitdb: Path) -> None:
    """In real time one sampler is killed and the next one hangs: both are gaps with their reason.

    A hang is seen after two seconds of silence, so that it costs them. All other frames are what
    the chip converted, in order; a busy machine may name some LATE.
    """
    volts = record_volts(mitdb / "208", 60)
    ledger = Ledger()
    with virtual_i2c() as i2c:
        async with (
            holterd(tmp_path, env=i2c.environment) as daemon,
            holter_host.connect(daemon.address) as device,
            Follower(device.samples("earliest"), ledger.add) as follower,
        ):
            start_ns = (await device.status()).session.start_monotonic_nanos
            i2c.chip.inputs[0] = played(volts, RATE_HZ, start_ns)
            for restarts, number in enumerate((signal.SIGKILL, signal.SIGSTOP)):
                await follower.until(partial(_goes_on_after, ledger, restarts))
                os.kill(daemon.children()["sampler"], number)
            await follower.until(partial(_goes_on_after, ledger, 2))
            quality = (await device.status()).quality
        reads = list(i2c.chip.reads)
    part = ledger.parts[1]
    assert {gap.cause for gap in part.gaps} <= {GapCause.SAMPLER_RESTARTED, GapCause.LATE}
    killed, hung = _restarts(ledger)
    assert killed.frame_count >= 1
    assert hung.frame_count >= 2 * RATE_HZ - FLUSH
    assert quality.sampler_restart_count == 2
    place = 0
    for first, counts in part.runs():
        place = _found_after(reads, place, part.session.monotonic_nanos(first), counts)


def _restarts(ledger: Ledger) -> list[Gap]:
    gaps = ledger.parts[1].gaps if ledger.parts else []
    return [gap for gap in gaps if gap.cause is GapCause.SAMPLER_RESTARTED]


def _goes_on_after(ledger: Ledger, restarts: int) -> bool:
    """Whether a second of frames has come after so many restarts."""
    if not ledger.parts or len(found := _restarts(ledger)) < restarts:
        return False
    begun = found[restarts - 1].next_sequence if restarts else 0
    return ledger.newest.next_sequence >= begun + RATE_HZ


def _found_after(reads: list[Read], place: int, time_ns: int, counts: bytes) -> int:
    """Find counts in the chip's journal, from a place and a time on; the place after them.

    Before its first tick a sampler reads the chip to measure its bus: a handful of reads at most.
    """
    while reads[place].time_ns < time_ns:
        place += 1
    for begin in range(place, place + 200):
        codes = bytes(read.conversions[0].code for read in reads[begin : begin + len(counts)])
        if codes == counts:
            return begin + len(counts)
    raise AssertionError(f"{len(counts)} counts are not what the chip converted")


@pytest.mark.parametrize("death", ["fin", "rst", "hole"])
async def test_a_cut_link_costs_nothing(tmp_path: Path, mitdb: Path, death: Death) -> None:
    """The stream comes back by itself when the link does; no frame comes twice, and none is lost.

    The link dies in the middle of a message, and what connects meanwhile dies too; or it says
    nothing at all, and only the heartbeats that do not come tell.
    """
    ledger = Ledger()
    with PlayingPi.with_record(tmp_path, mitdb / "208", 61) as pi:
        async with (
            pi.run() as run,
            DyingLink(pi.listen.removeprefix("unix:")) as link,
            holter_host.connect(link.address, silence=2.0) as device,
            Follower(device.samples("earliest"), ledger.add) as follower,
        ):
            deaths = 1 if death == "hole" else 2
            for cut_at in (1800, 5400):
                run.clock.release(1800)
                await follower.until(partial(_has, ledger, cut_at))
                died = link.died_count
                link.down(death)
                run.clock.release(1800)
                await _until(partial(_died, link, died + deaths))
                link.up()
                await follower.until(partial(_has, ledger, cut_at + 1800))
            assert follower.stream.reconnect_count == 2
        run.assert_played(ledger.parts[1])
    assert ledger.parts[1].gaps == []
    assert ledger.parts[1].next_sequence == 7200


def _died(link: DyingLink, count: int) -> bool:
    return link.died_count >= count


def _has(ledger: Ledger, sequence: int, session_id: int = 1) -> bool:
    part = ledger.parts.get(session_id)
    return part is not None and part.next_sequence >= sequence


async def test_a_pulled_cable_costs_nothing(tmp_path: Path, mitdb: Path) -> None:
    """The network is gone for longer than a stream waits; when it is back, so is the stream."""
    ledger = Ledger()
    with network() as net, PlayingPi.with_record(tmp_path, mitdb / "208", 61) as pi:
        pi.listen = f"{net.host}:50051"
        async with (
            pi.run("--insecure", launcher=net.launcher) as run,
            holter_host.connect(pi.listen, silence=2.0) as device,
            Follower(device.samples("earliest"), ledger.add) as follower,
        ):
            run.clock.release(1800)
            await follower.until(lambda: _has(ledger, 1800))
            net.pull()
            run.clock.release(3600)
            await _until(lambda: not follower.stream.connected)
            net.plug()
            await follower.until(lambda: _has(ledger, 5400))
            assert follower.stream.reconnect_count == 1
        run.assert_played(ledger.parts[1])
    assert ledger.parts[1].gaps == []


@pytest.mark.litert
async def test_windows_that_died_with_the_server_are_restarted(tmp_path: Path, mitdb: Path) -> None:
    """Those whose frames were durable and whose class was not come as RESTARTED, each once.

    One stream of windows lives through it; who reads all later gets the same windows.
    """
    frames, windows, later = Ledger(), WindowLedger(360, 90), WindowLedger(360, 90)
    with PlayingPi.with_record(tmp_path, mitdb / "208", 90) as pi:
        async with contextlib.AsyncExitStack() as stack:
            async with pi.run("--commit-interval", "0.2") as first:
                await first.device.deploy(_averages())
                device = await stack.enter_async_context(holter_host.connect(pi.listen))
                following = Follower(device.classifications("earliest"), windows.add)
                follower = await stack.enter_async_context(following)
                first.clock.release(1800)
                await follower.until(lambda: windows.next_sequence(1) == 1800)
                os.kill(first.daemon.children()["classifier"], signal.SIGSTOP)
                first.clock.release(360)
                await _durable(first.device, 2160)
                await first.daemon.stop(signal.SIGKILL)
            async with pi.run() as second:
                second.clock.release(720)
                await follower.until(lambda: windows.next_sequence(2) == 720)
                await _read_until(second, frames, 720)
                again = Follower(device.classifications("earliest"), later.add)
                again = await stack.enter_async_context(again)
                await again.until(lambda: later.next_sequence(2) == 720)
    lost = windows.assert_each_once(frames.parts[1])
    assert [window.last_sequence + 1 for window in lost] == [1890, 1980, 2070, 2160]
    assert windows.assert_each_once(frames.parts[2]) == []
    assert later.windows == windows.windows


def _averages() -> bytes:
    return averaging_model(window=360, hop=90, input_shape=(1, 360, 1))


@pytest.mark.litert
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 12))]
)
async def test_whatever_dies_in_whatever_order(tmp_path: Path, mitdb: Path, seed: int) -> None:
    """Sampler, server and link die again and again: two streams have each frame and window once.

    They are never started anew here. What they have is what the chip played, but for the gaps of
    the killed samplers; windows are classified by it, but for those that died with a server.
    """
    chance = random.Random(seed)
    frames, windows, runs = Ledger(), WindowLedger(360, 90), list[Run]()
    with PlayingPi.with_record(tmp_path, mitdb / "208", 240) as pi:
        async with (
            DyingLink(pi.listen.removeprefix("unix:")) as link,
            contextlib.AsyncExitStack() as stack,
        ):
            for number in (1, 2, 3):
                async with pi.run("--commit-interval", "0.2") as run:
                    runs.append(run)
                    if number == 1:
                        model = averaging_model(window=360, hop=90, input_shape=(1, 360, 1))
                        await run.device.deploy(model)
                        connecting = holter_host.connect(link.address, silence=2.0)
                        device = await stack.enter_async_context(connecting)
                        follow = stack.enter_async_context
                        samples = await follow(Follower(device.samples("earliest"), frames.add))
                        classes = device.classifications("earliest")
                        classified = await follow(Follower(classes, windows.add))
                    least = await _trouble(run, link, chance)
                    if number == 3 or chance.random() < 0.5:
                        await samples.until(partial(_has, frames, least, number))
                    if number == 3:
                        await classified.until(lambda: windows.next_sequence(3) > least - 90)  # noqa: B023
                    else:
                        await run.daemon.stop(signal.SIGKILL)
        for number, run in enumerate(runs, 1):
            if number < min(frames.parts):  # it died before the log or a reader had any of it
                started = frames.parts[min(frames.parts)].started
                assert started.previous_session_id > number or not started.previous_next_sequence
                continue
            part = frames.parts[number]
            run.assert_played(part)
            assert {gap.cause for gap in part.gaps} <= {GapCause.SAMPLER_RESTARTED}
            lost = windows.assert_each_once(part)
            if number < 3:
                kept = frames.parts[number + 1].started.previous_next_sequence
                assert kept < 360 or windows.next_sequence(number) > kept - 90
            else:
                assert lost == []


async def _trouble(run: Run, link: DyingLink, chance: random.Random) -> int:
    """Play on while things die. Returns a sequence that will be reached."""
    least = 0
    for what in chance.choices(["sampler", "fin", "rst", "nothing"], k=3):
        ticks = chance.randrange(400, 2400)
        run.clock.release(ticks)
        least += ticks
        if what == "sampler":
            await _kill_sampler(run)
            least -= 1  # the tick for which the dead one waited
        elif what in ("fin", "rst"):
            died = link.died_count
            link.down("fin" if what == "fin" else "rst")
            await _until(partial(_died, link, died + chance.randrange(1, 4)))
            link.up()
    return least - FLUSH
