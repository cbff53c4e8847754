"""`finance demo`: the main job on real data and real servers, then every way to cheat, then a stranger's check.

The story is in `finance.workshop.demo.story`; each other file is one part of it.
"""
