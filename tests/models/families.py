"""Tiny configurations of every family of encoders that the kit promises to take."""

from transformers import (
    AlbertConfig,
    BertConfig,
    DebertaV2Config,
    ElectraConfig,
    ErnieConfig,
    PretrainedConfig,
    RobertaConfig,
    RoFormerConfig,
)

from models.nezha import NezhaConfig

VOCABULARY = 60
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 40,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**_SIZES),
    "roberta": RobertaConfig(**_SIZES, pad_token_id=0, type_vocab_size=1),
    "ernie": ErnieConfig(**_SIZES),
    "electra": ElectraConfig(**_SIZES, embedding_size=8),
    "albert": AlbertConfig(**_SIZES, embedding_size=8),
    "deberta-v2": DebertaV2Config(
        **_SIZES, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8, norm_rel_ebd="layer_norm"
    ),
    "roformer": RoFormerConfig(**_SIZES),
    "nezha": NezhaConfig(**_SIZES, max_relative_position=4),
}
