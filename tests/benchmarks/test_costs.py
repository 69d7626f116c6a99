"""The cost models: what is counted, so that an ideal can be checked by hand."""

from benchmarks.inference import costs as inference
from benchmarks.training import costs as training
from benchmarks.training.costs import Sizes

SIZES = Sizes(trunk=1000, head=100)


def test_a_shared_prefix_is_paid_once_for_a_group_and_the_head_for_labels_alone():
    cost = training.ours(prefix=160, own=60, labels=40, group=16)
    assert (cost.tokens, cost.positions) == (70, 40)
    assert cost.operations(SIZES) == 4 * (70 * 1000 + 40 * 100)


def test_the_classic_script_pays_for_padding_and_runs_the_layers_again():
    assert training.classic(512).operations(SIZES) == 6 * 512 * 1100


def test_a_batch_of_questions_pays_the_prefix_once():
    ours = inference.ours(prefix=240, own=20, answer=40, batch=64)
    whole = inference.whole_prompts(prefix=240, own=20, answer=40)
    assert ours.operations(SIZES) == 2 * (63.75 * 1000 + 40 * 100)
    assert whole.operations(SIZES) == 2 * (300 * 1000 + 40 * 100)
