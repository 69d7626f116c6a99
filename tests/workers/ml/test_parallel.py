"""A training of several ranks learns what it learns in one process. Real processes, over gloo."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import pytest
import torch

from core import failpoints
from tests.workers.recipes.training import (
    EXACT,
    Killed,
    context,
    make_inputs,
    same,
    same_but_for_rounding,
    weights,
)
from workers.ml import sharding
from workers.ml.packing import Example
from workers.ml.parallel import ALONE, World, join, number_of
from workers.recipes import train

# Forked from one that has done the imports and nothing else: OpenMP's threads, which other tests
# have started in this process, do not survive a fork.
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.workers.recipes.training", "workers.recipes.train"])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


def trained(
    rank, size, inputs, workdir, params, *, resume=None, dies_after=None, armed=None, divided=False
):
    """What one rank returns and says, and the checkpoints that it wrote. `armed`: a folder of
    failpoints; `divided`: as if no device held the base."""
    torch.set_num_threads(1)
    failpoints._folder = armed
    if divided:
        sharding.WEIGHTS_SHARE = 0.0
    ctx = context(inputs, workdir, params, resume=resume)
    ctx.rank, ctx.processes, ctx.dies_after = rank, size, dies_after
    try:
        result = train.run(ctx)
    except Killed:
        result = None
    return result, ctx.said, ctx.checkpoints


def train_in(size, inputs, workdir, params, **options):
    """The same of each rank, a process each."""
    with ProcessPoolExecutor(size, mp_context=PROCESSES) as pool:
        ranks = [
            pool.submit(trained, rank, size, inputs, workdir, params, **options)
            for rank in range(size)
        ]
        return [rank.result(timeout=240) for rank in ranks]


def curve(said):
    points = [message for message in said if message["kind"] == "metric"]
    return [value for p in points for n, value in p["values"].items() if n.endswith("loss")]


def warnings(said):
    events = [message["event"] for message in said if message["kind"] == "event"]
    return [event["message"] for event in events if event["level"] == "warning"]


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        (2, {}),
        (2, {"batch_size": 3, "epochs": 1}),
        (3, {"batch_size": 2, "epochs": 1, "lora": {"layers": "all"}}),
    ],
    ids=["two ranks", "one without an example at last", "one without any"],
)
def test_several_ranks_have_the_losses_and_weights_of_one(inputs, tmp_path, size, settings):
    params = {**EXACT, **settings}
    ((expected, whole, _),) = train_in(1, inputs, tmp_path / "one", params)
    ranks = train_in(size, inputs, tmp_path / "several", params)
    result, said, _ = ranks[0]
    assert curve(said) == pytest.approx(curve(whole), rel=1e-6)
    assert same_but_for_rounding(weights(tmp_path / "several/out"), weights(tmp_path / "one/out"))
    assert result["resolved"]["processes"] == size
    for name in ("steps", "best_step", "train_examples"):
        assert result[name] == expected[name]


def test_all_ranks_stop_early_at_the_same_step(inputs, tmp_path):
    params = {**EXACT, "epochs": 8, "learning_rate": 0.3, "early_stopping": {"patience": 1}}
    (first, said, _), (second, *_) = train_in(2, inputs, tmp_path, params)
    assert first["steps"] == second["steps"] < 32 and first["best_step"] == second["best_step"]


def test_the_first_rank_alone_writes(inputs, tmp_path):
    (_, _, checkpoints), (_, _, others) = train_in(2, inputs, tmp_path, EXACT)
    assert len(checkpoints) == 3 and others == []


@pytest.mark.parametrize("again", [2, 1], ids=["as many ranks", "fewer ranks"])
def test_a_resumed_training_equals_an_undisturbed_one(inputs, tmp_path, again):
    params = {**EXACT, "save_steps": 3, "lora": {"dropout": 0.1 if again == 2 else 0.0}}
    train_in(2, inputs, tmp_path / "whole", params)
    left = train_in(2, inputs, tmp_path / "killed", params, dies_after=7)[0][2][-1]
    kept = shutil.move(left, tmp_path / "kept")
    ((result, *_), *_) = train_in(again, inputs, tmp_path / "final", params, resume=kept)
    found, wanted = weights(tmp_path / "final/out"), weights(tmp_path / "whole/out")
    assert (same if again == 2 else same_but_for_rounding)(found, wanted)
    assert result["resolved"]["processes"] == again


def test_where_one_rank_lacks_memory_all_go_on_with_less(inputs, tmp_path):
    params = {**EXACT, "micro_batch": 4}
    train_in(2, inputs, tmp_path / "whole", params)
    armed = tmp_path / "failpoints"
    armed.mkdir()
    (armed / "train.step@5").write_text("oom")  # fires in one of them
    ranks = train_in(2, inputs, tmp_path / "healed", params, armed=str(armed))
    assert [result["resolved"]["micro_batch"] for result, *_ in ranks] == [2, 2]
    assert [len(warnings(said)) for _, said, _ in ranks] == [1, 1]
    assert same_but_for_rounding(weights(tmp_path / "healed/out"), weights(tmp_path / "whole/out"))


def test_a_base_that_fits_no_device_is_divided(inputs, tmp_path):
    """And what is learned is the same, though a rank has fewer groups, and after a kill."""
    params = {**EXACT, "epochs": 1, "batch_size": 3, "micro_batch": 1, "save_steps": 2}
    params["gradient_checkpointing"] = True
    ((_, whole, _),) = train_in(1, inputs, tmp_path / "whole", params)
    killed, final = tmp_path / "killed", tmp_path / "final"
    (_, said, checkpoints), _ = train_in(2, inputs, killed, params, dies_after=3, divided=True)
    assert "divided over 2 devices" in str(said)
    train_in(2, inputs, final, params, resume=checkpoints[-1], divided=True)
    assert curve(said) == pytest.approx(curve(whole)[: len(curve(said))], rel=1e-6)
    assert same_but_for_rounding(weights(final / "out"), weights(tmp_path / "whole/out"))


def met(rank, meeting):
    """What a rank hears of the others, and the addresses that it listens on."""
    world = join(rank, 2, meeting=meeting, device="cpu")
    heard = [*world.sum(1, rank), world.largest(rank), world.smallest(rank), world.room(100)]
    sockets = psutil.Process().net_connections(kind="inet")
    return heard, {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}


def test_ranks_meet_and_listen_on_the_loopback_interface_alone(tmp_path):
    with ProcessPoolExecutor(2, mp_context=PROCESSES) as pool:
        ranks = [pool.submit(met, rank, tmp_path / "meeting") for rank in range(2)]
        assert [rank.result() for rank in ranks] == [([2, 1, 1, 0, 50], {"127.0.0.1"})] * 2


def examples(*lengths):
    return [Example(line, [line % 3, line], [7] * (n - 2)) for line, n in enumerate(lengths)]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_each_example_is_one_ranks(size):
    batch = examples(5, 9, 4, 30, 4, 8, 3)
    shares = [World(rank, size).share(batch) for rank in range(size)]
    assert sorted(e.line for share in shares for e in share) == list(range(7))


def test_shares_have_about_as_many_tokens_and_keep_neighbours_together():
    batch = examples(*[10] * 12)
    shares = [World(rank, 3).share(batch) for rank in range(3)]
    assert [[e.prompt_ids[0] for e in share] for share in shares] == [[n] * 4 for n in range(3)]


def test_random_numbers_follow_from_seed_step_and_rank():
    def draw(rank, step):
        World(rank, 2).seed(42, step)
        return torch.rand(1).item()

    drawn = [draw(rank, step) for step in (1, 2) for rank in (0, 1)]
    assert len(set(drawn)) == 4 and drawn[0] == draw(0, 1)


@pytest.mark.parametrize(("device", "number"), [("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)])
def test_each_rank_takes_the_gpu_of_its_number_also_where_it_has_none(device, number):
    """The driver refuses to take a `cuda` without a number, which is what a worker says."""
    assert number_of(device) == number


def test_one_process_alone_is_left_as_it_is():
    before = torch.get_rng_state()
    ALONE.seed(42, 1)
    assert torch.equal(torch.get_rng_state(), before)
    batch = examples(3, 4)
    assert ALONE.share(batch) is batch
    assert (ALONE.sum(1, 2.5), ALONE.largest(3), ALONE.room(5)) == ([1, 2.5], 3, 5)
