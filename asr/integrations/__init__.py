"""Integrations: our search behind the interfaces of other libraries.

In: what the other library's users have, such as the labels of a Hugging Face model, an ARPA file and logits. Out: the
results in that library's form.
"""
