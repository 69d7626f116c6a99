from workers.ml.packing import Example, common_prefix, groups_of, pack, rounded


def example(prompt, completion=(90, 91), line=1):
    return Example(line, list(prompt), list(completion))


def test_a_group_computes_the_common_prefix_once():
    group = pack([example([1, 2, 3, 4]), example([1, 2, 5])])
    assert group.input_ids.tolist() == [[1, 2, 3, 4, 90, 91, 5, 90, 91]]
    assert group.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 2, 3, 4]]
    assert group.label_positions.tolist() == [3, 4, 6, 7]
    assert group.labels.tolist() == [90, 91, 90, 91]
    assert (group.layout.prefix, group.layout.suffixes, group.layout.longest) == (2, 2, 4)
    assert group.layout.scatter.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_the_first_label_is_never_predicted_by_the_prefix():
    assert common_prefix([example([1, 2, 3]), example([1, 2, 3])]) == 2
    assert common_prefix([example([1, 2]), example([1, 2, 3])]) == 1
    assert common_prefix([example([7])]) == 0


def test_without_a_shared_prefix_the_row_is_plainly_packed():
    group = pack([example([1, 2]), example([1, 3])], share_prefix=False)
    assert group.input_ids.tolist() == [[1, 2, 90, 91, 1, 3, 90, 91]]
    assert group.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    assert group.layout.prefix == 0


def test_groups_keep_prompts_of_one_prefix_together_and_lose_none():
    examples = [example([k % 2 + 1] * 5 + [k + 10], line=k) for k in range(7)]
    groups = groups_of(examples, micro_batch=4)
    assert [len(g.examples) for g in groups] == [4, 3]
    assert [g.layout.prefix for g in groups] == [5, 5]


def test_rows_come_in_few_lengths_and_the_padding_belongs_to_no_example():
    lengths = {rounded(length) for length in range(512, 1024)}
    assert len(lengths) == 17 and all(rounded(n) - n <= n / 16 for n in range(1, 5000))
    group = pack([example(range(1, 90)), example(range(1, 95), completion=[7] * 9)])
    assert group.input_ids.shape[1] == rounded(group.tokens) > group.tokens
    assert group.layout.scatter.numel() + group.layout.prefix == group.input_ids.shape[1]
    assert group.layout.width >= group.layout.longest
    last = group.label_positions[-1]
    assert group.input_ids[0, last + 1] == 7 and not group.input_ids[0, last + 2 :].any()
