import random

import torch

from workers.ml.packing import Example, Tree, common_prefix, families, groups_of, pack, rounded


def example(prompt, completion=(90, 91), line=1):
    return Example(line, list(prompt), list(completion))


def test_a_group_computes_the_common_prefix_once():
    group = pack([example([1, 2, 3, 4]), example([1, 2, 5])])
    assert group.input_ids.tolist() == [[1, 2, 3, 4, 90, 91, 5, 90, 91]]
    assert group.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 2, 3, 4]]
    assert group.label_positions.tolist() == [3, 4, 6, 7]
    assert group.labels.tolist() == [90, 91, 90, 91]
    assert group.layout.trees == (Tree(start=0, prefix=2, widths=(4, 3)),)
    assert group.layout.offsets.tolist() == [0, 1, 0, 1, 2, 3, 0, 1, 2]
    assert (group.layout.longest, group.tokens) == (6, 9)


def test_the_first_label_is_never_predicted_by_the_prefix():
    assert common_prefix([example([1, 2, 3]), example([1, 2, 3])]) == 2
    assert common_prefix([example([1, 2]), example([1, 2, 3])]) == 1
    assert common_prefix([example([7])]) == 0


def test_without_a_shared_prefix_the_row_is_plainly_packed():
    group = pack([example([1, 2]), example([1, 3])], share_prefix=False)
    assert group.input_ids.tolist() == [[1, 2, 90, 91, 1, 3, 90, 91]]
    assert group.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    assert group.layout.trees == (Tree(start=0, prefix=0, widths=(4, 4)),)


def test_a_row_holds_a_tree_for_each_prefix():
    group = pack(
        [example([1, 2, 3]), example([1, 2, 4])], [example([5, 6, 7, 8]), example([5, 6, 7, 9, 9])]
    )
    assert group.layout.trees == (Tree(0, 2, (3, 3)), Tree(8, 3, (3, 4)))
    assert group.input_ids[0, :18].tolist() == [
        *(1, 2, 3, 90, 91, 4, 90, 91),
        *(5, 6, 7, 8, 90, 91, 9, 9, 90, 91),
    ]
    assert group.position_ids[0, :18].tolist() == [
        *(0, 1, 2, 3, 4, 2, 3, 4),
        *(0, 1, 2, 3, 4, 5, 3, 4, 5, 6),
    ]
    assert group.label_positions.tolist() == [2, 3, 5, 6, 11, 12, 15, 16]
    placed = [(tree.prefix, one.prompt_ids, own) for tree, one, own in group.places()]
    assert placed[2:] == [(3, [5, 6, 7, 8], slice(11, 14)), (3, [5, 6, 7, 9, 9], slice(14, 18))]


def test_families_are_cut_where_that_saves_tokens():
    a, b, c = ([letter] * length for letter, length in ((1, 30), (2, 20), (3, 8)))
    rows = [*(a + [10, k] for k in range(3)), *(b + [10 + k] for k in range(3)), c + [7], c + [8]]
    found = families([example(row) for row in rows])
    assert [(len(family), common_prefix(family)) for family in found] == [(3, 31), (3, 20), (2, 8)]
    # The best cut of all, by trying each.
    for seed in range(20):
        chance = random.Random(seed)
        prompts = [[chance.randrange(2) for _ in range(chance.randint(2, 9))] for _ in range(7)]
        some = [example(prompt) for prompt in prompts]
        assert saved(families(some)) >= 0.8 * best_saving(sorted(some, key=lambda e: e.prompt_ids))
    assert families([]) == []


def saved(parts):
    return sum((len(part) - 1) * common_prefix(part) for part in parts)


def best_saving(ordered):
    best = [0]
    for end in range(1, len(ordered) + 1):
        best.append(max(best[k] + saved([ordered[k:end]]) for k in range(end)))
    return best[-1]


def test_no_prefix_is_computed_more_often_than_a_group_s_size_asks_for():
    """5 examples of one schema, 4 and 2 of two others, in groups of 4: 2 + 1 + 1 prefixes."""
    sizes = {1: 5, 2: 4, 3: 2}
    examples = [example([s] * 20 + [50 + k]) for s, size in sizes.items() for k in range(size)]
    groups = groups_of(examples, micro_batch=4)
    assert sorted(len(group.examples) for group in groups) == [3, 4, 4]
    seen = [one.prompt_ids[0] for g in groups for one in first_of_each_tree(g)]
    assert {s: seen.count(s) for s in sizes} == {1: 2, 2: 1, 3: 1}


def first_of_each_tree(group):
    return [one for tree, one, own in group.places() if own.start == tree.trunk_end]


def test_examples_that_share_nothing_are_packed_all_the_same():
    (group,) = groups_of([example([k, 5, 6]) for k in range(1, 4)], micro_batch=16)
    assert [tree.prefix for tree in group.layout.trees] == [0]
    assert group.tokens == 15


def test_groups_lose_no_example_and_keep_like_lengths_together():
    examples = [example([1] * 5 + [k] * (1 + k % 3), line=k) for k in range(2, 9)]
    groups = groups_of(examples, micro_batch=4)
    assert sorted(one.line for group in groups for one in group.examples) == list(range(2, 9))
    lengths = [[len(one) for one in group.examples] for group in groups]
    assert lengths == [[8, 8, 9, 9], [10, 10, 10]]


def test_rows_come_in_few_lengths_and_the_padding_belongs_to_no_example():
    lengths = {rounded(length) for length in range(512, 1024)}
    assert len(lengths) == 17 and all(rounded(n) - n <= n / 16 for n in range(1, 5000))
    group = pack([example(range(1, 90)), example([*range(1, 80), *range(200, 241)])])
    (tree,) = group.layout.trees
    assert tree.prefix == 79 and tree.widths == (rounded(12), rounded(43))
    assert group.input_ids.shape[1] == rounded(tree.end) > tree.end > group.tokens
    used = torch.zeros(group.input_ids.shape[1], dtype=torch.bool)
    used[:79] = True
    for _, _, own in group.places():
        used[own] = True
    assert used.sum() == group.tokens and used[group.label_positions].all()
    assert not group.input_ids[0, ~used].any()
