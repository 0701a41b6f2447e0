"""Trained models in the formats of other libraries."""

FORMATS = {
    "transformers": "tlresearch.export.transformers",
    "sentence-transformers": "tlresearch.export.sentence_transformers",
    "timm": "tlresearch.export.timm",
    "peft": "tlresearch.export.peft",
    "safetensors": "tlresearch.export.safetensors",
    "onnx": "tlresearch.export.onnx",
}
"""Name → module that is a `write.Format`."""
