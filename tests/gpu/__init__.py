"""`make gpu-test`: everything that needs a CUDA GPU, in one run with a time limit (docs/concepts/ctc.md).

__main__.py   builds the extension, runs the parts as processes, writes the log
parts.py      the parts that are not pytest files
"""
