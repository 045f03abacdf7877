"""Bit-for-bit resume of every kind of batch, precision and model that keeps state of its own."""

from harness import ConclaveTest, metrics


class ResumeKinds(ConclaveTest):
    def assert_same_tensors(self, straight, other):
        names = sorted(p.name for p in straight.glob("*.safetensors"))
        self.assertTrue(names)
        self.assertEqual(names, sorted(p.name for p in other.glob("*.safetensors")))
        for name in names:
            self.assertEqual((straight / name).read_bytes(), (other / name).read_bytes(), name)

    def test_every_kind_of_run_goes_on_bit_for_bit(self):
        kinds = {
            "bucketed": ["data.batching.mode=bucket", "data.batching.bucket_step=8"],
            "documents": ["data.batching.document_attention=true", "train.recompute=true", "model.with.tie_embeddings=true"],
            "stages": ["data.weights={rule: temperature, alpha: 0.5}", "data.curriculum=[{from: 0, length: 8, shares: {prose: 1, "
                       "lists: 1}}, {from: 3, length: 16}, {from: 50%, shares: {prose: 0, lists: 1}}]"],
            "packed": ["data.batching.packing=best_fit", "data.batching.document_attention=true"],
            "rearranged": ["data.tokenizer={use: tokenizer/hf-bpe, with: {vocabulary: 290, special: [<pre>, <suf>, <mid>]}}",
                           "data.fill_in_middle={rate: 50%, spm: 50%, prefix: <pre>, suffix: <suf>, middle: <mid>}"],
            "bf16": ["precision.compute=bf16", "train.micro_batch=2"],
            "fp16": ["precision.compute=fp16", "precision.loss_scale={initial: 4194304, interval: 3}", "train.max_skipped=9"],
            "biased": ["model.with.router={bias_update_rate: 0.01, scores: sigmoid}", "train.label_smoothing=0.1",
                       "scheduler={use: scheduler/warmup-stable-decay}"],
        }
        for name, settings in kinds.items():
            with self.subTest(name):
                options = [word for setting in settings for word in ("--set", setting)]
                straight, broken = self.dir / f"{name}-straight", self.dir / f"{name}-broken"
                self.run_conclave("--run-dir", straight, *options)
                self.run_conclave("--run-dir", broken, "--stop-after", 5, *options)
                self.run_conclave("--run-dir", broken, "--resume", *options)
                self.assert_same_metrics(straight, broken)
                self.assert_same_tensors(straight / "checkpoints/step-00000012", broken / "checkpoints/step-00000012")
                if name == "fp16":
                    applied = [row["applied"] for (kind, _), row in metrics(broken).items() if kind == "step"]
                    self.assertIn(0, applied, "the scale was to overflow at first")
                    self.assertIn(1, applied)
