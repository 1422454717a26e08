"""Fuzzing of every reader of files from outside: `make fuzz` (docs/measured/fuzz.md).

targets.py    the readers, each with seeds: small valid files
mutate.py     mutations without a fuzzer, for tests/test_fuzz.py
native.cc     the C++ readers and the search behind them, for libFuzzer
__main__.py   the driver: counts inputs per target in build/fuzz, resumes, keeps what fails
"""
