"""The recurrent encoder reads both directions, never its padding, and is a Hugging Face model like any other."""

import pytest
import torch
from torch import nn
from transformers import AutoModel

from models.recurrent import BidirectionalLSTM, RecurrentConfig, RecurrentEncoder


def small(**settings) -> RecurrentEncoder:
    torch.manual_seed(0)
    return RecurrentEncoder(RecurrentConfig(vocab_size=60, embedding_size=6, hidden_size=8, **settings)).eval()


def test_two_mirrored_lstms_are_torchs_packed_bidirectional_lstm() -> None:
    torch.manual_seed(0)
    own = BidirectionalLSTM(6, 8)
    reference = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    state = own.forwards[0].state_dict() | {f"{k}_reverse": v for k, v in own.backwards[0].state_dict().items()}
    reference.load_state_dict(state)
    lengths = torch.tensor([3, 7, 1])
    x = torch.randn(3, 7, 6)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True, total_length=7)
    torch.testing.assert_close(own(x, torch.arange(7) < lengths[:, None])[-1], expected)


def test_each_text_reads_the_same_alone_and_in_a_batch(texts: dict) -> None:
    model = small(num_layers=2)
    together = model(**texts).last_hidden_state
    texts["input_ids"][texts["attention_mask"] == 0] = 7
    torch.testing.assert_close(
        model(**texts).last_hidden_state * texts["attention_mask"][..., None],
        together * texts["attention_mask"][..., None],
    )
    for row, length in enumerate(texts["attention_mask"].sum(1).tolist()):
        alone = model(texts["input_ids"][row : row + 1, :length]).last_hidden_state[0]
        torch.testing.assert_close(together[row, :length], alone, atol=1e-6, rtol=1e-5)


def test_saved_and_loaded_through_the_auto_class_it_is_the_same(tmp_path, texts: dict) -> None:
    model = small()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, RecurrentEncoder)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_word_vectors_start_the_embeddings() -> None:
    model = small()
    before = model.embeddings.weight.detach().clone()
    vectors = torch.randn(60, 6)
    vectors[4] = torch.nan
    model.load_word_vectors(vectors)
    after = model.get_input_embeddings().weight
    assert torch.equal(after[5:], vectors[5:]) and torch.equal(after[4], before[4]) and not after[0].any()
    with pytest.raises(ValueError, match="do not fit"):
        model.load_word_vectors(torch.randn(59, 6))
    vectors[5, 0] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        model.load_word_vectors(vectors)


def test_dropped_tokens_become_unknown_or_vanish(texts: dict) -> None:
    model = small(token_dropout=0.999999, embedding_dropout=0.0, dropout=0.0, unk_token_id=1).train()
    unknown = torch.ones_like(texts["input_ids"])
    torch.testing.assert_close(model(**texts)[0], model(unknown, texts["attention_mask"])[0])
    model.config.unk_token_id = None
    torch.testing.assert_close(
        model(**texts)[0], model(inputs_embeds=torch.zeros(3, 9, 6), attention_mask=texts["attention_mask"])[0]
    )


def test_spatial_dropout_drops_a_feature_for_the_whole_text() -> None:
    model = small(spatial_dropout=0.5, embedding_dropout=0.0).train()
    embedded = model(torch.full((4, 9), 5), output_hidden_states=True).hidden_states[0]
    kept = embedded != 0
    assert (kept == kept[:, :1]).all() and not kept.all() and kept.any()


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="even"):
        RecurrentConfig(hidden_size=7)
    with pytest.raises(ValueError, match="token_dropout"):
        RecurrentConfig(token_dropout=1.0)
    with pytest.raises(ValueError, match="exactly one"):
        small()(attention_mask=torch.ones(1, 1))


def test_bigrams_are_looked_up_for_both_neighbours_and_padding_has_none():
    config = RecurrentConfig(vocab_size=10, embedding_size=4, hidden_size=8, bigram_size=2, bigrams=2)
    encoder = RecurrentEncoder(config).eval()
    encoder.load_bigrams(torch.tensor([2 * 10 + 3, 3 * 10 + 4]))
    found = encoder._bigrams(torch.tensor([[2, 3, 4, 0]]), torch.tensor([[1, 1, 1, 0]]))
    none, first, second = encoder.bigram_embeddings.weight
    expected = torch.stack([torch.cat(pair) for pair in ((none, first), (first, second), (second, none), (none, none))])
    assert torch.equal(found[0], expected)


def test_skip_ends_the_output_with_the_embeddings():
    config = RecurrentConfig(vocab_size=10, embedding_size=4, hidden_size=10, skip=True, layer_norm=False)
    encoder = RecurrentEncoder(config).eval()
    ids = torch.tensor([[2, 3, 4]])
    assert torch.equal(encoder(ids).last_hidden_state[..., 6:], encoder.embeddings(ids))
    assert encoder.lstm.forwards[0].hidden_size == 3


def test_bigrams_survive_saving(tmp_path):
    config = RecurrentConfig(vocab_size=10, embedding_size=4, hidden_size=16, bigram_size=2, bigrams=3, skip=True)
    encoder = RecurrentEncoder(config).eval()
    encoder.load_bigrams(torch.tensor([11, 23, 34]))
    encoder.save_pretrained(tmp_path)
    again = RecurrentEncoder.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[1, 1, 2, 3, 4]])
    assert torch.equal(again(ids).last_hidden_state, encoder(ids).last_hidden_state)


def test_token_types_add_to_the_embeddings_where_the_encoder_has_them() -> None:
    settings = {"vocab_size": 12, "embedding_size": 6, "hidden_size": 8}
    typed = RecurrentEncoder(RecurrentConfig(**settings, type_vocab_size=3)).eval()
    ids, types = torch.tensor([[3, 4, 5]]), torch.tensor([[0, 2, 1]])
    apart = typed(ids, token_type_ids=types).last_hidden_state
    with torch.no_grad():
        embedded = typed.embeddings(ids) + typed.type_embeddings(types)
    untyped = RecurrentEncoder(RecurrentConfig(**settings)).eval()
    untyped.load_state_dict(typed.state_dict(), strict=False)
    torch.testing.assert_close(untyped(inputs_embeds=embedded).last_hidden_state, apart)
    zeros = typed(ids, token_type_ids=torch.zeros_like(ids)).last_hidden_state
    torch.testing.assert_close(typed(ids).last_hidden_state, zeros)
    assert not torch.allclose(apart, zeros)


def test_bigrams_start_small_and_the_unknown_pair_at_zero() -> None:
    encoder = RecurrentEncoder(RecurrentConfig(vocab_size=50, bigram_size=8, bigrams=3000, initializer_range=0.5))
    assert encoder.bigram_embeddings.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert not encoder.bigram_embeddings.weight[0].any()
    assert encoder.embeddings.weight.std().item() == pytest.approx(0.5, rel=0.1)
