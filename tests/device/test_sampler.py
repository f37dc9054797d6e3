"""The sampler process and its parent, with a simulated source."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holter_device import sampler as sampler_module
from holter_device.adc import make_adc
from holter_device.clock import make_clock
from holter_device.config import Config
from holter_device.core import device_clock
from holter_device.errors import (
    BusMissingError,
    ConfigError,
    DeviceError,
    RecordError,
    SourceError,
)
from holter_device.grid import GapCause, Grid
from holter_device.sampler import ProcessSampler, Sampler, SamplerState, child_clock
from holter_device.samples import SampleFormat
from holter_device.simulation.sampler import Sources, TaskSampler
from holter_device.testing import LockstepClockServer
from support.sampling import (
    Tile,
    assert_contiguous,
    counts_of,
    gaps_of,
    source_settings,
    take,
)

Make = Callable[[Config], Sampler]

GRID = Grid(10**9, 360.0)


def _sampler(config: Config) -> ProcessSampler:
    return ProcessSampler(config, child_clock(config, time.monotonic_ns()))


def _task(config: Config) -> TaskSampler:
    return TaskSampler(config, device_clock(config, time.monotonic_ns()), Sources())


@pytest.fixture(params=["process", "task"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a sampler of each kind."""
    return _sampler if request.param == "process" else _task


def _expected(config: Config, frame_count: int) -> bytes:
    adc = make_adc(
        source_settings(simulate=config.simulate, seed=config.seed, inputs=config.inputs)
    )
    adc.open()
    return b"".join(adc.read(sequence) for sequence in range(frame_count))


class TestSource:
    async def test_open_tells_what_is_sampled(self, make: Make) -> None:
        """Kind, channels with the config's maps, format and speed are known when it is open."""
        config = Config(simulate="atrial", inputs=("A0", "A2"), reference_volts=5.0, speed="2")
        sampler = make(config)
        info = await sampler.open()
        assert sampler.source is info
        assert (info.kind, info.sample_format, info.speed) == ("simulate", SampleFormat.U8, 2)
        assert info.channels == (config.channel("A0"), config.channel("A2"))
        assert "atrial" in info.description
        await sampler.close()

    @pytest.mark.parametrize("clock", ["max", "lockstep"])
    async def test_counts_are_those_of_the_source(self, clock: str, tmp_path: Path) -> None:
        """Through blocks or tick by tick, what arrives is what the source made, frame by frame."""
        with LockstepClockServer(tmp_path / "clock") as lockstep:
            lockstep.release()
            config = Config(simulate="bigeminy", inputs=("A0", "A1"), seed=7, speed="1")
            text = "max" if clock == "max" else lockstep.text
            sampler = ProcessSampler(config, text)
            await sampler.open()
            tiles = await take(sampler, GRID, 5000)
            await sampler.close()
        assert gaps_of(tiles) == []
        assert_contiguous(tiles)
        counts = counts_of(tiles)
        assert counts == _expected(config, len(counts) // 2)

    async def test_real_time_has_every_frame_and_none_before_its_time(self, make: Make) -> None:
        """At speed 1 a simulated frame comes when its time has come, and none is missing."""
        config = Config(simulate="sinus")
        sampler = make(config)
        await sampler.open()
        grid = Grid(time.monotonic_ns(), config.rate)
        early: list[Tile] = []

        def look(tile: Tile) -> None:
            if grid.time_ns(tile.next_sequence - 1) > time.monotonic_ns():
                early.append(tile)

        tiles = await take(sampler, grid, 360, look)
        await sampler.close()
        assert early == []
        assert_contiguous(tiles)
        assert counts_of(tiles) == _expected(config, tiles[-1].next_sequence)

    async def test_scaled_time_has_every_frame(self, make: Make) -> None:
        """At 50 times real time every frame is there, however late the grid's start is known."""
        config = Config(simulate="sinus", speed="50")
        sampler = make(config)
        await sampler.open()
        now_ns = device_clock(config, time.monotonic_ns()).monotonic_ns()
        tiles = await take(sampler, Grid(now_ns, config.rate), 3600)
        await sampler.close()
        assert counts_of(tiles) == _expected(config, tiles[-1].next_sequence)

    async def test_a_minute_of_simulated_time_is_one_of_the_grid(self, make: Make) -> None:
        """At full speed the last minute is the grid's newest; blocks have no lateness."""
        sampler = make(Config(simulate="sinus", speed="max"))
        await sampler.open()
        tiles = await take(sampler, GRID, 100 * 360)
        quality = sampler.quality
        await sampler.close()
        recent = quality.last_minute
        assert quality.received_count == tiles[-1].next_sequence
        assert 59e9 <= recent.duration_ns <= 60e9
        assert recent.achieved_rate_hz == 360
        assert recent.received_count == round(recent.duration_ns * 360 / 1e9)
        assert (quality.lateness_max_ns, recent.lateness_p999_ns) == (0, 0)

    async def test_a_record_ends_normally(self, make: Make, short_record: Path) -> None:
        """A replay that is not looped is over after its last frame, with nothing left out."""
        sampler = make(Config(replay=str(short_record), speed="max"))
        await sampler.open()
        tiles = await take(sampler, GRID)
        assert sampler.state is SamplerState.ENDED
        assert_contiguous(tiles)
        assert (tiles[-1].next_sequence, gaps_of(tiles)) == (3600, [])
        await sampler.close()

    async def test_the_reader_sets_the_pace_of_simulated_time(self, make: Make) -> None:
        """A source without a time of its own waits for its slower reader: nothing is lost."""
        sampler = make(Config(simulate="sinus", speed="max"))
        await sampler.open()
        tiles = await take(sampler, GRID, 4_000_000)  # more than the pipe and all buffers hold
        await sampler.close()
        assert_contiguous(tiles)
        assert gaps_of(tiles) == []

    async def test_what_nobody_waits_for_comes_in_longer_blocks(self) -> None:
        """A block of a task is a second while nobody watches, and 100 ms while somebody does."""
        watched, config = False, Config(simulate="sinus", speed="20")
        clock = device_clock(config, time.monotonic_ns())
        sampler = TaskSampler(config, clock, Sources(), lambda: watched)
        await sampler.open()
        sizes: list[int] = []
        async with contextlib.aclosing(sampler.tiles(1, Grid(clock.monotonic_ns(), 36.0))) as lists:
            async for (tile,) in lists:
                sizes.append(tile.frame_count)
                watched = not watched
                if len(sizes) == 4:
                    break
        assert sizes == [720, 72, 720, 72]


class TestErrors:
    async def test_a_bus_that_is_missing_is_told_with_its_class_and_facts(self) -> None:
        """What the child raises is raised in the parent: class, sentence and facts."""
        sampler = _sampler(Config(bus=999))
        with pytest.raises(BusMissingError, match="no I2C bus /dev/i2c-999") as raised:
            await sampler.open()
        assert raised.value.facts["bus"] == "999"
        assert sampler.pid is None

    async def test_a_record_that_is_missing_is_told(self, make: Make, tmp_path: Path) -> None:
        """A path that is no record is one sentence, and leaves no process behind."""
        sampler = make(Config(replay=str(tmp_path / "none")))
        with pytest.raises(RecordError, match="there is no record"):
            await sampler.open()
        assert getattr(sampler, "pid", None) is None

    async def test_a_task_has_no_hardware(self) -> None:
        """A sampler without a process refuses a chip, and a clock that a test holds."""
        for config in (Config(), Config(simulate="sinus", clock="lockstep:nowhere")):
            with pytest.raises(ConfigError, match="simulated or replayed source"):
                await _task(config).open()

    async def test_a_child_that_cannot_start_is_told(self) -> None:
        """A launcher that fails is a SourceError, not a hang."""
        sampler = _sampler(Config(simulate="sinus", child_launcher=("false",)))
        with pytest.raises(SourceError, match="ended with status 1 before the source was ready"):
            await sampler.open()

    async def test_a_launcher_that_is_not_there(self) -> None:
        """A launcher that the system does not find is named in one sentence."""
        sampler = _sampler(Config(simulate="sinus", child_launcher=("/nowhere/run",)))
        with pytest.raises(DeviceError, match="sampler process does not start: /nowhere/run: No "):
            await sampler.open()


class TestRestart:
    @pytest.mark.parametrize("speed", ["1", "20", "max"])
    async def test_a_killed_child_is_a_named_gap(self, speed: str) -> None:
        """kill -9: one Gap(SAMPLER_RESTARTED), and on both sides the source's own counts."""
        config = Config(simulate="sinus", speed=speed)
        epoch_ns = time.monotonic_ns()
        sampler = ProcessSampler(config, child_clock(config, epoch_ns))
        await sampler.open()
        clock = make_clock(child_clock(config, epoch_ns))
        grid = Grid(clock.monotonic_ns(), config.rate)
        victim = sampler.pid
        assert victim is not None
        killed = False
        tiles: list[Tile] = []
        async for some in sampler.tiles(1, grid):
            tiles += some
            if not killed and tiles[-1].next_sequence >= 200:
                os.kill(victim, signal.SIGKILL)
                killed = True
            if gaps_of(tiles) and tiles[-1].next_sequence > gaps_of(tiles)[0].next_sequence + 100:
                break
        assert sampler.quality.sampler_restart_count == 1
        assert "SIGKILL" in sampler.last_error
        await sampler.close()
        assert_contiguous(tiles)
        (gap,) = gaps_of(tiles)
        assert gap.cause is GapCause.SAMPLER_RESTARTED
        expected = _expected(config, tiles[-1].next_sequence)
        assert counts_of(tiles) == expected[: gap.first_sequence] + expected[gap.next_sequence :]

    async def test_a_child_that_hangs_is_started_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A child that is stopped, and so silent, is killed and started again."""
        monkeypatch.setattr(sampler_module, "SILENCE_SECONDS", 0.5)
        sampler = _sampler(Config(simulate="sinus"))
        await sampler.open()
        victim = sampler.pid
        assert victim is not None

        def stop(tile: Tile) -> None:
            if sampler.pid == victim:
                os.kill(victim, signal.SIGSTOP)

        tiles: list[Tile] = []
        async for some in sampler.tiles(1, Grid(time.monotonic_ns(), 360.0)):
            for tile in some:
                stop(tile)
            tiles += some
            if gaps_of(tiles):
                break
        assert "wrote nothing" in sampler.last_error
        await sampler.close()
        assert_contiguous(tiles)
        assert gaps_of(tiles)[0].cause is GapCause.SAMPLER_RESTARTED

    async def test_a_parent_that_was_held_up_finds_every_frame(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A child is not silent while its parent is: what it wrote meanwhile is in the pipe."""
        monkeypatch.setattr(sampler_module, "SILENCE_SECONDS", 0.2)
        sampler = _sampler(Config(simulate="sinus"))
        await sampler.open()
        running = asyncio.Event()
        tiles: list[Tile] = []

        async def read() -> None:
            async for some in sampler.tiles(1, Grid(time.monotonic_ns(), 360.0)):
                tiles.extend(some)
                running.set()
                if tiles[-1].next_sequence >= 540:
                    break

        reading = asyncio.create_task(read())
        await running.wait()
        time.sleep(1)  # noqa: ASYNC251 (to hold up the loop is the point)
        await reading
        await sampler.close()
        assert_contiguous(tiles)
        assert gaps_of(tiles) == []

    async def test_a_source_that_is_gone_for_a_while_is_tried_again(
        self, short_record: Path
    ) -> None:
        """While the source cannot be opened the sampler goes on trying; then it joins the grid."""
        header = short_record.with_suffix(".hea")
        hidden = header.with_suffix(".hidden")
        logger = logging.getLogger("holter_device.sampler")
        sampler = _sampler(Config(replay=str(short_record), loop=True, speed="5"))
        await sampler.open()
        tiles: list[Tile] = []
        async for some in sampler.tiles(1, Grid(time.monotonic_ns(), 360.0)):
            tiles += some
            if not hidden.exists() and not sampler.last_error:
                logger.addHandler(_OnRefusal(lambda: hidden.rename(header)))
                header.rename(hidden)
                assert sampler.pid is not None
                os.kill(sampler.pid, signal.SIGKILL)
            if gaps_of(tiles):
                break
        logger.handlers.clear()
        await sampler.close()
        assert "there is no record" in sampler.last_error
        assert_contiguous(tiles)
        assert sampler.quality.sampler_restart_count == 1


class _OnRefusal(logging.Handler):
    """Acts as soon as the sampler says that a record is missing."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a line of the log."""
        if "there is no record" in record.getMessage():
            self._act()


class TestEnd:
    async def test_close_ends_the_child_in_every_state(self) -> None:
        """Unstarted, running or blocked by a full pipe: after `close` the process is gone."""
        for read_some in (False, True):
            sampler = _sampler(Config(simulate="sinus", speed="max"))
            await sampler.open()
            pid = sampler.pid
            assert pid is not None
            if read_some:
                await take(sampler, GRID, 1)
            await sampler.close()
            await sampler.close()
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    @pytest.mark.parametrize("speed", ["1", "max"])
    async def test_tiles_end_when_the_sampler_is_closed(self, make: Make, speed: str) -> None:
        """Who still takes tiles of a closed sampler gets what is left, and no new child."""
        sampler = make(Config(simulate="sinus", speed=speed))
        await sampler.open()
        lists = sampler.tiles(1, Grid(time.monotonic_ns(), 360.0))
        tiles = await anext(lists)
        await sampler.close()
        await sampler.close()
        async for some in lists:
            tiles += some
        assert_contiguous(tiles)
        assert gaps_of(tiles) == []
        assert sampler.quality.sampler_restart_count == 0
        assert getattr(sampler, "pid", None) is None

    async def test_close_leaves_no_child_that_was_being_started(self) -> None:
        """Closed while a dead child is about to be replaced, tiles end and no child is left."""
        sampler = _sampler(Config(simulate="sinus"))
        await sampler.open()

        async def read() -> None:
            async for _ in sampler.tiles(1, Grid(time.monotonic_ns(), 360.0)):
                if sampler.pid is not None:
                    os.kill(sampler.pid, signal.SIGKILL)

        reading = asyncio.create_task(read())
        while not sampler.last_error:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await sampler.close()
        await reading
        assert sampler.pid is None

    async def test_the_child_ends_with_its_parent(self, tmp_path: Path) -> None:
        """A parent that is killed leaves no sampler behind."""
        script = (
            "import asyncio\n"
            "from holter_device.config import Config\n"
            "from holter_device.grid import Grid\n"
            "from holter_device.sampler import ProcessSampler\n"
            "async def main():\n"
            "    sampler = ProcessSampler(Config(simulate='sinus'), 'monotonic')\n"
            "    await sampler.open()\n"
            "    print(sampler.pid, flush=True)\n"
            "    async for _ in sampler.tiles(1, Grid(0, 360.0)): pass\n"
            "asyncio.run(main())\n"
        )
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        pid = int(await parent.stdout.readline())
        gone = os.pidfd_open(pid)
        parent.kill()
        await parent.wait()
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(gone, ended.set)
        await ended.wait()
        loop.remove_reader(gone)
        os.close(gone)


class TestImports:
    def test_the_hardware_path_imports_nothing_heavy(self) -> None:
        """Fresh from the start to the opened driver, the child has no numpy, asyncio or gRPC."""
        script = (
            "import sys, json\n"
            "import holter_device.children.sampler\n"
            "from holter_device.adc import make_adc\n"
            f"settings = json.loads({json.dumps(json.dumps(source_settings(bus=999)))})\n"
            "try: make_adc(settings).open()\n"
            "except OSError: pass\n"
            "print(*sys.modules)\n"
        )
        modules = _modules(script)
        assert "smbus2" in modules
        heavy = {"numpy", "asyncio", "grpc", "google", "wfdb", "logging", "multiprocessing"}
        assert modules & heavy == set()

    @pytest.mark.parametrize("module", ["sampler", "probe", "adc.simulated", "adc.replay"])
    def test_the_parent_imports_no_driver(self, module: str) -> None:
        """Neither the parent's end nor another source imports smbus2, and none wfdb."""
        modules = _modules(f"import sys, holter_device.{module}\nprint(*sys.modules)\n")
        assert modules & {"smbus2", "wfdb", "pandas", "scipy"} == set()


def _modules(script: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("settings", "clock"),
    [
        ({}, "monotonic"),
        ({"clock": "lockstep:/x"}, "lockstep:/x"),
        ({"simulate": "sinus"}, "monotonic"),
        ({"simulate": "sinus", "speed": "max"}, "max"),
        ({"simulate": "sinus", "speed": "2.5"}, "scaled:2.5:77"),
    ],
)
def test_the_childs_clock_is_the_devices(settings: dict[str, Any], clock: str) -> None:
    """Parent and child make the same clock from the same config."""
    assert child_clock(Config(**settings), 77) == clock
    if not clock.startswith("lockstep"):
        make_clock(clock)
