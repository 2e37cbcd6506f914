"""scripts/fetch_model.py: the row order and names of GGUF undone; the converted model, where it has been fetched."""

import json
import unittest

import fetch_common
import fetch_model

try:
    import numpy
except ImportError:
    numpy = None


@unittest.skipIf(numpy is None, "numpy is not installed (make fetch)")
class RowOrder(unittest.TestCase):
    def test_undoes_the_interleaving_of_rotary_halves(self):
        # Two heads of width 4: a head's rows (0, 1 | 2, 3) are stored as 0, 2, 1, 3.
        rows = numpy.arange(8 * 3).reshape(8, 3)
        stored = rows[[0, 2, 1, 3, 4, 6, 5, 7]]
        numpy.testing.assert_array_equal(fetch_model.unpermute(stored, 2), rows)

    def test_undoes_the_writer_of_gguf(self):
        def permute(rows, heads):  # as convert_hf_to_gguf.py does it
            return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)

        rows = numpy.random.default_rng(0).standard_normal((9 * 64, 16))
        for heads in (3, 9):
            numpy.testing.assert_array_equal(fetch_model.unpermute(permute(rows, heads), heads), rows)


class Names(unittest.TestCase):
    def test_hub_names(self):
        self.assertEqual(fetch_model.hub_name("blk.12.attn_q.weight"), "model.layers.12.self_attn.q_proj.weight")
        self.assertEqual(fetch_model.hub_name("token_embd.weight"), "model.embed_tokens.weight")
        with self.assertRaises(fetch_common.FetchError):
            fetch_model.hub_name("blk.0.attn_sinks.weight")


FOLDER = fetch_common.cache_folder() / "models" / fetch_model.NAME


@unittest.skipIf(numpy is None or not fetch_model.complete(FOLDER), "the default model is not there (make fetch)")
class Converted(unittest.TestCase):
    def test_every_tensor_has_its_digest(self):
        self.assertEqual(fetch_model.verify(FOLDER), 272)

    def test_config_and_source(self):
        config = json.loads((FOLDER / "config.json").read_text())
        self.assertEqual((config["hidden_size"], config["num_key_value_heads"], config["tie_word_embeddings"]), (576, 3, True))
        source = json.loads((FOLDER / "sage_source.json").read_text())
        self.assertIn("Q4_1", source["note"])

    def test_tokenizer(self):
        tokenizer = json.loads((FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
        self.assertEqual(len(tokenizer["model"]["vocab"]), 49152)
        self.assertEqual([token["id"] for token in tokenizer["added_tokens"]], list(range(17)))
        self.assertTrue(all(token["special"] for token in tokenizer["added_tokens"]))
        vocabulary = tokenizer["model"]["vocab"]
        for merge in tokenizer["model"]["merges"]:
            left, right = merge.split(" ")
            self.assertIn(left + right, vocabulary)


if __name__ == "__main__":
    unittest.main()
