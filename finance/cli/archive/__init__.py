"""Commands about the archive's objects.

archive  an operator's decision about a lock
"""
