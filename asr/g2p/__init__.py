"""Spelling -> pronunciation: words -> phones, from a dictionary or a joint n-gram model trained on one."""
