"""Makes the files beside it with transformers 4.40, the last release with NEZHA; README.md says how to run it."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import NezhaConfig, NezhaForMaskedLM, NezhaForPreTraining

HERE = Path(__file__).parent
LENGTHS = {"short": [9, 5, 7], "medium": [16, 12, 1], "long": [30, 23, 12]}


def main() -> None:
    """Writes config.json, model.safetensors (a pretraining model's, as the hub's are) and outputs.safetensors."""
    torch.manual_seed(0)
    # Not one weight, bias or gain may stay at 0 or 1, where a mistake would not show.
    config = NezhaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=64,
        max_relative_position=8,
        initializer_range=0.25,
    )
    pretraining = NezhaForPreTraining(config).eval()
    with torch.no_grad():
        for name, parameter in pretraining.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
            elif "LayerNorm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    weights = {name: value.clone() for name, value in pretraining.state_dict().items()}
    save_file(weights, HERE / "model.safetensors", {"format": "pt"})
    masked = NezhaForMaskedLM(config).eval()
    print(masked.load_state_dict(weights, strict=False))

    outputs = {}
    for name, lengths in LENGTHS.items():
        rows = inputs(torch.tensor(lengths))
        labels = torch.where(torch.rand(rows["input_ids"].shape) < 0.3, rows["input_ids"], -100)
        labels[:, 0] = rows["input_ids"][:, 0]
        with torch.no_grad():
            plain = pretraining.nezha(**rows, output_hidden_states=True, output_attentions=True)
        predicted = masked(**rows, labels=labels)
        masked.zero_grad()
        predicted.loss.backward()
        attention = masked.nezha.encoder.layer[0].attention.self
        outputs |= {f"{name}.{key}": value for key, value in rows.items()}
        outputs |= {
            f"{name}.labels": labels,
            f"{name}.hidden_states": torch.stack(plain.hidden_states),
            f"{name}.attentions": plain.attentions[1],
            f"{name}.pooler_output": plain.pooler_output,
            f"{name}.logits": predicted.logits.detach(),
            f"{name}.loss": predicted.loss.detach(),
            f"{name}.query_gradient": attention.query.weight.grad.clone(),
            f"{name}.value_gradient": attention.value.weight.grad.clone(),
        }
    save_file({name: value.contiguous() for name, value in outputs.items()}, HERE / "outputs.safetensors")

    settings = json.loads(config.to_json_string(use_diff=False))
    kept = {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"}
    kept |= {"max_relative_position", "model_type", "type_vocab_size", "layer_norm_eps", "classifier_dropout"}
    kept |= {"hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "pad_token_id", "use_cache"}
    # The reference needs a table for the longest row; the model under test is told of a shorter training.
    settings = {name: value for name, value in settings.items() if name in kept} | {"max_position_embeddings": 16}
    settings |= {"architectures": ["NezhaForPreTraining"], "use_relative_position": True}
    (HERE / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def inputs(lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random rows of those lengths, right-padded, of two token types."""
    places = torch.arange(int(lengths.max()))
    mask = (places < lengths[:, None]).long()
    return {
        "input_ids": torch.randint(5, 50, mask.shape) * mask,
        "attention_mask": mask,
        "token_type_ids": (places >= lengths[:, None] // 2).long() * mask,
    }


if __name__ == "__main__":
    main()
