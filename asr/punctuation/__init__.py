"""Punctuation and capital letters for the words of a recogniser.

Takes words as they are spoken or in written form. Passes them on with commas, full stops, question marks and, in
English, capital letters. A small net tags each word; trained ones for English and Korean are part of the package.
"""
