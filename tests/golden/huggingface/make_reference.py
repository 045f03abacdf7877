#!/usr/bin/env python3
"""Writes the reference files of tests/golden/huggingface: tiny models of Hugging Face transformers, their weights, logits,
loss and the gradient of every parameter; and their load-balance loss.

    PYTHONPATH=.deps/oracles python3 tests/golden/huggingface/make_reference.py

Needs torch and transformers (tools/bootstrap --oracles). The files are committed; the C++ test reads them and needs neither.
Each file is a safetensors file. Those of models:
    input_ids, labels [B, S] int64; labels are next tokens, -100 where they do not count
    logits [B, S, V]; loss []; weight/<name>; gradient/<name>
with <name> as Hugging Face writes it to disk, and metadata `config` (config.json's text).
load_balance.safetensors, of one layer's router with top-2:
    logits [T, E]; attention_mask [B, S] int64; loss, gradient: with the mask; unmasked_loss, unmasked_gradient: without
"""

import json
import pathlib

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

HERE = pathlib.Path(__file__).parent
SHAPE = dict(vocab_size=67, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
             max_position_embeddings=64, num_experts_per_tok=2, rms_norm_eps=1e-6, tie_word_embeddings=False,
             attention_dropout=0.0, initializer_range=0.2)


def on_disk(name, tensor, moe, expert_names):
    """Names and tensors as written to disk: transformers fuses the experts of a layer in memory."""
    if name.endswith("mlp.experts.gate_up_proj"):
        prefix = name[: name.index(".mlp.")]
        for e in range(tensor.shape[0]):
            gate, up = tensor[e].chunk(2, dim=0)
            yield f"{prefix}.{moe}.experts.{e}.{expert_names[0]}.weight", gate
            yield f"{prefix}.{moe}.experts.{e}.{expert_names[1]}.weight", up
    elif name.endswith("mlp.experts.down_proj"):
        prefix = name[: name.index(".mlp.")]
        for e in range(tensor.shape[0]):
            yield f"{prefix}.{moe}.experts.{e}.{expert_names[2]}.weight", tensor[e]
    else:
        yield name.replace(".mlp.", f".{moe}.") if "mlp.gate." in name else name, tensor


def write(file, model, config, moe, expert_names):
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        # Norms away from 1 and routers away from ties, so that a wrong use of either shows.
        if "norm" in name:
            parameter.data = 1 + 0.3 * torch.randn_like(parameter)
        elif "mlp.gate." in name:
            parameter.data = torch.randn_like(parameter)
    ids = torch.randint(0, config.vocab_size, (2, 13))
    labels = torch.roll(ids, -1, 1)
    labels[:, -1] = -100
    labels[1, 4:7] = -100
    output = model(input_ids=ids, use_cache=False)
    loss = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    loss.backward()
    tensors = {"input_ids": ids, "labels": labels, "logits": output.logits.detach(), "loss": loss.detach()}
    for name, parameter in model.named_parameters():
        for disk, piece in on_disk(name, parameter.detach(), moe, expert_names):
            tensors[f"weight/{disk}"] = piece.contiguous()
        for disk, piece in on_disk(name, parameter.grad, moe, expert_names):
            tensors[f"gradient/{disk}"] = piece.contiguous()
    # The disk names must be the ones that transformers itself writes.
    folder = HERE / "check"
    model.save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "pt") as saved:
        ours = {n.removeprefix("weight/") for n in tensors if n.startswith("weight/")}
        assert set(saved.keys()) == ours, (sorted(saved.keys())[:30], sorted(ours)[:30])
        for n in saved.keys():
            assert torch.equal(saved.get_tensor(n), tensors["weight/" + n]), n
    for entry in folder.iterdir():
        entry.unlink()
    folder.rmdir()
    save_file(tensors, HERE / file, metadata={"config": json.dumps(config.to_dict(), default=str)})
    print(file, (HERE / file).stat().st_size, "bytes, loss", loss.item())


def write_load_balance():
    torch.manual_seed(5)
    tensors = {"logits": torch.randn(3 * 13, 6), "attention_mask": torch.ones(3, 13, dtype=torch.int64)}
    tensors["attention_mask"][1, 9:] = 0
    tensors["attention_mask"][2, 2:] = 0
    for prefix, mask in (("", tensors["attention_mask"]), ("unmasked_", None)):
        logits = tensors["logits"].clone().requires_grad_()
        loss = load_balancing_loss_func((logits,), num_experts=6, top_k=2, attention_mask=mask)
        loss.backward()
        tensors |= {f"{prefix}loss": loss.detach(), f"{prefix}gradient": logits.grad}
    save_file(tensors, HERE / "load_balance.safetensors")
    print("load_balance.safetensors", tensors["loss"].item(), tensors["unmasked_loss"].item())


def main():
    torch.manual_seed(1)
    mixtral = MixtralConfig(**SHAPE, intermediate_size=16, num_local_experts=4, rope_theta=10000.0)
    write("mixtral.safetensors", MixtralForCausalLM(mixtral).float().eval(), mixtral, "block_sparse_moe", ("w1", "w3", "w2"))
    qwen = Qwen3MoeConfig(**SHAPE, intermediate_size=20, moe_intermediate_size=16, num_experts=4, norm_topk_prob=True,
                          decoder_sparse_step=1, mlp_only_layers=[0], rope_theta=10000.0)
    write("qwen3_moe.safetensors", Qwen3MoeForCausalLM(qwen).float().eval(), qwen, "mlp", ("gate_proj", "up_proj", "down_proj"))
    write_load_balance()


if __name__ == "__main__":
    main()
