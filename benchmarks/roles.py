"""What each measured model of a case is: its word in results, and in tables and pictures."""

CAME, EXPORTED, SMALL = "baseline", "baseline-onnx", "small-int8"
WORDS = {CAME: "as it came, eager PyTorch", EXPORTED: "exported, fp32", SMALL: "small, int8"}
# in the order measured: the exported one has every rung, so its second turns are the noise floor of all
MEASURED = (EXPORTED, CAME, SMALL)
# in the order of a table
SHOWN = (CAME, EXPORTED, SMALL)
