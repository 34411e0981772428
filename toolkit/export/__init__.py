"""The one door from the torch world to the serving world: a trained network becomes an ONNX file.

`onnx` exports a Classifier of ours, `huggingface` a classifier folder of somebody else. Both go through
`door`, which runs the file at several shapes, compares it with PyTorch, and writes nothing unless they agree.
"""
