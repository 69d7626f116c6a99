import json

from workers.ml.card import write_card


def test_the_card_says_what_the_adapter_was_made_of(tmp_path):
    card = write_card(
        tmp_path,
        base_model="smollm2-135m",
        dataset_hash="ab12",
        settings={"epochs": 3, "prompt": "a|b"},
        metrics={"validation_loss": 0.123456789},
    )
    assert json.loads((tmp_path / "card.json").read_text(encoding="utf-8")) == card
    assert card["versions"].keys() >= {"torch", "peft", "transformers"}
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith('---\nbase_model: "smollm2-135m"\n')
    assert "| validation_loss | 0.123457 |" in text and "ab12" in text and "a\\|b" in text
