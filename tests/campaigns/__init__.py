"""Campaigns: attacks with hundreds to many thousands of inputs, run by one command.

python -m tests.campaigns [NAME...] [--seed S] [--count N]
"""
