"""Other people's ONNX models, run by onnxruntime (extra `pretrained`) on the CPU.

fields          a look into the file
cut             a graph that ends at another tensor
file            the file opened in onnxruntime
net             the graph behind a front end
description     the YAML file that says how it is called
"""
